"""One JSON or YAML document, with the duplicate keys that strict decoding reports. Pure.

The texts are those of sigs.k8s.io/json and of go-yaml as apimachinery's serializer passes them on.
"""

from __future__ import annotations

import json
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """A safe loader that notes duplicate keys instead of letting the last one win in silence."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.duplicates: list[str] = []

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                self.duplicates.append(
                    f'  line {key_node.start_mark.line + 1}: key "{key_node.value}" already set in map'
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def parse(data: bytes) -> tuple[dict[str, Any] | None, list[str]]:
    """(the document, its strictness errors); None if there is none. ValueError, in Go's words, if it is no mapping."""
    text = data.decode("utf-8", "replace")
    return _parse_json(text) if text.lstrip().startswith("{") else _parse_yaml(text)


def _parse_json(text: str) -> tuple[dict[str, Any] | None, list[str]]:
    errors: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: set[str] = set()
        for key, _ in items:
            if key in seen:
                errors.append(f'duplicate field "{key}"')
            seen.add(key)
        return dict(items)

    try:
        return json.loads(text, object_pairs_hook=pairs), errors
    except json.JSONDecodeError:
        return _parse_yaml(text)  # flow style YAML looks alike


def _parse_yaml(text: str) -> tuple[dict[str, Any] | None, list[str]]:
    loader = _Loader(text)
    try:
        document = loader.get_single_data()
    except yaml.YAMLError as error:
        raise ValueError(f"yaml: {_where(error)}") from error
    finally:
        loader.dispose()
    if document is None:
        return None, []
    if not isinstance(document, dict):
        raise ValueError("json: cannot unmarshal into Go value of type struct")
    duplicates = "\n".join(loader.duplicates)
    prefix = "error converting YAML to JSON: yaml: unmarshal errors:\n"
    return document, [prefix + duplicates] if duplicates else []


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}: {problem}" if mark else problem

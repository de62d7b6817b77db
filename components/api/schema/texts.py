"""What `kubectl explain` says about fields: Kubernetes' own sentences, read from the `kubernetes-validate` package.

They are not ours, so they are not kept here: the `explain` extra brings the package; without it fields are explained
by their names and types alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

VERSION = "v1.36.0"

Texts = Mapping[str, Mapping[str, str]]
"""Definition → field → text; the empty field is the definition's own."""


def definitions() -> Mapping[str, Any]:
    """The OpenAPI definitions as the package has them. Raises ModuleNotFoundError."""
    path = files("kubernetes_validate").joinpath("kubernetes-json-schema", f"{VERSION}-local", "_definitions.json")
    found: Mapping[str, Any] = msgspec.json.decode(path.read_bytes())["$defs"]
    return found


@cache
def descriptions() -> Texts:
    """The texts of all definitions; nothing without the package."""
    try:
        return {name: dict(_texts(definition)) for name, definition in definitions().items()}
    except ModuleNotFoundError:
        return {}


def _texts(definition: Mapping[str, Any]) -> list[tuple[str, str]]:
    fields = [("", definition), *definition.get("properties", {}).items()]
    return [(name, raw["description"]) for name, raw in fields if raw.get("description")]

"""Derives the schema table from the OpenAPI data of the `kubernetes-validate` package (a development dependency).

    python -m kubeglass.components.api.schema.generate

writes definitions.json.z beside this file: names, types, merge keys and list types of Kubernetes v1.36, no sentences.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubeglass.components.api.schema import texts

_REFERENCE = "#/$defs/"
_SWAGGER_REFERENCE = "#/definitions/"


def table(definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The definitions in OpenAPI v2 form, without text."""
    return {name: _swagger(definition) for name, definition in definitions.items()}


def packed(definitions: Mapping[str, Any]) -> bytes:
    """The file's bytes; equal input gives equal output."""
    return zlib.compress(_compact(definitions), 9)


def main() -> None:
    (Path(__file__).parent / "definitions.json.z").write_bytes(packed(table(texts.definitions())))


def _compact(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def _swagger(raw: Any) -> Any:
    """OpenAPI v2 instead of JSON schema: no null types, no descriptions, no enums of apiVersion and kind."""
    if isinstance(raw, list):
        return [_swagger(item) for item in raw]
    if not isinstance(raw, dict):
        return raw
    found: dict[str, Any] = {}
    for key, value in raw.items():
        if key == "properties":
            found[key] = {name: _swagger(field) for name, field in value.items()}
        elif key == "type":
            found[key] = next(name for name in value if name != "null") if isinstance(value, list) else value
        elif key == "$ref":
            found[key] = value.replace(_REFERENCE, _SWAGGER_REFERENCE)
        elif key == "oneOf":
            found["type"] = "string"
            if any("integer" in choice["type"] for choice in value):
                found["format"] = "int-or-string"
        elif key not in ("description", "enum"):
            found[key] = _swagger(value)
    return found


if __name__ == "__main__":
    main()

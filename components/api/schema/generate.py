"""Derives the schema table from the OpenAPI data of the `kubernetes-validate` package (a development dependency).

    python -m kubeglass.components.api.schema.generate

writes definitions.json.z and descriptions.json.xz beside this file. The data is Kubernetes v1.36's (Apache-2.0).
"""

from __future__ import annotations

import json
import lzma
import zlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

VERSION = "v1.36.0"
_REFERENCE = "#/$defs/"
_SWAGGER_REFERENCE = "#/definitions/"


def source() -> Mapping[str, Any]:
    """The definitions as the package has them."""
    path = files("kubernetes_validate").joinpath("kubernetes-json-schema", f"{VERSION}-local", "_definitions.json")
    found: Mapping[str, Any] = json.loads(path.read_text())["$defs"]
    return found


def tables(definitions: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """(definitions in OpenAPI v2 form without text, their texts)."""
    texts = {
        name: {
            field: text
            for field, text in [
                ("", definition.get("description", "")),
                *((field, raw.get("description", "")) for field, raw in definition.get("properties", {}).items()),
            ]
            if text
        }
        for name, definition in definitions.items()
    }
    return {name: _swagger(definition) for name, definition in definitions.items()}, texts


def packed(definitions: Mapping[str, Any], texts: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """The two files' bytes; equal input gives equal output."""
    return zlib.compress(_compact(definitions), 9), lzma.compress(_compact(texts), preset=9 | lzma.PRESET_EXTREME)


def main() -> None:
    here = Path(__file__).parent
    types, texts = packed(*tables(source()))
    (here / "definitions.json.z").write_bytes(types)
    (here / "descriptions.json.xz").write_bytes(texts)


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

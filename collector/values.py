"""OTLP attribute values as Python values, as text, and as Jaeger's typed tags. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import msgspec


def python(value: Any) -> Any:
    """What an AnyValue holds."""
    match value.WhichOneof("value"):
        case "array_value":
            return [python(inner) for inner in value.array_value.values]
        case "kvlist_value":
            return {pair.key: python(pair.value) for pair in value.kvlist_value.values}
        case None:
            return None
        case kind:
            return getattr(value, kind)


def text(value: Any) -> str:
    """An AnyValue as users type it in a search."""
    plain = python(value)
    if isinstance(plain, str):
        return plain
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, bytes):
        return base64.b64encode(plain).decode()
    if isinstance(plain, list | dict):
        return as_json(plain)
    return "" if plain is None else f"{plain:g}" if isinstance(plain, float) else str(plain)


def tags(attributes: Iterable[Any]) -> list[dict[str, Any]]:
    """Jaeger's tags of some attributes."""
    return [tag(pair.key, python(pair.value)) for pair in attributes]


def tag(key: str, value: Any) -> dict[str, Any]:
    """One Jaeger tag; what has no type of its own there is a string."""
    if isinstance(value, bool):
        return {"key": key, "type": "bool", "value": value}
    if isinstance(value, int):
        return {"key": key, "type": "int64", "value": value}
    if isinstance(value, float):
        return {"key": key, "type": "float64", "value": value}
    if isinstance(value, bytes):
        return {"key": key, "type": "binary", "value": base64.b64encode(value).decode()}
    if isinstance(value, list | dict):
        return {"key": key, "type": "string", "value": as_json(value)}
    return {"key": key, "type": "string", "value": "" if value is None else value}


def as_json(value: Any) -> str:
    """Lists and maps as text; bytes inside are base64."""
    return msgspec.json.encode(value).decode()

"""JSON as Go's encoding/json writes it: sorted map keys, Go's floats and escapes.

`plain` turns any Python value into the tree JSON can hold; `encode` writes such a tree. Both
are used for composite values only: single values have their own rules in each log format.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import math
import re
from collections.abc import Iterable, Mapping, Set
from datetime import datetime, timedelta
from json.encoder import encode_basestring
from typing import Any

import msgspec

from kubeglass.logging.sanitize import Secret
from kubeglass.logging.values import (
    Duration,
    Fields,
    Format,
    KObjSlice,
    KRef,
    LogMarshaler,
    Nil,
    error_text,
    has_own_text,
    time_rfc3339,
    type_name,
)

MAX_DEPTH = 100
"""How deep a value may nest; deeper means a cycle, as far as a log line is concerned."""

_HTML = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
_LINE_ENDS = {ord(char): f"\\u{ord(char):04x}" for char in "\u2028\u2029"}
_SURROGATE = re.compile("[\ud800-\udfff]")


class Unencodable(ValueError):
    """A value JSON cannot hold; the text is that of Go's encoder."""


def plain(value: object, depth: int = 0) -> Any:
    """The JSON tree of a value: dicts, lists, strings, numbers, booleans and None only. Raises Unencodable."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None or kind is float:
        return value
    if depth > MAX_DEPTH:
        raise Unencodable(f"json: unsupported value: encountered a cycle via {type_name(value)}")
    if isinstance(value, Fields):
        return Fields(value.type_name, {name: plain(item, depth + 1) for name, item in value.items()})
    if isinstance(value, Mapping):
        return {_map_key(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, KRef):
        return Fields("ObjectRef", value.as_object())
    if isinstance(value, list | tuple | Set):
        return [plain(item, depth + 1) for item in value]
    return _plain_single(value, depth)


def _plain_single(value: object, depth: int) -> Any:
    if isinstance(value, Secret):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, timedelta):
        return int(Duration.of(value))
    if isinstance(value, datetime):
        return time_rfc3339(value)
    if isinstance(value, Nil):
        return None
    if isinstance(value, enum.Enum):
        return plain(value.value, depth + 1)
    if isinstance(value, bool | int | float | str):
        return _builtin(value)
    if isinstance(value, Format):
        return plain(value.value, depth + 1)
    if isinstance(value, KObjSlice):
        return plain(value.references(), depth + 1)
    return _plain_object(value, depth)


def _builtin(value: bool | int | float | str) -> Any:
    """A subclass's value without what the subclass adds."""
    if isinstance(value, str):
        return str.__str__(value)
    return float(value) if isinstance(value, float) else int(value)


def _plain_object(value: object, depth: int) -> Any:
    kind = type(value)
    if isinstance(value, msgspec.Struct):
        names = zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
        return _fields(value, names, depth)
    if dataclasses.is_dataclass(value):
        declared = (field.name for field in dataclasses.fields(value) if not field.name.startswith("_"))
        return _fields(value, ((name, name) for name in declared), depth)
    if isinstance(value, LogMarshaler) and not isinstance(value, type):
        return plain(value.marshal_log(), depth + 1)
    if isinstance(value, BaseException):
        return error_text(value)
    if has_own_text(kind):
        return str(value)
    if kind.__repr__ is not object.__repr__ and not callable(value):
        return repr(value)
    if hasattr(value, "__dict__") and not callable(value):
        public = ((name, name) for name in vars(value) if not name.startswith("_"))
        return _fields(value, public, depth)
    raise Unencodable(f"json: unsupported type: {kind.__qualname__}")


def _fields(value: object, names: Iterable[tuple[str, str]], depth: int) -> Fields:
    kind = type(value).__qualname__
    fields = {wire: plain(getattr(value, name), depth + 1) for name, wire in names}
    return Fields(kind, {name: item for name, item in fields.items() if item is not msgspec.UNSET})


def _map_key(key: object) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, enum.Enum):
        return _map_key(key.value)
    return str(key)


def encode(tree: Any, *, html: bool) -> str:
    """Compact JSON of a plain tree; `html` escapes <, > and & as Go does by default. Raises Unencodable."""
    if isinstance(tree, str):
        return string(tree, html=html)
    if tree is None:
        return "null"
    if isinstance(tree, bool):
        return "true" if tree else "false"
    if isinstance(tree, float):
        return number(tree)
    if isinstance(tree, dict):
        return f"{{{','.join(_members(tree, html))}}}"
    if isinstance(tree, list):
        return f"[{','.join([encode(item, html=html) for item in tree])}]"
    return str(tree)


def _members(tree: dict[str, Any], html: bool) -> list[str]:
    items = tree.items() if isinstance(tree, Fields) else sorted(tree.items(), key=_by_name)
    return [f"{string(name, html=html)}:{encode(item, html=html)}" for name, item in items]


def _by_name(member: tuple[str, Any]) -> str:
    return member[0]


def encode_indented(tree: Any, margin: str = "") -> str:
    """JSON with two blanks of indentation and HTML escaping, as klog.Format prints it. Raises Unencodable."""
    inner = f"{margin}  "
    if isinstance(tree, dict) and tree:
        items = tree.items() if isinstance(tree, Fields) else sorted(tree.items(), key=_by_name)
        lines = [f"{inner}{string(name, html=True)}: {encode_indented(item, inner)}" for name, item in items]
        return "{\n" + ",\n".join(lines) + f"\n{margin}}}"
    if isinstance(tree, list) and tree:
        lines = [f"{inner}{encode_indented(item, inner)}" for item in tree]
        return "[\n" + ",\n".join(lines) + f"\n{margin}]"
    return encode(tree, html=True)


def string(text: str, *, html: bool) -> str:
    """A JSON string literal with the escapes of Go's encoder."""
    return raw_string(text).translate(_HTML if html else _LINE_ENDS)


def raw_string(text: str) -> str:
    """A JSON string literal with only what JSON demands escaped; what is no valid Unicode becomes U+FFFD."""
    literal = encode_basestring(text)
    return literal if literal.isascii() else _SURROGATE.sub(r"\\ufffd", literal)


def number(value: float) -> str:
    """A float with the shortest digits; exponents only below 1e-6 and from 1e21. Raises Unencodable."""
    if not math.isfinite(value):
        raise Unencodable(f"json: unsupported value: {non_finite(value)}")
    size = abs(value)
    if size == 0 or 1e-6 <= size < 1e21:
        return positional(value)
    mantissa, _, exponent = repr(value).partition("e")
    return f"{mantissa.removesuffix('.0')}e{exponent[0]}{exponent[1:].lstrip('0')}"


def positional(value: float) -> str:
    """A finite float with the shortest digits, never with an exponent."""
    text = repr(value)
    if "e" not in text:
        return text.removesuffix(".0")
    mantissa, _, exponent = text.lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits, shift = f"{whole}{fraction}", int(exponent)
    shifted = digits.ljust(shift + 1, "0") if shift > 0 else f"0.{'0' * (-shift - 1)}{digits}"
    return f"-{shifted}" if value < 0 else shifted


def non_finite(value: float) -> str:
    """Go's names for what is no number."""
    if math.isnan(value):
        return "NaN"
    return "+Inf" if value > 0 else "-Inf"

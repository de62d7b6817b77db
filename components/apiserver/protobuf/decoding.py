"""From application/vnd.kubernetes.protobuf to an object as its JSON form would have decoded.

    body     = "k8s\\0" + Unknown{typeMeta, raw}          raw = the message of that kind
    message  = fields by number; a table (messages.json.z, made by generate.py) gives their JSON names and types

Protobuf clients write empty strings and zeros where JSON leaves fields out; the table knows which ones mean nothing.
Types with a JSON form of their own (Time, Quantity, IntOrString, …) are written out here. Pure.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

MAGIC = b"k8s\0"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Object = dict[str, Any]


class BadMessage(ValueError):
    """The bytes are not what they claim to be."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message. `name` is the JSON name; "" lays the fields of the inner message into the outer."""

    name: str
    type: str
    """string, bytes, bool, int, double, or the name of a message."""
    repeated: bool = False
    mapped: bool = False
    omit_zero: bool = False
    """Whether the zero value stands for an absent field."""


@dataclass(frozen=True, slots=True)
class Table:
    """Messages by name, and the message of each (apiVersion, kind)."""

    messages: Mapping[str, Mapping[int, Field]]
    kinds: Mapping[str, str]


@cache
def table() -> Table:
    """The table of all kinds; read when the first protobuf body arrives."""
    packed = files(__package__).joinpath("messages.json.z").read_bytes()
    raw = msgspec.json.decode(zlib.decompress(packed))
    messages = {
        name: {int(number): Field(*row) for number, row in rows.items()} for name, rows in raw["messages"].items()
    }
    return Table(messages, raw["kinds"])


def decode(body: bytes) -> Object:
    """The object of a request body. Raises BadMessage."""
    if not body.startswith(MAGIC):
        raise BadMessage("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    api_version = kind = ""
    raw = b""
    for number, _, value in _fields(body[len(MAGIC) :]):
        if number == 1:
            meta = {inner: text for inner, _, text in _fields(_as_bytes(value))}
            api_version, kind = _as_bytes(meta.get(1, b"")).decode(), _as_bytes(meta.get(2, b"")).decode()
        elif number == 2:
            raw = _as_bytes(value)
    message = table().kinds.get(f"{api_version}/{kind}")
    if message is None:
        raise BadMessage(f'no kind "{kind}" is registered for version "{api_version}"')
    return {"kind": kind, "apiVersion": api_version, **_message(message, raw)}


def _message(name: str, data: bytes) -> Object:
    known = table().messages[name]
    found: Object = {}
    for number, wire, value in _fields(data):
        field = known.get(number)
        if field is None:
            continue  # from a newer client
        if field.mapped:
            _put_pair(found, field, _as_bytes(value))
        elif field.repeated:
            found.setdefault(field.name, []).extend(_items(field, wire, value))
        else:
            _put(found, field, _value(field.type, value))
    return found


def _put(found: Object, field: Field, value: Any) -> None:
    if field.name == "":
        found.update(value)
    elif not (field.omit_zero and value in ("", 0, False, None, {})):
        found[field.name] = value


def _put_pair(found: Object, field: Field, data: bytes) -> None:
    """One entry of a map: key 1, value 2; both may be left out when they are empty."""
    entry = {number: value for number, _, value in _fields(data)}
    empty: Any = 0 if field.type in ("int", "bool") else b""
    key = _as_bytes(entry.get(1, b"")).decode()
    found.setdefault(field.name, {})[key] = _value(field.type, entry.get(2, empty))


def _items(field: Field, wire: int, value: int | bytes) -> list[Any]:
    """The items of a repeated field: usually one, several when numbers are packed."""
    if field.type in ("int", "bool") and wire == _BYTES:
        return [_value(field.type, number) for number in _packed(_as_bytes(value))]
    return [_value(field.type, value)]


def _value(type_: str, value: int | bytes) -> Any:
    match type_:
        case "string":
            return _as_bytes(value).decode()
        case "int":
            number = _as_int(value)
            return number - (1 << 64) if number >= 1 << 63 else number
        case "bool":
            return bool(value)
        case "bytes":
            return base64.b64encode(_as_bytes(value)).decode()
        case "double":
            return struct.unpack("<d", _as_bytes(value))[0]
    special = _SPECIAL.get(type_.rpartition(".")[2])
    return special(_as_bytes(value)) if special else _message(type_, _as_bytes(value))


def _fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """(number, wire type, value) of every field. Raises BadMessage."""
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        wire = tag & 7
        if wire == _VARINT:
            number, position = _varint(data, position)
            yield tag >> 3, wire, number
            continue
        if wire == _BYTES:
            length, position = _varint(data, position)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise BadMessage(f"proto: illegal wireType {wire}")
        if position + length > end:
            raise BadMessage("unexpected EOF")
        yield tag >> 3, wire, data[position : position + length]
        position += length


def _packed(data: bytes) -> Iterator[int]:
    position = 0
    while position < len(data):
        number, position = _varint(data, position)
        yield number


def _varint(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if position >= len(data):
            raise BadMessage("unexpected EOF")
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
        if shift > 63:
            raise BadMessage("proto: integer overflow")


def _as_bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise BadMessage("proto: wrong wireType = 0")
    return value


def _as_int(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise BadMessage("proto: wrong wireType = 2")
    return value


# Types whose JSON is not that of their message ----------------------------------------------------------------------


def _by_number(data: bytes) -> dict[int, Any]:
    return {number: value for number, _, value in _fields(data)}


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


def _time(data: bytes) -> str | None:
    if not data:
        return None
    return datetime.fromtimestamp(_signed(_by_number(data).get(1, 0)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _micro_time(data: bytes) -> str | None:
    if not data:
        return None
    parts = _by_number(data)
    stamp = datetime.fromtimestamp(_signed(parts.get(1, 0)), UTC)
    return stamp.replace(microsecond=parts.get(2, 0) // 1000).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _quantity(data: bytes) -> str:
    return bytes(_by_number(data).get(1, b"")).decode() or "0"


def _int_or_string(data: bytes) -> int | str:
    parts = _by_number(data)
    if parts.get(1, 0) == 1:
        return bytes(parts.get(3, b"")).decode()
    number = _signed(parts.get(2, 0))
    return number - (1 << 32) if number >= 1 << 31 else number


def _embedded_json(data: bytes) -> Any:
    raw = _by_number(data).get(1, b"")
    try:
        return msgspec.json.decode(raw) if raw else None
    except msgspec.DecodeError as error:
        raise BadMessage(f"embedded object is no JSON: {error}") from error


def _strings(data: bytes) -> list[str]:
    return [_as_bytes(value).decode() for _, _, value in _fields(data)]


def _duration(data: bytes) -> str:
    from kubeglass.logging.goduration import duration_text

    return duration_text(_signed(_by_number(data).get(1, 0)))


_SPECIAL: Mapping[str, Callable[[bytes], Any]] = {
    "Time": _time,
    "MicroTime": _micro_time,
    "Quantity": _quantity,
    "IntOrString": _int_or_string,
    "RawExtension": _embedded_json,
    "FieldsV1": _embedded_json,
    "ExtraValue": _strings,
    "Duration": _duration,
}

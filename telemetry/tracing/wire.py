"""The protobuf wire format, as much of it as OTLP needs: varints, length-delimited fields, and a reader of fields.

https://protobuf.dev/programming-guides/encoding/. Messages are known by encode.py and outcome.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

_FIXED64 = Struct("<Q")
_DOUBLE = Struct("<d")
_MASK64 = 0xFFFFFFFFFFFFFFFF

fixed64 = _FIXED64.pack
double = _DOUBLE.pack


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SMALL = tuple(_varint(value) for value in range(4096))


def varint(value: int) -> bytes:
    """An unsigned integer."""
    return _SMALL[value] if value < 4096 else _varint(value)


def int64(value: int) -> bytes:
    """A signed integer, in two's complement as `int64` wants it."""
    return varint(value & _MASK64)


def field(tag: bytes, payload: bytes) -> bytes:
    """A length-delimited field; `tag` is the encoded field number and wire type 2."""
    return tag + varint(len(payload)) + payload


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The (number, value) pairs of one message: bytes where length-delimited, else int. ValueError when broken."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _read_varint(data, at)
        kind = tag & 7
        value: int | bytes
        if kind == 0:
            value, at = _read_varint(data, at)
        elif kind in (1, 2, 5):
            size = 8
            if kind == 2:
                size, at = _read_varint(data, at)
            elif kind == 5:
                size = 4
            if at + size > end:
                raise ValueError("truncated message")
            chunk = data[at : at + size]
            value = chunk if kind == 2 else int.from_bytes(chunk, "little")
            at += size
        else:
            raise ValueError(f"unsupported wire type {kind}")
        yield tag >> 3, value


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK64, at
        shift += 7
    raise ValueError("truncated varint")

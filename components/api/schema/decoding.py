"""A decoded object against its type: what Go's decoder would accept, keep, drop and complain about. Pure.

`conform` returns the object as the server keeps it: unknown members and nulls dropped, quantities canonical; with the
list of what a strict decoder minds. A value of the wrong type raises DecodeError, worded as encoding/json words it.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from json import JSONDecoder
from typing import Any, cast

import msgspec

from kubeglass.components.api import quantity, times
from kubeglass.components.api.schema.types import ListOf, MapOf, Scalar, Struct, Type

_KEY = re.compile(rb'"\s*:')
_LIMITS = {"int32": 2**31, "int64": 2**63}
_GO_SCALARS = {"string": "string", "bool": "bool", "int32": "int32", "int64": "int64", "double": "float64"}


class DecodeError(ValueError):
    """The bytes or the object cannot be read as the type."""


def load(data: bytes) -> Any:
    """Decoded JSON. Raises DecodeError with a text in the manner of Go's decoder."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DecodeError(_syntax_text(data)) from error


def conform(
    struct: Struct, obj: Mapping[str, Any], trusted: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """(the object as kept, what strict decoding minds: `unknown field "spec.foo"`). Raises DecodeError.

    `trusted` is an earlier state that was conformed already: members equal to its own are not looked into again.
    """
    walk = _Walk()
    kept: dict[str, Any] = walk.struct(struct, obj, trusted)
    return kept, walk.problems


def duplicate_fields(data: bytes, obj: Any) -> list[str]:
    """`duplicate field "spec.replicas"` for every member that the JSON text names twice."""
    if len(_KEY.findall(data)) <= _count_keys(obj):
        return []
    found: list[str] = []

    def pairs(members: list[tuple[str, Any]]) -> Any:
        return _Members(members)

    _collect_duplicates(cast(Any, JSONDecoder(object_pairs_hook=pairs).decode(data.decode())), "", found)
    return list(dict.fromkeys(found))


class _Members(list[tuple[str, Any]]):
    """An object as its members in order, duplicates included."""


def _collect_duplicates(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, _Members):
        seen: set[str] = set()
        for name, member in value:
            where = f"{path}.{name}" if path else name
            if name in seen:
                found.append(f'duplicate field "{where}"')
            seen.add(name)
            _collect_duplicates(member, where, found)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _collect_duplicates(item, f"{path}[{index}]", found)


def _count_keys(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(_count_keys(item) for item in value.values() if isinstance(item, dict | list))
    if isinstance(value, list):
        return sum(_count_keys(item) for item in value if isinstance(item, dict | list))
    return 0


class _Walk:
    """One pass over one object. `_stack` is where it is: member names and list indices."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._stack: list[str | int] = []
        self._structs: list[Struct] = []

    def struct(self, struct: Struct, value: Any, trusted: Any = None) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            if struct.lenient and self._structs:
                return cast(dict[str, Any], value)
            raise self._mismatch(value, struct.name)
        fields, stack = struct.fields, self._stack
        known = trusted if isinstance(trusted, Mapping) else {}
        kept: dict[str, Any] = {}
        self._structs.append(struct)
        for name, member in value.items():
            field = fields.get(name)
            if field is None:
                if struct.open:
                    kept[name] = member
                else:
                    self.problems.append(f'unknown field "{self._path(name)}"')
            elif member is not None:
                before = known.get(name)
                if before is not None and _same(before, member):
                    kept[name] = member
                    continue
                stack.append(name)
                kept[name] = self.value(field.type, member, before)
                stack.pop()
        self._structs.pop()
        return kept

    def value(self, type_: Type, value: Any, trusted: Any = None) -> Any:
        if isinstance(type_, Scalar):
            return self._scalar(type_, value)
        if isinstance(type_, Struct):
            return self.struct(type_, value, trusted)
        if isinstance(type_, ListOf):
            return self._list(type_, value)
        return self._map(type_, value)

    def _list(self, type_: ListOf, value: Any) -> list[Any]:
        if not isinstance(value, list):
            if self._structs[-1].lenient:
                return cast(list[Any], value)
            raise self._mismatch(value, _go_type(type_))
        kept = []
        for index, item in enumerate(value):
            self._stack.append(index)
            kept.append(_zero(type_.item) if item is None else self.value(type_.item, item))
            self._stack.pop()
        return kept

    def _map(self, type_: MapOf, value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            if self._structs[-1].lenient:
                return cast(dict[str, Any], value)
            raise self._mismatch(value, _go_type(type_))
        kept = {}
        for name, item in value.items():
            self._stack.append(name)
            kept[name] = _zero(type_.value) if item is None else self.value(type_.value, item)
            self._stack.pop()
        return kept

    def _scalar(self, type_: Scalar, value: Any) -> Any:
        match type_.name:
            case "string":
                if type(value) is str:
                    return value
            case "bool":
                if type(value) is bool:
                    return value
            case "int32" | "int64":
                if type(value) is int and -_LIMITS[type_.name] <= value < _LIMITS[type_.name]:
                    return value
            case "double":
                if type(value) in (int, float):
                    return value
            case "any":
                return value
            case "object":
                if isinstance(value, Mapping):
                    return value
            case _:
                return self._special(type_, value)
        if self._structs and self._structs[-1].lenient and len(self._stack) > 1:
            return value
        raise self._mismatch(value, _go_type(type_))

    def _special(self, type_: Scalar, value: Any) -> Any:
        if type_.name == "int-or-string":
            if type(value) in (str, int):
                return value
            if self._structs[-1].lenient:
                return value
            raise self._mismatch(value, "intstr.IntOrString" if isinstance(value, list | dict) else "int32")
        if type_.name == "quantity":
            if type(value) not in (str, int, float):
                raise DecodeError(quantity.FORMAT_WRONG)
            try:
                return quantity.canonical(value.strip() if isinstance(value, str) else value)
            except quantity.QuantityError as error:
                raise DecodeError(str(error)) from error
        if not isinstance(value, str):
            raise self._mismatch(value, _go_type(type_))
        return _bytes(value) if type_.name == "bytes" else _time(value)

    def _mismatch(self, value: Any, go_type: str) -> DecodeError:
        shown = _json_name(value)
        if go_type in ("int32", "int64") and isinstance(value, int | float) and not isinstance(value, bool):
            shown = f"number {value!r}"
        if not self._stack:
            return DecodeError(f"json: cannot unmarshal {shown} into Go value of type {go_type}")
        holder = self._structs[-1].name.rpartition(".")[2]
        field = ".".join(part for part in self._stack if isinstance(part, str))
        return DecodeError(f"json: cannot unmarshal {shown} into Go struct field {holder}.{field} of type {go_type}")

    def _path(self, name: str) -> str:
        text = ""
        for part in [*self._stack, name]:
            text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
        return text


def _same(before: Any, member: Any) -> bool:
    """Equal as JSON: to Python alone, true equals 1."""
    return bool(before == member) and msgspec.json.encode(before) == msgspec.json.encode(member)


def _zero(type_: Type) -> Any:
    """What null becomes inside a list or map."""
    if isinstance(type_, Struct | MapOf):
        return {}
    if isinstance(type_, ListOf):
        return []
    return {"bool": False, "int32": 0, "int64": 0, "double": 0, "int-or-string": 0, "quantity": "0"}.get(type_.name, "")


def _bytes(value: str) -> str:
    compact = value.replace("\n", "").replace("\r", "")
    try:
        binascii.a2b_base64(compact, strict_mode=True)
    except binascii.Error as error:
        at = next((i for i, character in enumerate(compact) if not _is_base64(character)), len(compact) & ~3)
        raise DecodeError(f"illegal base64 data at input byte {at}") from error
    return compact


def _is_base64(character: str) -> bool:
    return character.isascii() and (character.isalnum() or character in "+/")


def _time(value: str) -> str:
    try:
        times.parse(value)
    except ValueError as error:
        layout = "2006-01-02T15:04:05Z07:00"
        raise DecodeError(f'parsing time "{value}" as "{layout}": cannot parse "{value}" as "2006"') from error
    return value


def _go_type(type_: Type) -> str:
    if isinstance(type_, Struct):
        return type_.name
    if isinstance(type_, ListOf):
        return f"[]{_go_type(type_.item)}"
    if isinstance(type_, MapOf):
        return f"map[string]{_go_type(type_.value)}"
    special = {"bytes": "[]uint8", "quantity": "resource.Quantity", "object": "map[string]interface {}"}
    return _GO_SCALARS.get(type_.name) or special.get(type_.name, "string")


def _json_name(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _syntax_text(data: bytes) -> str:
    """Go's words for malformed JSON, found by a second, slower reading."""
    text = data.decode("utf-8", "replace")
    if not text.strip():
        return "unexpected end of JSON input"
    try:
        JSONDecoder().decode(text)
    except ValueError as error:
        position = getattr(error, "pos", 0)
        if position >= len(text.rstrip()):
            return "unexpected end of JSON input"
        return f"invalid character {_go_rune(text[position])} {_context(text, position)}"
    return "invalid UTF-8 in JSON"


def _go_rune(character: str) -> str:
    return "'\\''" if character == "'" else f"'{character}'"


def _context(text: str, position: int) -> str:
    before = text[:position].rstrip()
    if not before:
        return "looking for beginning of value"
    match before[-1]:
        case "{":
            return "looking for beginning of object key string"
        case ",":
            return (
                "looking for beginning of object key string"
                if before.rfind("{") > before.rfind("[")
                else "looking for beginning of value"
            )
        case ":" | "[":
            return "looking for beginning of value"
        case '"' if before.count(":") == 0 or before.rfind(":") < before.rfind(","):
            return "after object key"
    return "after object key:value pair" if before.rfind("{") > before.rfind("[") else "after array element"

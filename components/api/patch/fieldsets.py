"""Sets of fields, as managedFields keeps them (fieldsV1), and the fields that an object has. Pure.

A path is a tuple of elements in fieldsV1's own spelling: `f:name` a member, `k:{"name":"a"}` an item by its keys,
`v:"x"` an item by its value, `i:0` an item by its place. A set is a frozenset of paths.
Upstream: sigs.k8s.io/structured-merge-diff (fieldpath, typed/tofieldset).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kubeglass.components.api.schema.types import ANY, ListOf, MapOf, Scalar, Struct, Type

Path = tuple[str, ...]
FieldSet = frozenset[Path]
EMPTY: FieldSet = frozenset()


def parse(fields: Mapping[str, Any]) -> FieldSet:
    """The set of a fieldsV1 object."""
    return frozenset(_parsed(fields, ()))


def _parsed(fields: Mapping[str, Any], path: Path) -> Iterator[Path]:
    for element, below in fields.items():
        if element == ".":
            yield path
        elif below:
            yield from _parsed(below, (*path, element))
        else:
            yield (*path, element)


def render(fields: Iterable[Path]) -> dict[str, Any]:
    """The fieldsV1 object of a set."""
    root: dict[str, Any] = {}
    members = set(fields)
    for path in sorted(members):
        node = root
        for element in path:
            node = node.setdefault(element, {})
    for path in members:
        node = root
        for element in path:
            node = node[element]
        if node:
            node["."] = {}
    return _sorted(root)


def _sorted(node: dict[str, Any]) -> dict[str, Any]:
    return {element: _sorted(node[element]) for element in sorted(node)}


def of(type_: Type, value: Any) -> FieldSet:
    """Every field that an applied configuration sets."""
    return frozenset(_fields(type_, value, ()))


def _fields(type_: Type, value: Any, path: Path) -> Iterator[Path]:
    if isinstance(value, Mapping) and not is_atomic(type_):
        yield from _members(type_, value, path)
    elif isinstance(value, list) and isinstance(type_, ListOf) and type_.list_type != "atomic":
        for element, item in items(type_, value):
            yield from _fields(type_.item, item, (*path, element))
            yield (*path, element)
    elif path:
        yield path


def _members(type_: Type, value: Mapping[str, Any], path: Path) -> Iterator[Path]:
    for name, member in value.items():
        below = (*path, f"f:{name}")
        yield from _fields(member_type(type_, name), member, below)
        if member is None or member == {} or not _is_known(type_, name):
            yield below


def items(type_: ListOf, value: list[Any]) -> Iterator[tuple[str, Any]]:
    """(element, item) of a set or map list; the first of equal ones counts."""
    for index, item in enumerate(value):
        yield element_of(type_, item, index), item


def element_of(type_: ListOf, item: Any, index: int) -> str:
    """How an item is told apart."""
    if type_.list_type == "set":
        return "v:" + _json(item)
    defaults = dict(type_.key_defaults)
    if isinstance(item, Mapping):
        keys = {key: item.get(key, defaults.get(key)) for key in type_.keys}
        return "k:" + _json({key: value for key, value in sorted(keys.items()) if value is not None})
    return f"i:{index}"


def member_type(type_: Type, name: str) -> Type:
    """The type of a member; anything for one that the schema does not know."""
    if isinstance(type_, Struct):
        field = type_.fields.get(name)
        return field.type if field is not None else ANY
    if isinstance(type_, MapOf):
        return type_.value
    return ANY


def _is_known(type_: Type, name: str) -> bool:
    return isinstance(type_, Struct) and name in type_.fields


def is_atomic(type_: Type) -> bool:
    """Whether an object changes as a whole."""
    if isinstance(type_, Scalar):
        return type_.name not in ("any",)
    return isinstance(type_, Struct | MapOf) and type_.atomic


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def below(fields: FieldSet, path: Path) -> bool:
    """Whether the set has this path or something under it."""
    return any(member[: len(path)] == path for member in fields)


def display(path: Path) -> str:
    """A path as conflicts show it: `.spec.template.spec.containers[name="a"].image`."""
    text = ""
    for element in path:
        kind, _, rest = element.partition(":")
        if kind == "f":
            text += f".{rest}"
        elif kind == "k":
            keys = json.loads(rest)
            text += "[" + ",".join(f"{key}={_json(value)}" for key, value in keys.items()) + "]"
        elif kind == "v":
            text += f"[={rest}]"
        else:
            text += f"[{rest}]"
    return text

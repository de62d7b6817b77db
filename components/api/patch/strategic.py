"""Strategic merge patch: lists merge by key where the schema says so; directives delete, replace, retain and order.

    $patch: replace | delete | merge          on an object or a list item
    $retainKeys: [names]                       drop every other member of the object
    $deleteFromPrimitiveList/<list>: [values]  remove values from a list of scalars
    $setElementOrder/<list>: [keys or values]  the order the client wants for what it knows

Upstream: k8s.io/apimachinery/pkg/util/strategicpatch. Unknown structure (no schema) merges as a plain merge patch does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubeglass.components.api.patch.errors import PatchError
from kubeglass.components.api.schema.types import Field, ListOf, MapOf, Struct, Type

_DIRECTIVE = "$patch"
_RETAIN_KEYS = "$retainKeys"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"
_ABSENT = Field(MapOf(Struct("", dict)), ())


def apply_strategic_merge_patch(document: Mapping[str, Any], patch: Any, struct: Struct) -> dict[str, Any]:
    """The merged document. Raises PatchError."""
    if not isinstance(patch, Mapping):
        raise PatchError("invalid JSON document")
    return _merge_map(document, patch, struct)


def _merge_map(original: Mapping[str, Any], patch: Mapping[str, Any], type_: Type) -> dict[str, Any]:
    patch = dict(patch)
    directive = patch.pop(_DIRECTIVE, None)
    if directive == "replace":
        replacement: dict[str, Any] = _plain(patch)
        return replacement
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise PatchError(f"unknown patch type found: {directive}", "server")
    merged = _retained(original, patch)
    for key, value in patch.items():
        if key.startswith(_ORDER):
            continue
        deletes = key.startswith(_DELETE_FROM)
        name = key.removeprefix(_DELETE_FROM)
        if value is None:
            merged.pop(name, None)
        elif deletes:
            merged = _without_values(merged, name, value)
        elif name not in merged:
            merged[name] = _plain(value)
        else:
            merged[name] = _merge_value(merged[name], value, _field(type_, name))
    return _ordered(original, merged, patch, type_)


def _merge_value(original: Any, patch: Any, field: Field) -> Any:
    if isinstance(original, Mapping) and isinstance(patch, Mapping):
        if "replace" in field.patch_strategies:
            return _plain(patch)
        return _merge_map(original, patch, field.type)
    if isinstance(original, list) and isinstance(patch, list) and "merge" in field.patch_strategies:
        return _merge_list(original, patch, field)
    return _plain(patch)


def _merge_list(original: list[Any], patch: list[Any], field: Field) -> list[Any]:
    if not any(isinstance(item, Mapping) for item in [*original, *patch]):
        merged = list(dict.fromkeys([*original, *patch]))
        return _normalized(merged, patch, original, "")
    key = field.merge_key
    if not key:
        raise PatchError("cannot merge lists without merge key", "operation")
    kept, additions, replace = list(original), [], False
    for item in patch:
        match item.get(_DIRECTIVE) if isinstance(item, Mapping) else None:
            case "delete":
                kept = [have for have in kept if _key(have, key) != _key(item, key)]
            case "replace":
                replace = True
            case None | "merge":
                additions.append(item)
            case other:
                raise PatchError(f"unknown patch type found: {other}", "server")
    if replace:
        return [_plain(item) for item in additions]
    item_type = field.type.item if isinstance(field.type, ListOf) else _ABSENT.type
    for item in additions:
        wanted = _key(item, key)
        at = next((index for index, have in enumerate(kept) if _key(have, key) == wanted), None)
        if at is None:
            kept.append(_plain(item))
        else:
            kept[at] = _merge_map(kept[at], item, item_type)
    return _normalized(kept, additions, original, key)


def _ordered(
    original: Mapping[str, Any], merged: dict[str, Any], patch: Mapping[str, Any], type_: Type
) -> dict[str, Any]:
    for directive, order in patch.items():
        if not directive.startswith(_ORDER):
            continue
        if not isinstance(order, list):
            raise PatchError("Invalid patch format of setElementOrder list")
        name = directive.removeprefix(_ORDER)
        key = _field(type_, name).merge_key if any(isinstance(item, Mapping) for item in order) else ""
        _check_order(patch.get(name), order, key)
        if isinstance(merged.get(name), list):
            merged[name] = _normalized(merged[name], order, original.get(name) or [], key)
    return merged


def _normalized(merged: list[Any], order: list[Any], server_order: list[Any], key: str) -> list[Any]:
    """What the client names in its order, woven with what only the server has in the server's order."""
    places = _places(order, key)
    server_places = _places(server_order, key)
    named = sorted((item for item in merged if _key(item, key) in places), key=lambda item: places[_key(item, key)])
    others = [item for item in merged if _key(item, key) not in places]
    others.sort(key=lambda item: server_places.get(_key(item, key), len(server_places)))
    woven: list[Any] = []
    while named and others:
        left, right = server_places.get(_key(others[0], key)), server_places.get(_key(named[0], key))
        woven.append((others if left is not None and right is not None and left < right else named).pop(0))
    return woven + named + others


def _check_order(patch_list: Any, order: list[Any], key: str) -> None:
    if not isinstance(patch_list, list):
        return
    places = _places(order, key)
    positions: list[int] = []
    for item in patch_list:
        if isinstance(item, Mapping) and item.get(_DIRECTIVE) == "delete":
            continue
        position = places.get(_key(item, key))
        if position is None or (positions and position < positions[-1]):
            text = f"The order in patch list:\n{patch_list}\n doesn't match {_ORDER[:-1]} list:\n{order}\n"
            raise PatchError(text, "server")
        positions.append(position)


def _places(items: list[Any], key: str) -> dict[Any, int]:
    found: dict[Any, int] = {}
    for index, item in enumerate(items):
        found.setdefault(_key(item, key), index)
    return found


def _key(item: Any, key: str) -> Any:
    if not key or not isinstance(item, Mapping):
        return item if not isinstance(item, Mapping | list) else str(item)
    if key not in item:
        raise PatchError(f"map: {_go_map(item)} does not contain declared merge key: {key}", "server")
    return item[key]


def _retained(original: Mapping[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """The original without what `$retainKeys` leaves out; takes the directive off the patch."""
    retain = patch.pop(_RETAIN_KEYS, None)
    if retain is None:
        return dict(original)
    if not isinstance(retain, list) or any(
        name not in retain and value is not None for name, value in patch.items() if not name.startswith("$")
    ):
        raise PatchError("Invalid patch format of retainKeys")
    return {name: value for name, value in original.items() if name in retain}


def _without_values(merged: dict[str, Any], name: str, values: Any) -> dict[str, Any]:
    if not isinstance(values, list):
        raise PatchError("Invalid patch format of primitive list")
    if isinstance(merged.get(name), list):
        merged[name] = [item for item in merged[name] if item not in values]
    return merged


def _field(type_: Type, name: str) -> Field:
    if isinstance(type_, Struct):
        return type_.fields.get(name, _ABSENT)
    return Field(type_.value) if isinstance(type_, MapOf) else _ABSENT


def _plain(value: Any) -> Any:
    """A patch value taken as it is: without directives and nulls."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if item is not None and not key.startswith("$")}
    if isinstance(value, list):
        return [
            _plain(item)
            for item in value
            if not (isinstance(item, Mapping) and item.get(_DIRECTIVE) in ("delete", "replace"))
        ]
    return value


def _go_map(value: Any) -> str:
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{_go_map(item)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(_go_map(item) for item in value) + "]"
    return str(value)

"""Schemas of custom resources: types to prune and merge by, defaults, and validation with upstream's texts.

The subset of OpenAPI v3 that apiextensions calls structural. CEL rules (x-kubernetes-validations) are kept in the
definition and published, but not evaluated. Pure.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from kubeglass.components.api import times
from kubeglass.components.api.errors import Cause
from kubeglass.components.api.fielderrors import duplicate, invalid, not_supported, required, type_invalid
from kubeglass.components.api.schema.types import ANY, Field, ListOf, MapOf, Scalar, Struct, Type, builtin

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_SERVER_OWNED = ("apiVersion", "kind", "metadata")
_FORMATS = {
    "ipv4": r"(\d{1,3}\.){3}\d{1,3}",
    "uuid": r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}",
    "date": r"\d{4}-\d{2}-\d{2}",
}  # fmt: skip


def root_struct(kind: str, schema: Mapping[str, Any] | None) -> Struct:
    """The type of a whole custom object."""
    schema = schema or {"x-kubernetes-preserve-unknown-fields": True}

    def members() -> Mapping[str, Field]:
        own = _struct(kind, schema).fields
        string = Field(Scalar("string"))
        return {**own, "apiVersion": string, "kind": string, "metadata": Field(builtin().struct(OBJECT_META))}

    return Struct(kind, members, tuple(schema.get("required", ())), open=_keeps_unknown(schema), lenient=True)


def apply_defaults(schema: Mapping[str, Any], value: Any) -> None:
    """Fill in `default`s, in place."""
    if isinstance(value, dict):
        for name, member in (schema.get("properties") or {}).items():
            if "default" in member and (name not in value or (value[name] is None and not member.get("nullable"))):
                value[name] = copy.deepcopy(member["default"])
            if name in value:
                apply_defaults(member, value[name])
        extra = schema.get("additionalProperties")
        if isinstance(extra, Mapping):
            for item in value.values():
                apply_defaults(extra, item)
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for item in value:
            apply_defaults(schema["items"], item)


def check(schema: Mapping[str, Any], value: Any, path: str = "") -> list[Cause]:
    """Causes against a value. The root path is empty; metadata, kind and apiVersion are checked elsewhere."""
    if value is None and schema.get("nullable"):
        return []
    causes = _check_type(schema, value, path)
    if causes:
        return causes
    causes = _check_enum(schema, value, path)
    if isinstance(value, dict):
        causes += _check_object(schema, value, path)
    elif isinstance(value, list):
        causes += _check_list(schema, value, path)
    elif isinstance(value, str):
        causes += _check_string(schema, value, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        causes += _check_number(schema, value, path)
    return causes + _check_branches(schema, value, path)


def _struct(name: str, schema: Mapping[str, Any]) -> Struct:
    return Struct(
        name,
        lambda: {member: Field(_type(raw)) for member, raw in (schema.get("properties") or {}).items()},
        tuple(schema.get("required", ())),
        schema.get("x-kubernetes-map-type") == "atomic",
        _keeps_unknown(schema),
        lenient=True,
    )


def _type(schema: Mapping[str, Any]) -> Type:
    if schema.get("x-kubernetes-int-or-string"):
        return Scalar("int-or-string")
    match schema.get("type"):
        case "object":
            if schema.get("properties"):
                return _struct("object", schema)
            if isinstance(schema.get("additionalProperties"), Mapping):
                return MapOf(_type(schema["additionalProperties"]), schema.get("x-kubernetes-map-type") == "atomic")
            return ANY if _keeps_unknown(schema) or schema.get("additionalProperties") else _struct("object", schema)
        case "array":
            keys = tuple(schema.get("x-kubernetes-list-map-keys", ()))
            properties = (schema.get("items") or {}).get("properties") or {}
            defaults = tuple((key, properties[key]["default"]) for key in keys if "default" in properties.get(key, {}))
            list_type = schema.get("x-kubernetes-list-type", "atomic")
            return ListOf(_type(schema.get("items") or {}), list_type, keys, defaults)
    return ANY  # leaves are checked by `check`, which words its complaints as apiextensions does


def _keeps_unknown(schema: Mapping[str, Any]) -> bool:
    return bool(schema.get("x-kubernetes-preserve-unknown-fields"))


def _check_type(schema: Mapping[str, Any], value: Any, path: str) -> list[Cause]:
    if schema.get("x-kubernetes-int-or-string"):
        good = isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))
        return [] if good else [_wrong_type(path, value, "integer,string")]
    wanted = schema.get("type")
    if not wanted or _is_a(value, wanted):
        return []
    return [_wrong_type(path, value, wanted)]


def _wrong_type(path: str, value: Any, wanted: str) -> Cause:
    where = path or "<nil>"
    return type_invalid(path, _type_name(value), f'{where} in body must be of type {wanted}: "{_type_name(value)}"')


def _is_a(value: Any, wanted: str) -> bool:
    match wanted:
        case "object":
            return isinstance(value, Mapping)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            return whole and not isinstance(value, bool)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _check_enum(schema: Mapping[str, Any], value: Any, path: str) -> list[Cause]:
    choices = schema.get("enum")
    if not choices or value in choices:
        return []
    return [not_supported(path, value, [str(choice) for choice in choices])]


def _check_object(schema: Mapping[str, Any], value: Mapping[str, Any], path: str) -> list[Cause]:
    properties = schema.get("properties") or {}
    causes = [required(_at(path, name)) for name in schema.get("required", ()) if name not in value]
    for name, item in value.items():
        if not path and name in _SERVER_OWNED:
            continue
        if name in properties:
            causes += check(properties[name], item, _at(path, name))
        elif isinstance(schema.get("additionalProperties"), Mapping):
            causes += check(schema["additionalProperties"], item, _at(path, name))
    where = path or "<nil>"
    low, high = schema.get("minProperties"), schema.get("maxProperties")
    if low is not None and len(value) < low:
        causes.append(invalid(path, len(value), f"{where} in body should have at least {low} properties"))
    if high is not None and len(value) > high:
        causes.append(invalid(path, len(value), f"{where} in body should have at most {high} properties"))
    return causes


def _check_list(schema: Mapping[str, Any], value: list[Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    items = schema.get("items")
    if isinstance(items, Mapping):
        for index, item in enumerate(value):
            causes += check(items, item, f"{path}[{index}]")
    low, high = schema.get("minItems"), schema.get("maxItems")
    if low is not None and len(value) < low:
        causes.append(invalid(path, len(value), f"{path} in body should have at least {low} items"))
    if high is not None and len(value) > high:
        text = f"Too many: {len(value)}: must have at most {high} items"
        causes.append(Cause("FieldValueTooMany", text, path))
    keys = schema.get("x-kubernetes-list-map-keys") if schema.get("x-kubernetes-list-type") == "map" else None
    seen: list[Any] = []
    for index, item in enumerate(value):
        identity = {key: item.get(key) for key in keys} if keys and isinstance(item, Mapping) else item
        if (keys or schema.get("x-kubernetes-list-type") == "set" or schema.get("uniqueItems")) and identity in seen:
            causes.append(duplicate(f"{path}[{index}]", identity))
        seen.append(identity)
    return causes


def _check_string(schema: Mapping[str, Any], value: str, path: str) -> list[Cause]:
    causes: list[Cause] = []
    low, high = schema.get("minLength"), schema.get("maxLength")
    if low is not None and len(value) < low:
        causes.append(invalid(path, value, f"{path} in body should be at least {low} chars long"))
    if high is not None and len(value) > high:
        causes.append(Cause("FieldValueTooLong", f"Too long: may not be more than {high} bytes", path))
    pattern = schema.get("pattern")
    if pattern is not None and not re.search(pattern, value):
        causes.append(invalid(path, value, f"{path} in body should match '{pattern}'"))
    if (name := schema.get("format")) and not _formatted(name, value):
        causes.append(invalid(path, value, f'{path} in body must be of type {name}: "{value}"'))
    return causes


def _formatted(name: str, value: str) -> bool:
    if name == "date-time":
        try:
            times.parse(value)
        except ValueError:
            return False
        return True
    return name not in _FORMATS or re.fullmatch(_FORMATS[name], value) is not None


def _check_number(schema: Mapping[str, Any], value: float, path: str) -> list[Cause]:
    causes: list[Cause] = []
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and (value < low or (schema.get("exclusiveMinimum") and value == low)):
        than = "greater than" if schema.get("exclusiveMinimum") else "greater than or equal to"
        causes.append(invalid(path, value, f"{path} in body should be {than} {low}"))
    if high is not None and (value > high or (schema.get("exclusiveMaximum") and value == high)):
        than = "less than" if schema.get("exclusiveMaximum") else "less than or equal to"
        causes.append(invalid(path, value, f"{path} in body should be {than} {high}"))
    step = schema.get("multipleOf")
    if step and value % step:
        causes.append(invalid(path, value, f"{path} in body should be a multiple of {step}"))
    return causes


def _check_branches(schema: Mapping[str, Any], value: Any, path: str) -> list[Cause]:
    causes = [cause for branch in schema.get("allOf", ()) for cause in check(branch, value, path)]
    where = path or "<nil>"
    any_of, one_of = schema.get("anyOf"), schema.get("oneOf")
    if any_of and not schema.get("x-kubernetes-int-or-string") and all(check(branch, value, path) for branch in any_of):
        causes.append(invalid(path, value, f"{where} in body must validate at least one schema (anyOf)"))
    if one_of and sum(not check(branch, value, path) for branch in one_of) != 1:
        causes.append(invalid(path, value, f"{where} in body must validate one and only one schema (oneOf)"))
    if "not" in schema and not check(schema["not"], value, path):
        causes.append(invalid(path, value, f"{where} in body must not validate the schema (not)"))
    return causes


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name

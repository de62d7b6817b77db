"""Field types of every built-in kind, read from a compressed table of Kubernetes v1.36's OpenAPI definitions.

A Struct's fields resolve when first asked for, so loading costs only what is used. Custom resources build the same
types from their own schema. `builtin()` is the table; nothing else in the product opens the file.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, Literal

import msgspec

from kubeglass.components.api.schema.older import older_definitions

ScalarName = Literal[
    "string", "bool", "int32", "int64", "double", "bytes", "time", "microtime",
    "quantity", "int-or-string", "object", "any",
]  # fmt: skip
ListType = Literal["atomic", "set", "map"]

_SPECIAL: Mapping[str, ScalarName] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "int-or-string",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "microtime",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "object",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch": "object",
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A leaf. `any` and `object` hold JSON that the schema does not look into."""

    name: ScalarName


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list. `map` lists identify items by `keys`, `set` lists by value; atomic lists change as a whole."""

    item: Type
    list_type: ListType = "atomic"
    keys: tuple[str, ...] = ()
    key_defaults: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class MapOf:
    """A map with free keys."""

    value: Type
    atomic: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """A member of a Struct, with how strategic merge patches treat it."""

    type: Type
    patch_strategies: tuple[str, ...] = ()
    merge_key: str = ""


class Struct:
    """An object with known members."""

    def __init__(
        self,
        name: str,
        resolve: Callable[[], Mapping[str, Field]],
        required: tuple[str, ...] = (),
        atomic: bool = False,
        open: bool = False,
        lenient: bool = False,
    ) -> None:
        self.name = name  # the Go type with its package: `v1.PodSpec`; or the kind of a custom resource
        self.required = required
        self.atomic = atomic
        self.open = open  # unknown members are kept
        self.lenient = lenient  # wrong types are left for validation to complain about
        self._resolve = resolve

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        return self._resolve()

    def __repr__(self) -> str:
        return f"Struct({self.name})"


Type = Scalar | ListOf | MapOf | Struct
ANY = Scalar("any")


class Schema:
    """The definitions by name and by kind."""

    def __init__(self, definitions: Mapping[str, Mapping[str, Any]]) -> None:
        self.definitions = definitions
        self._structs: dict[str, Struct] = {}

    @cached_property
    def _names_by_kind(self) -> Mapping[tuple[str, str], str]:
        found: dict[tuple[str, str], str] = {}
        for name, definition in self.definitions.items():
            for gvk in definition.get("x-kubernetes-group-version-kind", ()):
                api_version = f"{gvk['group']}/{gvk['version']}" if gvk["group"] else gvk["version"]
                found.setdefault((api_version, gvk["kind"]), name)
        return found

    def definition_of(self, api_version: str, kind: str) -> str | None:
        """The definition's name of a kind."""
        return self._names_by_kind.get((api_version, kind))

    def for_kind(self, api_version: str, kind: str) -> Struct | None:
        name = self.definition_of(api_version, kind)
        return self.struct(name) if name else None

    def struct(self, name: str) -> Struct:
        found = self._structs.get(name)
        if found is None:
            definition = self.definitions[name]
            found = self._structs[name] = Struct(
                ".".join(name.split(".")[-2:]),
                lambda: self._fields(definition),
                tuple(definition.get("required", ())),
                definition.get("x-kubernetes-map-type") == "atomic",
            )
        return found

    def _fields(self, definition: Mapping[str, Any]) -> Mapping[str, Field]:
        return {name: self._field(raw) for name, raw in definition.get("properties", {}).items()}

    def _field(self, raw: Mapping[str, Any]) -> Field:
        strategy = raw.get("x-kubernetes-patch-strategy", "")
        return Field(
            self._type(raw),
            tuple(part.strip() for part in strategy.split(",")) if strategy else (),
            raw.get("x-kubernetes-patch-merge-key", ""),
        )

    def _type(self, raw: Mapping[str, Any]) -> Type:
        if reference := raw.get("$ref"):
            return self._referred(reference.rpartition("/")[2])
        match raw.get("type"):
            case "array":
                return self._list(raw)
            case "object":
                if "additionalProperties" not in raw:
                    return Scalar("object")
                return MapOf(self._type(raw["additionalProperties"]), raw.get("x-kubernetes-map-type") == "atomic")
            case "string":
                return Scalar("bytes" if raw.get("format") == "byte" else "string")
            case "integer":
                return Scalar("int32" if raw.get("format") == "int32" else "int64")
            case "number":
                return Scalar("double")
            case "boolean":
                return Scalar("bool")
        return ANY

    def _referred(self, name: str) -> Type:
        if name in _SPECIAL:
            return Scalar(_SPECIAL[name])
        definition = self.definitions[name]
        return (
            self.struct(name) if "properties" in definition else Scalar("any" if "type" not in definition else "object")
        )

    def _list(self, raw: Mapping[str, Any]) -> ListOf:
        item = self._type(raw["items"])
        keys = tuple(raw.get("x-kubernetes-list-map-keys", ()))
        # The one key that upstream's types default: ports are told apart by number and protocol.
        defaults = (("protocol", "TCP"),) if "protocol" in keys else ()
        return ListOf(item, raw.get("x-kubernetes-list-type", "atomic"), keys, defaults)


@cache
def builtin() -> Schema:
    """The schema of the built-in kinds."""
    definitions = published()
    return Schema({**definitions, **older_definitions(definitions)})


def published() -> Mapping[str, Mapping[str, Any]]:
    """The definitions that v1.36 publishes."""
    definitions: dict[str, Mapping[str, Any]] = msgspec.json.decode(zlib.decompress(_data("definitions.json.z")))
    return definitions


def _data(name: str) -> bytes:
    return files("kubeglass.components.api.schema").joinpath(name).read_bytes()

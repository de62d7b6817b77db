"""Which writes bring a server's objects in line with the built-in ones; the caller performs them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api.flowcontrol import (
    LEVELS,
    MANDATORY_LEVEL_OBJECTS,
    MANDATORY_SCHEMA_OBJECTS,
    SCHEMAS,
    SUGGESTED_LEVEL_OBJECTS,
    SUGGESTED_SCHEMA_OBJECTS,
)
from kubeglass.components.api.objects.flowcontrol import AUTO_UPDATE_ANNOTATION, flow_schema, priority_level


@dataclass(frozen=True, slots=True)
class Write:
    """One write of the maintenance: create, update (the whole object) or delete."""

    verb: str
    plural: str  # flowschemas or prioritylevelconfigurations
    obj: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.obj["metadata"]["name"])


def maintenance(schemas: Iterable[Mapping[str, Any]], levels: Iterable[Mapping[str, Any]]) -> list[Write]:
    """The writes that restore the built-in objects, in order; `schemas` and `levels` are what the server stores.

    Mandatory objects are enforced; suggested ones are restored while their annotation says so (or while nobody touched
    them yet); bootstrap objects of the past, still annotated, are removed.
    """
    stored_schemas = {str(obj["metadata"]["name"]): obj for obj in schemas}
    stored_levels = {str(obj["metadata"]["name"]): obj for obj in levels}
    return [
        *_ensure("prioritylevelconfigurations", SUGGESTED_LEVEL_OBJECTS, stored_levels, mandatory=False),
        *_ensure("flowschemas", SUGGESTED_SCHEMA_OBJECTS, stored_schemas, mandatory=False),
        *_ensure("prioritylevelconfigurations", MANDATORY_LEVEL_OBJECTS, stored_levels, mandatory=True),
        *_ensure("flowschemas", MANDATORY_SCHEMA_OBJECTS, stored_schemas, mandatory=True),
        *_remove_retired("flowschemas", stored_schemas, {schema.name for schema in SCHEMAS}),
        *_remove_retired("prioritylevelconfigurations", stored_levels, {level.name for level in LEVELS}),
    ]


def _ensure(
    plural: str, wanted: Iterable[dict[str, Any]], stored: Mapping[str, Mapping[str, Any]], *, mandatory: bool
) -> Iterator[Write]:
    for obj in wanted:
        present = stored.get(obj["metadata"]["name"])
        if present is None:
            yield Write("create", plural, obj)
        elif update := _update(present, obj, mandatory):
            yield Write("update", plural, update)


def _update(present: Mapping[str, Any], wanted: Mapping[str, Any], mandatory: bool) -> dict[str, Any] | None:
    """The object as it shall be; None when it is so already."""
    maintained = mandatory or _is_maintained(present)
    metadata = dict(present["metadata"])
    annotations = dict(metadata.get("annotations") or {})
    annotations[AUTO_UPDATE_ANNOTATION] = "true" if maintained else "false"
    spec = _wanted_spec(present, wanted) if maintained else present.get("spec")
    if annotations == metadata.get("annotations") and _same_spec(present, spec):
        return None
    return dict(present) | {"metadata": metadata | {"annotations": annotations}, "spec": spec}


def _wanted_spec(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    """The built-in spec; the two numbers of the exempt level are the operator's."""
    spec: Mapping[str, Any] = wanted["spec"]
    chosen = (present.get("spec") or {}).get("exempt")
    return spec if "exempt" not in spec or not chosen else {**spec, "exempt": {**spec["exempt"], **chosen}}


def _same_spec(present: Mapping[str, Any], spec: Any) -> bool:
    convert = flow_schema if present.get("kind") == "FlowSchema" or "rules" in (spec or {}) else priority_level
    return convert({"spec": present.get("spec") or {}}).spec == convert({"spec": spec or {}}).spec


def _is_maintained(obj: Mapping[str, Any]) -> bool:
    flag = _annotation(obj)
    return obj["metadata"].get("generation") == 1 if flag is None else flag


def _remove_retired(plural: str, stored: Mapping[str, Mapping[str, Any]], built_in: set[str]) -> Iterator[Write]:
    for name, obj in stored.items():
        if name not in built_in and _annotation(obj):
            yield Write("delete", plural, obj)


def _annotation(obj: Mapping[str, Any]) -> bool | None:
    """The auto-update annotation as Go parses booleans; None when it is absent or no boolean."""
    text = (obj["metadata"].get("annotations") or {}).get(AUTO_UPDATE_ANNOTATION, "")
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    return False if text in ("0", "f", "F", "FALSE", "false", "False") else None

"""Custom resource definitions: what one must say, and the kinds it makes. Pure.

Upstream: k8s.io/apiextensions-apiserver. Every version is kept in the form it was written in and shown under the
asked version's apiVersion (conversion strategy None); webhook conversion is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kubeglass.components.api import names
from kubeglass.components.api.errors import Cause
from kubeglass.components.api.fielderrors import invalid, not_supported, required
from kubeglass.components.api.kinds import SCALE, STATUS, Kind, Subresource
from kubeglass.components.api.schema import structural
from kubeglass.components.api.table import Column
from kubeglass.components.apiserver.registry.served import CustomKind
from kubeglass.components.machinery import clock

Object = dict[str, Any]

CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_AGE = Column(
    "Age",
    "date",
    "",
    "CreationTimestamp is a timestamp representing the server time when this object was created.",
    0,
    ".metadata.creationTimestamp",
)
_RULES = "x-kubernetes-validations"
_VALUES = ("default", "enum", "example", _RULES)  # of a schema: what is no schema
_COLUMN_TYPES = ("integer", "number", "string", "boolean", "date")


def validate_definition(obj: Object) -> list[Cause]:
    """Causes against a definition."""
    spec, name = obj.get("spec") or {}, obj["metadata"].get("name", "")
    group, naming = spec.get("group", ""), spec.get("names") or {}
    causes: list[Cause] = []
    if not group:
        causes.append(required("spec.group"))
    elif "." not in group:
        causes.append(invalid("spec.group", group, "should be a domain with at least one dot"))
    for field in ("plural", "kind"):
        if not naming.get(field):
            causes.append(required(f"spec.names.{field}"))
    if naming.get("plural") and name != f"{naming['plural']}.{group}":
        causes.append(invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    if naming.get("plural"):
        causes += [
            invalid("spec.names.plural", naming["plural"], text) for text in names.dns1035_label(naming["plural"])
        ]
    if spec.get("scope") not in ("Namespaced", "Cluster"):
        if spec.get("scope"):
            causes.append(not_supported("spec.scope", spec["scope"], ("Cluster", "Namespaced")))
        else:
            causes.append(required("spec.scope"))
    return causes + _validate_versions(spec.get("versions") or [])


def _validate_versions(versions: list[Object]) -> list[Cause]:
    causes: list[Cause] = []
    if not versions:
        causes.append(required("spec.versions", "must have exactly one version marked as storage version"))
    elif sum(bool(version.get("storage")) for version in versions) != 1:
        text = "must have exactly one version marked as storage version"
        causes.append(invalid("spec.versions", [version.get("name") for version in versions], text))
    for index, version in enumerate(versions):
        at = f"spec.versions[{index}]"
        causes += [
            invalid(f"{at}.name", version.get("name"), text) for text in names.dns1035_label(version.get("name", ""))
        ]
        if not (version.get("schema") or {}).get("openAPIV3Schema"):
            causes.append(required(f"{at}.schema.openAPIV3Schema", "schemas are required"))
        for position, column in enumerate(version.get("additionalPrinterColumns") or ()):
            where = f"{at}.additionalPrinterColumns[{position}]"
            if column.get("type") not in _COLUMN_TYPES:
                causes.append(not_supported(f"{where}.type", column.get("type", ""), _COLUMN_TYPES))
            if not column.get("jsonPath", "").startswith("."):
                causes.append(
                    invalid(
                        f"{where}.jsonPath", column.get("jsonPath", ""), "must be a simple json path starting with ."
                    )
                )
    return causes


def warnings(obj: Object) -> list[str]:
    """What the author of an accepted definition should know: CEL rules are kept and published, but not evaluated."""
    counted = [
        (f"spec.versions[{index}].schema.openAPIV3Schema", _count_rules(version["schema"]["openAPIV3Schema"]))
        for index, version in enumerate(obj["spec"]["versions"])
    ]
    return [f"{path}: x-kubernetes-validations are not evaluated by this server ({n})" for path, n in counted if n]


def _count_rules(schema: Any) -> int:
    """How many rules a schema holds, at any depth."""
    if isinstance(schema, list):
        return sum(map(_count_rules, schema))
    if not isinstance(schema, Mapping):
        return 0
    # Below `properties` the keys are names of fields, and may be any word.
    fields = (schema.get("properties") or {}).values()
    below = [member for name, member in schema.items() if name not in ("properties", *_VALUES)]
    return len(schema.get(_RULES) or ()) + sum(map(_count_rules, [*fields, *below]))


def accept(obj: Object, now: float) -> None:
    """What upstream's naming controller answers: names accepted, established; in place."""
    spec, status = obj.get("spec") or {}, obj.setdefault("status", {})
    status["acceptedNames"] = dict(spec.get("names") or {})
    stored = status.setdefault("storedVersions", [])
    for version in spec.get("versions") or ():
        if version.get("storage") and version.get("name") not in stored:
            stored.append(version.get("name"))
    finalizers = obj["metadata"].setdefault("finalizers", [])
    if CLEANUP_FINALIZER not in finalizers and not obj["metadata"].get("deletionTimestamp"):
        finalizers.append(CLEANUP_FINALIZER)
    if not finalizers:
        obj["metadata"].pop("finalizers")
    for kind, reason, message in (
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ):
        conditions = status.setdefault("conditions", [])
        if not any(condition["type"] == kind for condition in conditions):
            conditions.append(
                {
                    "type": kind,
                    "status": "True",
                    "lastTransitionTime": clock.rfc3339(now),
                    "reason": reason,
                    "message": message,
                }
            )


def custom_kinds(definitions: Iterable[Mapping[str, Any]]) -> list[CustomKind]:
    """The kinds that accepted definitions make, one per served version."""
    return [custom for definition in definitions for custom in _kinds_of(definition)]


def _kinds_of(definition: Mapping[str, Any]) -> list[CustomKind]:
    spec = definition["spec"]
    storage = next((version["name"] for version in spec["versions"] if version.get("storage")), "")
    versions = sorted((v for v in spec["versions"] if v.get("served")), key=lambda v: version_priority(v["name"]))
    return [_kind(spec, version, storage) for version in versions]


def _kind(spec: Mapping[str, Any], version: Mapping[str, Any], storage: str) -> CustomKind:
    naming, schema = spec["names"], (version.get("schema") or {}).get("openAPIV3Schema") or {}
    kind = Kind(
        spec["group"],
        version["name"],
        naming["kind"],
        naming["plural"],
        naming.get("singular") or naming["kind"].lower(),
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(naming.get("shortNames") or ()),
        categories=tuple(naming.get("categories") or ()),
        subresources=_subresources(version.get("subresources") or {}),
        storage_version=storage,
        list_kind=naming.get("listKind") or f"{naming['kind']}List",
        custom=True,
    )
    return CustomKind(
        kind,
        structural.root_struct(kind.kind, schema),
        _columns(version.get("additionalPrinterColumns") or ()),
        {
            field["jsonPath"].lstrip("."): field["jsonPath"].lstrip(".")
            for field in version.get("selectableFields") or ()
        },
        schema,
        (version.get("subresources") or {}).get("scale") or {},
    )


def _subresources(found: Mapping[str, Any]) -> tuple[Subresource, ...]:
    return tuple(row for name, row in (("scale", SCALE), ("status", STATUS)) if name in found)


def _columns(found: Iterable[Mapping[str, Any]]) -> tuple[Column, ...]:
    columns = tuple(
        Column(
            column["name"],
            column["type"],
            column.get("format", ""),
            column.get("description", ""),
            column.get("priority", 0),
            column["jsonPath"],
        )
        for column in found
    )
    return columns or (_AGE,)


def apply_defaults(custom: CustomKind, obj: Object) -> None:
    structural.apply_defaults(custom.openapi, obj)


def validate(custom: CustomKind, obj: Object) -> list[Cause]:
    """Causes against a custom object."""
    return structural.check(custom.openapi, obj)


def version_priority(name: str) -> tuple[int, int, int, str]:
    """Sort key of versions, best first: v2, v1, v1beta2, v1alpha1, then names by alphabet (kube-aware order)."""
    digits = name[1:]
    for rank, word in ((1, "beta"), (2, "alpha")):
        major, found, minor = digits.partition(word)
        if found and major.isdigit() and minor.isdigit() and name.startswith("v"):
            return rank, -int(major), -int(minor), name
    if name.startswith("v") and digits.isdigit():
        return 0, -int(digits), 0, name
    return 3, 0, 0, name

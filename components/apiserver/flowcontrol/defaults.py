"""The built-in objects: two mandatory levels and schemas, and the suggested ones that are kept up to date.

`maintenance` says which writes bring a server's objects in line with them; the caller performs the writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from kubeglass.components.apiserver.flowcontrol.objects import (
    AUTO_UPDATE_ANNOTATION,
    EXEMPT,
    GROUP,
    Exempt,
    FlowSchema,
    PriorityLevel,
    flow_schema,
    priority_level,
)


def _object(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": kind,
        "metadata": {"name": name, "annotations": {AUTO_UPDATE_ANNOTATION: "true"}},
        "spec": dict(spec),
    }


def _level(name: str, shares: int, lendable: int, queues: int = 0, hand_size: int = 0) -> dict[str, Any]:
    queuing = {"queues": queues, "handSize": hand_size, "queueLengthLimit": 50}
    limited = {
        "nominalConcurrencyShares": shares,
        "lendablePercent": lendable,
        "limitResponse": {"type": "Queue", "queuing": queuing} if queues else {"type": "Reject"},
    }
    return _object("PriorityLevelConfiguration", name, {"type": "Limited", "limited": limited})


def _schema(name: str, precedence: int, level: str, by: str, *rules: Mapping[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence}
    if by:
        spec["distinguisherMethod"] = {"type": by}
    return _object("FlowSchema", name, spec | {"rules": list(rules)})


def _rule(*subjects: Mapping[str, Any], resources: Any = (), paths: Any = ()) -> dict[str, Any]:
    rule: dict[str, Any] = {"subjects": list(subjects)}
    if resources:
        rule["resourceRules"] = list(resources)
    if paths:
        rule["nonResourceRules"] = list(paths)
    return rule


def _everything(*subjects: Mapping[str, Any]) -> dict[str, Any]:
    return _rule(*subjects, resources=[_resources(["*"], ["*"], ["*"])], paths=[_paths(["*"], ["*"])])


def _resources(
    verbs: list[str], groups: list[str], resources: list[str], *, cluster_scope: bool = True
) -> dict[str, Any]:
    rule: dict[str, Any] = {"verbs": verbs, "apiGroups": groups, "resources": resources}
    if cluster_scope:
        rule["clusterScope"] = True
    return rule | {"namespaces": ["*"]}


def _paths(verbs: list[str], paths: list[str]) -> dict[str, Any]:
    return {"verbs": verbs, "nonResourceURLs": paths}


def _user(name: str) -> dict[str, Any]:
    return {"kind": "User", "user": {"name": name}}


def _group(name: str) -> dict[str, Any]:
    return {"kind": "Group", "group": {"name": name}}


_EVERYBODY = (_group("system:unauthenticated"), _group("system:authenticated"))
_NODES = _group("system:nodes")
_MANAGER = _user("system:kube-controller-manager")
_SCHEDULER = _user("system:kube-scheduler")
_SYSTEM_ACCOUNTS = {"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}}
_NODE_STATUS = _resources(["*"], [""], ["nodes", "nodes/status"])
_LEASES = _resources(["*"], ["coordination.k8s.io"], ["leases"], cluster_scope=False)
_ELECTION = _resources(["get", "create", "update"], ["coordination.k8s.io"], ["leases"], cluster_scope=False)
_PROBES = _paths(["get"], ["/healthz", "/readyz", "/livez"])

MANDATORY_LEVEL_OBJECTS: tuple[dict[str, Any], ...] = (
    _level("catch-all", 5, 0),
    _object(
        "PriorityLevelConfiguration",
        EXEMPT,
        {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}},
    ),
)
MANDATORY_SCHEMA_OBJECTS: tuple[dict[str, Any], ...] = (
    _schema("exempt", 1, EXEMPT, "", _everything(_group("system:masters"))),
    _schema("catch-all", 10000, "catch-all", "ByUser", _everything(*_EVERYBODY)),
)
SUGGESTED_LEVEL_OBJECTS: tuple[dict[str, Any], ...] = (
    _level("system", 30, 33, 64, 6),
    _level("node-high", 40, 25, 64, 6),
    _level("leader-election", 10, 0, 16, 4),
    _level("workload-high", 40, 50, 128, 6),
    _level("workload-low", 100, 90, 128, 6),
    _level("global-default", 20, 50, 128, 6),
)
SUGGESTED_SCHEMA_OBJECTS: tuple[dict[str, Any], ...] = (
    _schema("system-nodes", 500, "system", "ByUser", _everything(_NODES)),
    _schema("system-node-high", 400, "node-high", "ByUser", _rule(_NODES, resources=[_NODE_STATUS, _LEASES])),
    _schema("probes", 2, EXEMPT, "", _rule(*_EVERYBODY, paths=[_PROBES])),
    _schema(
        "system-leader-election",
        100,
        "leader-election",
        "ByUser",
        _rule(_MANAGER, _SCHEDULER, _SYSTEM_ACCOUNTS, resources=[_ELECTION]),
    ),
    _schema("kube-controller-manager", 800, "workload-high", "ByNamespace", _everything(_MANAGER)),
    _schema("kube-scheduler", 800, "workload-high", "ByNamespace", _everything(_SCHEDULER)),
    _schema("kube-system-service-accounts", 900, "workload-high", "ByNamespace", _everything(_SYSTEM_ACCOUNTS)),
    _schema("service-accounts", 9000, "workload-low", "ByUser", _everything(_group("system:serviceaccounts"))),
    _schema("global-default", 9900, "global-default", "ByUser", _everything(*_EVERYBODY)),
)

MANDATORY_LEVELS: tuple[PriorityLevel, ...] = tuple(map(priority_level, MANDATORY_LEVEL_OBJECTS))
MANDATORY_SCHEMAS: tuple[FlowSchema, ...] = tuple(map(flow_schema, MANDATORY_SCHEMA_OBJECTS))
SUGGESTED_LEVELS: tuple[PriorityLevel, ...] = tuple(map(priority_level, SUGGESTED_LEVEL_OBJECTS))
SUGGESTED_SCHEMAS: tuple[FlowSchema, ...] = tuple(map(flow_schema, SUGGESTED_SCHEMA_OBJECTS))

LEVELS = MANDATORY_LEVELS + SUGGESTED_LEVELS
SCHEMAS = MANDATORY_SCHEMAS + SUGGESTED_SCHEMAS


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


def exempt_differs_only_in_its_numbers(spec: Mapping[str, Any]) -> bool:
    """Whether the spec of the level `exempt` keeps everything that is mandatory about it."""
    given = priority_level({"spec": spec}).spec
    return msgspec.structs.replace(given, exempt=Exempt()) == msgspec.structs.replace(
        MANDATORY_LEVELS[1].spec, exempt=Exempt()
    )

"""The flow control objects that every server has: two mandatory levels and schemas, and the suggested ones.

Names, numbers and rules follow k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap of v1.36.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from kubeglass.components.api.conversions.flowcontrol import GROUP
from kubeglass.components.api.objects.flowcontrol import (
    AUTO_UPDATE_ANNOTATION,
    EXEMPT,
    Exempt,
    FlowSchema,
    PriorityLevel,
    PriorityLevelSpec,
    flow_schema,
    priority_level,
)

MAX_HASH_BITS = 60
"""How much of a flow's 64-bit hash may be used up by dealing its hand of queues."""


def required_bits(deck_size: int, hand_size: int) -> int:
    """How many bits of the hash a deal uses up."""
    return math.ceil(math.log2(deck_size) * hand_size)


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


def exempt_differs_only_in_its_numbers(spec: PriorityLevelSpec) -> bool:
    """Whether the spec of the level `exempt` keeps everything that is mandatory about it."""
    return msgspec.structs.replace(spec, exempt=Exempt()) == msgspec.structs.replace(
        MANDATORY_LEVELS[1].spec, exempt=Exempt()
    )

"""Per-kind rules of a write that are neither default nor validation: what the server sets, keeps and counts.

`prepare_create` and `prepare_update` change the new object in place. Generation grows when the desired state changes;
status belongs to its own subresource. Upstream: each kind's strategy.go.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from kubeglass.components.api import kinds, qos
from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.user import UserInfo
from kubeglass.components.machinery import clock

Object = dict[str, Any]
Prepare = Callable[[Object, UserInfo, float], None]

_COUNTED = frozenset(
    {
        kinds.POD, kinds.REPLICATION_CONTROLLER, kinds.DEPLOYMENT, kinds.REPLICA_SET, kinds.STATEFUL_SET,
        kinds.DAEMON_SET, kinds.JOB, kinds.CRON_JOB, kinds.POD_DISRUPTION_BUDGET, kinds.NETWORK_POLICY, kinds.INGRESS,
        kinds.INGRESS_CLASS, kinds.FLOW_SCHEMA, kinds.PRIORITY_LEVEL_CONFIGURATION, kinds.ENDPOINT_SLICE,
        kinds.PRIORITY_CLASS, kinds.MUTATING_WEBHOOK_CONFIGURATION, kinds.VALIDATING_WEBHOOK_CONFIGURATION,
        kinds.CUSTOM_RESOURCE_DEFINITION,
    }
)  # fmt: skip
_STATUS_AT_BIRTH: Mapping[Kind, Object] = {
    kinds.POD: {"phase": "Pending"},
    kinds.NAMESPACE: {"phase": "Active"},
    kinds.PERSISTENT_VOLUME: {"phase": "Pending"},
    kinds.PERSISTENT_VOLUME_CLAIM: {"phase": "Pending"},
    kinds.SERVICE: {"loadBalancer": {}},
    kinds.INGRESS: {"loadBalancer": {}},
}
_STATUS_FROM_CLIENT = frozenset({kinds.NODE})
_STATUS_WITH_METADATA = frozenset({kinds.POD, kinds.NODE})
_CREATABLE_BY_UPDATE = frozenset(
    {
        kinds.ENDPOINTS, kinds.EVENT, kinds.EVENTS_EVENT, kinds.LEASE, kinds.LIMIT_RANGE, kinds.ROLE,
        kinds.CLUSTER_ROLE, kinds.ROLE_BINDING, kinds.CLUSTER_ROLE_BINDING, kinds.SERVICE, kinds.PRIORITY_CLASS,
    }
)  # fmt: skip
EVENT_TTL_SECONDS = 3600


def may_create_by_update(kind: Kind) -> bool:
    """Whether a PUT to a name that does not exist creates it."""
    return kind in _CREATABLE_BY_UPDATE


def ttl_seconds(kind: Kind) -> int:
    return EVENT_TTL_SECONDS if kind.plural == "events" and kind.stored_group == "" else 0


def prepare_create(kind: Kind, obj: Object, user: UserInfo, now: float) -> None:
    """What a new object begins with. Its metadata already has name, uid and creationTimestamp."""
    if kind.subresource("status") is not None and kind not in _STATUS_FROM_CLIENT:
        obj["status"] = dict(_STATUS_AT_BIRTH.get(kind, {}))
    if kind in _COUNTED or kind.custom:
        obj["metadata"]["generation"] = 1
    prepare = _AT_BIRTH.get(kind)
    if prepare is not None:
        prepare(obj, user, now)


def prepare_update(kind: Kind, new: Object, old: Object) -> None:
    """Keep what an update may not touch, and count a change of the desired state."""
    if kind.subresource("status") is not None:
        _copy_member(new, old, "status")
    _keep_allocations(kind, new, old)
    if kind == kinds.CERTIFICATE_SIGNING_REQUEST:
        _copy_member(new, old, "spec")
    if kind == kinds.SECRET:
        merge_string_data(new, None, 0.0)
    if "generation" in old["metadata"]:
        grown = desired_state(kind, new) != desired_state(kind, old)
        new["metadata"]["generation"] = old["metadata"]["generation"] + (1 if grown else 0)


def prepare_status(kind: Kind, new: Object, old: Object) -> None:
    """Everything but the status stays as it is; of Pods and Nodes labels and annotations may come along."""
    for name in [*new, *old]:
        if name not in ("status", "metadata", "kind", "apiVersion"):
            _copy_member(new, old, name)
    metadata = dict(old["metadata"])
    carried = ("labels", "annotations", "managedFields") if kind in _STATUS_WITH_METADATA else ("managedFields",)
    for name in carried:
        if name in new["metadata"]:
            metadata[name] = new["metadata"][name]
        elif name != "managedFields":
            metadata.pop(name, None)
    new["metadata"] = metadata | {"resourceVersion": new["metadata"].get("resourceVersion", "")}


def desired_state(kind: Kind, obj: Object) -> Any:
    """What `generation` counts the changes of."""
    if kind.custom or "spec" not in obj:
        left_out = {"metadata", "kind", "apiVersion"}
        if kind.subresource("status") is not None:
            left_out.add("status")
        return {name: value for name, value in obj.items() if name not in left_out}
    if kind == kinds.DEPLOYMENT:
        return obj["spec"], obj["metadata"].get("annotations") or {}
    return obj["spec"]


def _copy_member(new: Object, old: Object, name: str) -> None:
    if name in old:
        new[name] = old[name]
    else:
        new.pop(name, None)


def _keep_allocations(kind: Kind, new: Object, old: Object) -> None:
    """Addresses and ports that the server gave a Service stay, if the update does not name others."""
    if kind != kinds.SERVICE:
        return
    before, after = old.get("spec") or {}, new.get("spec") or {}
    if after.get("type") == "ExternalName":
        return
    for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if not after.get(name) and before.get(name):
            after[name] = before[name]
    node_ports = {(port.get("protocol"), port.get("port")): port.get("nodePort") for port in before.get("ports") or ()}
    if after.get("type") in ("NodePort", "LoadBalancer"):
        for port in after.get("ports") or ():
            kept = node_ports.get((port.get("protocol"), port.get("port")))
            if kept and not port.get("nodePort"):
                port["nodePort"] = kept


# At birth ----------------------------------------------------------------------------------------------------------


def _pod(obj: Object, user: UserInfo, now: float) -> None:
    status = obj["status"]
    status["qosClass"] = qos.qos_class(obj)
    if obj["spec"].get("schedulingGates"):
        status["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
                "lastTransitionTime": clock.rfc3339(now),
            }
        ]


def _namespace(obj: Object, user: UserInfo, now: float) -> None:
    spec = obj.setdefault("spec", {})
    finalizers = spec.setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")


def _job(obj: Object, user: UserInfo, now: float) -> None:
    """A Job selects its Pods by its own uid, unless the client manages the selector."""
    spec, metadata = obj["spec"], obj["metadata"]
    if spec.get("manualSelector"):
        return
    template = spec.setdefault("template", {}).setdefault("metadata", {})
    labels = template.setdefault("labels", {})
    uid, name = metadata["uid"], metadata["name"]
    labels |= {"controller-uid": uid, "job-name": name}
    labels |= {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name}
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}


def merge_string_data(obj: Object, user: UserInfo | None, now: float) -> None:
    """stringData is write-only: it ends as base64 in data."""
    plain = obj.pop("stringData", None)
    if plain:
        data = obj.setdefault("data", {})
        data |= {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}


def _signing_request(obj: Object, user: UserInfo, now: float) -> None:
    """Who asks is what the server says, not what the client writes."""
    spec = obj["spec"]
    spec["username"] = user.name
    for name, value in (
        ("uid", user.uid),
        ("groups", list(user.groups)),
        ("extra", {key: list(values) for key, values in user.extra.items()}),
    ):
        if value:
            spec[name] = value
        else:
            spec.pop(name, None)


_AT_BIRTH: Mapping[Kind, Prepare] = {
    kinds.POD: _pod,
    kinds.NAMESPACE: _namespace,
    kinds.JOB: _job,
    kinds.SECRET: merge_string_data,
    kinds.CERTIFICATE_SIGNING_REQUEST: _signing_request,
}

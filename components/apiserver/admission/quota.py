"""ResourceQuota: what a namespace may hold, checked and counted in one step with each new object.

Upstream: k8s.io/apiserver/pkg/admission/plugin/resourcequota. The quota controller counts anew from time to time; in
between, this plugin adds to `status.used`, by optimistic updates that are handed in as `spend`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api import kinds, podresources, quantity
from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.objects import Pod, ResourceQuota, decode
from kubeglass.components.api.qos import BEST_EFFORT, qos_class
from kubeglass.components.api.quantity import Quantity
from kubeglass.components.apiserver.admission.chain import CREATES, Attributes, Plugin
from kubeglass.components.apiserver.admission.reader import Reader
from kubeglass.components.apiserver.admission.refusal import forbidden

Object = dict[str, Any]
Usage = Mapping[str, Quantity]
Spend = Callable[[str, str, Callable[[Object], Object]], Awaitable[None]]
"""(namespace, quota name, change of the whole quota) → done: an update of its status."""

_COUNTED_BY_NAME = {
    "pods", "services", "secrets", "configmaps", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas",
}  # fmt: skip
_MUST_SPECIFY = frozenset({"requests.cpu", "requests.memory", "limits.cpu", "limits.memory", "cpu", "memory"})


@dataclass(frozen=True, slots=True)
class _Quotas:
    reader: Reader
    spend: Spend

    async def validate(self, attributes: Attributes) -> None:
        obj = attributes.obj
        if not attributes.namespace or attributes.subresource or obj is None:
            return
        usage = usage_of(attributes.kind, obj)
        for item in await self.reader.list(kinds.RESOURCE_QUOTA, attributes.namespace):
            quota = decode(ResourceQuota, item)
            wanted = {
                name: amount for name, amount in usage.items() if name in quota.status.hard or name in quota.spec.hard
            }
            if (not wanted and attributes.kind != kinds.POD) or not _in_scope(quota, attributes.kind, obj):
                continue
            if attributes.kind == kinds.POD:
                _check_specified(attributes, quota, obj)
            if not wanted:
                continue
            _check_room(attributes, quota, wanted)
            if attributes.dry_run:
                continue

            def spent(current: Object, wanted: Usage = wanted) -> Object:
                fresh = decode(ResourceQuota, current)
                _check_room(attributes, fresh, wanted)
                used = {
                    name: str(quantity.parse(fresh.status.used.get(name, "0")) + more) for name, more in wanted.items()
                }
                status = dict(current.get("status") or {})
                status["hard"] = dict(fresh.status.hard or fresh.spec.hard)
                status["used"] = {**(status.get("used") or {}), **used}
                return {**current, "status": status}

            await self.spend(attributes.namespace, quota.metadata.name, spent)


def plugin(reader: Reader, spend: Spend) -> Plugin:
    return Plugin("ResourceQuota", CREATES, validate=_Quotas(reader, spend).validate)


def usage_of(kind: Kind, obj: Object) -> dict[str, Quantity]:
    """What one object adds to a quota's used."""
    one = quantity.from_int(1)
    found = {f"count/{kind.resource}": one}
    if kind.group == "" and kind.plural in _COUNTED_BY_NAME:
        found[kind.plural] = one
    if kind == kinds.POD:
        found |= podresources.charged(decode(Pod, obj).spec)
    elif kind == kinds.SERVICE:
        service_type = obj["spec"].get("type")
        ports = quantity.from_int(len(obj["spec"].get("ports") or ()))
        if service_type == "NodePort":
            found["services.nodeports"] = ports
        elif service_type == "LoadBalancer":
            found |= {"services.loadbalancers": one, "services.nodeports": ports}
    elif kind == kinds.PERSISTENT_VOLUME_CLAIM:
        storage = ((obj["spec"].get("resources") or {}).get("requests") or {}).get("storage")
        if storage is not None:
            found["requests.storage"] = quantity.parse(storage)
    return found


def _check_specified(attributes: Attributes, quota: ResourceQuota, obj: Object) -> None:
    """A quota on a compute resource wants every container to state it."""
    pod = decode(Pod, obj)
    missing: dict[str, list[str]] = {}
    for name in sorted(quota.spec.hard):
        if name not in _MUST_SPECIFY:
            continue
        field, _, resource = name.rpartition(".")
        for container in [*pod.spec.containers, *pod.spec.init_containers]:
            if resource not in getattr(container.resources, field or "requests"):
                missing.setdefault(container.name, []).append(name)
    if missing:
        by_resource: dict[str, list[str]] = {}
        for container_name, names in missing.items():
            for name in names:
                by_resource.setdefault(name, []).append(container_name)
        listed = "; ".join(f"{name} for: {','.join(sorted(who))}" for name, who in sorted(by_resource.items()))
        raise forbidden(attributes, f"failed quota: {quota.metadata.name}: must specify {listed}")


def _check_room(attributes: Attributes, quota: ResourceQuota, wanted: Usage) -> None:
    hard = quota.status.hard or quota.spec.hard
    over = [
        name
        for name, more in sorted(wanted.items())
        if name in hard and quantity.parse(quota.status.used.get(name, "0")) + more > quantity.parse(hard[name])
    ]
    if over:
        requested = ",".join(f"{name}={wanted[name]}" for name in over)
        used = ",".join(f"{name}={quota.status.used.get(name, '0')}" for name in over)
        limited = ",".join(f"{name}={hard[name]}" for name in over)
        name = quota.metadata.name
        raise forbidden(attributes, f"exceeded quota: {name}, requested: {requested}, used: {used}, limited: {limited}")


def _in_scope(quota: ResourceQuota, kind: Kind, obj: Object) -> bool:
    if not quota.spec.scopes:
        return True
    if kind != kinds.POD:
        return False
    best_effort = qos_class(obj) == BEST_EFFORT
    deadline = obj["spec"].get("activeDeadlineSeconds") is not None
    holds = {
        "BestEffort": best_effort,
        "NotBestEffort": not best_effort,
        "Terminating": deadline,
        "NotTerminating": not deadline,
    }
    return all(holds.get(scope, True) for scope in quota.spec.scopes)

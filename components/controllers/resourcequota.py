"""ResourceQuotas: what a namespace uses now, counted afresh. Upstream: resourcequota-controller.

Admission adds to `used` as objects are made; this controller is who notices that they are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kubeglass.components.api import kinds, podresources, quantity
from kubeglass.components.api.kinds import KINDS, POD, RESOURCE_QUOTA, SERVICE, Kind
from kubeglass.components.api.objects import (
    PersistentVolumeClaim,
    Pod,
    ResourceQuota,
    Service,
    encode,
)
from kubeglass.components.api.qos import BEST_EFFORT, qos_class
from kubeglass.components.api.quantity import Quantity
from kubeglass.components.controllers.actions import Patch, Plan
from kubeglass.components.controllers.context import ControllerContext, follow
from kubeglass.components.controllers.podstate import is_finished
from kubeglass.components.machinery.informer import Change
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler

_ZERO = quantity.from_int(0)
_COUNTED_BY_NAME = (
    kinds.CONFIG_MAP,
    kinds.PERSISTENT_VOLUME_CLAIM,
    kinds.REPLICATION_CONTROLLER,
    kinds.RESOURCE_QUOTA,
    kinds.SECRET,
)
_RECOUNT_SECONDS = 300.0


def plan(quota: ResourceQuota, used: Mapping[str, Quantity]) -> Plan:
    """Bring the status up to date: hard as specified, used as counted."""
    status = {
        "hard": dict(quota.spec.hard),
        "used": {name: str(used.get(name, _ZERO)) for name in quota.spec.hard},
    }
    stored = encode(quota.status)
    if stored.get("hard", {}) == status["hard"] and _same(stored.get("used", {}), status["used"]):
        return Plan()
    gone = {part: dict.fromkeys(stored.get(part, {}).keys() - status[part].keys()) for part in ("hard", "used")}
    meta = quota.metadata
    patch: dict[str, Any] = {
        "metadata": {"resourceVersion": meta.resource_version},
        "status": {part: {**status[part], **gone[part]} for part in ("hard", "used")},
    }
    return Plan((Patch(RESOURCE_QUOTA, meta.name, meta.namespace, patch, "status", ignore_missing=True),))


def _same(left: Mapping[str, str], right: Mapping[str, str]) -> bool:
    return left.keys() == right.keys() and all(quantity.parse(left[k]) == quantity.parse(right[k]) for k in left)


def pods_usage(pods: Iterable[Pod], scopes: Iterable[str]) -> dict[str, Quantity]:
    """What the Pods in scope use, under the names that quotas have."""
    wanted = tuple(scopes)
    total: dict[str, Quantity] = {}
    for pod in pods:
        if is_finished(pod) or not all(_in_scope(pod, scope) for scope in wanted):
            continue
        _add(total, "pods", quantity.from_int(1))
        for name, amount in podresources.charged(pod.spec).items():
            _add(total, name, amount)
    return total


def services_usage(services: Iterable[Service]) -> dict[str, Quantity]:
    """Services, their node ports and load balancers."""
    total: dict[str, Quantity] = {}
    for service in services:
        _add(total, "services", quantity.from_int(1))
        if service.spec.type in ("NodePort", "LoadBalancer"):
            _add(total, "services.nodeports", quantity.from_int(len(service.spec.ports)))
        if service.spec.type == "LoadBalancer":
            _add(total, "services.loadbalancers", quantity.from_int(1))
    return total


def _add(total: dict[str, Quantity], name: str, amount: Quantity) -> None:
    total[name] = total.get(name, _ZERO) + amount


def _in_scope(pod: Pod, scope: str) -> bool:
    match scope:
        case "BestEffort":
            return qos_class(pod) == BEST_EFFORT
        case "NotBestEffort":
            return qos_class(pod) != BEST_EFFORT
        case "Terminating":
            return pod.spec.active_deadline_seconds is not None
        case "NotTerminating":
            return pod.spec.active_deadline_seconds is None
    return True


def counted_kind(name: str) -> Kind | None:
    """The kind that `count/deployments.apps` speaks of."""
    wanted = name.removeprefix("count/")
    return next((kind for kind in KINDS if kind.resource == wanted and kind.storable and kind.served), None)


class ResourceQuotaController:
    """Watches quotas and what they count."""

    name = "resourcequota-controller"
    kind = RESOURCE_QUOTA

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._client = context.client
        self._informers = context.informers
        self._telemetry = context.telemetry.named(self.name)
        self._quotas = context.informers.of(RESOURCE_QUOTA, ResourceQuota)
        self._pods = context.informers.of(POD, Pod)
        self._services = context.informers.of(SERVICE, Service)
        self._claims = context.informers.of(kinds.PERSISTENT_VOLUME_CLAIM, PersistentVolumeClaim)
        self.queue = context.queue("resourcequota_primary")
        follow(self._quotas, self.queue)
        self._pods.subscribe(self._pod_changed)
        self._services.subscribe(self._counted_changed)
        self._claims.subscribe(self._counted_changed)

    async def run(self, started: Callable[[], None]) -> None:
        await run_reconciler(self, self.queue, self._telemetry, workers=5, started=started)

    async def reconcile(self, key: str) -> Result:
        quota = self._quotas.get(key)
        if quota is None or quota.metadata.deletion_timestamp:
            return DONE
        await self._writer.apply(plan(quota, await self._used(quota)).actions)
        return Result(_RECOUNT_SECONDS)

    async def _used(self, quota: ResourceQuota) -> dict[str, Quantity]:
        namespace, hard = quota.metadata.namespace, quota.spec.hard
        used = pods_usage(self._pods.list(namespace), quota.spec.scopes)
        if quota.spec.scopes:
            return used
        used |= services_usage(self._services.list(namespace))
        for claim in self._claims.list(namespace):
            text = claim.spec.resources.requests.get("storage")
            if text:
                _add(used, "requests.storage", quantity.parse(text))
        by_name = {kind.plural: kind for kind in _COUNTED_BY_NAME}
        for name in hard:
            kind = counted_kind(name) if name.startswith("count/") else by_name.get(name)
            if kind is not None:
                used[name] = quantity.from_int(await self._count(kind, namespace))
        return used

    async def _count(self, kind: Kind, namespace: str) -> int:
        informer = self._informers.known(kind)
        if informer is not None and informer.synced.is_set():
            return len(informer.list(namespace))
        return len((await self._client.list(kind, namespace)).items)

    def _pod_changed(self, change: Change[Pod]) -> None:
        """Only Pods that stop counting matter here; those that start are counted by admission."""
        if change.type == "DELETED" or is_finished(change.new):
            self._counted_changed(change)

    def _counted_changed(self, change: Change[Any]) -> None:
        for quota in self._quotas.list(change.new.metadata.namespace):
            self.queue.add(quota.key)

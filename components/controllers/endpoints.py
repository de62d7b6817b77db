"""Endpoints: the older form, one object per Service, at most 1000 addresses. Upstream: endpoints-controller."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from kubeglass.components.api.kinds import ENDPOINTS, POD, SERVICE
from kubeglass.components.api.objects import Endpoints, Pod, Service, encode
from kubeglass.components.controllers.actions import Create, Delete, Patch, Plan
from kubeglass.components.controllers.context import ControllerContext
from kubeglass.components.controllers.podstate import is_ready
from kubeglass.components.controllers.serviceports import (
    Port,
    follow_services,
    has_selector,
    hostname_in,
    pods_of,
    ports_in,
    serves,
    target_reference,
    trigger_time,
)
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler

MAX_ADDRESSES = 1000
MANAGED_BY = "endpoints.kubernetes.io/managed-by"
HEADLESS = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"


def plan(service: Service, pods: Sequence[Pod], existing: Endpoints | None) -> Plan:
    """The write that makes the Endpoints say what the Pods are."""
    if service.metadata.deletion_timestamp or not has_selector(service):
        return Plan()
    published = bool(service.spec.publish_not_ready_addresses)
    members = pods_of(service, pods, lambda pod: serves(pod, include_terminating=published))
    subsets = _subsets(service, members[:MAX_ADDRESSES])
    labels = {**service.metadata.labels, MANAGED_BY: "endpoint-controller"}
    if service.spec.cluster_ip == "None":
        labels[HEADLESS] = ""
    if existing is None:
        return Plan((Create(ENDPOINTS, _new(service, subsets, labels), ignore_existing=True),))
    before = [encode(subset) for subset in existing.subsets]
    stale = {key: None for key in existing.metadata.labels if key not in labels}
    fresh = {key: value for key, value in labels.items() if existing.metadata.labels.get(key) != value}
    if before == subsets and not stale and not fresh:
        return Plan()
    meta = existing.metadata
    annotations: dict[str, Any] = {TRIGGER_TIME: trigger_time(service, _moved(existing, subsets, members), new=False)}
    if len(members) > MAX_ADDRESSES:
        annotations[OVER_CAPACITY] = "truncated"
    elif OVER_CAPACITY in meta.annotations:
        annotations[OVER_CAPACITY] = None
    patch: dict[str, Any] = {
        "metadata": {"resourceVersion": meta.resource_version, "annotations": annotations},
        "subsets": subsets or None,
    }
    if fresh or stale:
        patch["metadata"]["labels"] = {**fresh, **stale}
    return Plan((Patch(ENDPOINTS, meta.name, meta.namespace, patch),))


def _new(service: Service, subsets: list[dict[str, Any]], labels: dict[str, str]) -> dict[str, Any]:
    meta = service.metadata
    metadata: dict[str, Any] = {"name": meta.name, "namespace": meta.namespace, "labels": labels}
    stamp = trigger_time(service, (), new=True)
    if stamp:
        metadata["annotations"] = {TRIGGER_TIME: stamp}
    body = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata}
    return {**body, "subsets": subsets} if subsets else body


def _moved(existing: Endpoints, subsets: Sequence[Mapping[str, Any]], members: Iterable[Pod]) -> Iterator[Pod]:
    """Pods that are not listed yet, or with another readiness."""
    before = {address for one in existing.subsets for address in _listed(encode(one))}
    moved = {ip for one in subsets for ip, ready in _listed(one) if (ip, ready) not in before}
    return (pod for pod in members if pod.status.pod_ip in moved)


def _listed(subset: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """(address, ready) of a subset as it travels."""
    for field, ready in (("addresses", True), ("notReadyAddresses", False)):
        for address in subset.get(field, ()):
            yield address["ip"], ready


def _subsets(service: Service, members: Sequence[Pod]) -> list[dict[str, Any]]:
    """One subset per set of ports, as upstream repacks them."""
    published = bool(service.spec.publish_not_ready_addresses)
    grouped: dict[tuple[Port, ...], tuple[list[Any], list[Any]]] = {}
    for pod in members:
        ports = ports_in(service, pod)
        if not ports and service.spec.ports:
            continue
        ready, waiting = grouped.setdefault(ports, ([], []))
        (ready if published or is_ready(pod) else waiting).append(_address(service, pod))
    subsets = []
    for ports in sorted(grouped):
        ready, waiting = grouped[ports]
        subset: dict[str, Any] = {}
        if ready:
            subset["addresses"] = ready
        if waiting:
            subset["notReadyAddresses"] = waiting
        subset["ports"] = [{k: v for k, v in port.wire().items() if v} for port in ports]
        subsets.append(subset)
    return subsets


def _address(service: Service, pod: Pod) -> dict[str, Any]:
    address: dict[str, Any] = {"ip": pod.status.pod_ip}
    if hostname := hostname_in(service, pod):
        address["hostname"] = hostname
    if pod.spec.node_name:
        address["nodeName"] = pod.spec.node_name
    address["targetRef"] = target_reference(pod)
    return address


class EndpointsController:
    """Watches Services and Pods."""

    name = "endpoints-controller"
    kind = SERVICE

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._services = context.informers.of(SERVICE, Service)
        self._pods = context.informers.of(POD, Pod)
        self._endpoints = context.informers.of(ENDPOINTS, Endpoints)
        self.queue = context.queue("endpoint")
        follow_services(self._services, self._pods, self.queue)
        self._endpoints.subscribe(lambda change: self.queue.add(change.key))

    async def run(self, started: Callable[[], None]) -> None:
        await run_reconciler(self, self.queue, self._telemetry, workers=5, started=started)

    async def reconcile(self, key: str) -> Result:
        service, existing = self._services.get(key), self._endpoints.get(key)
        if service is None:
            # Only what we made ourselves goes with its Service; hand-made Endpoints stay.
            if existing is not None and MANAGED_BY in existing.metadata.labels:
                meta = existing.metadata
                await self._writer.apply([Delete(ENDPOINTS, meta.name, meta.namespace, meta.uid)])
            return DONE
        step = plan(service, self._pods.list(service.metadata.namespace), existing)
        await self._writer.apply(step.actions)
        return DONE

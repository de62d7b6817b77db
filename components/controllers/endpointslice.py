"""EndpointSlices: at most 100 endpoints of a Service each, changed as few at a time as possible.

Slices of one Service are grouped by address family and ports. Upstream: endpointslice-controller.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from kubeglass.components.api.kinds import ENDPOINT_SLICE, NODE, POD, SERVICE
from kubeglass.components.api.objects import EndpointSlice, Node, Pod, Service, encode
from kubeglass.components.controllers.actions import Action, Create, Delete, Patch, Plan
from kubeglass.components.controllers.context import ControllerContext
from kubeglass.components.controllers.metrics import EndpointSliceMetrics
from kubeglass.components.controllers.ownership import owner_reference
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
from kubeglass.components.machinery.informer import Change
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler

MAX_ENDPOINTS = 100
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
_ZONE = "topology.kubernetes.io/zone"
_RESERVED = frozenset({SERVICE_NAME, MANAGED_BY, HEADLESS})

Family = str
Group = tuple[Family, tuple[Port, ...]]
Endpoint = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Observed:
    """A Service, all Pods of its namespace (or just its own), its slices, and each node's zone."""

    service: Service
    pods: Sequence[Pod]
    slices: Sequence[EndpointSlice]
    zones: Mapping[str, str]


def plan(observed: Observed) -> Plan:
    """The writes that make the slices say what the Pods are; `facts` are what the controller's metrics ask."""
    service = observed.service
    if service.metadata.deletion_timestamp or not has_selector(service):
        return Plan()
    desired, sources = _desired(observed)
    stamp = trigger_time(service, _moved(observed.slices, desired, sources), new=not observed.slices)
    families = _families(service)
    existing: dict[Group, list[EndpointSlice]] = defaultdict(list)
    for found in observed.slices:
        existing[(found.address_type, _ports_of(found))].append(found)
    actions: list[Action] = []
    facts = {"added": 0.0, "removed": 0.0, "desired": float(sum(map(len, desired.values())))}
    for family in families:
        if not any(group[0] == family for group in desired):
            # One empty slice stays, so that a Service without Pods is told from one not looked at yet.
            kept = next((group for group in existing if group[0] == family and not group[1]), (family, ()))
            desired[kept] = []
    for group, endpoints in desired.items():
        actions += _settle(observed, group, endpoints, existing.pop(group, []), stamp, facts)
    for stale in existing.values():
        for found in stale:
            facts["removed"] += len(found.endpoints)
            actions.append(Delete(ENDPOINT_SLICE, found.metadata.name, found.metadata.namespace, found.metadata.uid))
    actions = _reused(service, actions, observed.slices)
    facts["slices"] = float(sum(max(1, -(-len(found) // MAX_ENDPOINTS)) for found in desired.values()))
    return Plan(tuple(actions), facts=facts)


def _desired(observed: Observed) -> tuple[dict[Group, list[Endpoint]], dict[str, Pod]]:
    desired: dict[Group, list[Endpoint]] = {}
    sources: dict[str, Pod] = {}
    service = observed.service
    for pod in pods_of(service, observed.pods, lambda pod: serves(pod, include_terminating=True)):
        for family in _families(service):
            address = _address(pod, family)
            if address:
                endpoint = _endpoint(service, pod, address, observed.zones.get(pod.spec.node_name, ""))
                desired.setdefault((family, ports_in(service, pod)), []).append(endpoint)
                sources[address] = pod
    return desired, sources


def _moved(
    slices: Iterable[EndpointSlice], desired: Mapping[Group, Sequence[Endpoint]], sources: Mapping[str, Pod]
) -> Iterator[Pod]:
    """Pods that the slices do not have yet, or with another readiness."""
    known = {found.addresses[0]: found.conditions.serving for one in slices for found in one.endpoints}
    for endpoint in chain.from_iterable(desired.values()):
        address = endpoint["addresses"][0]
        if known.get(address) != endpoint["conditions"]["serving"]:
            yield sources[address]


def _families(service: Service) -> tuple[Family, ...]:
    return service.spec.ip_families or ("IPv4",)


def _address(pod: Pod, family: Family) -> str:
    addresses = [found.ip for found in pod.status.pod_ips] or [pod.status.pod_ip]
    return next((address for address in addresses if (":" in address) == (family == "IPv6")), "")


def _endpoint(service: Service, pod: Pod, address: str, zone: str) -> Endpoint:
    ready, terminating = is_ready(pod), bool(pod.metadata.deletion_timestamp)
    published = bool(service.spec.publish_not_ready_addresses)
    endpoint: Endpoint = {
        "addresses": [address],
        "conditions": {
            "ready": published or (ready and not terminating),
            "serving": ready,
            "terminating": terminating,
        },
        "targetRef": target_reference(pod),
    }
    if pod.spec.node_name:
        endpoint["nodeName"] = pod.spec.node_name
    if zone:
        endpoint["zone"] = zone
    if hostname := hostname_in(service, pod):
        endpoint["hostname"] = hostname
    if hints := _hints(service, pod, zone):
        endpoint["hints"] = hints
    return endpoint


def _hints(service: Service, pod: Pod, zone: str) -> dict[str, Any]:
    match service.spec.traffic_distribution:
        case "PreferClose" | "PreferSameZone" if zone:
            return {"forZones": [{"name": zone}]}
        case "PreferSameNode" if zone:
            return {"forNodes": [{"name": pod.spec.node_name}], "forZones": [{"name": zone}]}
        case "PreferSameNode":
            return {"forNodes": [{"name": pod.spec.node_name}]}
    return {}


def _settle(
    observed: Observed,
    group: Group,
    endpoints: Sequence[Endpoint],
    slices: Sequence[EndpointSlice],
    stamp: str | None,
    facts: dict[str, float],
) -> list[Action]:
    """Keep endpoints in the slices they are in, fill free room of slices that change anyway, then make new slices."""
    wanted = {endpoint["addresses"][0]: endpoint for endpoint in endpoints}
    contents: list[tuple[EndpointSlice, list[Endpoint], bool]] = []
    for found in slices:
        before = [encode(endpoint) for endpoint in found.endpoints]
        after = []
        for old in before:
            new = wanted.pop(old["addresses"][0], None)
            if new is None:
                facts["removed"] += 1
                continue
            after.append(new)
        contents.append((found, after, after != before))
    rest = list(wanted.values())
    facts["added"] += len(rest)
    settled: list[tuple[EndpointSlice, list[Endpoint], bool]] = []
    for found, after, changed in sorted(contents, key=lambda item: (not item[2], -len(item[1]))):
        room = MAX_ENDPOINTS - len(after)
        if rest and room > 0 and (changed or len(rest) <= room):
            after, rest, changed = after + rest[:room], rest[room:], True
        settled.append((found, after, changed))
    actions = _writes(observed.service, settled, bool(rest), stamp)
    while rest or not (settled or actions):
        actions.append(_new_slice(observed.service, group, rest[:MAX_ENDPOINTS], stamp))
        rest = rest[MAX_ENDPOINTS:]
    return actions


def _reused(service: Service, actions: Sequence[Action], slices: Sequence[EndpointSlice]) -> list[Action]:
    """Where one slice goes and another of the same family comes, the one becomes the other: nobody sees a gap."""
    found = {slice_.metadata.name: slice_ for slice_ in slices if _is_owned(slice_, service)}
    coming = [action for action in actions if isinstance(action, Create)]
    others: list[Action] = []
    for action in actions:
        if isinstance(action, Create):
            continue
        old = found.get(action.name) if isinstance(action, Delete) else None
        new = next((create for create in coming if old and create.obj["addressType"] == old.address_type), None)
        if old and new:
            coming.remove(new)
            others.append(_become(old, new.obj))
        else:
            others.append(action)
    return [*coming, *others]


def _is_owned(found: EndpointSlice, service: Service) -> bool:
    return any(owner.uid == service.metadata.uid for owner in found.metadata.owner_references)


def _become(old: EndpointSlice, new: Mapping[str, Any]) -> Patch:
    """The old slice with what the new one would say."""
    meta, labels = old.metadata, new["metadata"]["labels"]
    patch = {
        "metadata": {
            "resourceVersion": meta.resource_version,
            "labels": {key: None for key in meta.labels if key not in labels} | labels,
            "annotations": {TRIGGER_TIME: new["metadata"].get("annotations", {}).get(TRIGGER_TIME)},
        },
        "endpoints": new["endpoints"],
        "ports": new["ports"],
    }
    return Patch(ENDPOINT_SLICE, meta.name, meta.namespace, patch)


def _writes(
    service: Service, settled: Sequence[tuple[EndpointSlice, list[Endpoint], bool]], more: bool, stamp: str | None
) -> list[Action]:
    actions: list[Action] = []
    kept = 0
    for found, after, changed in settled:
        meta = found.metadata
        if not after and (kept or more or any(other for _, other, _ in settled)):
            actions.append(Delete(ENDPOINT_SLICE, meta.name, meta.namespace, meta.uid))
            continue
        kept += 1
        labels = {key: value for key, value in _labels(service).items() if meta.labels.get(key) != value}
        gone = {key: None for key in meta.labels if key not in _labels(service)}
        if changed or labels or gone:
            patch: dict[str, Any] = {"metadata": {"resourceVersion": meta.resource_version}, "endpoints": after}
            if labels or gone:
                patch["metadata"]["labels"] = {**labels, **gone}
            if changed:
                patch["metadata"]["annotations"] = {TRIGGER_TIME: stamp}
            actions.append(Patch(ENDPOINT_SLICE, meta.name, meta.namespace, patch))
    return actions


def _labels(service: Service) -> dict[str, str]:
    labels = {key: value for key, value in service.metadata.labels.items() if key not in _RESERVED}
    labels |= {SERVICE_NAME: service.metadata.name, MANAGED_BY: MANAGER}
    if service.spec.cluster_ip == "None":
        labels[HEADLESS] = ""
    return labels


def _new_slice(service: Service, group: Group, endpoints: Sequence[Endpoint], stamp: str | None) -> Create:
    meta = service.metadata
    family, ports = group
    metadata: dict[str, Any] = {
        "generateName": f"{meta.name}-",
        "namespace": meta.namespace,
        "labels": _labels(service),
        "ownerReferences": [owner_reference(SERVICE, service)],
    }
    if stamp:
        metadata["annotations"] = {TRIGGER_TIME: stamp}
    return Create(
        ENDPOINT_SLICE,
        {
            "apiVersion": ENDPOINT_SLICE.api_version,
            "kind": "EndpointSlice",
            "metadata": metadata,
            "addressType": family,
            "endpoints": list(endpoints),
            "ports": [port.wire() for port in ports],
        },
    )


def _ports_of(found: EndpointSlice) -> tuple[Port, ...]:
    return tuple(sorted(Port(p.name, p.protocol or "TCP", p.port, p.app_protocol) for p in found.ports))


class EndpointSliceController:
    """Watches Services, Pods, nodes and its own slices."""

    name = "endpointslice-controller"
    kind = SERVICE

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._metrics = EndpointSliceMetrics(context.telemetry.metrics)
        self._services = context.informers.of(SERVICE, Service)
        self._pods = context.informers.of(POD, Pod)
        self._nodes = context.informers.of(NODE, Node)
        self._slices = context.informers.of(ENDPOINT_SLICE, EndpointSlice)
        self._slices.add_index("service", _service_key)
        self.queue = context.queue("endpoint_slice")
        follow_services(self._services, self._pods, self.queue)
        self._slices.subscribe(self._slice_changed)
        self._counts: dict[str, tuple[float, float]] = {}
        self._wishes: set[str] = set()
        """Every trafficDistribution seen so far: a wish that nobody has any more counts 0."""

    async def run(self, started: Callable[[], None]) -> None:
        await run_reconciler(self, self.queue, self._telemetry, workers=5, started=started)

    async def reconcile(self, key: str) -> Result:
        service = self._services.get(key)
        if service is None or not has_selector(service):
            self._counts.pop(key, None)
            self._totals()
            return DONE
        zones = {node.metadata.name: node.metadata.labels.get(_ZONE, "") for node in self._nodes.list()}
        pods = self._pods.list(service.metadata.namespace)
        step = plan(Observed(service, pods, self._slices.by_index("service", key), zones))
        try:
            await self._writer.apply(step.actions)
        except Exception:
            self._metrics.endpoint_slice_controller_syncs.labels("error").inc()
            raise
        self._count(key, service, step)
        return DONE

    def _slice_changed(self, change: Change[EndpointSlice]) -> None:
        """Somebody else's hand on a slice is put right; our own write changes nothing the second time."""
        for service_key in _service_key(change.new):
            self.queue.add(service_key)

    def _count(self, key: str, service: Service, step: Plan) -> None:
        metrics = self._metrics
        metrics.endpoint_slice_controller_syncs.labels("success").inc()
        writes = 0
        for action in step.actions:
            operation = {Create: "create", Patch: "update", Delete: "delete"}.get(type(action))
            if operation:
                writes += 1
                metrics.endpoint_slice_controller_changes.labels(operation).inc()
        metrics.endpoint_slice_controller_endpoints_added_per_sync.observe(step.facts.get("added", 0))
        metrics.endpoint_slice_controller_endpoints_removed_per_sync.observe(step.facts.get("removed", 0))
        metrics.endpoint_slice_controller_endpointslices_changed_per_sync.labels(
            "Disabled", service.spec.traffic_distribution
        ).observe(writes)
        self._counts[key] = (step.facts.get("slices", 0), step.facts.get("desired", 0))
        self._totals()

    def _totals(self) -> None:
        managed = sum(bool(_service_key(found)) for found in self._slices.list())
        self._metrics.endpoint_slice_controller_num_endpoint_slices.set(managed)
        self._metrics.endpoint_slice_controller_desired_endpoint_slices.set(sum(s for s, _ in self._counts.values()))
        self._metrics.endpoint_slice_controller_endpoints_desired.set(sum(e for _, e in self._counts.values()))
        wishes = Counter(service.spec.traffic_distribution for service in self._services.list())
        for wish in sorted(self._wishes | wishes.keys() - {""}):
            self._metrics.endpoint_slice_controller_services_count_by_traffic_distribution.labels(wish).set(
                wishes[wish]
            )
        self._wishes |= wishes.keys() - {""}


def _service_key(found: EndpointSlice) -> tuple[str, ...]:
    labels = found.metadata.labels
    if labels.get(MANAGED_BY) != MANAGER or not labels.get(SERVICE_NAME):
        return ()
    return (f"{found.metadata.namespace}/{labels[SERVICE_NAME]}",)

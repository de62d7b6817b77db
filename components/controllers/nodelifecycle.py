"""Nodes that fall silent: their conditions become Unknown, they are tainted, their Pods are marked not ready.

A node is heard of by its Lease or by its Ready condition, timed on our own clock. Taints with NoExecute are put on at a
limited rate per zone, and not at all when every zone is silent: then the fault is more likely ours.
Upstream: node-lifecycle-controller. Evicting Pods from tainted nodes is tainteviction.py's.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api.errors import ApiError, Conflict
from kubeglass.components.api.kinds import LEASE, NODE, POD
from kubeglass.components.api.objects import Lease, Node, NodeCondition, Pod, encode
from kubeglass.components.controllers.actions import Action, Emit, Patch
from kubeglass.components.controllers.context import ControllerContext
from kubeglass.components.controllers.metrics import NodeLifecycleMetrics
from kubeglass.components.controllers.podstate import is_finished, is_ready
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.events import ObjectReference
from kubeglass.components.machinery.informer import Change
from kubeglass.components.machinery.reconcile import failed, look_span
from kubeglass.components.machinery.transport import Unreachable

LEASE_NAMESPACE = "kube-node-lease"
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
_WATCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_PRESSURE_TAINTS: Mapping[tuple[str, str], str] = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
}
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_OURS = frozenset({*_PRESSURE_TAINTS.values(), _UNSCHEDULABLE})
_PARTIAL_DISRUPTION_MINIMUM = 3
_CONFLICT_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Timing:
    """Upstream's flags of the same names."""

    monitor_period_seconds: float = 5.0
    monitor_grace_period_seconds: float = 50.0
    startup_grace_period_seconds: float = 60.0
    eviction_rate: float = 0.1
    secondary_eviction_rate: float = 0.01
    unhealthy_zone_threshold: float = 0.55
    large_cluster_size: int = 50


@dataclass(frozen=True, slots=True)
class Heard:
    """The last sign of life of a node, and when we noticed it."""

    sign: tuple[str, str]  # (renewTime of its Lease, lastHeartbeatTime of Ready)
    at: float
    grace_seconds: float


def ready_of(node: Node) -> NodeCondition | None:
    return next((found for found in node.status.conditions if found.type == "Ready"), None)


def sign_of_life(node: Node, lease: Lease | None) -> tuple[str, str]:
    """What changes whenever the node reports."""
    ready = ready_of(node)
    return (lease.spec.renew_time if lease else "", ready.last_heartbeat_time if ready else "")


def hear(previous: Heard | None, node: Node, lease: Lease | None, timing: Timing, now: float) -> Heard:
    """Notice a sign of life, if there is a new one. A node that never reported gets the longer start-up grace."""
    sign = sign_of_life(node, lease)
    if previous is not None and sign == previous.sign:
        return previous
    grace = timing.monitor_grace_period_seconds if ready_of(node) else timing.startup_grace_period_seconds
    return Heard(sign, now, grace)


def unknown_conditions(node: Node, now: float) -> list[dict[str, Any]]:
    """The conditions of a node that fell silent: those not yet Unknown, to be merged into its status."""
    changed = []
    for type in _WATCHED:
        old = next((found for found in node.status.conditions if found.type == type), None)
        if old is not None and old.status == "Unknown":
            continue
        never = old is None
        changed.append(
            {
                "type": type,
                "status": "Unknown",
                "reason": "NodeStatusNeverUpdated" if never else "NodeStatusUnknown",
                "message": "Kubelet never posted node status." if never else "Kubelet stopped posting node status.",
                "lastHeartbeatTime": node.metadata.creation_timestamp if old is None else old.last_heartbeat_time,
                "lastTransitionTime": clock.rfc3339(now),
            }
        )
    return changed


def no_schedule_taints(node: Node) -> set[str]:
    """The NoSchedule taints that the node's conditions call for."""
    verdicts = {(found.type, found.status) for found in node.status.conditions}
    keys = {key for verdict, key in _PRESSURE_TAINTS.items() if verdict in verdicts}
    return keys | ({_UNSCHEDULABLE} if node.spec.unschedulable else set())


def no_execute_taint(node: Node) -> str:
    """The NoExecute taint that the node's readiness calls for, or nothing."""
    ready = ready_of(node)
    return _PRESSURE_TAINTS.get(("Ready", ready.status), "") if ready else ""


def taint_patch(node: Node, no_schedule: set[str], no_execute: str, now: float) -> Patch | None:
    """The taints as they should be; foreign taints and those already there stay as they are."""
    wanted = {(key, "NoSchedule") for key in no_schedule} | ({(no_execute, "NoExecute")} if no_execute else set())
    kept, present = [], set()
    for taint in node.spec.taints:
        identity = (taint.key, taint.effect)
        ours = taint.key in _OURS and taint.effect in ("NoSchedule", "NoExecute")
        if ours and identity not in wanted:
            continue
        kept.append(encode(taint))
        present.add(identity)
    added = [
        {"key": key, "effect": effect, "timeAdded": clock.rfc3339(now)} for key, effect in sorted(wanted - present)
    ]
    if not added and len(kept) == len(node.spec.taints):
        return None
    patch = {"metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": kept + added}}
    return Patch(NODE, node.metadata.name, "", patch, ignore_missing=True)


def not_ready_pods(node: Node, pods: Sequence[Pod], now: float) -> list[Action]:
    """Pods of a node that is not ready are not ready either."""
    actions: list[Action] = []
    for pod in pods:
        if is_finished(pod) or not is_ready(pod):
            continue
        condition = {"type": "Ready", "status": "False", "lastTransitionTime": clock.rfc3339(now)}
        meta = pod.metadata
        patch = {"status": {"conditions": [condition]}}
        actions.append(Patch(POD, meta.name, meta.namespace, patch, "status", "strategic", ignore_missing=True))
        actions.append(Emit(pod, "Warning", "NodeNotReady", "Node is not ready"))
    return actions


def zone_of(node: Node) -> str:
    """`region:\\x00:zone`, or nothing when the node has neither label."""
    labels = node.metadata.labels
    region = labels.get("topology.kubernetes.io/region", "")
    zone = labels.get("topology.kubernetes.io/zone", "")
    return f"{region}:\x00:{zone}" if region or zone else ""


def eviction_rates(zones: Mapping[str, Sequence[Node]], timing: Timing) -> dict[str, float]:
    """NoExecute taints per second and zone. Few silent nodes: the full rate; many: a small one; all zones: none."""
    rates = {}
    silent_zones = 0
    for zone, nodes in zones.items():
        unhealthy = sum(not _is_ready(node) for node in nodes)
        rates[zone] = timing.eviction_rate
        if unhealthy == len(nodes):
            silent_zones += 1
        elif unhealthy >= _PARTIAL_DISRUPTION_MINIMUM and unhealthy / len(nodes) >= timing.unhealthy_zone_threshold:
            large = len(nodes) > timing.large_cluster_size
            rates[zone] = timing.secondary_eviction_rate if large else 0.0
    return dict.fromkeys(zones, 0.0) if zones and silent_zones == len(zones) else rates


def _is_ready(node: Node) -> bool:
    ready = ready_of(node)
    return ready is not None and ready.status == "True"


class _Bucket:
    """One token at most, refilled at the zone's rate."""

    def __init__(self, now: float) -> None:
        self._tokens, self._at = 1.0, now

    def take(self, rate: float, now: float) -> bool:
        self._tokens, self._at = min(1.0, self._tokens + (now - self._at) * rate), now
        if rate == 0.0 or self._tokens < 1.0 - 1e-9:
            return False
        self._tokens -= 1.0
        return True


class NodeLifecycleController:
    """Looks at all nodes every monitor period, and at one at once when its conditions change."""

    name = "node-lifecycle-controller"

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._recorder = context.recorder
        self._telemetry = context.telemetry.named(self.name)
        self._metrics = NodeLifecycleMetrics(context.telemetry.metrics)
        self._timing: Timing = context.options["node_timing"]
        self._nodes = context.informers.of(NODE, Node)
        self._leases = context.informers.of(LEASE, Lease)
        self._pods = context.informers.of(POD, Pod)
        self._pods.add_index("node", lambda pod: (pod.spec.node_name,) if pod.spec.node_name else ())
        self._heard: dict[str, Heard] = {}
        self._known: set[str] = set()
        self._zones: set[str] = set()
        self._buckets: dict[str, _Bucket] = {}
        self._not_ready: set[str] = set()
        self._look = asyncio.Event()
        self._nodes.subscribe(self._node_changed)

    async def run(self, started: Callable[[], None]) -> None:
        started()
        while True:
            self._look.clear()
            began = time.perf_counter()
            await self._pass()
            self._metrics.node_collector_update_all_nodes_health_duration_seconds.observe(time.perf_counter() - began)
            try:
                async with asyncio.timeout(self._timing.monitor_period_seconds):
                    await self._look.wait()
            except TimeoutError:
                pass

    def _node_changed(self, change: Change[Node]) -> None:
        name = change.new.metadata.name
        if change.type == "DELETED":
            self._say(change.new, "RemovingNode", f"Removing Node {name} from Controller")
            self._heard.pop(name, None)
            self._known.discard(name)
            self._not_ready.discard(name)
        elif change.old is None or _conditions(change.old) != _conditions(change.new):
            self._look.set()

    def _look_soon(self) -> None:
        """Somebody wrote first: look again when the informer has had time to show it."""
        asyncio.get_running_loop().call_later(_CONFLICT_PAUSE_SECONDS, self._look.set)

    def _say(self, node: Node, reason: str, text: str) -> None:
        reference = ObjectReference("v1", "Node", node.metadata.name, uid=node.metadata.uid)
        self._recorder.event(
            reference, "Normal", reason, f"Node {node.metadata.name} event: {text}", component="node-controller"
        )

    # -- one pass -------------------------------------------------------------------------------------------------

    async def _pass(self) -> None:
        zones: dict[str, list[Node]] = defaultdict(list)
        for node in self._nodes.list():
            began = time.perf_counter()
            name = node.metadata.name
            if name not in self._known:
                self._known.add(name)
                self._say(node, "RegisteredNode", f"Registered Node {name} in Controller")
            await self._try(node, self._judge(node), "Error updating node")
            zones[zone_of(node)].append(self._nodes.get(name) or node)
            self._metrics.node_collector_update_node_health_duration_seconds.observe(time.perf_counter() - began)
        await self._taint(zones)
        self._state_zones(zones)

    async def _try(self, node: Node, work: Awaitable[object], complaint: str) -> bool:
        """Do something about a node, as a span; whether it worked. What did not is tried again in a later pass."""
        with look_span(self.name, NODE, node, self._telemetry) as span:
            try:
                await work
            except Conflict:
                self._look_soon()
                return False
            except (ApiError, Unreachable) as error:
                self._telemetry.log.error(error, complaint, node=node.metadata.name)
                failed(span, error)
                return False
        return True

    async def _judge(self, node: Node) -> None:
        """Is it silent, and what follows for its conditions and Pods."""
        name, now = node.metadata.name, clock.now()
        lease = self._leases.get(f"{LEASE_NAMESPACE}/{name}")
        heard = hear(self._heard.get(name), node, lease, self._timing, now)
        self._heard[name] = heard
        actions: list[Action] = []
        silent = now > heard.at + heard.grace_seconds
        changed = unknown_conditions(node, now) if silent else []
        if changed:
            patch = {"status": {"conditions": changed}}
            actions.append(Patch(NODE, name, "", patch, "status", "strategic", ignore_missing=True))
        ready = _is_ready(node) and not any(found["type"] == "Ready" for found in changed)
        if ready:
            self._not_ready.discard(name)
        elif name not in self._not_ready and ready_of(node) is not None:
            self._not_ready.add(name)
            actions.append(Emit(node, "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady"))
        if not ready:
            actions += not_ready_pods(node, self._pods.by_index("node", name), now)
        await self._writer.apply(actions)

    async def _taint(self, zones: Mapping[str, Sequence[Node]]) -> None:
        rates = eviction_rates(zones, self._timing)
        for zone, nodes in zones.items():
            for node in nodes:
                await self._taint_node(zone, node, rates[zone])

    async def _taint_node(self, zone: str, node: Node, rate: float) -> None:
        now = clock.now()
        wanted = no_execute_taint(node)
        present = {taint.key for taint in node.spec.taints if taint.effect == "NoExecute"}
        evicting = bool(wanted) and wanted not in present
        if evicting and present.isdisjoint({NOT_READY, UNREACHABLE}):
            # A swap between the two taints is free: the node's Pods are being evicted already.
            bucket = self._buckets.setdefault(zone, _Bucket(now))
            if not bucket.take(rate, now):
                wanted, evicting = "", False
        else:
            evicting = False
        patch = taint_patch(node, no_schedule_taints(node), wanted, now)
        if patch is None:
            return
        if not await self._try(node, self._writer.apply([patch]), "Failed to taint node"):
            return
        if evicting:
            self._metrics.node_collector_evictions_total.labels(zone).inc()

    def _state_zones(self, zones: Mapping[str, Sequence[Node]]) -> None:
        metrics = self._metrics
        for zone in self._zones - zones.keys():
            metrics.node_collector_zone_size.labels(zone).set(0)
            metrics.node_collector_zone_health.labels(zone).set(100)
            metrics.node_collector_unhealthy_nodes_in_zone.labels(zone).set(0)
        for zone, nodes in zones.items():
            ready = sum(map(_is_ready, nodes))
            metrics.node_collector_evictions_total.labels(zone).inc(0)
            metrics.node_collector_zone_size.labels(zone).set(len(nodes))
            metrics.node_collector_zone_health.labels(zone).set(100 * ready / len(nodes))
            metrics.node_collector_unhealthy_nodes_in_zone.labels(zone).set(len(nodes) - ready)
        self._zones |= set(zones)


def _conditions(node: Node) -> list[tuple[str, str]]:
    return [*((found.type, found.status) for found in node.status.conditions), ("", str(node.spec.unschedulable))]

"""Many simulated nodes in one process: registers them, renews their Leases, carries out what pods.py decides.

One watch over all Pods serves every node. A real kubelet per node would cost some 40 MB each; a simulated node costs
a few kilobytes, and the API server sees the same requests: node, lease, pod status, delete.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from kubeglass.components.api import quantity
from kubeglass.components.api.errors import AlreadyExists, ApiError, NotFound
from kubeglass.components.api.kinds import LEASE, NODE, POD
from kubeglass.components.api.objects import Pod
from kubeglass.components.kubelet.fleet.addresses import Addresses
from kubeglass.components.kubelet.fleet.metrics import FleetMetrics
from kubeglass.components.kubelet.fleet.nodes import (
    NodeShape,
    lease_object,
    lease_spec,
    node_name,
    node_object,
    node_status,
)
from kubeglass.components.kubelet.fleet.pods import Step, next_step
from kubeglass.components.kubelet.fleet.refusals import refusal
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.informer import Change, Informer
from kubeglass.components.machinery.loopback import MAX_SIMULATED_NODES, AddressPlan
from kubeglass.components.machinery.process import ComponentSpec, ConfigError, Context
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler
from kubeglass.components.machinery.transport import Unreachable
from kubeglass.components.machinery.workqueue import WorkQueue
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.pages import Answer, Asked

_LEASE_NAMESPACE = "kube-node-lease"
_AT_ONCE = 16
_STATUS_SECONDS = 300.0
_RETRY_SECONDS = 0.5
_DEFAULT_TAINT = "kubeglass.io/simulated=true:NoSchedule"
_DEFAULT_CAPACITY = "cpu=8,memory=32Gi,ephemeral-storage=100Gi,pods=110"


@dataclass(slots=True)
class SimulatedNode:
    """One node: what must be remembered of it."""

    index: int
    name: str
    pod_cidr: str
    addresses: Addresses
    uid: str = ""
    ready_since: str = ""


class Fleet:
    """The simulated nodes of a cluster. A Reconciler of Pods by key."""

    name = "simulated-pods"

    def __init__(self, count: int, slot: int, shape: NodeShape, client: Client, telemetry: Telemetry) -> None:
        self._shape = shape
        self._client = client
        self._telemetry = telemetry
        self._log = telemetry.log
        self._metrics = FleetMetrics(telemetry.metrics)
        plan = AddressPlan(slot)
        nodes = (
            SimulatedNode(i, node_name(i), cidr := plan.simulated_pod_cidr(i), Addresses(cidr))
            for i in range(1, count + 1)
        )
        self._nodes = {node.name: node for node in nodes}
        self._pods = Informer(client, POD, Pod, telemetry, field_selector="spec.nodeName!=")
        self._queue: WorkQueue[str] = WorkQueue(self.name, telemetry)
        self._own: set[str] = set()  # keys of Pods on simulated nodes

    def answer(self, asked: Asked) -> Answer | None:
        """Requests for logs, exec, attach and port-forward are told why there is nothing."""
        text = refusal(asked.path)
        return Answer(400, "text/plain; charset=utf-8", (text.encode(),)) if text else None

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Simulate until cancelled; `started` is called when every node is registered and Ready."""
        try:
            async with asyncio.TaskGroup() as group:
                await self._for_all(self._register)
                self._metrics.nodes.set(len(self._nodes))
                self._log.info("Registered simulated nodes", count=len(self._nodes))
                self._pods.subscribe(self._dispatch)
                group.create_task(self._pods.run(), name="pods")
                group.create_task(
                    run_reconciler(self, self._queue, self._telemetry, workers=_AT_ONCE), name="reconcile"
                )
                period = self._shape.lease_duration_seconds / 2
                group.create_task(self._repeat(period, self._renew), name="leases")
                group.create_task(self._repeat(_STATUS_SECONDS, self._report), name="statuses")
                started()
        finally:
            await self._client.close()

    # -- nodes ----------------------------------------------------------------------------------------------------

    async def _for_all(self, act: Callable[[SimulatedNode], Awaitable[None]]) -> None:
        """Do something for every node, a few at a time, until it has worked."""
        pending = iter(tuple(self._nodes.values()))

        async def work() -> None:
            for node in pending:
                while not await self._attempt(act, node):
                    await asyncio.sleep(_RETRY_SECONDS)

        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(work())

    async def _attempt(self, act: Callable[[SimulatedNode], Awaitable[None]], node: SimulatedNode) -> bool:
        try:
            await act(node)
        except (ApiError, Unreachable) as error:
            self._log.error(error, "Simulated node cannot reach its server, will retry", node=node.name)
            return False
        return True

    async def _register(self, node: SimulatedNode) -> None:
        node.ready_since = clock.now_rfc3339()
        try:
            created = await self._client.create(
                NODE, node_object(node.index, self._shape, node.pod_cidr, node.ready_since)
            )
        except AlreadyExists:
            created = await self._client.get(NODE, node.name)
            await self._report(node)
        node.uid = created["metadata"]["uid"]
        await self._renew(node)

    async def _report(self, node: SimulatedNode) -> None:
        status = node_status(node.name, self._shape, clock.now_rfc3339(), node.ready_since)
        try:
            await self._client.patch(NODE, node.name, {"status": status}, patch_type="strategic", subresource="status")
        except NotFound:  # somebody deleted the Node: as a kubelet would, register anew
            await self._register(node)

    async def _renew(self, node: SimulatedNode) -> None:
        now = clock.now_micro()
        spec = lease_spec(node.name, self._shape, now)
        try:
            await self._client.patch(LEASE, node.name, {"spec": spec}, _LEASE_NAMESPACE)
        except NotFound:
            lease = lease_object(node.name, node.uid, self._shape, now)
            await self._client.create(LEASE, lease, _LEASE_NAMESPACE)
        except (ApiError, Unreachable):
            self._metrics.lease_renewals.labels("error").inc()
            raise
        self._metrics.lease_renewals.labels("success").inc()

    async def _repeat(self, period_seconds: float, act: Callable[[SimulatedNode], Awaitable[None]]) -> None:
        """Act for every node once per period, evenly spread over it, so that the load has no peaks."""
        loop = asyncio.get_running_loop()
        nodes = tuple(self._nodes.values())
        while True:
            began = loop.time()
            for position, node in enumerate(nodes):
                await asyncio.sleep(began + period_seconds * position / len(nodes) - loop.time())
                await self._attempt(act, node)
            late = loop.time() - began - period_seconds
            if act == self._renew:
                self._metrics.lateness.set(max(0.0, late))
            await asyncio.sleep(-late)

    # -- pods -----------------------------------------------------------------------------------------------------

    def _dispatch(self, change: Change[Pod]) -> None:
        pod = change.new
        node = self._nodes.get(pod.spec.node_name)
        if node is None:
            return
        if change.type == "DELETED":
            self._own.discard(change.key)
            node.addresses.release(pod.metadata.uid)
        else:
            self._own.add(change.key)
            if change.type == "ADDED" and pod.status.pod_ip:
                node.addresses.adopt(pod.metadata.uid, pod.status.pod_ip)
            self._queue.add(change.key)
        self._metrics.pods.set(len(self._own))

    async def reconcile(self, key: str) -> Result:
        """Bring one Pod a step further."""
        pod = self._pods.get(key)
        node = self._nodes.get(pod.spec.node_name) if pod else None
        if pod is None or node is None:
            return DONE
        pod_ip = pod.status.pod_ip or node.addresses.take(pod.metadata.uid)
        step = next_step(pod, pod_ip, self._shape.address, clock.now())
        await self._carry_out(pod, step)
        return Result(step.again_after_seconds)

    async def _carry_out(self, pod: Pod, step: Step) -> None:
        meta = pod.metadata
        try:
            if step.delete:
                await self._client.delete(POD, meta.name, meta.namespace, grace_period_seconds=0, uid=meta.uid)
            elif step.status is not None:
                patch = {"metadata": {"uid": meta.uid}, "status": step.status}
                await self._client.patch(
                    POD, meta.name, patch, meta.namespace, patch_type="strategic", subresource="status"
                )
                self._metrics.status_updates.labels(step.status["phase"]).inc()
        except NotFound:
            return


# -- the component ----------------------------------------------------------------------------------------------------


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of our own; where upstream's kubelet has one for it, under its name."""
    parser.add_argument("--nodes", type=int, default=10, metavar="N", help="nodes to simulate (%(default)s)")
    parser.add_argument("--slot", type=int, default=0, metavar="N", help="the cluster's loopback slot (%(default)s)")
    parser.add_argument("--node-ip", default="127.0.0.1", metavar="IP", help="address of all of them (%(default)s)")
    parser.add_argument("--node-capacity", default=_DEFAULT_CAPACITY, metavar="K=V[,K=V]", help="of each (%(default)s)")
    parser.add_argument(
        "--register-with-taints", default=_DEFAULT_TAINT, metavar="K=V:EFFECT[,…]", help="of each (%(default)s)"
    )
    parser.add_argument("--zones", type=int, default=3, metavar="N", help="zones to spread over, 1 to 26 (%(default)s)")
    parser.add_argument(
        "--node-lease-duration-seconds", type=int, default=40, metavar="N", help="renewed twice in it (%(default)s)"
    )


def node_shape(flags: argparse.Namespace) -> NodeShape:
    """The flags as a value. Raises ConfigError."""
    if not 1 <= flags.nodes <= MAX_SIMULATED_NODES:
        raise ConfigError(f"--nodes must be 1 to {MAX_SIMULATED_NODES}, got {flags.nodes}")
    if not 1 <= flags.zones <= 26:
        raise ConfigError(f"--zones must be 1 to 26, got {flags.zones}")
    return NodeShape(
        address=flags.node_ip,
        port=flags.secure_port,
        capacity=_capacity(flags.node_capacity),
        taints=tuple(_taint(text) for text in flags.register_with_taints.split(",") if text),
        zones=flags.zones,
        lease_duration_seconds=flags.node_lease_duration_seconds,
    )


def _capacity(text: str) -> Mapping[str, str]:
    amounts = dict(_pairs(text.split(",")))
    for name, amount in amounts.items():
        try:
            quantity.parse(amount)
        except quantity.QuantityError as error:
            raise ConfigError(f"--node-capacity: {name}: {error}") from error
    return amounts


def _pairs(parts: Iterable[str]) -> Iterable[tuple[str, str]]:
    for part in parts:
        key, found, value = part.partition("=")
        if not found:
            raise ConfigError(f"--node-capacity wants K=V, got {part!r}")
        yield key, value


def _taint(text: str) -> Mapping[str, str]:
    pair, found, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    if not found or not key or effect not in ("NoSchedule", "PreferNoSchedule", "NoExecute"):
        raise ConfigError(f"--register-with-taints wants KEY=VALUE:EFFECT, got {text!r}")
    return {"key": key, "value": value, "effect": effect}


def build(context: Context) -> Fleet:
    """Build the component from its flags."""
    flags = context.flags
    return Fleet(flags.nodes, flags.slot, node_shape(flags), context.client(), context.telemetry)


COMPONENT = ComponentSpec(
    name="simulated-kubelets",
    binary="kubeglass-simulated-kubelets",
    summary="Simulates many nodes and their Pods.",
    add_flags=add_flags,
    build=build,
    secure_port=10250,
)

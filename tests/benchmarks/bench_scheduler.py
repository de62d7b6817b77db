"""How many Pods a second the scheduler decides on, by the number of nodes, and what the parts of a cluster cost.

The alternative beside it is the least a scheduler can do: first fit over the same nodes, without plugins or scores.
A second pair of rows is the whole way: Pods created through a real API server until all are bound.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from tests.benchmarks.report import Row

from kubeglass.components.api.kinds import NODE, POD, SERVICE_ACCOUNT
from kubeglass.components.api.objects import Node, Pod, decode
from kubeglass.components.apiserver.testing import quiet_telemetry, running
from kubeglass.components.machinery.process import start
from kubeglass.components.scheduler.cycle import Cycle
from kubeglass.components.scheduler.framework import Framework
from kubeglass.components.scheduler.interface import SUCCESS, Code
from kubeglass.components.scheduler.plugins.volumes import VolumeSources
from kubeglass.components.scheduler.profile import Surroundings, default_plugins
from kubeglass.components.scheduler.queue import Nominator
from kubeglass.components.scheduler.scheduler import Scheduler
from kubeglass.components.scheduler.snapshot import PodInfo, Snapshot

_NODES = 1000
_PODS = 300
_DECISIONS_BOUND, _BOUND_BOUND = 200.0, 100.0


def run(rounds: int) -> Iterable[Row]:
    """Decisions alone on 100 and 1,000 nodes, then the whole way on 1,000."""
    for nodes in (100, _NODES):
        ours = max(_decisions(nodes) for _ in range(rounds))
        least = max(_first_fit(nodes) for _ in range(rounds))
        bound = f">= {_DECISIONS_BOUND:.0f} Pods/s"
        what = f"decisions, {nodes} nodes"
        yield Row(what, f"{ours:.0f}/s", f"first fit {least:.0f}/s", ours / least, bound, ours >= _DECISIONS_BOUND)
    bound_per_second, created = max(asyncio.run(_whole_way()) for _ in range(rounds))
    yield Row(
        f"created to bound, {_NODES} nodes",
        f"{bound_per_second:.0f}/s",
        f"created {created:.0f}/s",
        bound_per_second / created,
        f">= {_BOUND_BOUND:.0f} Pods/s",
        bound_per_second >= _BOUND_BOUND,
    )


def _node(index: int) -> dict[str, Any]:
    labels = {"kubernetes.io/hostname": f"node-{index}", "topology.kubernetes.io/zone": f"zone-{index % 3}"}
    resources = {"cpu": "32", "memory": "64Gi", "pods": "110"}
    ready = {"type": "Ready", "status": "True"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"node-{index}", "labels": labels},
        "status": {"allocatable": resources, "capacity": resources, "conditions": [ready]},
    }


def _pod(index: int) -> dict[str, Any]:
    resources = {"requests": {"cpu": "100m", "memory": "128Mi"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"pod-{index}", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "nginx", "resources": resources}]},
    }


class _Silent:
    @contextmanager
    def point(self, extension_point: str, pod: PodInfo) -> Iterator[Callable[[Code], None]]:
        yield lambda code: None

    @contextmanager
    def plugin(self, plugin: str, extension_point: str) -> Iterator[Callable[[Code], None]]:
        yield lambda code: None

    def evaluated(self, plugin: str, extension_point: str) -> None:
        pass


async def _nothing(*_: Any) -> Any:
    return SUCCESS


async def _bound(*_: Any) -> str:
    return ""


def _snapshot(nodes: int) -> Snapshot:
    snapshot = Snapshot()
    for index in range(nodes):
        snapshot.set_node(decode(Node, _node(index)))
    return snapshot


def _infos() -> list[PodInfo]:
    return [PodInfo(decode(Pod, _pod(index))) for index in range(_PODS)]


def _decisions(nodes: int) -> float:
    """Pods a second, decided and assumed one after the other."""
    snapshot, choice = _snapshot(nodes), Random(1)
    sources = VolumeSources(lambda *_: None, lambda _: None, lambda: (), lambda _: None, _bound)
    around = Surroundings(snapshot, choice, lambda pod: None, lambda: (), sources, _nothing)
    framework = Framework("default-scheduler", default_plugins(around), _Silent())
    cycle = Cycle(framework, snapshot, Nominator(), choice)
    pods = _infos()
    started = time.perf_counter()
    for pod in pods:
        snapshot.assume(pod, cycle.decide(pod).node_name)
    return len(pods) / (time.perf_counter() - started)


def _first_fit(nodes: int) -> float:
    snapshot, pods = _snapshot(nodes), _infos()
    started = time.perf_counter()
    for pod in pods:
        for node in snapshot.nodes.values():
            if all(node.requested[name] + asked <= node.allocatable[name] for name, asked in pod.requests.items()):
                snapshot.assume(pod, node.name)
                break
    return len(pods) / (time.perf_counter() - started)


async def _whole_way() -> tuple[float, float]:
    """(Pods bound a second, Pods created a second), counted from the first creation."""
    async with running() as server, asyncio.TaskGroup() as group:
        client = server.client()
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        await client.create(SERVICE_ACCOUNT, account, "default")
        for index in range(_NODES):
            body = _node(index)
            await client.create(NODE, body)
            await client.patch(
                NODE, body["metadata"]["name"], {"spec": {"taints": None}}
            )  # no manager is here to do it
            await client.patch(NODE, body["metadata"]["name"], {"status": body["status"]}, subresource="status")
        task = await start(group, Scheduler(client, quiet_telemetry(), seed=1).run, "scheduler")
        version = (await client.list(POD)).resource_version
        started = time.perf_counter()
        created = group.create_task(_create(client))
        bound = 0
        async for event in client.watch(POD, resource_version=version):
            bound += event.type == "MODIFIED" and bool(event.object["spec"].get("nodeName"))
            if bound == _PODS:
                break
        took = time.perf_counter() - started
        rate = await created
        task.cancel()
    return _PODS / took, rate


async def _create(client: Any) -> float:
    started = time.perf_counter()
    for index in range(_PODS):
        await client.create(POD, _pod(index), "default")
    return _PODS / (time.perf_counter() - started)

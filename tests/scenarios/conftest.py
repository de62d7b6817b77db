"""A whole control plane in one process: real API server, controllers and scheduler; kubelets are played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from kubeglass.components.api.errors import Conflict, NotFound
from kubeglass.components.api.kinds import NODE, POD, Kind
from kubeglass.components.apiserver.testing import quiet_telemetry, running
from kubeglass.components.controllers.controllers import ControllerManager, default_options
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.client import Client, Object
from kubeglass.components.machinery.process import start
from kubeglass.components.scheduler.scheduler import Scheduler
from kubeglass.telemetry import Telemetry

PATIENCE_SECONDS = 20.0


@dataclass
class Kubelets:
    """Runs what is bound to its nodes: Pods become Running and Ready at once, deleted ones go at once."""

    client: Client
    ready: Callable[[Object], bool] = lambda pod: True
    silent: set[str] = field(default_factory=set)
    addresses: dict[str, str] = field(default_factory=dict)

    async def add_node(self, name: str, cpu: str = "4", memory: str = "8Gi") -> None:
        stamp = clock.now_rfc3339()
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        }
        await self.client.create(NODE, node)
        resources = {"cpu": cpu, "memory": memory, "pods": "110"}
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "kubelet is posting ready status",
        }
        ready |= {"lastHeartbeatTime": stamp, "lastTransitionTime": stamp}
        status = {"capacity": resources, "allocatable": resources, "conditions": [ready]}
        await self.client.patch(NODE, name, {"status": status}, subresource="status")

    async def run(self) -> None:
        """Follow the Pods until cancelled."""
        listed = await self.client.list(POD)
        for pod in listed.items:
            await self._handle(pod)
        async for event in self.client.watch(POD, resource_version=listed.resource_version):
            if event.type in ("ADDED", "MODIFIED"):
                await self._handle(event.object)

    async def _handle(self, pod: Object) -> None:
        meta, spec = pod["metadata"], pod["spec"]
        node = spec.get("nodeName", "")
        if not node or node in self.silent:
            return
        try:
            if meta.get("deletionTimestamp"):
                await self.client.delete(POD, meta["name"], meta["namespace"], grace_period_seconds=0)
            elif pod["status"].get("phase") == "Pending" or self._becomes_ready(pod):
                await self._start(pod)
        except (NotFound, Conflict):
            return

    def _becomes_ready(self, pod: Object) -> bool:
        stated = any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
        return pod["status"].get("phase") == "Running" and not stated and self.ready(pod)

    async def _start(self, pod: Object) -> None:
        meta = pod["metadata"]
        address = self.addresses.setdefault(meta["uid"], f"127.128.1.{len(self.addresses) % 250 + 1}")
        ready = "True" if self.ready(pod) else "False"
        conditions = [
            {"type": type, "status": ready, "lastTransitionTime": clock.now_rfc3339()}
            for type in ("Ready", "ContainersReady")
        ]
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}
        patch = {"status": {**status, "startTime": clock.now_rfc3339()}}
        await self.client.patch(
            POD, meta["name"], patch, meta["namespace"], patch_type="strategic", subresource="status"
        )


@dataclass
class ControlPlane:
    """What a scenario acts on and looks at."""

    client: Client
    kubelets: Kubelets
    manager_telemetry: Telemetry
    scheduler_telemetry: Telemetry

    async def eventually(self, what: Callable[[], Awaitable[bool]], message: str = "") -> None:
        """Wait until `what` holds."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not await what():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"never came true: {message or what}")

    async def objects(self, kind: Kind, namespace: str = "default", selector: str = "") -> list[Object]:
        return (await self.client.list(kind, namespace, label_selector=selector)).items

    async def has(
        self, kind: Kind, name: str, holds: Callable[[Object], Any] = lambda obj: True, namespace: str = "default"
    ) -> None:
        """Wait until an object exists and `holds` of it."""

        async def check() -> bool:
            try:
                return bool(holds(await self.client.get(kind, name, namespace if kind.namespaced else "")))
            except (NotFound, KeyError):
                return False

        await self.eventually(check, f"{kind.singular} {name}")

    async def gone(self, kind: Kind, namespace: str = "default", selector: str = "") -> None:
        """Wait until no object of a kind is left."""

        async def check() -> bool:
            return not await self.objects(kind, namespace, selector)

        await self.eventually(check, f"no {kind.plural}")


@asynccontextmanager
async def control_plane(options: Mapping[str, Any] | None = None) -> AsyncIterator[ControlPlane]:
    async with running() as server, asyncio.TaskGroup() as group:
        manager, scheduler = quiet_telemetry(), quiet_telemetry()
        client = server.client()
        tasks = [
            await start(group, ControllerManager(client, manager, options or default_options()).run, "manager"),
            await start(group, Scheduler(client, scheduler, seed=1).run, "scheduler"),
        ]
        kubelets = Kubelets(client)
        tasks.append(group.create_task(kubelets.run()))
        try:
            yield ControlPlane(client, kubelets, manager, scheduler)
        finally:
            for task in reversed(tasks):
                task.cancel()


@pytest.fixture
async def plane() -> AsyncIterator[ControlPlane]:
    async with control_plane() as found:
        yield found

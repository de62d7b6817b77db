"""The pod lifecycle event generator: tells pod workers that something of theirs changed in the runtime.

The runtime's own events come at once; a relist every second finds what they missed. Upstream: pkg/kubelet/pleg.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from kubeglass.components.kubelet.metrics import ContainerMetrics, PlegMetrics
from kubeglass.components.kubelet.runtime.runtime import Container, ContainerState, Runtime, SandboxState
from kubeglass.components.machinery import clock
from kubeglass.telemetry import Telemetry

_RELIST_SECONDS = 1.0
_UNHEALTHY_SECONDS = 180.0


class Pleg:
    """Watches one runtime. `on_change` hears the uid of the pod."""

    def __init__(
        self,
        runtime: Runtime,
        telemetry: Telemetry,
        on_change: Callable[[str], None],
        container_type: Callable[[Container], str] = lambda container: "container",
    ) -> None:
        self._runtime = runtime
        self._metrics = PlegMetrics(telemetry.metrics)
        self._containers = ContainerMetrics(telemetry.metrics)
        self._on_change = on_change
        self._container_type = container_type
        self._known: dict[str, ContainerState] = {}
        self._last_relist = 0.0
        self._looked = False
        """Whether what is found ended has ended under our eyes."""

    def check_health(self) -> None:
        """A health check. Raises when the relist has not run for three minutes."""
        silence = asyncio.get_running_loop().time() - self._last_relist
        if self._last_relist and silence > _UNHEALTHY_SECONDS:
            raise RuntimeError(f"pleg was last seen active {silence:.0f}s ago; threshold is 3m0s")

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Relist and follow events until cancelled."""
        await self.relist()
        started()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(), name="pleg-events")
            group.create_task(self._relist_forever(), name="pleg-relist")

    async def _follow(self) -> None:
        async for event in self._runtime.events():
            await self.relist()
            self._on_change(event.pod_uid)

    async def _relist_forever(self) -> None:
        while True:
            await asyncio.sleep(_RELIST_SECONDS)
            await self.relist()

    async def relist(self) -> None:
        """Compare the runtime with what it had before."""
        started = asyncio.get_running_loop().time()
        if self._last_relist:
            self._metrics.pleg_relist_interval_seconds.observe(started - self._last_relist)
        self._last_relist = started
        containers = await self._runtime.list_containers()
        sandboxes = await self._runtime.list_pod_sandboxes()
        for container in containers:
            self._compare(container)
        self._looked = True
        self._known = {container.id: container.state for container in containers}
        self._count(containers, sum(sandbox.state is SandboxState.READY for sandbox in sandboxes))
        self._metrics.pleg_relist_duration_seconds.observe(asyncio.get_running_loop().time() - started)
        self._metrics.pleg_last_seen_seconds.set(clock.now())

    def _compare(self, container: Container) -> None:
        before = self._known.get(container.id)
        if before is container.state:
            return
        if container.state is ContainerState.EXITED and self._looked:
            kind = self._container_type(container)
            self._containers.terminated_containers_total.labels(kind, str(container.exit_code), container.reason).inc()
        self._on_change(container.pod_uid)

    def _count(self, containers: Sequence[Container], running_pods: int) -> None:
        self._metrics.running_pods.set(running_pods)
        counts: dict[str, int] = {"running": 0, "exited": 0}
        for container in containers:
            state = container.state.value.lower()
            counts[state] = counts.get(state, 0) + 1
        for state, count in counts.items():
            self._metrics.running_containers.labels(state).set(count)

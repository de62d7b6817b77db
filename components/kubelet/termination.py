"""Ends the containers of a pod in good order: preStop hook, signal, grace, kill; main containers before sidecars.

Upstream: kuberuntime_container.go (killContainer, killContainersWithSyncResult).
"""

from __future__ import annotations

import asyncio

from kubeglass.components.api.objects import Container as ContainerSpec
from kubeglass.components.api.objects import Pod
from kubeglass.components.kubelet.hooks import HookError, Hooks
from kubeglass.components.kubelet.observed import Observed, every_container, is_sidecar
from kubeglass.components.kubelet.pod_events import PodEvents
from kubeglass.components.kubelet.probes import ProbeManager
from kubeglass.components.kubelet.runtime.runtime import Container, Runtime
from kubeglass.telemetry import Telemetry

MINIMUM_GRACE_SECONDS = 2.0
"""What is left to a container after a preStop hook that used up the grace period."""


class Terminator:
    """Ends containers on one node."""

    def __init__(
        self, runtime: Runtime, hooks: Hooks, probes: ProbeManager, events: PodEvents, telemetry: Telemetry
    ) -> None:
        self._runtime = runtime
        self._hooks = hooks
        self._probes = probes
        self._events = events
        self._log = telemetry.log

    async def end_container(
        self, pod: Pod, spec: ContainerSpec | None, container: Container, message: str, grace_seconds: float, ip: str
    ) -> None:
        """Returns once the container ended."""
        self._events.normal(pod, spec, "Killing", message or f"Stopping container {container.name}")
        self._probes.stop_killing(container.id)
        self._log.v(2).info(
            "Killing container with a grace period",
            pod=pod.key,
            podUID=pod.metadata.uid,
            containerName=container.name,
            containerID=container.id,
            gracePeriod=int(grace_seconds),
        )
        remaining = grace_seconds
        if spec is not None and spec.lifecycle and spec.lifecycle.pre_stop and grace_seconds > 0:
            remaining -= await self._pre_stop(pod, spec, container, grace_seconds, ip)
            remaining = max(remaining, MINIMUM_GRACE_SECONDS)
        await self._runtime.stop_container(container.id, remaining)
        self._probes.forget(container.id)

    async def end_pod(self, pod: Pod, observed: Observed, grace_seconds: float) -> None:
        """Every running container: the main ones together, then the sidecars from the last to the first."""
        specs = {spec.name: spec for spec in every_container(pod)}
        running = observed.running()
        sidecars = {c.name for c in pod.spec.init_containers if is_sidecar(c)}
        ip = observed.sandbox.ip if observed.sandbox else ""
        started = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for container in running:
                if container.name not in sidecars:
                    group.create_task(
                        self.end_container(pod, specs.get(container.name), container, "", grace_seconds, ip)
                    )
        for spec in reversed([c for c in pod.spec.init_containers if c.name in sidecars]):
            left = max(0.0, grace_seconds - (asyncio.get_running_loop().time() - started))
            for container in running:
                if container.name == spec.name:
                    await self.end_container(pod, spec, container, "", left or min(grace_seconds, 1.0), ip)

    async def _pre_stop(
        self, pod: Pod, spec: ContainerSpec, container: Container, grace_seconds: float, ip: str
    ) -> float:
        """Run the hook within the grace period; the seconds it took."""
        assert spec.lifecycle is not None
        assert spec.lifecycle.pre_stop is not None
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(grace_seconds):
                await self._hooks.run(spec.lifecycle.pre_stop, pod, spec, container.id, ip)
        except TimeoutError:
            self._log.v(2).info("PreStop hook not completed in grace period", pod=pod.key, containerName=spec.name)
        except HookError as error:
            self._events.warning(pod, spec, "FailedPreStopHook", f"PreStopHook failed: {error}")
        return asyncio.get_running_loop().time() - started

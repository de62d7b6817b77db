"""A pod's sandbox and its place on the network, made and ended together; and what is left of old ones removed."""

from __future__ import annotations

import asyncio
import shutil

from kubeglass.components.api.objects import Pod
from kubeglass.components.kubelet.configuration import KubeletConfig
from kubeglass.components.kubelet.environment import pod_hostname
from kubeglass.components.kubelet.metrics import PodWorkerMetrics
from kubeglass.components.kubelet.network import CniNetwork, NetworkError
from kubeglass.components.kubelet.observed import Observed
from kubeglass.components.kubelet.pod_events import PodEvents
from kubeglass.components.kubelet.runtime.runtime import Runtime, RuntimeCallError, Sandbox, SandboxConfig
from kubeglass.components.kubelet.volumes import VolumeManager
from kubeglass.telemetry import Telemetry

_KEPT_CONTAINERS = 2
"""Of each container: the present one and the one before, for lastState and `logs --previous`."""


class SandboxError(Exception):
    """A sandbox that could not be made; the text is fit for an event."""


class PodSandboxes:
    """Sandboxes on one node."""

    def __init__(
        self,
        config: KubeletConfig,
        runtime: Runtime,
        network: CniNetwork,
        volumes: VolumeManager,
        events: PodEvents,
        metrics: PodWorkerMetrics,
        telemetry: Telemetry,
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._network = network
        self._volumes = volumes
        self._events = events
        self._metrics = metrics
        self._log = telemetry.log

    async def create(self, pod: Pod, attempt: int) -> Sandbox:
        """Attach to the network and start the sandbox. Raises SandboxError."""
        meta = pod.metadata
        if attempt:
            message = "Pod sandbox changed, it will be killed and re-created."
            self._events.normal(pod, None, "SandboxChanged", message)
        self._metrics.started_pods_total.inc()
        config = SandboxConfig(
            meta.uid, meta.namespace, meta.name, attempt, pod_hostname(pod), host_network=pod.spec.host_network
        )
        try:
            ip = self._config.node_ip
            if not pod.spec.host_network:
                ip = await self._network.attach(_attachment(meta.uid, attempt), meta.namespace, meta.name, meta.uid)
            sandbox_id = await self._runtime.run_pod_sandbox(config, ip)
        except (NetworkError, RuntimeCallError) as error:
            self._metrics.started_pods_errors_total.inc()
            message = f"Failed to create pod sandbox: {error}"
            self._events.warning(pod, None, "FailedCreatePodSandBox", message)
            raise SandboxError(message) from error
        return next(s for s in await self._runtime.list_pod_sandboxes() if s.id == sandbox_id)

    async def stop(self, pod: Pod, observed: Observed) -> None:
        """End every sandbox of the pod and give its addresses back."""
        for sandbox in observed.sandboxes:
            await self._runtime.stop_pod_sandbox(sandbox.id)
            await self.detach(sandbox)

    async def detach(self, sandbox: Sandbox) -> None:
        """Give a sandbox's address back; a failure is logged, the next garbage collection repairs it."""
        if sandbox.config.host_network:
            return
        try:
            await self._network.detach(_attachment(sandbox.config.pod_uid, sandbox.config.attempt))
        except NetworkError as error:
            self._log.error(error, "Failed to tear down pod network", podUID=sandbox.config.pod_uid)

    async def collect_garbage(self, observed: Observed) -> None:
        """Remove containers that nobody asks about any more, then sandboxes that hold none."""
        kept_sandboxes = {observed.sandboxes[0].id} if observed.sandboxes else set()
        for found in observed.containers.values():
            kept_sandboxes |= {container.sandbox_id for container in found[:_KEPT_CONTAINERS]}
            for container in found[_KEPT_CONTAINERS:]:
                await self._runtime.remove_container(container.id)
        for sandbox in observed.sandboxes:
            if sandbox.id not in kept_sandboxes:
                await self._runtime.remove_pod_sandbox(sandbox.id)

    async def remove(self, namespace: str, name: str, uid: str) -> None:
        """Delete all of a pod: sandboxes, containers, volumes, logs."""
        for sandbox in await self._runtime.list_pod_sandboxes():
            if sandbox.config.pod_uid == uid:
                await self._runtime.stop_pod_sandbox(sandbox.id)
                await self.detach(sandbox)
                await self._runtime.remove_pod_sandbox(sandbox.id)
        await asyncio.to_thread(self._volumes.remove, uid)
        await asyncio.to_thread(shutil.rmtree, self._config.pod_log_dir(namespace, name, uid), True)

    async def release_unknown_addresses(self) -> None:
        """Free what a killed kubelet left reserved."""
        sandboxes = await self._runtime.list_pod_sandboxes()
        valid = [_attachment(s.config.pod_uid, s.config.attempt) for s in sandboxes]
        try:
            await self._network.collect_garbage(valid)
        except NetworkError as error:
            self._log.error(error, "Failed to collect unused pod addresses")


def _attachment(pod_uid: str, attempt: int) -> str:
    """The container id by which CNI knows a sandbox; known before the sandbox exists."""
    return f"{pod_uid}-{attempt}"

"""The seam at which every call of a runtime is counted, timed and traced; the runtimes themselves measure nothing.

Spans are named as CRI's (runtime.v1.RuntimeService/RunPodSandbox), metrics by kubelet_runtime_operations_*.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager

from kubeglass.components.api import semantics
from kubeglass.components.api.kinds import POD
from kubeglass.components.kubelet.metrics import RuntimeMetrics
from kubeglass.components.kubelet.runtime.runtime import (
    Container,
    ContainerConfig,
    ContainerStats,
    ExecResult,
    Image,
    ProcessStreams,
    Resources,
    Runtime,
    RuntimeEvent,
    Sandbox,
    SandboxConfig,
)
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.tracing.tracer import CLIENT


class InstrumentedRuntime:
    """A Runtime that records what it passes on."""

    def __init__(self, inner: Runtime, telemetry: Telemetry) -> None:
        self.name = inner.name
        self.version = inner.version
        self._inner = inner
        self._tracer = telemetry.tracer
        self._metrics = RuntimeMetrics(telemetry.metrics)
        self._about: dict[str, Mapping[str, str]] = {}  # of sandboxes and containers made by this process, by id

    @contextmanager
    def _operation(
        self, operation: str, method: str, about: Mapping[str, str] = {}, *, traced: bool = True
    ) -> Iterator[None]:
        service = "ImageService" if method.endswith(("Image", "Images", "ImageStatus")) else "RuntimeService"
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            if traced:
                attributes = {"rpc.system": "grpc", "rpc.service": f"runtime.v1.{service}", "rpc.method": method}
                attributes |= about
                with self._tracer.span(f"runtime.v1.{service}/{method}", kind=CLIENT, attributes=attributes):
                    yield
            else:
                yield
        except Exception:
            self._metrics.runtime_operations_errors_total.labels(operation).inc()
            raise
        finally:
            self._metrics.runtime_operations_total.labels(operation).inc()
            self._metrics.runtime_operations_duration_seconds.labels(operation).observe(clock() - started)

    async def start(self) -> None:
        with self._operation("version", "Version", traced=False):
            await self._inner.start()

    async def close(self) -> None:
        await self._inner.close()

    async def run_pod_sandbox(self, config: SandboxConfig, ip: str) -> str:
        started = asyncio.get_running_loop().time()
        try:
            about = semantics.about(POD, config.pod_namespace, config.pod_name, config.pod_uid)
            with self._operation("run_podsandbox", "RunPodSandbox", about):
                made = await self._inner.run_pod_sandbox(config, ip)
            self._about[made] = about
            return made
        except Exception:
            self._metrics.run_podsandbox_errors_total.labels("").inc()
            raise
        finally:
            seconds = asyncio.get_running_loop().time() - started
            self._metrics.run_podsandbox_duration_seconds.labels("").observe(seconds)

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        with self._operation("stop_podsandbox", "StopPodSandbox", self._about.get(sandbox_id, {})):
            await self._inner.stop_pod_sandbox(sandbox_id)

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        with self._operation("remove_podsandbox", "RemovePodSandbox", self._about.pop(sandbox_id, {})):
            await self._inner.remove_pod_sandbox(sandbox_id)

    async def list_pod_sandboxes(self) -> Sequence[Sandbox]:
        with self._operation("list_podsandbox", "ListPodSandbox", traced=False):
            return await self._inner.list_pod_sandboxes()

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        container = {**self._about.get(sandbox_id, {}), "k8s.container.name": config.name}
        about = {**container, "container.image.name": config.image}
        with self._operation("create_container", "CreateContainer", about):
            made = await self._inner.create_container(sandbox_id, config)
        self._about[made] = {**container, "container.id": made}
        return made

    async def start_container(self, container_id: str) -> None:
        with self._operation("start_container", "StartContainer", self._about_container(container_id)):
            await self._inner.start_container(container_id)

    async def stop_container(self, container_id: str, grace_seconds: float) -> None:
        with self._operation("stop_container", "StopContainer", self._about_container(container_id)):
            await self._inner.stop_container(container_id, grace_seconds)

    async def update_container_resources(self, container_id: str, resources: Resources) -> None:
        with self._operation("update_container", "UpdateContainerResources", self._about_container(container_id)):
            await self._inner.update_container_resources(container_id, resources)

    async def remove_container(self, container_id: str) -> None:
        with self._operation("remove_container", "RemoveContainer", self._about_container(container_id)):
            await self._inner.remove_container(container_id)
        self._about.pop(container_id, None)

    def _about_container(self, container_id: str) -> Mapping[str, str]:
        return self._about.get(container_id) or {"container.id": container_id}

    async def list_containers(self) -> Sequence[Container]:
        with self._operation("list_containers", "ListContainers", traced=False):
            return await self._inner.list_containers()

    async def container_status(self, container_id: str) -> Container:
        with self._operation("container_status", "ContainerStatus", traced=False):
            return await self._inner.container_status(container_id)

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> ExecResult:
        with self._operation("exec_sync", "ExecSync", traced=False):
            return await self._inner.exec_sync(container_id, command, timeout_seconds)

    async def exec(self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool) -> ProcessStreams:
        with self._operation("exec", "Exec"):
            return await self._inner.exec(container_id, command, tty=tty, stdin=stdin)

    async def attach(self, container_id: str) -> ProcessStreams:
        with self._operation("attach", "Attach"):
            return await self._inner.attach(container_id)

    async def reopen_container_log(self, container_id: str) -> None:
        with self._operation("reopen_container_log", "ReopenContainerLog", traced=False):
            await self._inner.reopen_container_log(container_id)

    async def list_container_stats(self) -> Sequence[ContainerStats]:
        with self._operation("list_container_stats", "ListContainerStats", traced=False):
            return await self._inner.list_container_stats()

    async def image_status(self, image: str) -> Image | None:
        with self._operation("image_status", "ImageStatus", {"container.image.name": image}):
            return await self._inner.image_status(image)

    async def pull_image(self, image: str) -> Image:
        with self._operation("pull_image", "PullImage", {"container.image.name": image}):
            return await self._inner.pull_image(image)

    async def list_images(self) -> Sequence[Image]:
        with self._operation("list_images", "ListImages", traced=False):
            return await self._inner.list_images()

    def events(self) -> AsyncIterator[RuntimeEvent]:
        return self._inner.events()

"""The `simulated` runtime: containers are data. No process runs, nothing can be entered, figures are zero.

For nodes by the thousand; their Node objects carry kubeglass.io/runtime=simulated.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import kubeglass
from kubeglass.components.kubelet.runtime.images import Catalog, image_id, parse, unknown_image_message
from kubeglass.components.kubelet.runtime.runtime import (
    Container,
    ContainerConfig,
    ContainerState,
    ContainerStats,
    ExecResult,
    Image,
    NotFoundError,
    ProcessStreams,
    Resources,
    RuntimeCallError,
    RuntimeEvent,
    Sandbox,
    SandboxConfig,
    SandboxState,
    new_id,
)


class SimulatedRuntime:
    """Runtime without processes. Its pods end with it."""

    name = "simulated"
    version = kubeglass.__version__

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._sandboxes: dict[str, Sandbox] = {}
        self._containers: dict[str, Container] = {}
        self._images: dict[str, Image] = {}
        self._events: asyncio.Queue[RuntimeEvent] = asyncio.Queue()

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    async def run_pod_sandbox(self, config: SandboxConfig, ip: str) -> str:
        sandbox_id = new_id()
        self._sandboxes[sandbox_id] = Sandbox(sandbox_id, config, SandboxState.READY, time.time_ns(), ip)
        return sandbox_id

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None:
            return
        for container in tuple(self._containers.values()):
            if container.sandbox_id == sandbox_id:
                await self.stop_container(container.id, 0)
        self._sandboxes[sandbox_id] = replace(sandbox, state=SandboxState.NOT_READY)

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        self._sandboxes.pop(sandbox_id, None)
        self._containers = {key: c for key, c in self._containers.items() if c.sandbox_id != sandbox_id}

    async def list_pod_sandboxes(self) -> Sequence[Sandbox]:
        return tuple(self._sandboxes.values())

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        container_id = new_id()
        self._containers[container_id] = Container(
            id=container_id,
            sandbox_id=sandbox_id,
            pod_uid=self._sandboxes[sandbox_id].config.pod_uid,
            name=config.name,
            image=str(parse(config.image)),
            image_id=image_id(config.image),
            attempt=config.attempt,
            state=ContainerState.CREATED,
            created_at=time.time_ns(),
            log_path=config.log_path,
            spec_hash=config.spec_hash,
            resources=config.resources,
        )
        return container_id

    async def start_container(self, container_id: str) -> None:
        container = await self.container_status(container_id)
        self._change(replace(container, state=ContainerState.RUNNING, started_at=time.time_ns()))

    async def stop_container(self, container_id: str, grace_seconds: float) -> None:
        container = await self.container_status(container_id)
        if container.state is ContainerState.RUNNING:
            self._change(
                replace(container, state=ContainerState.EXITED, finished_at=time.time_ns(), reason="Completed")
            )

    async def update_container_resources(self, container_id: str, resources: Resources) -> None:
        self._containers[container_id] = replace(await self.container_status(container_id), resources=resources)

    async def remove_container(self, container_id: str) -> None:
        self._containers.pop(container_id, None)

    async def list_containers(self) -> Sequence[Container]:
        return tuple(self._containers.values())

    async def container_status(self, container_id: str) -> Container:
        container = self._containers.get(container_id)
        if container is None:
            raise NotFoundError(f'container "{container_id}": not found')
        return container

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> ExecResult:
        """Nothing runs, so every command succeeds silently: probes of simulated pods pass."""
        await self.container_status(container_id)
        return ExecResult(0, b"", b"")

    async def exec(self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool) -> ProcessStreams:
        raise RuntimeCallError("container is simulated: there is no process to enter")

    async def attach(self, container_id: str) -> ProcessStreams:
        raise RuntimeCallError("container is simulated: there is no process to attach to")

    async def reopen_container_log(self, container_id: str) -> None:
        return

    async def list_container_stats(self) -> Sequence[ContainerStats]:
        return ()

    async def image_status(self, image: str) -> Image | None:
        return self._images.get(str(parse(image)))

    async def pull_image(self, image: str) -> Image:
        """Only what the catalog knows, so that simulated and real nodes agree."""
        entry = self._catalog.find(image)
        if entry is None:
            raise NotFoundError(unknown_image_message(image))
        reference = str(parse(image))
        return self._images.setdefault(reference, Image(image_id(image), (reference,), entry.size_bytes))

    async def list_images(self) -> Sequence[Image]:
        return tuple(self._images.values())

    def _change(self, container: Container) -> None:
        self._containers[container.id] = container
        self._events.put_nowait(RuntimeEvent(container.pod_uid, container.id))

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        while True:
            yield await self._events.get()

"""The `process` runtime: every container is a real child process of its pod's shim.

Shims outlive the kubelet; `start` finds them again. All state that must survive lies in
NODE_DIR/sandboxes/ID/{sandbox.json, containers/CID/{config,status}.json}; see shim/sandbox.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import stat
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import kubeglass
from kubeglass.components.kubelet.runtime.images import Catalog, Program, image_id, parse, unknown_image_message
from kubeglass.components.kubelet.runtime.runtime import (
    Container,
    ContainerConfig,
    ContainerState,
    ContainerStats,
    ExecResult,
    ExecTimeoutError,
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
from kubeglass.components.kubelet.runtime.shim.cgroup import Group
from kubeglass.components.kubelet.runtime.shim.spawn import Isolation
from kubeglass.components.kubelet.runtime.shimclient import ShimClient, ShimGoneError, open_streams
from kubeglass.components.kubelet.runtime.shims import STOP_SECONDS, ShimStarter, alive, kill_shim
from kubeglass.components.kubelet.runtime.shims import stop_all as stop_all
from kubeglass.components.kubelet.runtime.shimspec import shim_spec
from kubeglass.components.kubelet.runtime.statistics import Statistics
from kubeglass.components.machinery.loopback import first_unprivileged_port

_KILLED = 137


class ProcessRuntime:
    """Runtime over shims. Reads (list, status) are served from memory, kept right by the shims' events."""

    name = "process"
    version = kubeglass.__version__

    def __init__(self, node_dir: Path, catalog: Catalog, port_shift: int = 0) -> None:
        self._sandboxes_dir = node_dir / "sandboxes"
        self._images_file = node_dir / "images.json"
        self._catalog = catalog
        self._port_shift = port_shift
        self._starter = ShimStarter()
        self._sandboxes: dict[str, Sandbox] = {}
        self._containers: dict[str, Container] = {}
        self._shims: dict[str, ShimClient] = {}
        self._images: dict[str, Image] = {}
        self._statistics = Statistics()
        self._events: asyncio.Queue[RuntimeEvent] = asyncio.Queue()  # bounded by containers: at most one per change

    # -- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Adopt every sandbox that an earlier kubelet left; a sandbox whose shim is gone becomes NOTREADY."""
        self._sandboxes_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._images_file.exists():
            for name in json.loads(self._images_file.read_text()):
                self._remember_image(name)
        await self._starter.ensure()
        for directory in sorted(self._sandboxes_dir.iterdir()):
            await self._adopt(directory)

    async def close(self) -> None:
        """Let go: pods keep running and are adopted by the next kubelet."""
        for shim in self._shims.values():
            shim.close()
        await self._starter.close()

    @property
    def isolation(self) -> Isolation:
        """What the host lets containers have."""
        return self._starter.isolation

    async def _adopt(self, directory: Path) -> None:
        try:
            record = json.loads((directory / "sandbox.json").read_text())
        except (OSError, ValueError):  # killed while creating it: nothing ran
            shutil.rmtree(directory, ignore_errors=True)
            return
        sandbox_id = directory.name
        self._sandboxes[sandbox_id] = Sandbox(
            sandbox_id,
            SandboxConfig(**record["config"]),
            SandboxState.NOT_READY,
            created_at=record["created_at"],
            ip=record["ip"],
        )
        for folder in sorted((directory / "containers").glob("*")):
            self._read_container(sandbox_id, folder)
        if alive(directory):
            await self._connect(sandbox_id)
        else:
            self._sandbox_lost(sandbox_id)

    def _read_container(self, sandbox_id: str, folder: Path) -> None:
        try:
            config = ContainerConfig(**json.loads((folder / "kubelet.json").read_text()))
            status = json.loads((folder / "status.json").read_text())
        except (OSError, ValueError):
            return
        self._containers[folder.name] = self._new_container(folder.name, sandbox_id, config)
        self._update(status)

    async def _connect(self, sandbox_id: str) -> None:
        shim = await ShimClient.connect(
            self._sandboxes_dir / sandbox_id, self._container_exited, lambda: self._sandbox_lost(sandbox_id)
        )
        self._shims[sandbox_id] = shim
        self._sandboxes[sandbox_id] = replace(self._sandboxes[sandbox_id], state=SandboxState.READY)
        for status in await shim.call("list"):
            self._update(status)

    # -- sandboxes ------------------------------------------------------------------------------------------------

    async def run_pod_sandbox(self, config: SandboxConfig, ip: str) -> str:
        """Create the sandbox's directory and its shim."""
        sandbox_id = new_id()
        directory = self._sandboxes_dir / sandbox_id
        (directory / "containers").mkdir(parents=True, mode=0o700)
        directory.chmod(0o700)
        created_at = time.time_ns()
        record = {
            "id": sandbox_id, "ip": ip, "created_at": created_at, "config": asdict(config),
            "hostname": "" if config.host_network else config.hostname,
            "port_shift": self._port_shift, "first_free_port": first_unprivileged_port(),
        }  # fmt: skip
        (directory / "sandbox.json").write_text(json.dumps(record))
        try:
            await self._starter.fork(directory)
        except RuntimeCallError:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        self._sandboxes[sandbox_id] = Sandbox(sandbox_id, config, SandboxState.NOT_READY, created_at, ip)
        await self._connect(sandbox_id)
        return sandbox_id

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        """Shut the shim down, with every process of the pod."""
        shim = self._shims.get(sandbox_id)
        if shim is None:
            return
        with contextlib.suppress(RuntimeCallError):
            await shim.call("shutdown")
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await shim.lost.wait()
        except TimeoutError:
            kill_shim(self._sandboxes_dir / sandbox_id)
            await shim.lost.wait()

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        """Delete everything the sandbox left on disk. Logs stay; the kubelet removes them with the pod."""
        if sandbox_id not in self._sandboxes:
            return
        await self.stop_pod_sandbox(sandbox_id)
        del self._sandboxes[sandbox_id]
        for container in [c for c in self._containers.values() if c.sandbox_id == sandbox_id]:
            del self._containers[container.id]
            self._statistics.forget(container.id)
            _group(container).end()
        await asyncio.to_thread(_remove_tree, self._sandboxes_dir / sandbox_id)

    async def list_pod_sandboxes(self) -> Sequence[Sandbox]:
        return tuple(self._sandboxes.values())

    def _sandbox_lost(self, sandbox_id: str) -> None:
        """The shim is gone, and by parent-death signal its processes are too."""
        self._shims.pop(sandbox_id, None)
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None:
            return
        self._sandboxes[sandbox_id] = replace(sandbox, state=SandboxState.NOT_READY)
        for container in tuple(self._containers.values()):
            if container.sandbox_id == sandbox_id and container.state in (
                ContainerState.RUNNING,
                ContainerState.CREATED,
            ):
                self._end_lost_container(container)
        self._announce(sandbox.config.pod_uid, "")

    def _end_lost_container(self, container: Container) -> None:
        """What the shim wrote last is the truth; a container it left running was killed with it."""
        file = self._container_dir(container) / "status.json"
        with contextlib.suppress(OSError, ValueError):
            self._update(json.loads(file.read_text()))
        current = self._containers[container.id]
        if current.state is not ContainerState.EXITED:
            self._containers[container.id] = replace(
                current,
                state=ContainerState.EXITED,
                finished_at=time.time_ns(),
                exit_code=_KILLED,
                reason="Error",
                pid=0,
            )

    # -- containers -----------------------------------------------------------------------------------------------

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        """Resolve the image to a program and hand the container to the shim."""
        shim = self._shim(sandbox_id)
        container_id = new_id()
        spec = shim_spec(
            container_id, config, self._program(config), self._sandboxes[sandbox_id].config.host_network,
            namespaces=self.isolation.namespaces, port_shift=self._port_shift,
        )  # fmt: skip
        directory = self._sandboxes_dir / sandbox_id / "containers" / container_id
        directory.mkdir(mode=0o700)
        (directory / "kubelet.json").write_text(json.dumps(asdict(config)))
        self._containers[container_id] = self._new_container(container_id, sandbox_id, config)
        self._update(await shim.call("create", container=container_id, config=spec))
        return container_id

    def _program(self, config: ContainerConfig) -> Program:
        """What stands for the image. Raises NotFoundError, RuntimeCallError."""
        try:
            program = self._catalog.program(config.image, config.command, config.args)
        except KeyError as error:
            raise NotFoundError(unknown_image_message(config.image)) from error
        if not program.args:
            raise RuntimeCallError("no command specified")
        return program

    def _new_container(self, container_id: str, sandbox_id: str, config: ContainerConfig) -> Container:
        return Container(
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
            cgroup_parents=tuple(config.cgroup_parents),
            resources=config.resources,
        )

    async def start_container(self, container_id: str) -> None:
        """Run the container's program. Raises StartContainerError."""
        container = self._container(container_id)
        try:
            self._update(await self._shim(container.sandbox_id).call("start", container=container_id))
        except RuntimeCallError:
            file = self._container_dir(container) / "status.json"
            with contextlib.suppress(OSError, ValueError):
                self._update(json.loads(file.read_text()))
            raise

    async def stop_container(self, container_id: str, grace_seconds: float) -> None:
        """Returns once the container ended."""
        container = self._container(container_id)
        shim = self._shims.get(container.sandbox_id)
        if shim is None or container.state is not ContainerState.RUNNING:
            return
        with contextlib.suppress(ShimGoneError):
            self._update(await shim.call("stop", container=container_id, grace_seconds=grace_seconds))

    async def update_container_resources(self, container_id: str, resources: Resources) -> None:
        """Have the shim limit it, and remember what the next kubelet must know."""
        container = self._container(container_id)
        await self._shim(container.sandbox_id).call("update", container=container_id, resources=asdict(resources))
        file = self._container_dir(container) / "kubelet.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **asdict(resources)}))
        self._containers[container_id] = replace(self._container(container_id), resources=resources)

    async def remove_container(self, container_id: str) -> None:
        """Delete an ended container's files."""
        container = self._containers.get(container_id)
        if container is None:
            return
        shim = self._shims.get(container.sandbox_id)
        if shim is not None:
            with contextlib.suppress(NotFoundError, ShimGoneError):
                await shim.call("remove", container=container_id)
        directory = self._container_dir(container)
        del self._containers[container_id]
        self._statistics.forget(container_id)
        _group(container).end()  # of a shim that was killed; else it is gone
        await asyncio.to_thread(_remove_tree, directory)

    async def list_containers(self) -> Sequence[Container]:
        return tuple(self._containers.values())

    async def container_status(self, container_id: str) -> Container:
        return self._container(container_id)

    async def reopen_container_log(self, container_id: str) -> None:
        container = self._container(container_id)
        await self._shim(container.sandbox_id).call("reopen_log", container=container_id)

    def _container(self, container_id: str) -> Container:
        container = self._containers.get(container_id)
        if container is None:
            raise NotFoundError(f'an error occurred when try to find container "{container_id}": not found')
        return container

    def _container_dir(self, container: Container) -> Path:
        return self._sandboxes_dir / container.sandbox_id / "containers" / container.id

    def _shim(self, sandbox_id: str) -> ShimClient:
        shim = self._shims.get(sandbox_id)
        if shim is None:
            raise ShimGoneError(f"sandbox {sandbox_id} is not running")
        return shim

    def _update(self, status: dict[str, Any]) -> None:
        """Take over what the shim says of a container. Its end is final: the answer to `start` may be read after it."""
        container = self._containers.get(status["id"])
        if container is not None and container.state is not ContainerState.EXITED:
            values = {key: status[key] for key in ("pid", "created_at", "started_at", "finished_at", "exit_code")}
            self._containers[container.id] = replace(
                container,
                state=ContainerState(status["state"]),
                reason=status["reason"],
                message=status["message"],
                **values,
            )

    def _container_exited(self, status: dict[str, Any]) -> None:
        self._update(status)
        container = self._containers.get(status["id"])
        if container is not None:
            self._announce(container.pod_uid, container.id)

    # -- streams --------------------------------------------------------------------------------------------------

    async def exec(self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool) -> ProcessStreams:
        """A command inside the container."""
        container = self._container(container_id)
        return await open_streams(
            self._sandboxes_dir / container.sandbox_id,
            "exec",
            tty,
            container=container_id,
            args=list(command),
            stdin=stdin,
        )

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> ExecResult:
        """A command inside the container, to its end."""
        streams = await self.exec(container_id, command, tty=False, stdin=False)
        try:
            async with asyncio.timeout(timeout_seconds or None):
                stdout, stderr, exit_code = await asyncio.gather(
                    _read_all(streams, 1), _read_all(streams, 2), streams.wait()
                )
        except TimeoutError as error:
            raise ExecTimeoutError(
                f"command {' '.join(command)!r} timed out: timeout {timeout_seconds:g}s exceeded"
            ) from error
        finally:
            streams.close()
        return ExecResult(exit_code, stdout, stderr)

    async def attach(self, container_id: str) -> ProcessStreams:
        """The container's own streams."""
        container = self._container(container_id)
        return await open_streams(self._sandboxes_dir / container.sandbox_id, "attach", False, container=container_id)

    # -- statistics -----------------------------------------------------------------------------------------------

    async def list_container_stats(self) -> Sequence[ContainerStats]:
        """Figures of every running container."""
        return [
            self._statistics.measure(c, _group(c), self._container_dir(c) / "rootfs")
            for c in tuple(self._containers.values())
            if c.state is ContainerState.RUNNING
        ]

    # -- images ---------------------------------------------------------------------------------------------------

    async def image_status(self, image: str) -> Image | None:
        return self._images.get(str(parse(image)))

    async def pull_image(self, image: str) -> Image:
        """Look the image up in the catalog and keep it as present."""
        if self._catalog.find(image) is None:
            raise NotFoundError(unknown_image_message(image))
        found = self._remember_image(image)
        self._images_file.write_text(json.dumps(sorted(self._images)))
        return found

    async def list_images(self) -> Sequence[Image]:
        return tuple(self._images.values())

    def _remember_image(self, image: str) -> Image:
        entry = self._catalog.find(image)
        reference = str(parse(image))
        found = Image(image_id(image), (reference,), entry.size_bytes if entry else 0)
        self._images[reference] = found
        return found

    # -- events ---------------------------------------------------------------------------------------------------

    def _announce(self, pod_uid: str, container_id: str) -> None:
        self._events.put_nowait(RuntimeEvent(pod_uid, container_id))

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        while True:
            yield await self._events.get()


def _group(container: Container) -> Group:
    """The control group of a container."""
    return Group([f"{parent}/{container.id}" for parent in container.cgroup_parents])


async def _read_all(streams: ProcessStreams, stream: int) -> bytes:
    chunks = []
    while chunk := await streams.read(stream):
        chunks.append(chunk)
    return b"".join(chunks)


def _remove_tree(path: Path) -> None:
    """Like rm -rf, also through directories that a container made unreadable."""

    def open_up(function: Any, name: str, error: Any) -> None:
        with contextlib.suppress(OSError):
            os.chmod(os.path.dirname(name), stat.S_IRWXU)
            os.chmod(name, stat.S_IRWXU)
            function(name)

    shutil.rmtree(path, onerror=open_up)

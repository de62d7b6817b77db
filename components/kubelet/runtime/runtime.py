"""What the kubelet asks of a container runtime, shaped after CRI v1 (RuntimeService and ImageService).

Three runtimes keep this contract: process.py, simulated.py, containerd.py. Times are nanoseconds since the epoch,
0 when it has not happened. Failures are `RuntimeCallError` and its kinds.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class RuntimeCallError(Exception):
    """A call the runtime could not carry out; the text is fit for an event."""


class NotFoundError(RuntimeCallError):
    """No such sandbox, container or image."""


class StartContainerError(RuntimeCallError):
    """The program of a container could not be started."""


class ExecTimeoutError(RuntimeCallError):
    """A command in a container ran longer than allowed and was killed."""


class SandboxState(StrEnum):
    READY = "READY"
    NOT_READY = "NOTREADY"


class ContainerState(StrEnum):
    CREATED = "CREATED"
    RUNNING = "RUNNING"
    EXITED = "EXITED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Mount:
    """A host directory or file that a container sees at its own path."""

    host_path: str
    container_path: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """What makes a pod sandbox: identity, name on the network, address."""

    pod_uid: str
    pod_namespace: str
    pod_name: str
    attempt: int = 0
    hostname: str = ""
    host_network: bool = False


@dataclass(frozen=True, slots=True)
class Resources:
    """What a container asks for and may use; a limit of 0 is none."""

    cpu_request_milli: int = 0
    cpu_limit_milli: int = 0
    memory_limit_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """What makes a container. `command` and `args` are as in the pod spec; the image supplies what they leave out."""

    name: str
    image: str
    attempt: int = 0
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = ""
    mounts: Sequence[Mount] = ()
    log_path: str = ""
    log_max_bytes: int = 0
    log_max_files: int = 0
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    uid: int | None = None
    gid: int | None = None
    groups: Sequence[int] = ()
    read_only_root: bool = False
    host_pid: bool = False
    cpu_request_milli: int = 0
    cpu_limit_milli: int = 0
    memory_limit_bytes: int = 0
    cgroup_parents: Sequence[str] = ()  # a folder per hierarchy, the container's lies in it; (): no control group
    stop_signal: str = ""
    pod_ip: str = ""
    spec_hash: str = ""

    @property
    def resources(self) -> Resources:
        """Its three fields of resources as one."""
        return Resources(self.cpu_request_milli, self.cpu_limit_milli, self.memory_limit_bytes)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A pod sandbox as the runtime sees it."""

    id: str
    config: SandboxConfig
    state: SandboxState
    created_at: int
    ip: str = ""


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the runtime sees it."""

    id: str
    sandbox_id: str
    pod_uid: str
    name: str
    image: str
    image_id: str
    attempt: int
    state: ContainerState
    created_at: int
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    pid: int = 0
    log_path: str = ""
    spec_hash: str = ""
    cgroup_parents: Sequence[str] = ()
    resources: Resources = Resources()


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is present on the node."""

    id: str  # sha256:<hex>
    names: Sequence[str]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ContainerStats:
    """Resource use of one container at one moment."""

    container: Container
    timestamp: int
    cpu_usage_seconds: float
    memory_working_set_bytes: int
    memory_rss_bytes: int
    memory_cache_bytes: int
    memory_swap_bytes: int
    page_faults: int
    major_page_faults: int
    read_bytes: int
    write_bytes: int
    reads: int
    writes: int
    fs_usage_bytes: int
    processes: int
    threads: int
    file_descriptors: int
    sockets: int
    counted: Mapping[str, float] = field(default_factory=dict)
    """What the kernel counted for the container's control group, by the names of shim/cgroup.py; {} without one."""


@dataclass(frozen=True, slots=True)
class ExecResult:
    """The end of a command that ran in a container."""

    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class RuntimeEvent:
    """Something happened to a pod; ask for its status."""

    pod_uid: str
    container_id: str


class ProcessStreams(Protocol):
    """The standard streams of a process in a container. Reading ends with b""."""

    tty: bool

    async def read(self, stream: int) -> bytes:
        """The next bytes of stdout (1) or stderr (2)."""

    async def write(self, data: bytes) -> None:
        """Bytes for stdin. A process that closed it drops them."""

    def close_stdin(self) -> None:
        """No more input will come."""

    def resize(self, width: int, height: int) -> None:
        """The terminal's new size."""

    async def wait(self) -> int:
        """The exit code, once the process ended."""

    def close(self) -> None:
        """Let go. A command started by exec is killed if it still runs."""


class Runtime(Protocol):
    """A container runtime. All calls may run concurrently."""

    name: str
    version: str

    async def start(self) -> None:
        """Find and adopt what an earlier kubelet left running."""

    async def close(self) -> None:
        """Let go of every pod; they keep running."""

    async def run_pod_sandbox(self, config: SandboxConfig, ip: str) -> str:
        """Create a sandbox; its id."""

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        """End every process of the sandbox. Does nothing when it is stopped or gone."""

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        """Forget a stopped sandbox and its containers."""

    async def list_pod_sandboxes(self) -> Sequence[Sandbox]: ...

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        """Prepare a container; its id."""

    async def start_container(self, container_id: str) -> None:
        """Raises StartContainerError."""

    async def stop_container(self, container_id: str, grace_seconds: float) -> None:
        """Ask the container to end, kill it after the grace period; returns when it ended."""

    async def update_container_resources(self, container_id: str, resources: Resources) -> None:
        """Change what a running container may use."""

    async def remove_container(self, container_id: str) -> None: ...

    async def list_containers(self) -> Sequence[Container]: ...

    async def container_status(self, container_id: str) -> Container:
        """Raises NotFoundError."""

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> ExecResult:
        """Run a command to its end. Raises StartContainerError, ExecTimeoutError."""

    async def exec(self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool) -> ProcessStreams:
        """Run a command with live streams. Raises StartContainerError."""

    async def attach(self, container_id: str) -> ProcessStreams:
        """The live streams of the container itself."""

    async def reopen_container_log(self, container_id: str) -> None:
        """Continue in a new log file after the old one was moved away."""

    async def list_container_stats(self) -> Sequence[ContainerStats]: ...

    async def image_status(self, image: str) -> Image | None:
        """The image if it is present on the node."""

    async def pull_image(self, image: str) -> Image:
        """Raises NotFoundError when no such image exists."""

    async def list_images(self) -> Sequence[Image]: ...

    def events(self) -> AsyncIterator[RuntimeEvent]:
        """Every start and end of a container, as it happens."""


def new_id() -> str:
    """64 hexadecimal digits, as containerd names sandboxes and containers."""
    return os.urandom(32).hex()

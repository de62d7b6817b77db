"""What the runtime has of one pod: its sandboxes and containers, newest first. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kubeglass.components.api.objects import Container as ContainerSpec
from kubeglass.components.api.objects import Pod
from kubeglass.components.kubelet.runtime.runtime import Container, ContainerState, Sandbox, SandboxState


class Role(enum.Enum):
    """In which list of its pod's spec a container stands, and how metrics name its type."""

    INIT = "initContainers", "init_container"
    REGULAR = "containers", "container"
    EPHEMERAL = "ephemeralContainers", "ephemeral_container"

    def __init__(self, field: str, type_: str) -> None:
        self.field = field
        self.type = type_


@dataclass(frozen=True, slots=True)
class Observed:
    """One pod in the runtime."""

    sandboxes: Sequence[Sandbox] = ()
    containers: Mapping[str, Sequence[Container]] = field(default_factory=dict)

    @property
    def sandbox(self) -> Sandbox | None:
        """The newest sandbox."""
        return self.sandboxes[0] if self.sandboxes else None

    @property
    def ready_sandbox(self) -> Sandbox | None:
        """The newest sandbox if it is up."""
        sandbox = self.sandbox
        return sandbox if sandbox is not None and sandbox.state is SandboxState.READY else None

    def latest(self, name: str) -> Container | None:
        """The newest container of a name, whatever its state."""
        found = self.containers.get(name)
        return found[0] if found else None

    def previous(self, name: str) -> Container | None:
        """The container before the newest one."""
        found = self.containers.get(name)
        return found[1] if found and len(found) > 1 else None

    def running(self) -> list[Container]:
        """Every running container."""
        everything = self.containers.values()
        return [c for found in everything for c in found if c.state is ContainerState.RUNNING]


def observe(pod_uid: str, sandboxes: Iterable[Sandbox], containers: Iterable[Container]) -> Observed:
    """Pick one pod's part out of the runtime's lists."""
    own = sorted((s for s in sandboxes if s.config.pod_uid == pod_uid), key=lambda s: -s.config.attempt)
    by_name: dict[str, list[Container]] = {}
    for container in containers:
        if container.pod_uid == pod_uid:
            by_name.setdefault(container.name, []).append(container)
    for found in by_name.values():
        found.sort(key=lambda c: (-c.attempt, -c.created_at))
    return Observed(own, by_name)


def every_container(pod: Pod) -> tuple[ContainerSpec, ...]:
    """All containers of a pod, ephemeral ones too."""
    return (*pod.spec.init_containers, *pod.spec.containers, *pod.spec.ephemeral_containers)


def spec_of(pod: Pod, name: str) -> ContainerSpec | None:
    """The container of a name."""
    return next((spec for spec in every_container(pod) if spec.name == name), None)


def role_of(pod: Pod, name: str) -> Role:
    """Which kind of container a name is; an unknown one passes as a regular one."""
    if any(spec.name == name for spec in pod.spec.init_containers):
        return Role.INIT
    return Role.EPHEMERAL if any(spec.name == name for spec in pod.spec.ephemeral_containers) else Role.REGULAR


def is_sidecar(container: ContainerSpec) -> bool:
    """An init container that keeps running beside the others."""
    return container.restart_policy == "Always"


def sidecars(pod: Pod) -> list[ContainerSpec]:
    """The restartable init containers, in order."""
    return [container for container in pod.spec.init_containers if is_sidecar(container)]

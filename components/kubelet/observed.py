"""What the runtime has of one pod: its sandboxes and containers, newest first. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kubeglass.components.api.objects import Container as ContainerSpec
from kubeglass.components.api.objects import Pod
from kubeglass.components.kubelet.runtime.runtime import Container, ContainerState, Sandbox, SandboxState


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


def is_sidecar(container: ContainerSpec) -> bool:
    """An init container that keeps running beside the others."""
    return container.restart_policy == "Always"


def sidecars(pod: Pod) -> list[ContainerSpec]:
    """The restartable init containers, in order."""
    return [container for container in pod.spec.init_containers if is_sidecar(container)]

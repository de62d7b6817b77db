"""What a pod needs next, decided from its spec and what the runtime has. Pure; upstream: computePodActions.

no sandbox      → a new one, then the first init container (or all containers)
initialising    → one ordinary init container after the other; a sidecar must have started before the next
a sandbox       → each ephemeral container, once
initialised     → start what is missing, restart what ended and may, kill what failed its probe or changed
nothing to keep → the pod is over
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from kubeglass.components.api.objects import Container as ContainerSpec
from kubeglass.components.api.objects import Pod
from kubeglass.components.kubelet.observed import Observed, is_sidecar
from kubeglass.components.kubelet.pod_resources import of_container
from kubeglass.components.kubelet.runtime.runtime import Container, ContainerState, Resources


@dataclass(frozen=True, slots=True)
class Kill:
    """A running container that must end, and the event text that says why."""

    container: Container
    spec: ContainerSpec
    message: str
    cause: str  # "liveness", "startup", "changed", "resized"


@dataclass(frozen=True, slots=True)
class Resize:
    """A running container that may use more or less from now on."""

    container: Container
    resources: Resources


@dataclass(slots=True)
class Actions:
    """The next steps for one pod."""

    create_sandbox: bool = False
    kill_pod: bool = False
    sandbox_attempt: int = 0
    start_init: list[ContainerSpec] = field(default_factory=list)
    start: list[ContainerSpec] = field(default_factory=list)
    start_ephemeral: list[ContainerSpec] = field(default_factory=list)
    kill: list[Kill] = field(default_factory=list)
    resize: list[Resize] = field(default_factory=list)

    @property
    def resizes(self) -> bool:
        """Whether some container still has other resources than it is to have."""
        return bool(self.resize) or any(kill.cause == "resized" for kill in self.kill)


@dataclass(frozen=True, slots=True)
class ProbeVerdicts:
    """What the probes say of a container id. None: no verdict yet."""

    liveness: Callable[[str], bool | None]
    startup: Callable[[str], bool | None]
    started: Callable[[ContainerSpec, str], bool]


def spec_hash(container: ContainerSpec) -> str:
    """Changes with the fields of a running pod that may change: the image."""
    return hashlib.sha256(f"{container.name}\0{container.image}".encode()).hexdigest()[:8]


def should_restart(pod: Pod, container: Container, policy: str = "") -> bool:
    """Whether an ended container is to run again under its restart policy."""
    policy = policy or pod.spec.restart_policy or "Always"
    if policy == "Always":
        return True
    return policy == "OnFailure" and container.exit_code != 0


def compute(pod: Pod, observed: Observed, probes: ProbeVerdicts) -> Actions:
    """The next steps for a pod that is to run."""
    actions = Actions()
    if observed.ready_sandbox is None:
        _without_sandbox(pod, observed, actions)
        return actions
    actions.start_ephemeral = [spec for spec in pod.spec.ephemeral_containers if observed.latest(spec.name) is None]
    if _initialised(pod, observed, probes, actions):
        _regular(pod, observed, probes, actions)
    return actions


def _without_sandbox(pod: Pod, observed: Observed, actions: Actions) -> None:
    last = observed.sandbox
    actions.kill_pod = last is not None
    actions.sandbox_attempt = last.config.attempt + 1 if last else 0
    if last is not None and pod.spec.restart_policy == "Never" and observed.containers:
        return  # what ran once does not run again
    wanted = [c for c in pod.spec.containers if not _succeeded_for_good(pod, observed, c)]
    if not wanted:
        return
    actions.create_sandbox = True
    if pod.spec.init_containers:
        actions.start_init = [pod.spec.init_containers[0]]
    else:
        actions.start = wanted


def _succeeded_for_good(pod: Pod, observed: Observed, spec: ContainerSpec) -> bool:
    latest = observed.latest(spec.name)
    ended_well = latest is not None and latest.state is ContainerState.EXITED and latest.exit_code == 0
    return ended_well and pod.spec.restart_policy == "OnFailure"


def _in_sandbox(observed: Observed, name: str) -> Container | None:
    """The newest container of a name in the present sandbox."""
    latest, sandbox = observed.latest(name), observed.ready_sandbox
    return latest if latest and sandbox and latest.sandbox_id == sandbox.id else None


def _initialised(pod: Pod, observed: Observed, probes: ProbeVerdicts, actions: Actions) -> bool:
    """Step through the init containers; True when the regular ones may run."""
    past = any(_in_sandbox(observed, c.name) for c in pod.spec.containers)
    for spec in pod.spec.init_containers:
        current = _in_sandbox(observed, spec.name)
        if is_sidecar(spec):
            ready = _sidecar(spec, current, probes, actions)
        else:
            ready = past or _ordinary_init(pod, spec, current, actions)
        if not ready and not past:
            return False
    return True


def _sidecar(spec: ContainerSpec, current: Container | None, probes: ProbeVerdicts, actions: Actions) -> bool:
    """True once the sidecar has started, so that the next container may follow."""
    if current is None or current.state is not ContainerState.RUNNING:
        actions.start_init.append(spec)
        return False
    kill = _reason_to_kill(spec, current, probes)
    if kill:
        actions.kill.append(kill)
        return False
    _resize(spec, current, actions)
    return probes.started(spec, current.id)


def _ordinary_init(pod: Pod, spec: ContainerSpec, current: Container | None, actions: Actions) -> bool:
    """True once the init container has succeeded."""
    if current is None or current.state in (ContainerState.CREATED, ContainerState.UNKNOWN):
        actions.start_init.append(spec)
        return False
    if current.state is ContainerState.RUNNING:
        return False
    if current.exit_code == 0:
        return True
    if pod.spec.restart_policy == "Never":
        actions.kill_pod = True
    else:
        actions.start_init.append(spec)
    return False


def _regular(pod: Pod, observed: Observed, probes: ProbeVerdicts, actions: Actions) -> None:
    keep = 0
    for spec in pod.spec.containers:
        current = _in_sandbox(observed, spec.name)
        if current is None or current.state in (ContainerState.CREATED, ContainerState.UNKNOWN):
            latest = observed.latest(spec.name)
            if latest is None or latest.state is not ContainerState.EXITED or should_restart(pod, latest):
                actions.start.append(spec)
        elif current.state is ContainerState.EXITED:
            if should_restart(pod, current):
                actions.start.append(spec)
        else:
            keep += 1
            kill = _reason_to_kill(spec, current, probes)
            if kill:
                actions.kill.append(kill)
            else:
                _resize(spec, current, actions)
    if not keep and not actions.start:
        actions.kill_pod = True
        actions.start_init = actions.start_ephemeral = []


def _reason_to_kill(spec: ContainerSpec, current: Container, probes: ProbeVerdicts) -> Kill | None:
    if current.spec_hash and current.spec_hash != spec_hash(spec):
        return Kill(current, spec, f"Container {spec.name} definition changed, will be restarted", "changed")
    if probes.liveness(current.id) is False:
        return Kill(current, spec, f"Container {spec.name} failed liveness probe, will be restarted", "liveness")
    if probes.startup(current.id) is False:
        return Kill(current, spec, f"Container {spec.name} failed startup probe, will be restarted", "startup")
    restarting = (policy for policy in spec.resize_policy if policy.restart_policy == "RestartContainer")
    if any(_changed(spec, current, policy.resource_name) for policy in restarting):
        return Kill(current, spec, f"Container {spec.name} resize requires restart", "resized")
    return None


def _resize(spec: ContainerSpec, current: Container, actions: Actions) -> None:
    wanted = of_container(spec)
    if current.resources != wanted:
        actions.resize.append(Resize(current, wanted))


def _changed(spec: ContainerSpec, current: Container, resource: str) -> bool:
    """Whether a container runs with another amount of a resource than it is to have."""
    has, wants = current.resources, of_container(spec)
    if resource == "memory":
        return has.memory_limit_bytes != wants.memory_limit_bytes
    return (has.cpu_request_milli, has.cpu_limit_milli) != (wants.cpu_request_milli, wants.cpu_limit_milli)

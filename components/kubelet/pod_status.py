"""The status of a pod, made from its spec, what the runtime has, and what the kubelet knows. Pure.

Upstream: generateAPIPodStatus, getPhase, status.Generate*Condition. `now` is seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kubeglass.components.api.objects import Container as ContainerSpec
from kubeglass.components.api.objects import ContainerStatus, Pod
from kubeglass.components.api.qos import qos_class
from kubeglass.components.kubelet.actions import should_restart
from kubeglass.components.kubelet.observed import Observed, Role, is_sidecar
from kubeglass.components.kubelet.runtime.runtime import Container, ContainerState
from kubeglass.components.machinery.clock import rfc3339

Wire = dict[str, Any]
EVICTED = "Evicted"
"""The reason of a pod that exceeded a limit of its node."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container does not run: CrashLoopBackOff, ImagePullBackOff, …"""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the kubelet knows of a pod beside the runtime's lists."""

    runtime_name: str
    host_ip: str
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    ready: Callable[[ContainerSpec, str], bool] = lambda spec, container_id: True
    started: Callable[[ContainerSpec, str], bool] = lambda spec, container_id: True
    termination_message: Callable[[ContainerSpec, Container], str] = lambda spec, container: ""
    terminating: bool = False
    failed: tuple[str, str] | None = None  # reason and message of a pod the kubelet gave up


def generate(pod: Pod, observed: Observed, known: Knowledge, now: float) -> Wire:
    """The whole `status` object as the kubelet reports it."""
    init = [_container_status(pod, c, observed, known, Role.INIT) for c in pod.spec.init_containers]
    regular = [_container_status(pod, c, observed, known, Role.REGULAR) for c in pod.spec.containers]
    ephemeral = [_container_status(pod, c, observed, known, Role.EPHEMERAL) for c in pod.spec.ephemeral_containers]
    phase = _phase(pod, init, regular, over=known.terminating or known.failed is not None)
    status: Wire = {
        "observedGeneration": pod.metadata.generation,
        "phase": "Failed" if known.failed else phase,
        "hostIP": known.host_ip,
        "hostIPs": [{"ip": known.host_ip}],
        "startTime": pod.status.start_time or rfc3339(now),
        "qosClass": pod.status.qos_class or qos_class(pod),
        "containerStatuses": regular,
    }
    if known.failed:
        status["reason"], status["message"] = known.failed
        if not observed.sandboxes:  # refused before anything was made for it
            init, status["containerStatuses"] = [], []
    if init:
        status["initContainerStatuses"] = init
    if ephemeral:
        status["ephemeralContainerStatuses"] = ephemeral
    sandbox = observed.ready_sandbox
    ip = sandbox.ip if sandbox else pod.status.pod_ip
    if ip:
        status |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    status["conditions"] = _conditions(pod, observed, status, now)
    return status


# -- containers -----------------------------------------------------------------------------------------------------


def _container_status(pod: Pod, spec: ContainerSpec, observed: Observed, known: Knowledge, role: Role) -> Wire:
    latest, previous = observed.latest(spec.name), observed.previous(spec.name)
    old = _reported(pod, spec.name, role)
    status: Wire = {
        "name": spec.name,
        "state": {},
        "lastState": {},
        "ready": False,
        "restartCount": 0,
        "image": spec.image,
        "imageID": "",
        "started": False,
    }
    if latest is None:
        _never_seen(pod, spec, old, known, status, role)
    else:
        _seen(pod, spec, latest, previous, known, status, role)
    if spec.volume_mounts:
        status["volumeMounts"] = [
            {
                "name": mount.name,
                "mountPath": mount.mount_path,
                **({"readOnly": True, "recursiveReadOnly": "Disabled"} if mount.read_only else {}),
            }
            for mount in spec.volume_mounts
        ]
    return status


def _never_seen(
    pod: Pod, spec: ContainerSpec, old: ContainerStatus | None, known: Knowledge, status: Wire, role: Role
) -> None:
    waiting = known.waiting.get(spec.name)
    if waiting is None:
        first = pod.spec.init_containers[0].name if pod.spec.init_containers else spec.name
        waits_for_init = role is not Role.EPHEMERAL and spec.name != first
        waiting = Waiting("PodInitializing" if waits_for_init else "ContainerCreating")
    if old is not None and old.container_id:  # the runtime lost it: keep what was reported
        status["restartCount"] = old.restart_count
        if old.state.terminated is not None:
            status["state"] = {"terminated": msgspec.to_builtins(old.state.terminated)}
            status |= {"containerID": old.container_id, "image": old.image, "imageID": old.image_id}
            return
        if known.terminating:
            status["state"] = {
                "terminated": {
                    "exitCode": 137,
                    "reason": "ContainerStatusUnknown",
                    "message": "The container could not be located when the pod was terminated",
                }
            }
            return
    status["state"] = {"waiting": _waiting_wire(waiting)}


def _seen(
    pod: Pod,
    spec: ContainerSpec,
    latest: Container,
    previous: Container | None,
    known: Knowledge,
    status: Wire,
    role: Role,
) -> None:
    status |= {
        "restartCount": latest.attempt,
        "image": latest.image,
        "imageID": f"{latest.image.rpartition(':')[0]}@{latest.image_id}",
        "containerID": f"{known.runtime_name}://{latest.id}",
    }
    if latest.state is ContainerState.RUNNING:
        status["state"] = {"running": {"startedAt": _stamp(latest.started_at)}}
        status["started"] = known.started(spec, latest.id)
        serves = role is Role.REGULAR or (role is Role.INIT and is_sidecar(spec))
        status["ready"] = status["started"] and serves and known.ready(spec, latest.id)
        if spec.resources.limits or spec.resources.requests:
            status["resources"] = msgspec.to_builtins(spec.resources)
            if spec.resources.requests:
                status["allocatedResources"] = dict(spec.resources.requests)
    elif latest.state is ContainerState.EXITED:
        terminated = _terminated(spec, latest, known)
        waiting = known.waiting.get(spec.name)
        policy = "Always" if is_sidecar(spec) else ""
        may_restart = not known.terminating and _will_restart(pod, latest, policy, role)
        if waiting and may_restart:
            status["state"] = {"waiting": _waiting_wire(waiting)}
            status["lastState"] = {"terminated": terminated}
            return
        status["state"] = {"terminated": terminated}
        status["ready"] = role is Role.INIT and not is_sidecar(spec) and latest.exit_code == 0
    else:
        status["state"] = {"waiting": _waiting_wire(known.waiting.get(spec.name) or Waiting("ContainerCreating"))}
    if previous is not None and previous.state is ContainerState.EXITED:
        status["lastState"] = {"terminated": _terminated(spec, previous, known)}


def _will_restart(pod: Pod, container: Container, policy: str, role: Role) -> bool:
    if role is Role.EPHEMERAL:
        return False
    if role is Role.INIT and not policy:  # an ordinary init container is repeated until it succeeds
        return container.exit_code != 0 and pod.spec.restart_policy != "Never"
    return should_restart(pod, container, policy)


def _waiting_wire(waiting: Waiting) -> Wire:
    return {"reason": waiting.reason, **({"message": waiting.message} if waiting.message else {})}


def _terminated(spec: ContainerSpec, container: Container, known: Knowledge) -> Wire:
    message = container.message or known.termination_message(spec, container)
    return {
        "exitCode": container.exit_code,
        "reason": container.reason,
        **({"message": message} if message else {}),
        "startedAt": _stamp(container.started_at),
        "finishedAt": _stamp(container.finished_at),
        "containerID": f"{known.runtime_name}://{container.id}",
    }


def _stamp(nanoseconds: int) -> str:
    return rfc3339(nanoseconds / 1e9)


def _reported(pod: Pod, name: str, role: Role) -> ContainerStatus | None:
    """What the API server last heard of a container."""
    reported = {
        Role.INIT: pod.status.init_container_statuses,
        Role.REGULAR: pod.status.container_statuses,
        Role.EPHEMERAL: pod.status.ephemeral_container_statuses,
    }
    return next((status for status in reported[role] if status.name == name), None)


# -- phase ----------------------------------------------------------------------------------------------------------


def _phase(pod: Pod, init: Sequence[Wire], regular: Sequence[Wire], *, over: bool) -> str:
    policy = pod.spec.restart_policy or "Always"
    pending_init, failed_init, sidecars_running = _init_progress(pod, init)
    if failed_init and policy == "Never":
        return "Failed"
    counts = {"running": 0, "waiting": 0, "stopped": 0, "succeeded": 0}
    for status in regular:
        state = status["state"]
        if "running" in state:
            counts["running"] += 1
        elif "terminated" in state:
            counts["stopped"] += 1
            counts["succeeded"] += state["terminated"]["exitCode"] == 0
        elif "terminated" in status["lastState"]:
            counts["stopped"] += 1
        else:
            counts["waiting"] += 1
    started_any = counts["running"] or counts["stopped"]
    if (pending_init and not started_any) or (counts["waiting"] and not over):
        return "Pending"
    if counts["running"]:
        return "Running"
    if not counts["stopped"]:
        return "Failed" if over and failed_init else "Pending"
    if over and not sidecars_running:
        return "Succeeded" if counts["stopped"] == counts["succeeded"] else "Failed"
    if policy == "Always":
        return "Running"
    if counts["stopped"] == counts["succeeded"]:
        return "Succeeded" if not sidecars_running else "Running"
    return "Failed" if policy == "Never" and not sidecars_running else "Running"


def _init_progress(pod: Pod, init: Sequence[Wire]) -> tuple[int, int, int]:
    """(not done yet, failed, sidecars running)."""
    pending = failed = running = 0
    for spec, status in zip(pod.spec.init_containers, init, strict=True):
        state = status["state"]
        if is_sidecar(spec):
            running += "running" in state
            pending += not status["started"]
        elif "terminated" in state:
            failed += state["terminated"]["exitCode"] != 0
        elif "waiting" in state and "terminated" in status["lastState"]:
            failed += status["lastState"]["terminated"]["exitCode"] != 0
            pending += 1
        else:
            pending += 1
    return pending, failed, running


# -- conditions -----------------------------------------------------------------------------------------------------


def _conditions(pod: Pod, observed: Observed, status: Wire, now: float) -> list[Wire]:
    containers_ready = _containers_ready(pod, status)
    rows = [
        ("PodReadyToStartContainers", "True" if observed.ready_sandbox else "False", "", ""),
        ("Initialized", *_initialized(pod, status)),
        ("Ready", *_pod_ready(pod, containers_ready)),
        ("ContainersReady", *containers_ready),
    ]
    scheduled = next((c for c in pod.status.conditions if c.type == "PodScheduled"), None)
    rows.append(("PodScheduled", "True", scheduled.reason if scheduled else "", scheduled.message if scheduled else ""))
    if status.get("reason") == EVICTED:
        rows.append(("DisruptionTarget", "True", "TerminationByKubelet", status["message"]))
    return [_condition(pod, now, *row) for row in rows]


def _condition(pod: Pod, now: float, type_: str, value: str, reason: str, message: str) -> Wire:
    old = next((c for c in pod.status.conditions if c.type == type_), None)
    since = old.last_transition_time if old is not None and old.status == value else rfc3339(now)
    return {
        "type": type_,
        "observedGeneration": pod.metadata.generation,
        "status": value,
        "lastTransitionTime": since,
        **({"reason": reason} if reason else {}),
        **({"message": message} if message else {}),
    }


def _initialized(pod: Pod, status: Wire) -> tuple[str, str, str]:
    if status["phase"] == "Succeeded":
        return "True", "PodCompleted", ""
    incomplete = []
    statuses = status.get("initContainerStatuses", ())
    for spec, current in zip(pod.spec.init_containers, statuses, strict=True):
        if is_sidecar(spec):
            done = current["started"]
        else:
            done = current["state"].get("terminated", {"exitCode": 1})["exitCode"] == 0
        if not done:
            incomplete.append(spec.name)
    past = any("waiting" not in c["state"] or "terminated" in c["lastState"] for c in status["containerStatuses"])
    if incomplete and not past:
        return "False", "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(incomplete)}]"
    return "True", "", ""


def _containers_ready(pod: Pod, status: Wire) -> tuple[str, str, str]:
    if status["phase"] == "Succeeded":
        return "False", "PodCompleted", ""
    if status["phase"] == "Failed":
        return "False", "PodFailed", ""
    unready = [
        current["name"]
        for spec, current in zip(pod.spec.init_containers, status.get("initContainerStatuses", ()), strict=True)
        if is_sidecar(spec) and not current["ready"]
    ] + [current["name"] for current in status["containerStatuses"] if not current["ready"]]
    if unready:
        return "False", "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    return "True", "", ""


def _pod_ready(pod: Pod, containers_ready: tuple[str, str, str]) -> tuple[str, str, str]:
    if containers_ready[0] != "True":
        return containers_ready
    messages = []
    for gate in pod.spec.readiness_gates:
        found = next((c for c in pod.status.conditions if c.type == gate.condition_type), None)
        if found is None:
            messages.append(f'corresponding condition of pod readiness gate "{gate.condition_type}" does not exist.')
        elif found.status != "True":
            messages.append(
                f'the status of pod readiness gate "{gate.condition_type}" is not "True", but {found.status}'
            )
    return ("False", "ReadinessGatesNotReady", ", ".join(messages)) if messages else ("True", "", "")

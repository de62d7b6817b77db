"""Pods: the STATUS column is upstream's own little algorithm over phases, containers and conditions."""

from __future__ import annotations

from kubeglass.components.api.objects import ContainerState, ContainerStatus, Pod, decode
from kubeglass.components.api.printers.cells import (
    AGE,
    CONTAINERS,
    IMAGES,
    NAME,
    Json,
    age,
    containers,
    labels,
    name_of,
    since,
)
from kubeglass.components.api.table import Cell, Column, Printer

_COLUMNS = (
    NAME,
    Column("Ready", "string", "", "The aggregate readiness state of this pod for accepting traffic."),
    Column("Status", "string", "", "The aggregate status of the containers in this pod."),
    Column(
        "Restarts",
        "string",
        "",
        "How often its containers were restarted, and when last.",
    ),
    AGE,
    Column("IP", "string", "", "The address of the pod.", 1),
    Column("Node", "string", "", "The node the pod is assigned to.", 1),
    Column("Nominated Node", "string", "", "The node that preemption makes room on for this pod.", 1),
    Column("Readiness Gates", "string", "", "How many of the pod's readiness gates are met.", 1),
)
_NODE_LOST = "NodeLost"


def _pod(obj: Json, now: float) -> list[Cell]:
    pod = decode(Pod, obj)
    restarts, last = _restarts(pod)
    shown = str(restarts)
    if restarts and last:
        shown = f"{restarts} ({since(last, now)} ago)"
    return [
        name_of(obj),
        f"{_ready(pod)}/{len(pod.spec.containers) + len(_sidecars(pod))}",
        status(pod),
        shown,
        age(obj, now),
        pod.status.pod_ip or "<none>",
        pod.spec.node_name or "<none>",
        pod.status.nominated_node_name or "<none>",
        _gates(pod),
    ]


def status(pod: Pod) -> str:
    """What `kubectl get pods` says under STATUS."""
    reason = pod.status.reason or pod.status.phase
    for condition in pod.status.conditions:
        if condition.type == "PodScheduled" and condition.reason == "SchedulingGated":
            reason = "SchedulingGated"
    initializing = _initializing(pod)
    if initializing:
        reason = initializing
    if not initializing or _initialized(pod):
        reason = _containers_reason(pod, reason)
    if pod.metadata.deletion_timestamp and pod.status.reason == _NODE_LOST:
        return "Unknown"
    if pod.metadata.deletion_timestamp and pod.status.phase not in ("Failed", "Succeeded"):
        return "Terminating"
    return reason


def _initializing(pod: Pod) -> str:
    """`Init:1/2`, `Init:Error`, `PodInitializing` … while an init container is not done; "" otherwise."""
    total = len(pod.spec.init_containers)
    sidecars = _sidecars(pod)
    for index, container in enumerate(pod.status.init_container_statuses):
        terminated, waiting = container.state.terminated, container.state.waiting
        if terminated is not None and terminated.exit_code == 0:
            continue
        if container.name in sidecars and container.started:
            continue
        if terminated is not None:
            return f"Init:{_exit(container.state)}"
        if waiting is not None and waiting.reason and waiting.reason != "PodInitializing":
            return f"Init:{waiting.reason}"
        return f"Init:{index}/{total}"
    return ""


def _containers_reason(pod: Pod, reason: str) -> str:
    running = False
    for container in reversed(pod.status.container_statuses):
        waiting, terminated = container.state.waiting, container.state.terminated
        if waiting is not None and waiting.reason:
            reason = waiting.reason
        elif terminated is not None:
            reason = _exit(container.state)
        elif container.ready and container.state.running is not None:
            running = True
    if reason == "Completed" and running:
        return "Running" if _condition(pod, "Ready") else "NotReady"
    return reason


def _exit(state: ContainerState) -> str:
    terminated = state.terminated
    assert terminated is not None
    if terminated.reason:
        return terminated.reason
    return f"Signal:{terminated.signal}" if terminated.signal else f"ExitCode:{terminated.exit_code}"


def _initialized(pod: Pod) -> bool:
    """Whether the Initialized condition is true (a restarted init container must not hide running ones)."""
    return _condition(pod, "Initialized")


def _condition(pod: Pod, kind: str) -> bool:
    return any(condition.type == kind and condition.status == "True" for condition in pod.status.conditions)


def _sidecars(pod: Pod) -> frozenset[str]:
    return frozenset(item.name for item in pod.spec.init_containers if item.restart_policy == "Always")


def _ready(pod: Pod) -> int:
    sidecars = _sidecars(pod)
    ready = sum(bool(item.ready) for item in pod.status.init_container_statuses if item.name in sidecars)
    return ready + sum(bool(item.ready) and item.state.running is not None for item in pod.status.container_statuses)


def _restarts(pod: Pod) -> tuple[int, str]:
    """(restarts, when the last one began). While initializing the init containers count, later the others."""
    sidecars = _sidecars(pod)
    inits = pod.status.init_container_statuses
    if _initializing(pod):
        counted: tuple[ContainerStatus, ...] = inits
    else:
        counted = (*pod.status.container_statuses, *(item for item in inits if item.name in sidecars))
    ended = [item.last_state.terminated.finished_at for item in counted if item.last_state.terminated is not None]
    return sum(item.restart_count for item in counted), max(ended, default="")


def _gates(pod: Pod) -> str:
    if not pod.spec.readiness_gates:
        return "<none>"
    met = sum(_condition(pod, gate.condition_type) for gate in pod.spec.readiness_gates)
    return f"{met}/{len(pod.spec.readiness_gates)}"


def _pod_conditions(obj: Json) -> list[dict[str, str]]:
    phase = (obj.get("status") or {}).get("phase")
    texts = {"Succeeded": "The pod has completed successfully.", "Failed": "The pod failed."}
    if phase not in texts:
        return []
    return [{"type": "Completed", "status": "True", "reason": phase, "message": texts[phase]}]


def _template(obj: Json, now: float) -> list[Cell]:
    template = obj.get("template") or {}
    return [name_of(obj), *containers(template), labels((template.get("metadata") or {}).get("labels"))]


POD = Printer(_COLUMNS, _pod, _pod_conditions)
POD_TEMPLATE = Printer(
    (
        NAME,
        Column("Containers", "string", "", CONTAINERS.description),
        Column("Images", "string", "", IMAGES.description),
        Column("Pod Labels", "string", "", "The labels for the pod template."),
    ),
    _template,
)

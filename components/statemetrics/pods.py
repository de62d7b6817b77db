"""kube_pod_*: what kube-state-metrics says about Pods and their containers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from kubeglass.components.api.objects import Container, ContainerStatus, Pod, PodCondition
from kubeglass.components.statemetrics.writing import (
    OWNER_LABELS,
    Family,
    Sample,
    amounts,
    choice,
    condition,
    created,
    deleted,
    namespaced,
    one,
    owners,
    when,
)

POD = namespaced("kube_pod", "pod", uid=True)
_PHASES = ("Pending", "Succeeded", "Failed", "Unknown", "Running")
_REASONS = ("Evicted", "NodeAffinity", "NodeLost", "Shutdown", "UnexpectedAdmissionError", "SchedulingGated")
_QOS = ("BestEffort", "Burstable", "Guaranteed")


def _condition(pod: Pod, type: str) -> PodCondition | None:
    return next((found for found in pod.status.conditions if found.type == type), None)


def _stated(type: str) -> Callable[[Pod], Iterable[Sample]]:
    def read(pod: Pod) -> Iterable[Sample]:
        found = _condition(pod, type)
        return condition(found.status) if found else ()

    return read


def _since(type: str) -> Callable[[Pod], Iterable[Sample]]:
    def read(pod: Pod) -> Iterable[Sample]:
        found = _condition(pod, type)
        return when(found.last_transition_time) if found and found.status == "True" else ()

    return read


def _info(pod: Pod) -> Iterator[Sample]:
    owner = next((found for found in pod.metadata.owner_references if found.controller), None)
    labels = (
        pod.status.host_ip,
        pod.status.pod_ip,
        pod.spec.node_name,
        owner.kind if owner else "",
        owner.name if owner else "",
        pod.spec.priority_class_name,
        "true" if pod.spec.host_network else "false",
    )
    return one(1, *labels)


def _ips(pod: Pod) -> Iterator[Sample]:
    for found in pod.status.pod_ips:
        yield (found.ip, "6" if ":" in found.ip else "4"), 1.0


def _completion_time(pod: Pod) -> Iterator[Sample]:
    if pod.status.phase in ("Succeeded", "Failed"):
        stamps = [s.state.terminated.finished_at for s in pod.status.container_statuses if s.state.terminated]
        yield from when(max(stamps, default=""))


def _unschedulable(pod: Pod) -> Iterator[Sample]:
    found = _condition(pod, "PodScheduled")
    if found is not None and found.status == "False" and found.reason == "Unschedulable":
        yield (), 1.0


def _reason(pod: Pod) -> Iterator[Sample]:
    reasons = {pod.status.reason, *(found.reason for found in pod.status.conditions)}
    terminated = {s.state.terminated.reason for s in pod.status.container_statuses if s.state.terminated}
    for reason in _REASONS:
        yield (reason,), float(reason in reasons or reason in terminated)


def _claims(pod: Pod) -> Iterator[Sample]:
    for volume in pod.spec.volumes:
        claim = volume.persistent_volume_claim
        if claim is not None:
            yield (volume.name, claim.claim_name), 1.0


def _read_only_claims(pod: Pod) -> Iterator[Sample]:
    for volume in pod.spec.volumes:
        claim = volume.persistent_volume_claim
        if claim is not None:
            yield (volume.name, claim.claim_name), float(claim.read_only)


def _tolerations(pod: Pod) -> Iterator[Sample]:
    for each in pod.spec.tolerations:
        seconds = "" if each.toleration_seconds is None else str(each.toleration_seconds)
        yield (each.key, each.operator, each.value, each.effect, seconds), 1.0


def _overhead(resource: str) -> Callable[[Pod], Iterable[Sample]]:
    def read(pod: Pod) -> Iterator[Sample]:
        for name, _, value in amounts(pod.spec.overhead):
            if name == resource:
                yield (), value

    return read


# -- containers -------------------------------------------------------------------------------------------------------

Statuses = Callable[[Pod], tuple[ContainerStatus, ...]]
Specs = Callable[[Pod], tuple[Container, ...]]


def _per_status(
    statuses: Statuses, read: Callable[[ContainerStatus], Iterable[Sample]]
) -> Callable[[Pod], Iterator[Sample]]:
    def samples(pod: Pod) -> Iterator[Sample]:
        for status in statuses(pod):
            for labels, value in read(status):
                yield (status.name, *labels), value

    return samples


def _resources(specs: Specs, which: Callable[[Container], dict[str, str]]) -> Callable[[Pod], Iterable[Sample]]:
    def samples(pod: Pod) -> Iterator[Sample]:
        for container in specs(pod):
            for resource, unit, value in amounts(which(container)):
                yield (container.name, pod.spec.node_name, resource, unit), value

    return samples


def _waiting_reason(status: ContainerStatus) -> Iterable[Sample]:
    waiting = status.state.waiting
    return one(1, waiting.reason) if waiting and waiting.reason else ()


def _terminated_reason(status: ContainerStatus) -> Iterable[Sample]:
    ended = status.state.terminated
    return one(1, ended.reason) if ended and ended.reason else ()


def _last_reason(status: ContainerStatus) -> Iterable[Sample]:
    ended = status.last_state.terminated
    return one(1, ended.reason) if ended else ()


def _last_exit_code(status: ContainerStatus) -> Iterable[Sample]:
    ended = status.last_state.terminated
    return one(ended.exit_code) if ended else ()


def _last_time(status: ContainerStatus) -> Iterable[Sample]:
    ended = status.last_state.terminated
    return when(ended.finished_at) if ended else ()


def _started(status: ContainerStatus) -> Iterable[Sample]:
    running, ended = status.state.running, status.state.terminated
    return when(running.started_at if running else ended.started_at if ended else "")


def _container_info(specs: Specs, statuses: Statuses) -> Callable[[Pod], Iterable[Sample]]:
    def samples(pod: Pod) -> Iterator[Sample]:
        images = {container.name: container.image for container in specs(pod)}
        for s in statuses(pod):
            yield (s.name, images.get(s.name, s.image), s.image, s.image_id, s.container_id), 1.0

    return samples


def _container_families(part: str, what: str, specs: Specs, statuses: Statuses) -> Iterator[Family]:
    """The metrics that containers and init containers share."""

    def status(name: str, help: str, read: Callable[[ContainerStatus], Iterable[Sample]], *labels: str) -> Family:
        samples = _per_status(statuses, read)
        return POD.gauge(f"{part}_{name}", help.format(what), samples, "container", *labels)

    info_labels = ("container", "image_spec", "image", "image_id", "container_id")
    yield POD.gauge(
        f"{part}_info", f"Information about {what} in a pod.", _container_info(specs, statuses), *info_labels
    )
    yield status("status_waiting", "Describes whether {} is currently in waiting state.", _is("waiting"))
    yield status(
        "status_waiting_reason", "Describes the reason {} is currently in waiting state.", _waiting_reason, "reason"
    )
    yield status("status_running", "Describes whether {} is currently in running state.", _is("running"))
    yield status("status_terminated", "Describes whether {} is currently in terminated state.", _is("terminated"))
    yield status(
        "status_terminated_reason",
        "Describes the reason {} is currently in terminated state.",
        _terminated_reason,
        "reason",
    )
    yield status(
        "status_last_terminated_reason",
        "Describes the last reason {} was in terminated state.",
        _last_reason,
        "reason",
    )
    yield status("status_ready", "Describes whether {} readiness check succeeded.", lambda s: one(bool(s.ready)))
    restarts = _per_status(statuses, lambda s: one(s.restart_count))
    help = f"The number of restarts of {what}."
    yield POD.counter(f"{part}_status_restarts_total", help, restarts, "container")
    labels = ("container", "node", "resource", "unit")
    yield POD.gauge(
        f"{part}_resource_requests",
        f"The number of requested request resource by {what}.",
        _resources(specs, lambda container: container.resources.requests),
        *labels,
    )
    yield POD.gauge(
        f"{part}_resource_limits",
        f"The number of requested limit resource by {what}.",
        _resources(specs, lambda container: container.resources.limits),
        *labels,
    )


def _is(state: str) -> Callable[[ContainerStatus], Iterable[Sample]]:
    return lambda status: one(getattr(status.state, state) is not None)


def _only_containers() -> Iterator[Family]:
    def statuses(pod: Pod) -> tuple[ContainerStatus, ...]:
        return pod.status.container_statuses

    rows = (
        ("container_status_last_terminated_exitcode", "The exit code of the last termination.", _last_exit_code),
        ("container_status_last_terminated_timestamp", "Last terminated time of a pod container.", _last_time),
        ("container_state_started", "Start time in unix timestamp for a pod container.", _started),
    )
    for name, help, read in rows:
        yield POD.gauge(name, help, _per_status(statuses, read), "container")


PODS: tuple[Family, ...] = (
    POD.gauge(
        "info",
        "Information about pod.",
        _info,
        "host_ip",
        "pod_ip",
        "node",
        "created_by_kind",
        "created_by_name",
        "priority_class",
        "host_network",
    ),
    POD.gauge("ips", "Pod IP addresses", _ips, "ip", "ip_family"),
    POD.gauge("start_time", "Start time in unix timestamp for a pod.", lambda pod: when(pod.status.start_time)),
    POD.gauge("completion_time", "Completion time in unix timestamp for a pod.", _completion_time),
    POD.gauge("owner", "Information about the Pod's owner.", lambda pod: owners(pod.metadata), *OWNER_LABELS),
    POD.gauge("created", "Unix creation timestamp", created),
    POD.gauge("deletion_timestamp", "Unix deletion timestamp", deleted),
    POD.gauge(
        "restart_policy",
        "Describes the restart policy in use by this pod.",
        lambda pod: one(1, pod.spec.restart_policy),
        "type",
    ),
    POD.gauge("status_phase", "The pods current phase.", lambda pod: choice(pod.status.phase, _PHASES), "phase"),
    POD.gauge(
        "status_qos_class", "The pods current qosClass.", lambda pod: choice(pod.status.qos_class, _QOS), "qos_class"
    ),
    POD.gauge("status_ready", "Describes whether the pod is ready to serve requests.", _stated("Ready"), "condition"),
    POD.gauge("status_ready_time", "Readiness achieved time in unix timestamp for a pod.", _since("Ready")),
    POD.gauge("status_initialized_time", "Initialized time in unix timestamp for a pod.", _since("Initialized")),
    POD.gauge(
        "status_container_ready_time",
        "Readiness achieved time in unix timestamp for a pod containers.",
        _since("ContainersReady"),
    ),
    POD.gauge(
        "status_scheduled",
        "Describes the status of the scheduling process for the pod.",
        _stated("PodScheduled"),
        "condition",
    ),
    POD.gauge(
        "status_scheduled_time",
        "Unix timestamp when pod moved into scheduled status",
        _since("PodScheduled"),
    ),
    POD.gauge("status_unschedulable", "Describes the unschedulable status for the pod.", _unschedulable),
    POD.gauge("status_reason", "The pod status reasons", _reason, "reason"),
    POD.gauge(
        "spec_volumes_persistentvolumeclaims_info",
        "Information about persistentvolumeclaim volumes in a pod.",
        _claims,
        "volume",
        "persistentvolumeclaim",
    ),
    POD.gauge(
        "spec_volumes_persistentvolumeclaims_readonly",
        "Describes whether a persistentvolumeclaim is mounted read only.",
        _read_only_claims,
        "volume",
        "persistentvolumeclaim",
    ),
    POD.gauge(
        "tolerations",
        "Information about the pod tolerations",
        _tolerations,
        "key",
        "operator",
        "value",
        "effect",
        "toleration_seconds",
    ),
    POD.gauge("overhead_cpu_cores", "The pod overhead in regards to cpu cores.", _overhead("cpu")),
    POD.gauge("overhead_memory_bytes", "The pod overhead in regards to memory.", _overhead("memory")),
    POD.gauge(
        "runtimeclass_name_info",
        "The runtimeclass associated with the pod.",
        lambda pod: one(1, pod.spec.runtime_class_name) if pod.spec.runtime_class_name else (),
        "runtimeclass_name",
    ),
    POD.gauge("scheduler", "The scheduler for a pod.", lambda pod: one(1, pod.spec.scheduler_name), "name"),
    POD.gauge(
        "service_account",
        "The service account for a pod.",
        lambda pod: one(1, pod.spec.service_account_name),
        "service_account",
    ),
    *_container_families(
        "container", "a container", lambda pod: pod.spec.containers, lambda pod: pod.status.container_statuses
    ),
    *_only_containers(),
    *_container_families(
        "init_container",
        "an init container",
        lambda pod: pod.spec.init_containers,
        lambda pod: pod.status.init_container_statuses,
    ),
)

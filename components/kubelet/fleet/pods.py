"""The life of a simulated Pod: bound, running at once, ended when its time is over or it is deleted. Pure.

Its status is made by the same function as a real Pod's (pod_status.generate), from containers that are data. Any
well-formed image runs. Annotations of the Pod say how it goes on:

    kubeglass.io/simulated-run-seconds: "30"    containers end by themselves (Pods of a Job: after a second)
    kubeglass.io/simulated-exit-code: "1"       and how (0)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api.objects import Container as ContainerSpec
from kubeglass.components.api.objects import Pod
from kubeglass.components.kubelet.fleet.nodes import SIMULATED
from kubeglass.components.kubelet.observed import Observed, is_sidecar
from kubeglass.components.kubelet.pod_status import Knowledge, Waiting, generate
from kubeglass.components.kubelet.runtime.images import InvalidImageNameError, image_id, parse
from kubeglass.components.kubelet.runtime.runtime import (
    Container,
    ContainerState,
    Sandbox,
    SandboxConfig,
    SandboxState,
)
from kubeglass.components.machinery import clock

RUN_SECONDS = "kubeglass.io/simulated-run-seconds"
EXIT_CODE = "kubeglass.io/simulated-exit-code"
_JOB_RUN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done for a Pod now. Nothing set: wait for its next change."""

    status: dict[str, Any] | None = None
    delete: bool = False
    again_after_seconds: float | None = None


def next_step(pod: Pod, pod_ip: str, host_ip: str, now: float) -> Step:
    """Decide from what the API server has of the Pod; `pod_ip` is the address it has or would get."""
    if pod.metadata.deletion_timestamp:
        return Step(delete=True)
    if pod.status.phase in ("Succeeded", "Failed"):
        return Step()
    lasts = _run_seconds(pod)
    if pod.status.phase != "Running":
        status = _status(pod, pod_ip, host_ip, ended=False, now=now)
        return Step(status=status, again_after_seconds=lasts)
    if lasts is None:
        return Step()
    left = clock.parse(pod.status.start_time) + lasts - now if pod.status.start_time else 0.0
    if left > 0:
        return Step(again_after_seconds=left)
    return Step(status=_status(pod, pod_ip, host_ip, ended=True, now=now))


def _run_seconds(pod: Pod) -> float | None:
    """How long the containers run; None: until the Pod is deleted."""
    if pod.spec.restart_policy in ("", "Always"):
        return None
    asked = pod.metadata.annotations.get(RUN_SECONDS, "")
    try:
        return max(0.0, float(asked))
    except ValueError:
        of_job = any(owner.controller and owner.kind == "Job" for owner in pod.metadata.owner_references)
        return _JOB_RUN_SECONDS if of_job else None


def _exit_code(pod: Pod) -> int:
    text = pod.metadata.annotations.get(EXIT_CODE, "")
    return int(text) if text.isdecimal() else 0


def _status(pod: Pod, pod_ip: str, host_ip: str, *, ended: bool, now: float) -> dict[str, Any]:
    sandbox = Sandbox(
        id=_id(pod, ""),
        config=SandboxConfig(pod.metadata.uid, pod.metadata.namespace, pod.metadata.name),
        state=SandboxState.READY,
        created_at=int(now * 1e9),
        ip=host_ip if pod.spec.host_network else pod_ip,
    )
    waiting: dict[str, Waiting] = {}
    containers: dict[str, list[Container]] = {}
    for spec in (*pod.spec.init_containers, *pod.spec.containers):
        over = ended or (spec in pod.spec.init_containers and not is_sidecar(spec))
        exit_code = _exit_code(pod) if ended and spec in pod.spec.containers else 0
        try:
            containers[spec.name] = [_container(pod, spec, sandbox, over=over, exit_code=exit_code, now=now)]
        except InvalidImageNameError as error:
            waiting[spec.name] = Waiting(
                "InvalidImageName", f'Failed to apply default image tag "{spec.image}": {error}'
            )
    known = Knowledge(runtime_name=SIMULATED, host_ip=host_ip, waiting=waiting, terminating=ended)
    return generate(pod, Observed([sandbox], containers), known, now)


def _container(pod: Pod, spec: ContainerSpec, sandbox: Sandbox, *, over: bool, exit_code: int, now: float) -> Container:
    stamp = int(now * 1e9)
    started = int(clock.parse(pod.status.start_time) * 1e9) if pod.status.start_time else stamp
    return Container(
        id=_id(pod, spec.name),
        sandbox_id=sandbox.id,
        pod_uid=pod.metadata.uid,
        name=spec.name,
        image=str(parse(spec.image)),
        image_id=image_id(spec.image),
        attempt=0,
        state=ContainerState.EXITED if over else ContainerState.RUNNING,
        created_at=started,
        started_at=started,
        finished_at=stamp if over else 0,
        exit_code=exit_code,
        reason=("Error" if exit_code else "Completed") if over else "",
    )


def _id(pod: Pod, container: str) -> str:
    """Always the same for the same container, so that nothing has to be remembered."""
    return hashlib.sha256(f"{pod.metadata.uid}\0{container}".encode()).hexdigest()

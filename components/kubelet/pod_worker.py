"""One pod on this node, from first sight to the end: sync until it is to end, terminate, clean up.

Each pass observes the runtime, decides (actions.py), acts, and reports (pod_status.py). A pass is begun by a change of
the pod, by the runtime (PLEG), by a probe, or when a back-off is over. Upstream: pod_workers.go, syncPod.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeglass.components.api.objects import Container as ContainerSpec
from kubeglass.components.api.objects import Pod
from kubeglass.components.kubelet.actions import Actions, compute, spec_hash
from kubeglass.components.kubelet.admission import Admission
from kubeglass.components.kubelet.backoff import BackOff
from kubeglass.components.kubelet.cgroups.manager import PodGroups
from kubeglass.components.kubelet.configuration import KubeletConfig
from kubeglass.components.kubelet.container_starter import ContainerStarter, StartFailure
from kubeglass.components.kubelet.image_puller import ImagePuller
from kubeglass.components.kubelet.metrics import PodWorkerMetrics
from kubeglass.components.kubelet.observed import Observed, Role, every_container, observe, role_of
from kubeglass.components.kubelet.pod_events import PodEvents
from kubeglass.components.kubelet.pod_files import PodFiles
from kubeglass.components.kubelet.pod_sandbox import PodSandboxes
from kubeglass.components.kubelet.pod_spans import SYNC, PodSpans
from kubeglass.components.kubelet.pod_start import PodStartTracker
from kubeglass.components.kubelet.pod_status import EVICTED, Knowledge, Waiting, generate
from kubeglass.components.kubelet.probes import ProbeManager
from kubeglass.components.kubelet.resizing import Resizer
from kubeglass.components.kubelet.runtime.runtime import Container, ContainerState, Runtime, Sandbox
from kubeglass.components.kubelet.status_manager import StatusManager
from kubeglass.components.kubelet.termination import Terminator
from kubeglass.components.kubelet.volumes import VolumeError, VolumeManager
from kubeglass.components.machinery import clock
from kubeglass.logging.goduration import duration_text
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.tracing.causality import Causes
from kubeglass.telemetry.tracing.tracer import leave

_RETRY_FIRST_SECONDS = 0.5
_RETRY_MAX_SECONDS = 120.0
_SHOW_PULL_ERROR_SECONDS = 1.0
"""ErrImagePull gives way to ImagePullBackOff after this time."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What all pod workers of a node share."""

    config: KubeletConfig
    runtime: Runtime
    groups: PodGroups
    resizer: Resizer
    sandboxes: PodSandboxes
    starter: ContainerStarter
    terminator: Terminator
    puller: ImagePuller
    volumes: VolumeManager
    files: PodFiles
    probes: ProbeManager
    status: StatusManager
    events: PodEvents
    metrics: PodWorkerMetrics
    starts: PodStartTracker
    back_off: BackOff
    admission: Admission
    causes: Causes
    telemetry: Telemetry
    spawn: Callable[[Coroutine[Any, Any, None], str], None]
    now: Callable[[], float] = clock.now


class PodWorker:
    """Owns one pod; `run` ends when nothing of it is left, here and on the API server."""

    def __init__(self, pod: Pod, parts: Parts) -> None:
        self.pod = pod
        self.lifecycle = "sync"
        self._parts = parts
        self._wake = asyncio.Event()
        self._deleted = asyncio.Event()
        self._gone = asyncio.Event()
        self._ending = False
        self._grace_seconds: float | None = None
        self._failed: tuple[str, str] | None = None
        self._waiting: dict[str, Waiting] = {}
        self._retry_seconds = 0.0
        self._first_seen = asyncio.get_running_loop().time()
        self._is_new = pod.status.phase == "Pending" and not pod.status.start_time
        self._kind = "create"
        self._spans = PodSpans(parts.causes, parts.telemetry.tracer, parts.now)

    # -- what happens to the pod ----------------------------------------------------------------------------------

    def update(self, pod: Pod) -> None:
        """The API server has a newer version of the pod. What only echoes our own status is no reason to look again."""
        if not _concerns_kubelet(self.pod, pod):
            self.pod = pod
            return
        self.pod = pod
        self._kind = "update"
        if pod.metadata.deletion_timestamp:
            self._take_deletion()
        self._wake.set()

    def _take_deletion(self) -> None:
        self._deleted.set()
        grace = self.pod.metadata.deletion_grace_period_seconds
        self._end(float(grace if grace is not None else self.pod.spec.termination_grace_period_seconds))

    def remove(self) -> None:
        """The API server no longer has the pod."""
        self._gone.set()
        self._take_deletion()

    def wake(self) -> None:
        """Something changed on the node: look again."""
        self._spans.woken()
        self._wake.set()

    def _end(self, grace_seconds: float) -> None:
        grace_seconds = max(grace_seconds, 1.0)
        shorter = self._grace_seconds is not None and grace_seconds < self._grace_seconds
        if self._grace_seconds is None or shorter:
            self._grace_seconds = grace_seconds
        self._ending = True
        self._parts.starter.interrupt(self.pod.metadata.uid)
        self._wake.set()
        if shorter and self.lifecycle == "terminating":
            self._parts.spawn(self._hurry(grace_seconds), f"hurry-{self.pod.key}")

    async def _hurry(self, grace_seconds: float) -> None:
        """A second delete with a shorter grace period."""
        for container in (await self._observe()).running():
            await self._parts.runtime.stop_container(container.id, grace_seconds)

    def evict(self, message: str) -> None:
        """The pod exceeded a limit of the node: it fails, and ends at once."""
        if self._ending:
            return
        self._parts.events.warning(self.pod, None, EVICTED, message)
        self._failed = (EVICTED, message)
        self._end(1.0)

    # -- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live, terminate, clean up."""
        leave()
        if self.pod.metadata.deletion_timestamp:
            self._take_deletion()
        if self.pod.status.phase not in ("Succeeded", "Failed"):
            if self._is_new:
                await self._persist(self._admit)
            await self._live()
        self.lifecycle = "terminating"
        await self._persist(self._terminate)
        self.lifecycle = "terminated"
        await self._persist(self._clean_up)

    async def _admit(self) -> None:
        """A pod that the node cannot take fails before anything is made for it."""
        refusal = await self._parts.admission.refusal(self.pod)
        if refusal is not None:
            self._parts.events.warning(self.pod, None, refusal.reason, refusal.message)
            self._failed = (refusal.reason, f"Pod was rejected: {refusal.message}")
            self._ending = True

    async def _live(self) -> None:
        while not self._ending:
            self._wake.clear()
            kind, self._kind = self._kind, "sync"
            try:
                delay = await self._measured(kind, SYNC, self._sync)
            except Exception as error:  # one pod's trouble, foreseen or not, must not end the others
                delay = self._retry_after_failure()
                self._parts.telemetry.log.error(
                    error, "Error syncing pod, skipping", pod=self.pod.key, podUID=self.pod.metadata.uid
                )
            if not self._ending:
                await self._sleep(delay)

    async def _persist(self, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """A step of the end is tried until it works: nothing may be left behind."""
        while True:
            try:
                await step()
                return
            except Exception as error:
                self._parts.telemetry.log.error(error, "Error ending pod, will retry", pod=self.pod.key)
                await asyncio.sleep(self._retry_after_failure())

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    def _retry_after_failure(self) -> float:
        self._retry_seconds = min(max(self._retry_seconds * 2, _RETRY_FIRST_SECONDS), _RETRY_MAX_SECONDS)
        return self._retry_seconds

    async def _measured(self, kind: str, span_name: str, step: Callable[[], Coroutine[Any, Any, float]]) -> float:
        """One pass, timed and traced; its span is part of the change that caused it."""
        parts, meta = self._parts, self.pod.metadata
        if kind == "create":
            waited = asyncio.get_running_loop().time() - self._first_seen
            parts.metrics.pod_worker_start_duration_seconds.observe(waited)
        started = asyncio.get_running_loop().time()
        with self._spans.begin(self.pod, span_name, kind):
            try:
                return await step()
            finally:
                seconds = asyncio.get_running_loop().time() - started
                parts.metrics.pod_worker_duration_seconds.labels(kind).observe(seconds)
                parts.telemetry.log.v(4).info(
                    f"{span_name} exit", pod=self.pod.key, podUID=meta.uid, isTerminal=self._ending
                )

    # -- one pass -------------------------------------------------------------------------------------------------

    async def _sync(self) -> float:
        """Bring the pod one step further; the seconds after which to look again."""
        parts, pod = self._parts, self.pod
        observed = await self._observe()
        self._spans.tell_ended(observed)
        self._watch_probes(observed)
        self._report(observed)
        if self._deadline_exceeded():
            return 0.0
        actions = compute(pod, observed, parts.probes.verdicts)
        if actions.kill_pod and not actions.create_sandbox:
            self._ending = True
            return 0.0
        self._note_what_is_missing(actions)
        await parts.resizer.ensure_group(pod, at_least=actions.resizes)
        volumes = await self._mount(observed)
        sandbox = observed.ready_sandbox
        if actions.create_sandbox:
            await parts.terminator.end_pod(pod, observed, float(pod.spec.termination_grace_period_seconds))
            await parts.sandboxes.stop(pod, observed)
            sandbox = await parts.sandboxes.create(pod, actions.sandbox_attempt)
            self._report(await self._observe())
        await self._kill(actions, observed)
        await parts.resizer.resize(pod, actions)
        if sandbox is not None:
            await self._start(actions, observed, sandbox, volumes)
        observed = await self._observe()
        self._watch_probes(observed)
        self._report(observed)
        await parts.sandboxes.collect_garbage(observed)
        self._retry_seconds = 0.0
        return self._next_look(observed)

    async def _observe(self) -> Observed:
        runtime = self._parts.runtime
        return observe(self.pod.metadata.uid, await runtime.list_pod_sandboxes(), await runtime.list_containers())

    async def _mount(self, observed: Observed) -> Mapping[str, Path]:
        pod_ip = observed.sandbox.ip if observed.sandbox else ""
        try:
            return await self._parts.volumes.mount(self.pod, pod_ip)
        except VolumeError as error:
            self._parts.events.warning(self.pod, None, "FailedMount", str(error))
            raise

    async def _kill(self, actions: Actions, observed: Observed) -> None:
        """End what failed its probe or changed. The next pass starts it again."""
        ip = observed.sandbox.ip if observed.sandbox else ""
        for kill in actions.kill:
            probe = {"liveness": kill.spec.liveness_probe, "startup": kill.spec.startup_probe}.get(kill.cause)
            grace = probe.termination_grace_period_seconds if probe else None
            if grace is None:
                grace = self.pod.spec.termination_grace_period_seconds
            await self._parts.terminator.end_container(
                self.pod, kill.spec, kill.container, kill.message, float(grace), ip
            )
            self._wake.set()

    async def _start(self, actions: Actions, observed: Observed, sandbox: Sandbox, volumes: Mapping[str, Path]) -> None:
        for spec in (*actions.start_ephemeral, *actions.start_init, *actions.start):
            role = role_of(self.pod, spec.name)
            latest = observed.latest(spec.name)
            if self._ending or self._held_back(spec, latest):
                continue
            if latest is not None and latest.state is ContainerState.CREATED:
                await self._parts.runtime.remove_container(latest.id)
            try:
                attempt = self._attempt(spec, latest)
                await self._parts.starter.start(self.pod, spec, sandbox, attempt, volumes, role.type)
            except StartFailure as failure:
                self._waiting[spec.name] = Waiting(failure.reason, failure.message)
                if failure.reason in ("RunContainerError", "PostStartHookError"):
                    self._wake.set()  # it ended already: its back-off begins now
            else:
                self._waiting.pop(spec.name, None)
                if role is Role.INIT:
                    self._wake.set()

    def _attempt(self, spec: ContainerSpec, latest: Container | None) -> int:
        """How often the container was started before."""
        if latest is not None:
            return latest.attempt if latest.state is ContainerState.CREATED else latest.attempt + 1
        statuses = (*self.pod.status.container_statuses, *self.pod.status.init_container_statuses)
        reported = next((s for s in statuses if s.name == spec.name and s.container_id), None)
        return reported.restart_count + 1 if reported else 0

    # -- back-off -------------------------------------------------------------------------------------------------

    def _held_back(self, spec: ContainerSpec, latest: Container | None) -> bool:
        """Whether a container that ended has to wait before it is started again; counts the attempt if not."""
        if latest is None or latest.state is not ContainerState.EXITED:
            return False
        parts, meta = self._parts, self.pod.metadata
        key, ended = self._back_off_key(spec), latest.finished_at / 1e9
        if parts.back_off.remaining(key, ended, parts.now()) <= 0:
            parts.back_off.next(key, ended, parts.now())
            return False
        full_name = f"{meta.name}_{meta.namespace}({meta.uid})"
        wait = duration_text(round(parts.back_off.current(key) * 1e9))
        parts.events.warning(
            self.pod, spec, "BackOff", f"Back-off restarting failed container {spec.name} in pod {full_name}"
        )
        self._waiting[spec.name] = Waiting(
            "CrashLoopBackOff", f"back-off {wait} restarting failed container={spec.name} pod={full_name}"
        )
        return True

    def _back_off_key(self, spec: ContainerSpec) -> tuple[str, str, str]:
        return self.pod.metadata.uid, spec.name, spec_hash(spec)

    def _next_look(self, observed: Observed) -> float:
        """Until the earliest back-off ends or the deadline comes; else the regular resync."""
        parts = self._parts
        waits = [parts.config.sync_frequency_seconds]
        for spec in every_container(self.pod):
            latest = observed.latest(spec.name)
            if spec.name in self._waiting and latest is not None:
                waits.append(parts.back_off.remaining(self._back_off_key(spec), latest.finished_at / 1e9, parts.now()))
            elif spec.name in self._waiting and self._waiting[spec.name].reason == "ErrImagePull":
                waits.append(_SHOW_PULL_ERROR_SECONDS)
            elif spec.name in self._waiting:
                waits.append(parts.puller.retry_after(self.pod.metadata.uid) or self._retry_after_failure())
        deadline = self._seconds_to_deadline()
        if deadline is not None:
            waits.append(deadline)
        return max(0.05, min(waits))

    def _seconds_to_deadline(self) -> float | None:
        seconds, start = self.pod.spec.active_deadline_seconds, self.pod.status.start_time
        if seconds is None or not start:
            return None
        return clock.parse(start) + seconds - self._parts.now()

    def _deadline_exceeded(self) -> bool:
        left = self._seconds_to_deadline()
        if left is None or left > 0:
            return False
        message = "Pod was active on the node longer than the specified deadline"
        self._parts.events.normal(self.pod, None, "DeadlineExceeded", message)
        self._failed = ("DeadlineExceeded", message)
        self._ending = True
        return True

    # -- report ---------------------------------------------------------------------------------------------------

    def _note_what_is_missing(self, actions: Actions) -> None:
        """A container that waits for nothing any more keeps no old reason."""
        wanted = {spec.name for spec in (*actions.start, *actions.start_init, *actions.start_ephemeral)}
        self._waiting = {name: waiting for name, waiting in self._waiting.items() if name in wanted}

    def _watch_probes(self, observed: Observed) -> None:
        sandbox = observed.ready_sandbox
        if sandbox is None or self._ending:
            return
        for spec in (*self.pod.spec.init_containers, *self.pod.spec.containers):
            for container in observed.containers.get(spec.name, ()):
                if container.state is ContainerState.RUNNING:
                    age = max(0.0, self._parts.now() - container.started_at / 1e9)
                    self._parts.probes.watch(self.pod, spec, container.id, sandbox.ip, age)
                else:
                    self._parts.probes.forget(container.id)

    def _report(self, observed: Observed, *, terminating: bool = False) -> None:
        parts = self._parts
        known = Knowledge(
            runtime_name=parts.runtime.name,
            host_ip=parts.config.node_ip,
            waiting=self._waiting,
            ready=parts.probes.ready,
            started=parts.probes.started,
            termination_message=lambda spec, container: parts.files.read_message(self.pod, spec, container),
            terminating=terminating,
            failed=self._failed,
        )
        last = parts.status.last(self.pod.metadata.uid)
        status = generate(_with_last(self.pod, last), observed, known, parts.now())
        if parts.status.set(self.pod, status) and self._is_new:
            parts.starts.reported(self.pod, status, observed, self._first_seen)

    # -- the end --------------------------------------------------------------------------------------------------

    async def _terminate(self) -> None:
        """End every container and the sandbox."""
        parts, pod = self._parts, self.pod
        observed = await self._observe()
        if observed.ready_sandbox is None and not observed.running() and pod.status.phase in ("Succeeded", "Failed"):
            return  # it was over before this kubelet began

        async def end() -> float:
            grace = self._grace_seconds
            if grace is None:
                grace = float(pod.spec.termination_grace_period_seconds)
            self._report(observed)
            await parts.terminator.end_pod(pod, observed, grace)
            for found in observed.containers.values():
                for container in found:
                    parts.probes.forget(container.id)
            await parts.sandboxes.stop(pod, observed)
            parts.groups.update_shares()
            self._report(await self._observe(), terminating=True)
            return 0.0

        await self._measured("kill", "syncTerminatingPod", end)

    async def _clean_up(self) -> None:
        """Volumes go at once, the rest when the pod is deleted: until then its logs can be read."""
        parts, meta = self._parts, self.pod.metadata

        async def clean() -> float:
            await asyncio.to_thread(parts.volumes.unmount, meta.uid)
            await parts.groups.end(self.pod)
            return 0.0

        parts.probes.forget_pod(self.pod)
        await self._measured("terminated", "syncTerminatedPod", clean)
        await self._deleted.wait()
        with self._spans.begin(self.pod, "removePod"):
            await parts.sandboxes.remove(meta.namespace, meta.name, meta.uid)
            if not self._gone.is_set():
                parts.status.finish(self.pod)
        parts.back_off.forget(meta.uid)
        parts.admission.forget(meta.uid)
        parts.puller.forget(meta.uid)
        parts.causes.forget(meta.uid)
        await self._gone.wait()
        parts.status.forget(meta.uid)


def _concerns_kubelet(old: Pod, new: Pod) -> bool:
    """Whether a change is more than an echo of the status that the kubelet itself reported."""
    before, after = old.metadata, new.metadata
    return (
        old.spec != new.spec
        or (before.labels, before.annotations) != (after.labels, after.annotations)
        or (before.deletion_timestamp, before.deletion_grace_period_seconds)
        != (after.deletion_timestamp, after.deletion_grace_period_seconds)
        or bool(new.spec.readiness_gates)
    )


def _with_last(pod: Pod, last: dict[str, Any] | None) -> Pod:
    """The pod as it will be once the API server has what was reported last: its times and conditions count."""
    if last is None:
        return pod
    import msgspec

    from kubeglass.components.api.objects import PodCondition

    reported = {row["type"]: msgspec.convert(_present(row), PodCondition) for row in last["conditions"]}
    conditions = [reported.pop(c.type, c) for c in pod.status.conditions] + list(reported.values())
    status = msgspec.structs.replace(
        pod.status, conditions=tuple(conditions), start_time=last.get("startTime", pod.status.start_time)
    )
    return msgspec.structs.replace(pod, status=status)


def _present(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if value is not None}

"""Liveness, readiness and startup probes: one worker per container and probe, verdicts for the pod workers.

Upstream: pkg/kubelet/prober. A verdict changes only after successThreshold or failureThreshold equal results in a row.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from kubeglass import KUBERNETES_VERSION
from kubeglass.components.api.kinds import POD
from kubeglass.components.api.objects import Container, Pod, Probe
from kubeglass.components.api.semantics import about
from kubeglass.components.kubelet.actions import ProbeVerdicts
from kubeglass.components.kubelet.first_probe import await_first_probe
from kubeglass.components.kubelet.handlers import Handlers, Verdict
from kubeglass.components.kubelet.metrics import ProbeMetrics
from kubeglass.components.kubelet.pod_events import PodEvents
from kubeglass.components.machinery import clock
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.tracing.causality import WINDOW_SECONDS
from kubeglass.telemetry.tracing.context import SpanContext, current_context
from kubeglass.telemetry.tracing.tracer import Span, leave

_AGENT = f"kube-probe/{KUBERNETES_VERSION.removeprefix('v').rpartition('.')[0]}"


class ProbeType(StrEnum):
    LIVENESS = "Liveness"
    READINESS = "Readiness"
    STARTUP = "Startup"


@dataclass(slots=True)
class Streak:
    """Counts equal results in a row and gives the verdict. Pure."""

    success_threshold: int
    failure_threshold: int
    verdict: bool | None = None
    last: bool | None = None
    length: int = 0

    def add(self, ok: bool) -> bool:
        """One more result; whether the verdict changed."""
        self.length = self.length + 1 if ok == self.last else 1
        self.last = ok
        if self.length < (self.success_threshold if ok else self.failure_threshold):
            return False
        changed = self.verdict is not ok
        self.verdict = ok
        return changed


@dataclass(slots=True)
class _Worker:
    pod: Pod
    container: Container
    container_id: str
    type: ProbeType
    probe: Probe
    pod_ip: str
    streak: Streak
    started_at: float
    succeeded: bool
    cause: SpanContext | None
    asking_since_ns: int
    """Since when it asks for another answer than it has: from the start, or while not ready; 0 while all is well."""
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class _Known:
    """The verdicts of one container id."""

    workers: dict[ProbeType, _Worker] = field(default_factory=dict)


class ProbeManager:
    """All probes of a node. `on_change` hears the uid of a pod whose verdicts changed."""

    def __init__(
        self,
        handlers: Handlers,
        events: PodEvents,
        metrics: ProbeMetrics,
        telemetry: Telemetry,
        on_change: Callable[[str], None],
    ) -> None:
        self._handlers = handlers
        self._events = events
        self._metrics = metrics
        self._log = telemetry.log
        self._tracer = telemetry.tracer
        self._on_change = on_change
        self._known: dict[str, _Known] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Own the probe workers until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            started()
            await asyncio.Event().wait()

    # -- which containers are probed ------------------------------------------------------------------------------

    def watch(self, pod: Pod, container: Container, container_id: str, pod_ip: str, age_seconds: float) -> None:
        """Probe a running container as its spec says; does nothing for one that is probed already."""
        if container_id in self._known:
            return
        known = self._known[container_id] = _Known()
        rows = (
            (ProbeType.STARTUP, container.startup_probe),
            (ProbeType.READINESS, container.readiness_probe),
            (ProbeType.LIVENESS, container.liveness_probe),
        )
        for type_, probe in rows:
            if probe is not None:
                known.workers[type_] = self._start(pod, container, container_id, type_, probe, pod_ip, age_seconds)

    def _start(
        self,
        pod: Pod,
        container: Container,
        container_id: str,
        type_: ProbeType,
        probe: Probe,
        pod_ip: str,
        age_seconds: float,
    ) -> _Worker:
        assert self._group is not None, "probe manager is not running"
        worker = _Worker(
            pod=pod,
            container=container,
            container_id=container_id,
            type=type_,
            probe=probe,
            pod_ip=pod_ip,
            streak=Streak(
                probe.success_threshold, probe.failure_threshold, _initial(pod, container, container_id, type_)
            ),
            started_at=asyncio.get_running_loop().time() - age_seconds,
            succeeded=_initial(pod, container, container_id, type_) is True,
            cause=current_context(),
            asking_since_ns=clock.now_ns(),
        )
        name = f"probe-{type_.lower()}-{container.name}"
        worker.task = self._group.create_task(self._probe_forever(worker), name=name)
        return worker

    def forget(self, container_id: str) -> None:
        """The container ended or its pod is going."""
        known = self._known.pop(container_id, None)
        for worker in known.workers.values() if known else ():
            if worker.task is not None:
                worker.task.cancel()

    def forget_pod(self, pod: Pod) -> None:
        """The pod is over, and so are the series of its probes; they outlive its containers."""
        meta = pod.metadata
        self._metrics.prober_probe_total.remove_matching(pod_uid=meta.uid)
        self._metrics.prober_probe_duration_seconds.remove_matching(pod=meta.name, namespace=meta.namespace)

    def stop_killing(self, container_id: str) -> None:
        """The pod is terminating: liveness and startup no longer matter, readiness does."""
        known = self._known.get(container_id)
        for type_ in (ProbeType.LIVENESS, ProbeType.STARTUP):
            worker = known.workers.pop(type_, None) if known else None
            if worker is not None and worker.task is not None:
                worker.task.cancel()

    # -- verdicts -------------------------------------------------------------------------------------------------

    def ready(self, container: Container, container_id: str) -> bool:
        """Whether the readiness probe holds; True without one."""
        return container.readiness_probe is None or self._verdict(container_id, ProbeType.READINESS) is True

    def started(self, container: Container, container_id: str) -> bool:
        """Whether the startup probe has succeeded; True without one."""
        return container.startup_probe is None or self._verdict(container_id, ProbeType.STARTUP) is True

    @property
    def verdicts(self) -> ProbeVerdicts:
        """For actions.compute."""
        return ProbeVerdicts(
            liveness=lambda container_id: self._verdict(container_id, ProbeType.LIVENESS),
            startup=lambda container_id: self._verdict(container_id, ProbeType.STARTUP),
            started=self.started,
        )

    def _verdict(self, container_id: str, type_: ProbeType) -> bool | None:
        known = self._known.get(container_id)
        worker = known.workers.get(type_) if known else None
        return worker.streak.verdict if worker else None

    # -- probing --------------------------------------------------------------------------------------------------

    async def _probe_forever(self, worker: _Worker) -> None:
        leave()
        loop = asyncio.get_running_loop()
        if loop.time() - worker.started_at > worker.probe.initial_delay_seconds + worker.probe.period_seconds:
            # A restarted kubelet finds all containers at once: spread their probes.
            await asyncio.sleep(random.random() * worker.probe.period_seconds)
        else:
            await await_first_probe(worker.probe, worker.container, worker.pod_ip, worker.started_at)
        while True:
            due = loop.time() + worker.probe.period_seconds
            if await self._once(worker):
                return
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _once(self, worker: _Worker) -> bool:
        """One turn; True when this probe has nothing left to find out."""
        if worker.type is not ProbeType.STARTUP and not self.started(worker.container, worker.container_id):
            return False
        started = asyncio.get_running_loop().time()
        worker.asking_since_ns = worker.asking_since_ns or clock.now_ns()
        try:
            verdict = await self._ask(worker)
        except Exception as error:  # one probe's trouble must not end the others
            self._log.error(error, "Probe errored", probeType=worker.type.value, containerName=worker.container.name)
            verdict = Verdict(None, str(error))
        self._record(worker, verdict, asyncio.get_running_loop().time() - started)
        if verdict.ok is None:
            return False
        if worker.streak.add(verdict.ok):
            with self._span(worker, verdict):
                self._on_change(worker.pod.metadata.uid)
            worker.succeeded = worker.succeeded or verdict.ok
            worker.asking_since_ns = clock.now_ns()
        if worker.streak.last is worker.streak.verdict is True:
            worker.asking_since_ns = 0
        if worker.type is ProbeType.STARTUP:
            return worker.streak.verdict is not None
        return worker.type is ProbeType.LIVENESS and worker.streak.verdict is False

    def _span(self, worker: _Worker, verdict: Verdict) -> Span:
        """What changed the mind about a container, from the first asking that led to it.

        A step of the Pod's change until the probe once succeeded, afterwards an incident of its own, linked to it.
        """
        meta, parent, cause = worker.pod.metadata, None, worker.cause
        old = worker.succeeded or asyncio.get_running_loop().time() - worker.started_at > WINDOW_SECONDS
        if cause is not None and not old:
            parent = cause
        span = self._tracer.span(
            f"{worker.type.lower()} probe",
            parent=parent,
            links=(cause,) if cause is not None and parent is None else (),
            start_ns=worker.asking_since_ns,
            attributes={
                **about(POD, meta.namespace, meta.name, meta.uid),
                "k8s.container.name": worker.container.name,
                "probe.result": "success" if verdict.ok else "failure",
                "probe.output": verdict.output or None,
            },
        )
        span.keep()
        return span

    async def _ask(self, worker: _Worker) -> Verdict:
        probe, timeout = worker.probe, float(worker.probe.timeout_seconds)
        if probe.exec is not None:
            return await self._handlers.exec(probe.exec, worker.container_id, timeout)
        if probe.http_get is not None:
            return await self._handlers.http_get(probe.http_get, worker.container, worker.pod_ip, timeout, _AGENT)
        if probe.tcp_socket is not None:
            return await self._handlers.tcp_socket(probe.tcp_socket, worker.container, worker.pod_ip, timeout)
        if probe.grpc is not None:
            return await self._handlers.grpc(probe.grpc.port, probe.grpc.service, worker.pod_ip, timeout)
        return Verdict(None, f"missing probe handler for {worker.container.name}")

    def _record(self, worker: _Worker, verdict: Verdict, seconds: float) -> None:
        meta = worker.pod.metadata
        if verdict.ok is None:
            message = f"{worker.type} probe errored and resulted in unknown state: {verdict.output}"
            self._events.warning(worker.pod, worker.container, "Unhealthy", message)
            return
        result = "successful" if verdict.ok else "failed"
        labels = (worker.type.value, result, worker.container.name, meta.name, meta.namespace, meta.uid)
        self._metrics.prober_probe_total.labels(*labels).inc()
        if verdict.ok:
            self._metrics.prober_probe_duration_seconds.labels(
                worker.type.value, worker.container.name, meta.name, meta.namespace
            ).observe(seconds)
            return
        self._log.v(1).info(
            "Probe failed",
            probeType=worker.type.value,
            pod=f"{meta.namespace}/{meta.name}",
            podUID=meta.uid,
            containerName=worker.container.name,
            probeResult="failure",
            output=verdict.output,
        )
        self._events.warning(worker.pod, worker.container, "Unhealthy", f"{worker.type} probe failed: {verdict.output}")


def _initial(pod: Pod, container: Container, container_id: str, type_: ProbeType) -> bool | None:
    """What a restarted kubelet may go on believing: what was reported for this very container."""
    statuses = (*pod.status.container_statuses, *pod.status.init_container_statuses)
    status = next((s for s in statuses if s.name == container.name), None)
    if status is None or not status.container_id.endswith(f"://{container_id}"):
        return None
    if type_ is ProbeType.READINESS:
        return True if status.ready else None
    if type_ is ProbeType.STARTUP:
        return True if status.started else None
    return None

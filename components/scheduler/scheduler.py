"""kube-scheduler: takes Pods from the queue, one cycle each, and binds them beside the next cycles.

This file wires and acts; what is decided is decided in cycle.py and the plugins.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from kubeglass.components.api.errors import ApiError, NotFound
from kubeglass.components.api.kinds import NAMESPACE, NODE, POD
from kubeglass.components.api.objects import Namespace, Node, Pod
from kubeglass.components.api.semantics import about
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.events import EventRecorder
from kubeglass.components.machinery.informer import Informer
from kubeglass.components.machinery.process import ComponentSpec, Context, start
from kubeglass.components.machinery.transport import Unreachable
from kubeglass.components.scheduler.conditions import disruption_patch, pod_scheduled_patch
from kubeglass.components.scheduler.cycle import Cycle, Decision
from kubeglass.components.scheduler.feed import Feed
from kubeglass.components.scheduler.framework import Framework, PluginFailed
from kubeglass.components.scheduler.instruments import CountedQueue, Measured, Present, measured_hint
from kubeglass.components.scheduler.interface import SUCCESS, CycleState, Nomination, Status, error
from kubeglass.components.scheduler.metrics import (
    ApiCallMetrics,
    AttemptMetrics,
    PreemptionMetrics,
    QueueMetrics,
)
from kubeglass.components.scheduler.plugins.queueing import PrioritySort
from kubeglass.components.scheduler.profile import DEFAULT_SCHEDULER_NAME, Surroundings, default_plugins
from kubeglass.components.scheduler.queue import Nominator, QueuedPod, SchedulingQueue
from kubeglass.components.scheduler.resources import collect_pod_resources
from kubeglass.components.scheduler.snapshot import PodInfo, Snapshot
from kubeglass.components.scheduler.surroundings import World
from kubeglass.logging.slowlog import told_if_slow
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.causality import Causes, cause_of, hand_on
from kubeglass.telemetry.tracing.context import current_context
from kubeglass.telemetry.tracing.tracer import Span, use

_EVENT_NOTE_LIMIT = 1024
_SLOW_SECONDS = 0.1
"""A decision that takes this long leaves the text of its steps in the log."""


class Scheduler:
    """One scheduler process with the default profile."""

    def __init__(self, client: Client, telemetry: Telemetry, seed: int | None = None) -> None:
        self._client = client
        self._log = telemetry.log
        self._tracer = telemetry.tracer
        self._causes = Causes(telemetry.tracer.annotation)
        self._recorder = EventRecorder(client, DEFAULT_SCHEDULER_NAME, telemetry)
        self._attempts = AttemptMetrics(telemetry.metrics)
        self._preemption = PreemptionMetrics(telemetry.metrics)
        self._calls = ApiCallMetrics(telemetry.metrics)
        choice = random.Random(seed)
        self._snapshot = Snapshot()
        self._nominator = Nominator()
        self._world = World(client, telemetry)
        self._instruments = Measured(telemetry, DEFAULT_SCHEDULER_NAME, choice)
        around = Surroundings(
            self._snapshot,
            choice,
            self._world.workload_selector,
            self._world.budgets.list,
            self._world.volume_sources(),
            self._write_binding,
        )
        plugins = default_plugins(around)
        self._framework = Framework(DEFAULT_SCHEDULER_NAME, plugins, self._instruments)
        self._cycle = Cycle(self._framework, self._snapshot, self._nominator, choice)
        queue_metrics = QueueMetrics(telemetry.metrics)
        self._queue = SchedulingQueue(
            PrioritySort().order,
            self._framework.run_pre_enqueue,
            {entry.plugin.name: entry.plugin.events for entry in plugins},
            CountedQueue(queue_metrics),
            {entry.plugin.name: measured_hint(entry.plugin, queue_metrics) for entry in plugins},
        )
        Present(telemetry.metrics, self._queue, self._snapshot, DEFAULT_SCHEDULER_NAME)
        self._telling: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        feed = Feed(self._snapshot, self._queue, self._nominator, queue_metrics, DEFAULT_SCHEDULER_NAME, self._news.set)
        self._pods = Informer(client, POD, Pod, telemetry)
        self._nodes = Informer(client, NODE, Node, telemetry)
        self._namespaces = Informer(client, NAMESPACE, Namespace, telemetry)
        self._subscribe(feed)
        resources = telemetry.metrics.companion()
        collect_pod_resources(resources, self._pods.list)
        self.registries: Mapping[str, Registry] = {"/metrics/resources": resources}

    def _subscribe(self, feed: Feed) -> None:
        self._nodes.subscribe(feed.node_changed)
        self._pods.subscribe(feed.pod_changed)
        self._namespaces.subscribe(feed.namespace_changed)
        self._world.claims.subscribe(feed.volumes_changed("PersistentVolumeClaim"))
        self._world.volumes.subscribe(feed.volumes_changed("PersistentVolume"))
        self._world.classes.subscribe(feed.volumes_changed("storage.k8s.io/StorageClass"))

    async def run(self, started: Callable[[], None]) -> None:
        """Schedule until cancelled."""
        async with asyncio.TaskGroup() as group:
            await start(group, self._recorder.run, "events")
            informers: tuple[Informer[Any], ...] = (self._namespaces, self._nodes, self._pods, *self._world.informers)
            for informer in informers:
                group.create_task(informer.run(), name=f"informer-{informer.kind.plural}")
            for informer in informers:
                await informer.synced.wait()
            self._log.v(2).info("Caches are synced, scheduling", nodes=len(self._snapshot.nodes))
            started()
            await self._schedule_forever(group)

    # -- the loop -------------------------------------------------------------------------------------------------

    async def _schedule_forever(self, group: asyncio.TaskGroup) -> None:
        while True:
            self._news.clear()
            wake_at = self._queue.flush(clock.now())
            queued = self._queue.pop(clock.now())
            if queued is None:
                await self._wait(wake_at)
                continue
            self._schedule(group, queued)
            await asyncio.sleep(0)  # informers and bindings take their turn between two cycles

    async def _wait(self, wake_at: float | None) -> None:
        timeout = None if wake_at is None else max(0.0, wake_at - clock.now())
        try:
            async with asyncio.timeout(timeout):
                await self._news.wait()
        except TimeoutError:
            pass

    def _schedule(self, group: asyncio.TaskGroup, queued: QueuedPod) -> None:
        """One scheduling cycle: no await, so nothing changes under it."""
        pod = queued.pod
        self._log.v(3).info("Attempting to schedule pod", pod=pod.key)
        started = time.perf_counter()
        self._instruments.begin_cycle()
        since_ns = int((queued.parked_at or queued.queued_at) * 1e9)
        span = self._tracer.start(
            "Schedule",
            start_ns=since_ns,
            attributes={**about(POD, pod.namespace, pod.name, pod.uid), "attempt": queued.attempts},
            **self._belonging(queued),
        )
        with use(span.context):
            self._tracer.start("queue wait", start_ns=since_ns, attributes=about(POD, pod.namespace, pod.name)).end()
            with self._tracer.span("scheduling cycle", attributes=about(POD, pod.namespace, pod.name)) as cycle:
                decision = self._decide(pod)
                self._attempts.scheduling_algorithm_duration_seconds.observe(time.perf_counter() - started)
                _describe(cycle, decision)
                placed = self._place(decision, pod)
            attempt = _Attempt(queued, decision, started, span)
            if placed.ok and decision.node_name:
                group.create_task(self._bind(attempt), name=f"bind {pod.key}")
                return
            failure = decision.failure or ("" if placed.ok else placed.message)
            failing = self._fail(attempt, failure, self._park(attempt, failure), self._telling.get(pod.key))
            told = group.create_task(failing, name=f"fail {pod.key}")
            self._telling[pod.key] = told
            told.add_done_callback(lambda task: self._told(pod.key, task))

    def _belonging(self, queued: QueuedPod) -> dict[str, Any]:
        """A child of the Pod's change as long as that is young, linked to what made another attempt worth while."""
        meta = queued.pod.pod.metadata
        reaction = self._causes.react(meta, now=clock.now())
        parent, links = reaction.parent, list(reaction.links)
        if parent is None and not links and (cause := cause_of(meta, self._causes.key)):
            links.append(cause)
        moved_by, queued.moved_by = queued.moved_by, None
        if moved_by is not None and (parent is None or moved_by.trace_id != parent.trace_id):
            links.append(moved_by)
        return {"parent": parent, "links": links}

    def _decide(self, pod: PodInfo) -> Decision:
        described = {"namespace": pod.namespace, "name": pod.name}
        try:
            with told_if_slow(self._log, "Scheduling", _SLOW_SECONDS, described) as step:
                return self._cycle.decide(pod, step)
        except PluginFailed as failed:
            return Decision(CycleState(), failure=str(failed))

    def _place(self, decision: Decision, pod: PodInfo) -> Status:
        """Count the Pod on its node at once, so that the next cycle sees it there."""
        if not decision.node_name:
            return SUCCESS
        self._snapshot.assume(pod, decision.node_name)
        status = self._framework.run_reserve(decision.state, pod, decision.node_name)
        if status.ok:
            status, _ = self._framework.run_permit(decision.state, pod, decision.node_name)
        if not status.ok:
            self._framework.run_unreserve(decision.state, pod, decision.node_name)
            self._snapshot.forget(pod.key)
        return status

    # -- binding --------------------------------------------------------------------------------------------------

    def _told(self, key: str, task: asyncio.Task[None]) -> None:
        if self._telling.get(key) is task:
            del self._telling[key]

    async def _bind(self, attempt: _Attempt) -> None:
        pod, node_name, state = attempt.queued.pod, attempt.decision.node_name, attempt.decision.state
        await _ended(self._telling.get(pod.key))
        described = about(POD, pod.namespace, pod.name)
        with self._instruments.working("binding"), self._tracer.span("binding cycle", attributes=described) as cycle:
            status = await self._framework.run_pre_bind(state, pod, node_name)
            if status.ok:
                status = await self._framework.run_bind(state, pod, node_name)
            cycle.set("k8s.node.name", node_name)
            if not status.ok:
                cycle.error(status.message)
        if status.ok:
            self._bound(attempt)
            return
        self._framework.run_unreserve(state, pod, node_name)
        self._snapshot.forget(pod.key)
        failure = f"binding rejected: {status.message}"
        await self._fail(attempt, failure, self._park(attempt, failure), None)

    def _bound(self, attempt: _Attempt) -> None:
        queued, decision = attempt.queued, attempt.decision
        pod = queued.pod
        self._nominator.clear(pod.key)
        self._log.v(2).info(
            "Successfully bound pod to node",
            pod=pod.key,
            node=decision.node_name,
            evaluatedNodes=decision.evaluated_nodes,
            feasibleNodes=decision.feasible_nodes,
        )
        self._recorder.event(pod.pod, "Normal", "Scheduled", f"Successfully assigned {pod.key} to {decision.node_name}")
        self._finished(attempt, "scheduled")
        self._attempts.pod_scheduling_attempts.observe(queued.attempts)
        waited = clock.now() - (queued.first_active_at or queued.queued_at)
        label = str(queued.attempts) if queued.attempts < 15 else "15+"
        self._attempts.pod_scheduling_sli_duration_seconds.labels(label).observe(waited)
        if queued.flushed:
            self._attempts.pod_scheduled_after_flush_total.inc()

    def _finished(self, attempt: _Attempt, result: str) -> None:
        self._attempts.schedule_attempts_total.labels(result, DEFAULT_SCHEDULER_NAME).inc()
        self._attempts.scheduling_attempt_duration_seconds.labels(result, DEFAULT_SCHEDULER_NAME).observe(
            time.perf_counter() - attempt.started
        )
        attempt.span.set("scheduler.result", result)
        attempt.span.end()

    async def _write_binding(self, pod: PodInfo, node_name: str) -> Status:
        """DefaultBinder's hand."""
        binding: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"kind": "Node", "name": node_name},
        }
        hand_on(binding, current_context(), self._tracer.annotation)  # the Pod carries it to its kubelet
        try:
            with self._calls.call("pod_binding"):
                await self._client.create_subresource(POD, pod.name, pod.namespace, "binding", binding)
        except (ApiError, Unreachable) as failed:
            return error(str(failed), "DefaultBinder")
        return SUCCESS

    # -- failure --------------------------------------------------------------------------------------------------

    def _park(self, attempt: _Attempt, failure: str) -> Nomination | None:
        """Put the Pod back in the queue, before anything else can happen; the answer is whom preemption chose."""
        queued, decision = attempt.queued, attempt.decision
        current = self._pods.get(queued.pod.key)
        if current is None or current.metadata.uid != queued.pod.uid or current.spec.node_name:
            return None
        queued.pod = PodInfo(current)
        if failure:
            self._queue.retry(queued, clock.now())
        else:
            rejected_by = decision.diagnosis.plugins if decision.diagnosis else set()
            self._queue.park(queued, frozenset(rejected_by), clock.now())
        if decision.diagnosis is not None and decision.diagnosis.node_count and not decision.failure:
            self._preemption.preemption_attempts_total.inc()
        if decision.nomination is not None:
            self._nominator.nominate(queued.pod, decision.nomination.node_name)
        self._news.set()  # the wait must learn of the new backoff
        return decision.nomination

    async def _fail(
        self, attempt: _Attempt, failure: str, nomination: Nomination | None, earlier: asyncio.Task[None] | None
    ) -> None:
        """Say why: log, Event, the PodScheduled condition; and carry out a preemption."""
        await _ended(earlier)
        pod, diagnosis = attempt.queued.pod, attempt.decision.diagnosis
        message = failure or (diagnosis.message() if diagnosis is not None else "")
        with use(attempt.span.context):
            if failure:
                self._log.error(RuntimeError(failure), "Error scheduling pod; retrying", pod=pod.key)
            else:
                self._log.v(2).info("Unable to schedule pod; no fit; waiting", pod=pod.key, err=message)
            self._recorder.event(pod.pod, "Warning", "FailedScheduling", _note(message))
            reason = "SchedulerError" if failure else "Unschedulable"
            try:
                await self._state(pod, reason, message, nomination)
                if nomination is not None:
                    await self._preempt(pod, nomination)
            except NotFound:
                pass
            except (ApiError, Unreachable) as refused:
                self._log.error(refused, "Error updating pod", pod=pod.key)
        attempt.span.error(message)
        self._finished(attempt, "error" if failure else "unschedulable")

    async def _state(self, pod: PodInfo, reason: str, message: str, nomination: Nomination | None) -> None:
        node_name = nomination.node_name if nomination is not None else ""
        patch = pod_scheduled_patch(pod.pod, reason, message, node_name, clock.now())
        if patch is not None:
            await self._patch_status(pod, patch)

    async def _preempt(self, pod: PodInfo, nomination: Nomination) -> None:
        self._preemption.preemption_victims.observe(len(nomination.victims))
        for victim in nomination.victims:
            await self._patch_status(victim, disruption_patch(victim.pod, clock.now()))
            try:
                await self._client.delete(POD, victim.name, victim.namespace, uid=victim.uid)
            except NotFound:
                continue
            self._log.v(2).info("Preempted pod", victim=victim.key, preemptor=pod.key, node=nomination.node_name)
            self._recorder.event(
                victim.pod, "Normal", "Preempted", f"Preempted by pod {pod.uid} on node {nomination.node_name}"
            )

    async def _patch_status(self, pod: PodInfo, patch: Mapping[str, Any]) -> None:
        with self._calls.call("pod_status_patch"):
            await self._client.patch(POD, pod.name, patch, pod.namespace, patch_type="strategic", subresource="status")


class _Attempt:
    """One Pod's way through a cycle and, perhaps, its binding."""

    __slots__ = ("decision", "queued", "span", "started")

    def __init__(self, queued: QueuedPod, decision: Decision, started: float, span: Span) -> None:
        self.queued = queued
        self.decision = decision
        self.started = started
        self.span = span


async def _ended(earlier: asyncio.Task[None] | None) -> None:
    """What was said about a Pod's last attempt reaches the API before what comes of the next one."""
    if earlier is not None:
        await asyncio.wait((earlier,))


def _describe(span: Span, decision: Decision) -> None:
    if not span.recording:
        return
    span.set("k8s.node.name", decision.node_name or None)
    span.set("scheduler.nodes.evaluated", decision.evaluated_nodes)
    span.set("scheduler.nodes.feasible", decision.feasible_nodes)
    if decision.diagnosis is not None and not decision.node_name:
        span.set("scheduler.diagnosis", decision.diagnosis.message())
    for score in decision.scores[:10]:
        span.event("node scored", node=score.name, total=score.total, **score.parts)


def _note(message: str) -> str:
    """Events carry at most 1024 characters."""
    suffix = " ..."
    return message if len(message) <= _EVENT_NOTE_LIMIT else message[: _EVENT_NOTE_LIMIT - len(suffix)] + suffix


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--random-seed", type=int, default=None, metavar="N", help="decide ties reproducibly")


def _build(context: Context) -> Scheduler:
    return Scheduler(context.client(), context.telemetry, context.flags.random_seed)


COMPONENT = ComponentSpec(
    name="scheduler",
    binary="kube-scheduler",
    summary="Decides on which node each Pod runs.",
    add_flags=_add_flags,
    build=_build,
    secure_port=10259,
    leader_election=True,
)

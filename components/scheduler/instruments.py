"""Measures what the framework and the queue do: durations per extension point and plugin, what entered which queue.

Plugins are timed in about one cycle of ten, as upstream does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from kubeglass.components.api.kinds import POD
from kubeglass.components.api.semantics import about
from kubeglass.components.scheduler.hints import Hint, Occurrence, hint_of
from kubeglass.components.scheduler.interface import Code
from kubeglass.components.scheduler.metrics import (
    CACHE_SIZE,
    PENDING_PODS,
    PRESENT_ROWS,
    UNSCHEDULABLE_PODS,
    PluginMetrics,
    QueueMetrics,
)
from kubeglass.components.scheduler.queue import SchedulingQueue
from kubeglass.components.scheduler.snapshot import PodInfo, Snapshot
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.metrics.families import Sample
from kubeglass.telemetry.metrics.registry import Registry

_PLUGIN_SAMPLING = 0.1


class Measured:
    """The framework's Instruments."""

    def __init__(self, telemetry: Telemetry, profile: str, choice: Random) -> None:
        self._tracer = telemetry.tracer
        self._metrics = PluginMetrics(telemetry.metrics)
        self._profile = profile
        self._choice = choice
        self._timing_plugins = False

    def begin_cycle(self) -> None:
        """Decide whether this cycle's plugins are timed."""
        self._timing_plugins = self._choice.random() < _PLUGIN_SAMPLING

    @contextmanager
    def point(self, extension_point: str, pod: PodInfo) -> Iterator[Callable[[Code], None]]:
        outcome = [Code.SUCCESS]
        started = time.perf_counter()
        described = about(POD, pod.namespace, pod.name, pod.uid) if self._tracer.enabled else None
        with self._tracer.span(extension_point, attributes=described) as span:
            try:
                yield lambda code: outcome.__setitem__(0, code)
            finally:
                seconds = time.perf_counter() - started
                span.set("scheduler.status", outcome[0].value)
                self._metrics.framework_extension_point_duration_seconds.labels(
                    extension_point, outcome[0].value, self._profile
                ).observe(seconds)

    @contextmanager
    def plugin(self, plugin: str, extension_point: str) -> Iterator[Callable[[Code], None]]:
        if not self._timing_plugins:
            yield _ignore
            return
        outcome = [Code.SUCCESS]
        started = time.perf_counter()
        yield lambda code: outcome.__setitem__(0, code)
        self._metrics.plugin_execution_duration_seconds.labels(plugin, extension_point, outcome[0].value).observe(
            time.perf_counter() - started
        )

    def evaluated(self, plugin: str, extension_point: str) -> None:
        self._metrics.plugin_evaluation_total.labels(plugin, extension_point, self._profile).inc()

    @contextmanager
    def working(self, operation: str) -> Iterator[None]:
        """Around work that runs beside the cycle; counted as scheduler_goroutines."""
        gauge = self._metrics.goroutines.labels(operation)
        gauge.inc()
        try:
            yield
        finally:
            gauge.inc(-1)

    def permitted(self, code: Code, seconds: float) -> None:
        """A Pod left the permit wait."""
        self._metrics.permit_wait_duration_seconds.labels(code.value).observe(seconds)


class CountedQueue:
    """The queue's observer."""

    def __init__(self, metrics: QueueMetrics) -> None:
        self._metrics = metrics

    def incoming(self, queue: str, event: str) -> None:
        self._metrics.queue_incoming_pods_total.labels(queue, event).inc()


def measured_hint(plugin: Any, metrics: QueueMetrics) -> Hint:
    """The plugin's hint, with the time it takes and what it says."""
    hint, seconds = hint_of(plugin), metrics.queueing_hint_execution_duration_seconds

    def asked(pod: PodInfo, occurrence: Occurrence) -> bool:
        started = time.perf_counter()
        helps = hint(pod, occurrence)
        verdict = "Queue" if helps else "QueueSkip"
        seconds.labels(plugin.name, occurrence.event, verdict).observe(time.perf_counter() - started)
        return helps

    return asked


class Present:
    """What is waiting and what is known, stated when somebody asks."""

    def __init__(self, registry: Registry, queue: SchedulingQueue, snapshot: Snapshot, profile: str) -> None:
        self._queue = queue
        self._snapshot = snapshot
        self._profile = profile
        self._plugins: set[str] = set()
        registry.collect(PRESENT_ROWS, self._samples)

    def _samples(self) -> Iterator[Sample]:
        for queue, count in self._queue.pending().items():
            yield PENDING_PODS, (queue,), count
        rejections = self._queue.rejections()
        self._plugins |= rejections.keys()  # one that rejects nobody any more is shown as 0
        for plugin in self._plugins:
            yield UNSCHEDULABLE_PODS, (plugin, self._profile), rejections[plugin]
        yield CACHE_SIZE, ("nodes",), len(self._snapshot.nodes)
        yield CACHE_SIZE, ("pods",), self._snapshot.pod_count
        yield CACHE_SIZE, ("assumed_pods",), self._snapshot.assumed_count


def _ignore(code: Code) -> None:
    pass

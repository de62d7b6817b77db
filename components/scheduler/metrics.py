"""What the scheduler counts: attempts, queues, plugins, preemption. Rows and their binding.

Names, labels and buckets are those of k8s.io/kubernetes/pkg/scheduler/metrics v1.36.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kubeglass.telemetry.metrics.definitions import BETA, STABLE, Counter, Gauge, Histogram, exponential
from kubeglass.telemetry.metrics.registry import Registry

SCHEDULE_ATTEMPTS_TOTAL: Final = Counter(
    "scheduler_schedule_attempts_total",
    "Attempts to schedule a Pod, by result.",
    ("result", "profile"),
    stability=STABLE,
)
SCHEDULING_ATTEMPT_DURATION_SECONDS: Final = Histogram(
    "scheduler_scheduling_attempt_duration_seconds",
    "Seconds of one attempt, binding included.",
    ("result", "profile"),
    stability=STABLE,
    buckets=exponential(0.001, 2, 15),
)
SCHEDULING_ALGORITHM_DURATION_SECONDS: Final = Histogram(
    "scheduler_scheduling_algorithm_duration_seconds",
    "Seconds to choose a node for one Pod.",
    buckets=exponential(0.001, 2, 15),
)
POD_SCHEDULING_SLI_DURATION_SECONDS: Final = Histogram(
    "scheduler_pod_scheduling_sli_duration_seconds",
    "Seconds from the first attempt to the binding of a Pod; time spent gated does not count.",
    ("attempts",),
    stability=BETA,
    buckets=exponential(0.01, 2, 20),
)
POD_SCHEDULING_ATTEMPTS: Final = Histogram(
    "scheduler_pod_scheduling_attempts",
    "Attempts a Pod needed until it was bound.",
    stability=STABLE,
    buckets=exponential(1, 2, 5),
)
POD_SCHEDULED_AFTER_FLUSH_TOTAL: Final = Counter(
    "scheduler_pod_scheduled_after_flush_total", "Pods bound after they had been flushed from the unschedulable queue."
)


class AttemptMetrics:
    """Observed when an attempt to schedule a Pod has ended: bound, unschedulable or failed."""

    def __init__(self, registry: Registry) -> None:
        self.schedule_attempts_total = registry.bind(SCHEDULE_ATTEMPTS_TOTAL)
        self.scheduling_attempt_duration_seconds = registry.bind(SCHEDULING_ATTEMPT_DURATION_SECONDS)
        self.scheduling_algorithm_duration_seconds = registry.bind(SCHEDULING_ALGORITHM_DURATION_SECONDS)
        self.pod_scheduling_sli_duration_seconds = registry.bind(POD_SCHEDULING_SLI_DURATION_SECONDS)
        self.pod_scheduling_attempts = registry.bind(POD_SCHEDULING_ATTEMPTS)
        self.pod_scheduled_after_flush_total = registry.bind(POD_SCHEDULED_AFTER_FLUSH_TOTAL)


FRAMEWORK_EXTENSION_POINT_DURATION_SECONDS: Final = Histogram(
    "scheduler_framework_extension_point_duration_seconds",
    "Seconds all plugins of one extension point took.",
    ("extension_point", "status", "profile"),
    stability=STABLE,
    buckets=exponential(0.0001, 2, 12),
)
PLUGIN_EXECUTION_DURATION_SECONDS: Final = Histogram(
    "scheduler_plugin_execution_duration_seconds",
    "Seconds one plugin took at one extension point.",
    ("plugin", "extension_point", "status"),
    buckets=exponential(1e-05, 1.5, 20),
)
PLUGIN_EVALUATION_TOTAL: Final = Counter(
    "scheduler_plugin_evaluation_total",
    "Calls of each plugin, by extension point.",
    ("plugin", "extension_point", "profile"),
    stability=BETA,
)
PERMIT_WAIT_DURATION_SECONDS: Final = Histogram(
    "scheduler_permit_wait_duration_seconds",
    "Seconds a Pod waited for its permit.",
    ("result",),
    stability=BETA,
    buckets=exponential(0.001, 2, 15),
)
GOROUTINES: Final = Gauge(
    "scheduler_goroutines", "Workers running, by what they work on.", ("operation",), stability=BETA
)


class PluginMetrics:
    """Observed after each extension point, and for a sample of the cycles after each plugin."""

    def __init__(self, registry: Registry) -> None:
        self.framework_extension_point_duration_seconds = registry.bind(FRAMEWORK_EXTENSION_POINT_DURATION_SECONDS)
        self.plugin_execution_duration_seconds = registry.bind(PLUGIN_EXECUTION_DURATION_SECONDS)
        self.plugin_evaluation_total = registry.bind(PLUGIN_EVALUATION_TOTAL)
        self.permit_wait_duration_seconds = registry.bind(PERMIT_WAIT_DURATION_SECONDS)
        self.goroutines = registry.bind(GOROUTINES)


PENDING_PODS: Final = Gauge("scheduler_pending_pods", "Pods waiting, by queue.", ("queue",), stability=STABLE)
QUEUE_INCOMING_PODS_TOTAL: Final = Counter(
    "scheduler_queue_incoming_pods_total",
    "Pods put into each queue, by the event that did it.",
    ("queue", "event"),
    stability=STABLE,
)
UNSCHEDULABLE_PODS: Final = Gauge(
    "scheduler_unschedulable_pods",
    "Pods the last attempt rejected, by the plugin that did.",
    ("plugin", "profile"),
    stability=BETA,
)
EVENT_HANDLING_DURATION_SECONDS: Final = Histogram(
    "scheduler_event_handling_duration_seconds",
    "Seconds to handle one informer event.",
    ("event",),
    buckets=exponential(0.0001, 2, 12),
)
QUEUEING_HINT_EXECUTION_DURATION_SECONDS: Final = Histogram(
    "scheduler_queueing_hint_execution_duration_seconds",
    "Seconds of one queueing hint, by what it said.",
    ("plugin", "event", "hint"),
    buckets=exponential(0.00001, 1.5, 20),
)


class QueueMetrics:
    """Moved as Pods enter and leave the queues."""

    def __init__(self, registry: Registry) -> None:
        self.queue_incoming_pods_total = registry.bind(QUEUE_INCOMING_PODS_TOTAL)
        self.event_handling_duration_seconds = registry.bind(EVENT_HANDLING_DURATION_SECONDS)
        self.queueing_hint_execution_duration_seconds = registry.bind(QUEUEING_HINT_EXECUTION_DURATION_SECONDS)


PREEMPTION_ATTEMPTS_TOTAL: Final = Counter(
    "scheduler_preemption_attempts_total", "Attempts to make room by preemption.", stability=STABLE
)
PREEMPTION_VICTIMS: Final = Histogram(
    "scheduler_preemption_victims", "Pods chosen as victims.", stability=STABLE, buckets=exponential(1, 2, 7)
)


class PreemptionMetrics:
    """Counted each time preemption is tried and carried out."""

    def __init__(self, registry: Registry) -> None:
        self.preemption_attempts_total = registry.bind(PREEMPTION_ATTEMPTS_TOTAL)
        self.preemption_victims = registry.bind(PREEMPTION_VICTIMS)


CACHE_SIZE: Final = Gauge("scheduler_cache_size", "Nodes, Pods and assumed Pods in the cache.", ("type",))
PRESENT_ROWS: Final = (PENDING_PODS, UNSCHEDULABLE_PODS, CACHE_SIZE)
"""Collected at scrape time from the queue and the cache."""
ASYNC_API_CALL_EXECUTION_TOTAL: Final = Counter(
    "scheduler_async_api_call_execution_total", "API calls sent, by type and result.", ("call_type", "result")
)
ASYNC_API_CALL_EXECUTION_DURATION_SECONDS: Final = Histogram(
    "scheduler_async_api_call_execution_duration_seconds",
    "Seconds of each API call, by type and result.",
    ("call_type", "result"),
    buckets=exponential(0.001, 2, 15),
)
PENDING_ASYNC_API_CALLS: Final = Gauge(
    "scheduler_pending_async_api_calls", "API calls waiting to be sent.", ("call_type",)
)


class ApiCallMetrics:
    """Counted for each API call the scheduler makes outside its cycle."""

    def __init__(self, registry: Registry) -> None:
        self.async_api_call_execution_total = registry.bind(ASYNC_API_CALL_EXECUTION_TOTAL)
        self.async_api_call_execution_duration_seconds = registry.bind(ASYNC_API_CALL_EXECUTION_DURATION_SECONDS)
        self.pending_async_api_calls = registry.bind(PENDING_ASYNC_API_CALLS)

    @contextmanager
    def call(self, call_type: str) -> Iterator[None]:
        """Around one call: pending while it is under way, counted with its result at its end."""
        pending = self.pending_async_api_calls.labels(call_type)
        pending.inc()
        started, result = time.perf_counter(), "error"
        try:
            yield
            result = "success"
        finally:
            pending.dec()
            self.async_api_call_execution_total.labels(call_type, result).inc()
            seconds = time.perf_counter() - started
            self.async_api_call_execution_duration_seconds.labels(call_type, result).observe(seconds)


KUBE_POD_RESOURCE_REQUEST: Final = Gauge(
    "kube_pod_resource_request",
    "What the Pods ask for.",
    ("namespace", "pod", "node", "scheduler", "priority", "resource", "unit"),
    stability=STABLE,
)
KUBE_POD_RESOURCE_LIMIT: Final = Gauge(
    "kube_pod_resource_limit",
    "The limits of the Pods.",
    ("namespace", "pod", "node", "scheduler", "priority", "resource", "unit"),
    stability=STABLE,
)
RESOURCE_ROWS: Final = (
    KUBE_POD_RESOURCE_REQUEST,
    KUBE_POD_RESOURCE_LIMIT,
)
"""Collected on /metrics/resources: one series per Pod and resource, by the leader only."""

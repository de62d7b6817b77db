"""What the exporter says about itself; upstream exposes none of this."""

from __future__ import annotations

from collections.abc import Callable

from kubeglass.telemetry.metrics.definitions import ALPHA, Counter, Gauge, Histogram, exponential
from kubeglass.telemetry.metrics.registry import Registry

SPANS_EXPORTED = Counter(
    "kubeglass_tracing_spans_exported_total",
    "Number of spans that the collector accepted.",
    stability=ALPHA,
)
SPANS_DROPPED = Counter(
    "kubeglass_tracing_spans_dropped_total",
    "Number of ended spans that were lost, by reason: queue_full, refused (a permanent error), retries_exhausted, "
    "rejected (partial success), invalid (not encodable), shutdown.",
    labels=("reason",),
    stability=ALPHA,
)
EXPORT_REQUESTS = Counter(
    "kubeglass_tracing_export_requests_total",
    "Number of export requests sent to the collector, by gRPC or HTTP status code.",
    labels=("code",),
    stability=ALPHA,
)
EXPORT_DURATION = Histogram(
    "kubeglass_tracing_export_duration_seconds",
    "Time until the collector answered one export request.",
    buckets=exponential(0.001, 2, 15),
    stability=ALPHA,
)
QUEUE_LENGTH = Gauge(
    "kubeglass_tracing_queue_length",
    "Number of ended spans that wait to be exported.",
    stability=ALPHA,
)
QUEUE_CAPACITY = Gauge(
    "kubeglass_tracing_queue_capacity",
    "Number of ended spans that may wait before new ones are dropped.",
    stability=ALPHA,
)


LOGS_EXPORTED = Counter(
    "kubeglass_tracing_log_records_exported_total",
    "Number of log records that the collector accepted.",
    stability=ALPHA,
)
LOGS_DROPPED = Counter(
    "kubeglass_tracing_log_records_dropped_total",
    "Number of log records that never reached the collector: the queue was full, or it did not accept them in time.",
    stability=ALPHA,
)

REASONS = ("queue_full", "refused", "retries_exhausted", "rejected", "invalid", "shutdown")


class ExporterMetrics:
    """The exporter's instruments."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.exported = registry.bind(SPANS_EXPORTED)
        self.dropped = registry.bind(SPANS_DROPPED)
        self.requests = registry.bind(EXPORT_REQUESTS)
        self.duration = registry.bind(EXPORT_DURATION)
        for reason in REASONS:
            self.dropped.labels(reason)

    def watch_queue(self, length: Callable[[], int], capacity: int) -> None:
        """Show the queue at scrape time."""
        self._registry.function(QUEUE_LENGTH, length)
        self._registry.function(QUEUE_CAPACITY, lambda: capacity)

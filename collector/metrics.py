"""What the collector says about itself, and the span metrics it derives, under the spanmetrics connector's names."""

from __future__ import annotations

from kubeglass.telemetry.metrics.definitions import ALPHA, NONE, Counter, Gauge, Histogram, exponential

RECEIVED = Counter(
    "kubeglass_collector_received_items_total",
    "Number of spans, log records and metric points accepted, by signal and transport.",
    labels=("signal", "transport"),
    stability=ALPHA,
)
REFUSED = Counter(
    "kubeglass_collector_refused_requests_total",
    "Number of OTLP requests not accepted, by signal, transport and reason: memory (retryable), malformed, too_large, "
    "unsupported.",
    labels=("signal", "transport", "reason"),
    stability=ALPHA,
)
REJECTED = Counter(
    "kubeglass_collector_rejected_items_total",
    "Number of spans and log records of accepted requests that were left out because their ids are invalid.",
    labels=("signal",),
    stability=ALPHA,
)
SAMPLED_OUT = Counter(
    "kubeglass_collector_sampled_out_spans_total",
    "Number of spans not kept by the tail sampling policy.",
    stability=ALPHA,
)
STORED = Counter(
    "kubeglass_collector_stored_items_total",
    "Number of spans and log records committed to the store.",
    labels=("signal",),
    stability=ALPHA,
)
STORE_LOST = Counter(
    "kubeglass_collector_store_lost_items_total",
    "Number of accepted spans and log records that the store could not write.",
    labels=("signal",),
    stability=ALPHA,
)
STORE_COMMIT = Histogram(
    "kubeglass_collector_store_commit_duration_seconds",
    "Time of one write transaction.",
    buckets=exponential(0.001, 2, 14),
    stability=ALPHA,
)
STORE_BYTES = Gauge(
    "kubeglass_collector_store_size_bytes",
    "Bytes of the store that hold data.",
    stability=ALPHA,
)
STORE_EXPIRED = Counter(
    "kubeglass_collector_store_expired_spans_total",
    "Number of spans deleted by retention, by reason: age, size.",
    labels=("reason",),
    stability=ALPHA,
)
MEMORY_HELD = Gauge(
    "kubeglass_collector_memory_held_bytes",
    "Bytes accepted and not yet stored or sampled out; beyond the limit requests are refused.",
    stability=ALPHA,
)
MEMORY_LIMIT = Gauge(
    "kubeglass_collector_memory_limit_bytes",
    "Bytes that may be held before requests are refused.",
    stability=ALPHA,
)
FORWARDED = Counter(
    "kubeglass_collector_forwarded_requests_total",
    "Number of requests passed on to the configured backend, by signal and outcome: sent, refused, "
    "retries_exhausted, queue_full.",
    labels=("signal", "outcome"),
    stability=ALPHA,
)
DISCARDED_POINTS = Counter(
    "kubeglass_collector_discarded_metric_points_total",
    "Number of metric points accepted while no backend to forward them to is configured.",
    stability=ALPHA,
)

SPAN_CALLS = Counter(
    "traces_span_metrics_calls_total",
    "Number of spans, by service, name, kind and status.",
    labels=("service_name", "span_name", "span_kind", "status_code"),
    stability=NONE,
)
SPAN_DURATION = Histogram(
    "traces_span_metrics_duration_milliseconds",
    "Duration of spans, by service, name, kind and status.",
    labels=("service_name", "span_name", "span_kind", "status_code"),
    buckets=(2, 4, 6, 8, 10, 50, 100, 200, 400, 800, 1000, 1400, 2000, 5000, 10000, 15000),
    stability=NONE,
)

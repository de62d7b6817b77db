"""What admission counts: the whole chain, each plugin, each webhook. Rows and their binding.

Names, labels and buckets are those of k8s.io/apiserver/pkg/admission/metrics v1.36.
"""

from __future__ import annotations

from typing import Final

from kubeglass.telemetry.metrics.definitions import STABLE, Counter, Histogram, Summary
from kubeglass.telemetry.metrics.registry import Registry

STEP_ADMISSION_DURATION_SECONDS: Final = Histogram(
    "apiserver_admission_step_admission_duration_seconds",
    "Seconds of one admission phase over all plugins.",
    ("type", "operation", "rejected"),
    stability=STABLE,
    buckets=(0.005, 0.025, 0.1, 0.5, 1, 2.5),
)
STEP_ADMISSION_DURATION_SECONDS_SUMMARY: Final = Summary(
    "apiserver_admission_step_admission_duration_seconds_summary",
    "Seconds of one admission phase over all plugins, as quantiles.",
    ("type", "operation", "rejected"),
    max_age_seconds=18000,
)
CONTROLLER_ADMISSION_DURATION_SECONDS: Final = Histogram(
    "apiserver_admission_controller_admission_duration_seconds",
    "Seconds of one admission plugin in one phase.",
    ("name", "type", "operation", "rejected"),
    stability=STABLE,
    buckets=(0.005, 0.025, 0.1, 0.5, 1, 2.5),
)


class AdmissionMetrics:
    """Observed once per request and phase: steps for the chain, controllers for each plugin."""

    def __init__(self, registry: Registry) -> None:
        self.step_admission_duration_seconds = registry.bind(STEP_ADMISSION_DURATION_SECONDS)
        self.step_admission_duration_seconds_summary = registry.bind(STEP_ADMISSION_DURATION_SECONDS_SUMMARY)
        self.controller_admission_duration_seconds = registry.bind(CONTROLLER_ADMISSION_DURATION_SECONDS)


WEBHOOK_ADMISSION_DURATION_SECONDS: Final = Histogram(
    "apiserver_admission_webhook_admission_duration_seconds",
    "Seconds one admission webhook took.",
    ("name", "type", "operation", "rejected"),
    stability=STABLE,
    buckets=(0.005, 0.025, 0.1, 0.5, 1, 2.5, 10, 25),
)
WEBHOOK_REQUEST_TOTAL: Final = Counter(
    "apiserver_admission_webhook_request_total",
    "Calls of admission webhooks, by HTTP code and verdict.",
    ("name", "type", "operation", "code", "rejected"),
)
WEBHOOK_REJECTION_COUNT: Final = Counter(
    "apiserver_admission_webhook_rejection_count",
    "Requests an admission webhook rejected, by why.",
    ("name", "type", "operation", "error_type", "rejection_code"),
)
WEBHOOK_FAIL_OPEN_COUNT: Final = Counter(
    "apiserver_admission_webhook_fail_open_count", "Failed webhook calls that let the request pass.", ("name", "type")
)


class WebhookMetrics:
    """Observed after each call of an admission webhook."""

    def __init__(self, registry: Registry) -> None:
        self.webhook_admission_duration_seconds = registry.bind(WEBHOOK_ADMISSION_DURATION_SECONDS)
        self.webhook_request_total = registry.bind(WEBHOOK_REQUEST_TOTAL)
        self.webhook_rejection_count = registry.bind(WEBHOOK_REJECTION_COUNT)
        self.webhook_fail_open_count = registry.bind(WEBHOOK_FAIL_OPEN_COUNT)

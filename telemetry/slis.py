"""/metrics/slis: how often a component's health checks passed, and when its process started. Nothing else.

Recorded when a root health endpoint runs its checks (k8s.io/component-base/metrics/prometheus/slis).
"""

from __future__ import annotations

from typing import Final

from kubeglass.telemetry.health import HealthReport
from kubeglass.telemetry.metrics.definitions import STABLE, Counter, Gauge, Metric
from kubeglass.telemetry.metrics.registry import Registry

KUBERNETES_HEALTHCHECK: Final = Gauge(
    "kubernetes_healthcheck",
    "The last outcome of each health check: 1 passed, 0 failed.",
    ("name", "type"),
    stability=STABLE,
    since="1.26",
)
KUBERNETES_HEALTHCHECKS_TOTAL: Final = Counter(
    "kubernetes_healthchecks_total",
    "Health checks run, by outcome.",
    ("name", "type", "status"),
    stability=STABLE,
    since="1.26",
)
PROCESS_START_TIME_SECONDS: Final = Gauge(
    "process_start_time_seconds", "Start time of the process since unix epoch in seconds."
)

ROWS: Final[tuple[Metric, ...]] = (KUBERNETES_HEALTHCHECK, KUBERNETES_HEALTHCHECKS_TOTAL, PROCESS_START_TIME_SECONDS)


class SliMetrics:
    """Records health reports in the registry behind /metrics/slis."""

    def __init__(self, registry: Registry, started_unix_seconds: float) -> None:
        self._last = registry.bind(KUBERNETES_HEALTHCHECK)
        self._total = registry.bind(KUBERNETES_HEALTHCHECKS_TOTAL)
        registry.bind(PROCESS_START_TIME_SECONDS).set(started_unix_seconds)

    def observe(self, report: HealthReport) -> None:
        """Note every check that ran."""
        for result in report.results:
            passed = result.error is None
            self._last.labels(result.name, report.endpoint).set(int(passed))
            self._total.labels(result.name, report.endpoint, "success" if passed else "error").inc()

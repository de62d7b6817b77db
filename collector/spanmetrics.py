"""Rate, errors and duration of every operation, computed while spans arrive and before any is sampled out.

Names, labels and buckets are those of the OpenTelemetry Collector's spanmetrics connector, which Jaeger's monitor
view and community dashboards read. Each series points to a recent trace by an exemplar.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from kubeglass.collector.metrics import SPAN_CALLS, SPAN_DURATION
from kubeglass.collector.segments import Observe
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.context import SpanContext
from kubeglass.telemetry.tracing.tracer import use

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUSES = ("UNSET", "OK", "ERROR")
OVERFLOW = "otel.metric.overflow"
_EXEMPLAR_SECONDS = 1.0


class SpanMetrics:
    """Makes the observer of each operation. Beyond `limit` operations, further ones share the name of the overflow."""

    def __init__(self, registry: Registry, *, limit: int = 2000, clock: Callable[[], float] = time.monotonic) -> None:
        self._calls = registry.bind(SPAN_CALLS)
        self._duration = registry.bind(SPAN_DURATION)
        self._limit = limit
        self._clock = clock
        self._known: set[tuple[str, str, int, int]] = set()

    def observer(self, service: str, name: str, kind: int, status: int) -> Observe:
        """What counts the spans of one operation; an exemplar is taken once a second, the rest costs no more."""
        if (service, name, kind, status) not in self._known:
            if len(self._known) >= self._limit:
                name = OVERFLOW
            else:
                self._known.add((service, name, kind, status))
        labels = (service, name, f"SPAN_KIND_{_word(KINDS, kind)}", f"STATUS_CODE_{_word(STATUSES, status)}")
        count, observe = self._calls.labels(*labels).inc, self._duration.labels(*labels).observe
        clock = self._clock
        due = 0.0

        def observe_span(duration_ns: int, trace: bytes, span: bytes) -> None:
            nonlocal due
            now = clock()
            if now < due:
                count()
                observe(duration_ns / 1e6)
                return
            due = now + _EXEMPLAR_SECONDS
            with use(SpanContext(int.from_bytes(trace, "big"), int.from_bytes(span, "big"))):
                count()
                observe(duration_ns / 1e6)

        return observe_span


def _word(words: tuple[str, ...], number: int) -> str:
    return words[number] if 0 <= number < len(words) else words[0]

"""A registry that holds one of everything an exposition can contain."""

from __future__ import annotations

import pytest

from kubeglass.telemetry.metrics.definitions import (
    BETA,
    NONE,
    STABLE,
    Counter,
    Gauge,
    Histogram,
    Summary,
    TimingRatioHistogram,
)
from kubeglass.telemetry.metrics.options import MetricsOptions
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.context import SpanContext
from kubeglass.telemetry.tracing.tracer import Span

ODD = 'a"b\\c\nd%s{}é'
TRACE = SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0x00F067AA0BA902B7)

REQUESTS = Counter("requests_total", 'Requests with "quotes"\nand a newline.', ("verb", "code"), stability=STABLE)
ATTEMPTS = Counter("login_attempts", "A counter without the suffix.", ("result",))
EVENTS = Counter("events_total", "Without labels.", stability=BETA)
QUEUED = Gauge("queued", "A gauge.", ("name",))
QUEUED_TOTAL = Counter("queued_total", "A counter whose short name is taken by a gauge.", ("name",))
SECONDS = Histogram("seconds", "Seconds.", ("verb",), buckets=(0.005, 1, 2.5, 1e6))
SIZES = Histogram("sizes", "Bytes.", buckets=(1, 10))
QUANTILES = Summary("quantiles", "Quantiles.", ("verb",))
UTILIZATION = TimingRatioHistogram("utilization", "Ratio.", ("level",), buckets=(0.5, 1), const_labels={"phase": "x"})
USAGE = Counter("container_cpu_usage_seconds_total", "Cpu.", ("container",), stability=NONE)
EMPTY = Counter("never_touched_total", "No series yet.", ("verb",))


def fill(registry: Registry) -> Registry:
    """Bind everything and move it, part of it inside a sampled span."""
    requests = registry.bind(REQUESTS)
    for verb, code, count in (("GET", "200", 1234567), ("GET", "404", 2), (ODD, "200", 0.5)):
        requests.labels(verb, code).inc(count)
    registry.bind(ATTEMPTS).labels("failure").inc()
    registry.bind(EVENTS)
    registry.bind(QUEUED).labels("jobs").set(-3)
    registry.bind(QUEUED_TOTAL).labels("jobs").inc(9)
    seconds = registry.bind(SECONDS)
    for value in (0.001, 1, 3, float("inf")):
        seconds.labels(ODD).observe(value)
    registry.bind(SIZES).observe(4)
    quantiles = registry.bind(QUANTILES).labels("GET")
    for number in range(100):
        quantiles.observe(number)
    registry.bind(UTILIZATION).labels("system").set(0.75)
    registry.bind(EMPTY)
    registry.collect((USAGE,), lambda: [(USAGE, ("web",), 1.5, 1_700_000_000_123)])
    with Span(TRACE):
        requests.labels("GET", "200").inc()
        seconds.labels(ODD).observe(2)
        registry.bind(ATTEMPTS).labels("failure").inc()
    return registry


class Clock:
    """Nanoseconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def everything(clock: Clock) -> Registry:
    """All kinds of metrics, one second after they were made."""
    registry = fill(Registry(clock_ns=clock))
    clock.now_ns = 1_000_000_000
    return registry


@pytest.fixture
def everything_native(clock: Clock) -> Registry:
    """The same with native histograms on."""
    return fill(Registry(MetricsOptions(native_histograms=True), clock_ns=clock))

"""What instruments count."""

from __future__ import annotations

import math

import pytest

from kubeglass.telemetry.metrics.definitions import (
    ALPHA,
    Counter,
    Gauge,
    Histogram,
    Metric,
    Summary,
    TimingRatioHistogram,
)
from kubeglass.telemetry.metrics.instruments import CounterInstrument
from kubeglass.telemetry.metrics.lifecycle import Version
from kubeglass.telemetry.metrics.options import MetricsOptions
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.context import SpanContext
from kubeglass.telemetry.tracing.tracer import Span

REQUESTS = Counter("requests_total", "Requests.", ("verb", "code"))
INFLIGHT = Gauge("inflight", "Requests.")
SECONDS = Histogram("seconds", "Seconds.", ("verb",), buckets=(0.1, 1, 10))


@pytest.fixture
def registry() -> Registry:
    return Registry()


def test_a_counter_counts_per_label_values(registry: Registry) -> None:
    """Children are told apart by their values, and asked for again they are the same."""
    requests = registry.bind(REQUESTS)
    requests.labels("GET", "200").inc()
    requests.labels("GET", "200").inc(2)
    requests.labels("PUT", "409").inc()
    assert registry.value("requests_total", verb="GET", code="200") == 3
    assert registry.value("requests_total", verb="PUT", code="409") == 1
    assert registry.value("requests_total", verb="GET", code="404") is None
    assert requests.labels("GET", "200") is requests.labels("GET", "200")


def test_a_counter_never_shrinks(registry: Registry) -> None:
    """A negative amount is an error, and counts nothing."""
    child = registry.bind(REQUESTS).labels("GET", "200")
    with pytest.raises(ValueError, match="cannot decrease"):
        child.inc(-1)
    assert child.value == 0


def test_a_gauge_goes_both_ways(registry: Registry) -> None:
    """set, inc and dec on the one series of an unlabelled gauge."""
    inflight = registry.bind(INFLIGHT)
    inflight.set(5)
    inflight.inc()
    inflight.dec(2.5)
    assert registry.value("inflight") == 3.5


@pytest.mark.parametrize(
    ("observed", "bucket"),
    [(-1, 0), (0.1, 0), (0.1000001, 1), (1, 1), (10, 2), (10.1, 3), (math.inf, 3), (math.nan, 3)],
)
def test_a_histogram_counts_up_to_and_including_its_bounds(registry: Registry, observed: float, bucket: int) -> None:
    """An observation belongs to the first bound that is not below it; NaN to +Inf."""
    child = registry.bind(SECONDS).labels("GET")
    child.observe(observed)
    assert [index for index, count in enumerate(child.counts) if count] == [bucket]
    assert child.count == 1


def test_the_wrong_number_of_values_is_an_error(registry: Registry) -> None:
    """Too few or too many label values name the metric."""
    with pytest.raises(ValueError, match=r"expected 2 label values but got 1 .* for requests_total"):
        registry.bind(REQUESTS).labels("GET")


def test_a_labelled_instrument_needs_labels(registry: Registry) -> None:
    """Using a labelled metric as if it had no labels is an error, not a silent series."""
    with pytest.raises(TypeError, match="labels"):
        registry.bind(REQUESTS).inc()


def test_series_can_be_forgotten(registry: Registry) -> None:
    """One series, all with some label value, or all of them; a kept child no longer shows."""
    requests = registry.bind(REQUESTS)
    for verb in ("GET", "PUT"):
        for code in ("200", "500"):
            requests.labels(verb, code).inc()
    requests.remove("GET", "200")
    requests.remove("GET", "200")
    assert set(requests.children) == {("GET", "500"), ("PUT", "200"), ("PUT", "500")}
    requests.remove_matching(code="500")
    assert set(requests.children) == {("PUT", "200")}
    requests.clear()
    assert b"requests_total{" not in registry.expose()[1]


def test_a_forgotten_series_begins_anew(registry: Registry) -> None:
    """Removing and touching again between two scrapes shows one series."""
    requests = registry.bind(REQUESTS)
    requests.labels("GET", "200").inc(7)
    registry.expose()
    requests.remove("GET", "200")
    requests.labels("GET", "200").inc()
    assert registry.expose()[1].count(b"requests_total{") == 1
    assert registry.value("requests_total", verb="GET", code="200") == 1


HIDDEN: list[Metric] = [
    Counter("vanished", "x", ("l",), deprecated="1.30.0"),
    Gauge("vanished", "x", ("l",), deprecated="1.30.0"),
    Histogram("vanished", "x", ("l",), deprecated="1.30.0"),
    Summary("vanished", "x", ("l",), deprecated="1.30.0"),
    TimingRatioHistogram("vanished", "x", ("l",), deprecated="1.30.0"),
]


@pytest.mark.parametrize("row", HIDDEN, ids=lambda row: type(row).__name__)
def test_a_hidden_metric_ignores_everything(registry: Registry, row: Metric) -> None:
    """Every method works, nothing is kept, nothing is exposed."""
    hidden = registry.bind(row)  # type: ignore[call-overload]
    for value in ("a", "b"):
        child = hidden.labels(value)
        for method in ("inc", "dec", "set", "observe", "set_denominator"):
            if hasattr(child, method):
                getattr(child, method)(1)
    assert hidden.labels("a") is hidden.labels("b")
    assert len(hidden.children) == 0
    assert b"vanished" not in registry.expose()[1]


def test_a_hidden_unlabelled_metric_ignores_everything(registry: Registry) -> None:
    """The single series of a hidden metric stays at nothing."""
    hidden = registry.bind(Counter("gone_total", "x", deprecated="1.30.0"))
    hidden.inc(5)
    assert hidden.children == {}
    assert registry.value("gone_total") is None


def test_unexpected_label_values_are_replaced_and_counted() -> None:
    """A value outside the allow-list becomes `unexpected`, each replacement counts; other labels are free."""
    registry = Registry(MetricsOptions(allow_labels={"requests_total,verb": "GET,PUT"}))
    requests = registry.bind(REQUESTS)
    requests.labels("GET", "200").inc()
    requests.labels("BREW", "418").inc()
    requests.labels("POUR", "418").inc()
    assert registry.value("requests_total", verb="GET", code="200") == 1
    assert registry.value("requests_total", verb="unexpected", code="418") == 2
    assert registry.value("cardinality_enforcement_unexpected_categorizations_total") == 2


def test_two_unexpected_labels_count_twice() -> None:
    """Once per replaced label, not per lookup."""
    lists = {"requests_total,verb": "GET", "requests_total,code": "200"}
    registry = Registry(MetricsOptions(allow_labels=lists))
    registry.bind(REQUESTS).labels("BREW", "418").inc()
    assert registry.value("requests_total", verb="unexpected", code="unexpected") == 1
    assert registry.value("cardinality_enforcement_unexpected_categorizations_total") == 2


def test_an_empty_allow_list_allows_only_the_empty_value() -> None:
    """`metric,label=` keeps "" and nothing else."""
    registry = Registry(MetricsOptions(allow_labels={"requests_total,verb": ""}))
    requests = registry.bind(REQUESTS)
    requests.labels("", "200").inc()
    requests.labels("GET", "200").inc()
    assert set(requests.children) == {("", "200"), ("unexpected", "200")}


def _span(*, sampled: bool) -> Span:
    return Span(SpanContext(0xABC, 0xDEF, sampled=sampled))


def test_observations_in_a_sampled_span_leave_an_exemplar(registry: Registry) -> None:
    """Counters and histograms keep the last one, histograms one per bucket."""
    requests, seconds = registry.bind(REQUESTS).labels("GET", "200"), registry.bind(SECONDS).labels("GET")
    with _span(sampled=True):
        requests.inc(3)
        seconds.observe(0.5)
        seconds.observe(0.7)
    seconds.observe(5)
    assert requests.exemplar is not None
    assert (requests.exemplar.context.trace_id, requests.exemplar.value) == (0xABC, 3)
    assert seconds.exemplars is not None
    assert [exemplar and exemplar.value for exemplar in seconds.exemplars] == [None, 0.7, None, None]


def test_busy_buckets_take_a_new_exemplar_now_and_then_and_rare_ones_always(registry: Registry) -> None:
    """An exemplar costs more than a count; the slow request, which is rare, must never miss its own."""
    seconds = registry.bind(SECONDS).labels("GET")
    shown = []
    with _span(sampled=True):
        for number in range(100):
            seconds.observe(0.5 + number / 1000)
            assert seconds.exemplars is not None and seconds.exemplars[1] is not None
            shown.append(round((seconds.exemplars[1].value - 0.5) * 1000))
        seconds.observe(500)
    assert shown[:64] == list(range(64)) and sorted(set(shown[64:])) == [63, 79, 95]
    assert seconds.exemplars[-1] is not None and seconds.exemplars[-1].value == 500


def test_busy_counters_take_a_new_exemplar_now_and_then(registry: Registry) -> None:
    """As the buckets do; a counter that is rarely moved, by however much, shows what moved it."""
    requests, bytes_ = registry.bind(REQUESTS).labels("GET", "200"), registry.bind(REQUESTS).labels("GET", "500")
    shown = []
    for number in range(100):
        with Span(SpanContext(0xABC, number + 1)):
            requests.inc()
        assert requests.exemplar is not None
        shown.append(requests.exemplar.context.span_id)
    assert shown[:64] == list(range(1, 65)) and sorted(set(shown[64:])) == [64, 80, 96]
    with _span(sampled=True):
        bytes_.inc(1001)
    assert bytes_.exemplar is not None and bytes_.exemplar.value == 1001


def test_no_exemplar_outside_a_sampled_span(registry: Registry) -> None:
    """Neither without a span nor in one that is not sampled."""
    requests, seconds = registry.bind(REQUESTS).labels("GET", "200"), registry.bind(SECONDS).labels("GET")
    requests.inc()
    with _span(sampled=False):
        requests.inc()
        seconds.observe(1)
    assert requests.exemplar is None
    assert seconds.exemplars is None


def test_reset_begins_counts_anew_without_losing_kept_children(registry: Registry) -> None:
    """DELETE zeroes counters and histograms and hides their series until they move; gauges keep their value."""
    requests, seconds = registry.bind(REQUESTS).labels("GET", "200"), registry.bind(SECONDS).labels("GET")
    inflight = registry.bind(INFLIGHT)
    requests.inc(5)
    seconds.observe(1)
    inflight.set(2)
    registry.reset()
    body = registry.expose()[1]
    assert b"requests_total{" not in body
    assert b"seconds_count" not in body
    assert b"inflight 2\n" in body
    requests.inc()
    seconds.observe(1)
    assert registry.value("requests_total", verb="GET", code="200") == 1
    assert b'seconds_count{verb="GET"} 1\n' in registry.expose()[1]


def test_an_unlabelled_counter_shows_zero_after_a_reset(registry: Registry) -> None:
    """Upstream replaces a single counter by a fresh one, which is exposed."""
    events = registry.bind(Counter("events_total", "x"))
    events.inc(4)
    registry.reset()
    assert b"events_total 0\n" in registry.expose()[1]


def test_instruments_are_typed_by_their_row() -> None:
    """A bound counter is a CounterInstrument that remembers its row."""
    bound = Registry(MetricsOptions(version=Version(1, 20))).bind(REQUESTS)
    assert isinstance(bound, CounterInstrument)
    assert bound.row is REQUESTS
    assert bound.row.stability is ALPHA

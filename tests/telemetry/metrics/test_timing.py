"""Timing-ratio histograms weigh values by how long they lasted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubeglass.telemetry.metrics.definitions import TimingRatioHistogram
from kubeglass.telemetry.metrics.registry import Registry

BUCKETS = (0.0, 0.25, 0.5, 1.0)
ROW = TimingRatioHistogram("utilization", "Ratio.", ("level",), buckets=BUCKETS)


def test_a_value_counts_for_the_nanoseconds_it_was_held() -> None:
    """0 for 100 ns, 3/4 for 200 ns, 1/4 for 50 ns."""
    now = [0]
    registry = Registry(clock_ns=lambda: now[0])
    child = registry.bind(ROW).labels("system")
    child.set_denominator(4)
    now[0] = 100
    child.inc(3)
    now[0] = 300
    child.dec(2)
    now[0] = 350
    assert registry.value("utilization_count", level="system") == 350
    assert registry.value("utilization_sum", level="system") == 0.75 * 200 + 0.25 * 50
    assert child.counts == [100, 50, 0, 200, 0]


def test_a_scrape_includes_the_present() -> None:
    """Each exposition first accounts for the time since the last change."""
    now = [0]
    registry = Registry(clock_ns=lambda: now[0])
    registry.bind(ROW).labels("system").set(1)
    for seconds in (1, 2):
        now[0] = seconds * 1_000_000_000
        assert f'utilization_count{{level="system"}} {seconds * 10**9}\n'.encode() in registry.expose()[1]


steps = st.lists(st.tuples(st.floats(0, 8), st.integers(1, 8), st.integers(0, 10**12)), max_size=30)


@given(steps)
def test_all_time_is_accounted_for(steps: list[tuple[float, int, int]]) -> None:
    """The count is the time that passed, and the sum the integral of the ratio."""
    now = [0]
    registry = Registry(clock_ns=lambda: now[0])
    child = registry.bind(ROW).labels("system")
    integral = 0.0
    for numerator, denominator, nanoseconds in steps:
        child.set(numerator)
        child.set_denominator(denominator)
        now[0] += nanoseconds
        integral += numerator / denominator * nanoseconds
    assert child.count == now[0]
    assert abs(child.sum - integral) <= 1e-9 * max(1.0, integral)

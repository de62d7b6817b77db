"""The client's token bucket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeglass.components.machinery.ratelimit import TokenBucket


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    """Three at once, the fourth and fifth a quarter of a second apart."""
    bucket = TokenBucket(qps=4, burst=3)
    assert [bucket.reserve(100.0) for _ in range(5)] == [0, 0, 0, 0.25, 0.5]


def test_an_idle_bucket_fills_up_to_its_burst() -> None:
    """However long nobody asked, no more than a burst is there."""
    bucket = TokenBucket(qps=10, burst=2)
    assert [bucket.reserve(now) for now in (0.0, 0.0, 1000.0, 1000.0, 1000.0)] == [0, 0, 0, 0, 0.1]


@given(st.lists(st.floats(0, 0.3), max_size=60), st.floats(0.5, 50), st.integers(1, 10))
def test_no_window_lets_more_through_than_burst_and_rate(gaps: list[float], qps: float, burst: int) -> None:
    """Between any two requests that passed there were at most burst + rate x time others."""
    bucket, now, passed = TokenBucket(qps, burst), 0.0, []
    for gap in gaps:
        now += gap
        passed.append(now + bucket.reserve(now))
    assert passed == sorted(passed)
    for first, start in enumerate(passed):
        for last in range(first, len(passed)):
            assert last - first + 1 <= burst + qps * (passed[last] - start) + 1e-6


@pytest.mark.parametrize(("qps", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_a_limit_needs_a_rate(qps: float, burst: int) -> None:
    """No limit is said by having none."""
    with pytest.raises(ValueError, match="positive"):
        TokenBucket(qps, burst)

"""Rows refuse what no exposition could say."""

from __future__ import annotations

import pytest

from kubeglass.telemetry.metrics.definitions import Counter, Gauge, Histogram, exponential, linear, merged


@pytest.mark.parametrize(
    "make",
    [
        lambda: Counter("no-dashes", "x"),
        lambda: Counter("", "x"),
        lambda: Counter("a", "x", ("9lives",)),
        lambda: Counter("a", "x", ("__reserved",)),
        lambda: Gauge("a", "x", ("l", "l")),
        lambda: Gauge("a", "x", ("l",), const_labels={"l": "v"}),
        lambda: Histogram("a", "x", ("le",)),
        lambda: Histogram("a", "x", buckets=(1, 1)),
        lambda: Histogram("a", "x", buckets=()),
    ],
)
def test_impossible_rows_are_refused(make: object) -> None:
    """Bad names, repeated labels and unordered buckets fail where the row is written."""
    with pytest.raises(ValueError):
        make()  # type: ignore[operator]


def test_bucket_helpers_count_as_go_does() -> None:
    """Geometric and arithmetic bounds, and the zero the merge helper leaves in front."""
    assert exponential(0.001, 2, 4) == (0.001, 0.002, 0.004, 0.008)
    assert linear(1, 0.5, 3) == (1, 1.5, 2)
    assert merged((1.0, 2.0), (3.0,)) == (0.0, 1.0, 2.0, 3.0)

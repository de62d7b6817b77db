"""Summaries: quantiles within their promised error, of the recent past only."""

from __future__ import annotations

import random
from math import isnan

import pytest

from kubeglass.telemetry.metrics.definitions import Summary
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.metrics.summary import Stream

OBJECTIVES = ((0.5, 0.05), (0.9, 0.01), (0.99, 0.001))


@pytest.mark.parametrize("order", ["rising", "falling", "shuffled"])
def test_ranks_stay_within_the_allowed_error(order: str) -> None:
    """Whatever the order of 20,000 observations, each quantile's rank is off by at most its error."""
    count = 20_000
    values = list(range(count))
    if order == "falling":
        values.reverse()
    elif order == "shuffled":
        random.Random(7).shuffle(values)
    stream = Stream(OBJECTIVES)
    for value in values:
        stream.insert(value)
    for quantile, error in OBJECTIVES:
        assert abs(stream.query(quantile) / count - quantile) <= error + 1 / count


def test_the_sample_stays_small() -> None:
    """100,000 observations are kept as a few hundred tuples."""
    stream = Stream(OBJECTIVES)
    source = random.Random(3)
    for _ in range(100_000):
        stream.insert(source.random())
    stream.query(0.5)
    assert len(stream._samples) < 2_000


def test_old_observations_leave_the_quantiles_but_not_the_count() -> None:
    """After max_age_seconds quantiles are NaN again, count and sum go on."""
    now = [0]
    registry = Registry(clock_ns=lambda: now[0])
    child = registry.bind(Summary("s", "x", max_age_seconds=10)).children[()]
    child.observe(5)
    now[0] = 9 * 10**9
    assert child.quantiles()[0] == (0.5, 5)
    now[0] = 25 * 10**9
    assert isnan(child.quantiles()[0][1])
    assert (child.count, child.sum) == (1, 5)


def test_a_summary_shows_nan_before_its_first_observation() -> None:
    """As Go's client does."""
    registry = Registry().companion()
    registry.bind(Summary("s", "x"))
    assert b's{quantile="0.5"} NaN\n' in registry.expose()[1]

"""Native buckets: where a value belongs, and how many there may be."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kubeglass.telemetry.metrics.native import MAX_BUCKETS, SCHEMA, NativeHistogramChild, bucket_index, spans

positive = st.floats(min_value=1e-30, max_value=1e30)


def _child(*values: float) -> NativeHistogramChild:
    child = NativeHistogramChild("", (1.0,))
    for value in values:
        child.observe(value)
    return child


@given(value=positive, schema=st.integers(-4, SCHEMA))
def test_a_value_lies_between_the_bounds_of_its_bucket(value: float, schema: int) -> None:
    """b^(i-1) < value <= b^i with b = 2^(2^-schema), up to the rounding of the bounds."""
    base = 2.0 ** (2.0**-schema)
    index = bucket_index(value, schema)
    assert base ** (index - 1) < value * (1 + 1e-9)
    assert value <= base**index * (1 + 1e-9)


@given(value=positive, schema=st.integers(-3, SCHEMA))
def test_halving_the_resolution_merges_neighbours(value: float, schema: int) -> None:
    """The index under the next coarser schema is half of it, rounded up."""
    assert bucket_index(value, schema - 1) == -(-bucket_index(value, schema) // 2)


@pytest.mark.parametrize(("value", "index"), [(1.0, 0), (2.0, 8), (0.5, -8), (4.0, 16), (1.05, 1)])
def test_powers_of_two_are_upper_bounds(value: float, index: int) -> None:
    """With schema 3 there are eight buckets per doubling."""
    assert bucket_index(value, SCHEMA) == index


def test_special_values_have_their_place() -> None:
    """Zero has its own bucket, infinity one above all, NaN none; signs are kept apart."""
    child = _child(0.0, -0.0, inf, nan, -2.0)
    assert child.zero_count == 2
    assert sum(child.positive.values()) == 1
    assert child.negative == {8: 1}
    assert child.count == 5


@given(st.lists(positive, min_size=1, max_size=400))
def test_no_observation_is_lost_and_buckets_stay_few(values: list[float]) -> None:
    """However wide the range, at most 160 buckets are in use and they hold every observation."""
    child = _child(*values)
    assert sum(child.positive.values()) == len(values)
    assert len(child.positive) <= MAX_BUCKETS
    for value in values:
        assert bucket_index(value, child.schema) in child.positive


def test_a_wide_range_lowers_the_schema() -> None:
    """161 buckets do not fit: the resolution is halved once."""
    child = _child(*(2 ** (step / 8) for step in range(MAX_BUCKETS + 1)))
    assert child.schema == SCHEMA - 1


@given(st.dictionaries(st.integers(-200, 200), st.integers(1, 50), max_size=60))
def test_spans_say_the_buckets(buckets: dict[int, int]) -> None:
    """Reading spans and deltas back gives the buckets, and only gaps of up to two were filled."""
    found, deltas = spans(buckets)
    read: dict[int, int] = {}
    index, count = 0, 0
    remaining = iter(deltas)
    for offset, length in found:
        index += offset
        for _ in range(length):
            count += next(remaining)
            if count:
                read[index] = count
            index += 1
    assert read == buckets
    assume(len(found) > 1)
    assert all(offset > 2 for offset, _ in found[1:])

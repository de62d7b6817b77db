"""Native histograms: exponential buckets beside the classic ones, for scrapers that take protobuf.

With schema s a bucket with index i counts values in (b^(i-1), b^i], b = 2^(2^-s). The growth factor 1.1 gives s = 3
(b = 1.0905). Values within 2^-128 of zero have a bucket of their own; when more than 160 buckets are in use the schema
falls by one, which merges neighbours: i becomes ceil(i / 2).
Follows client_golang (histogram.go) as k8s.io/component-base configures it under the NativeHistograms gate.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import frexp, inf
from typing import Final

from kubeglass.telemetry.metrics.instruments import HistogramChild

SCHEMA: Final = 3
MAX_BUCKETS: Final = 160
ZERO_THRESHOLD: Final = 2.0**-128
_LARGEST: Final = 1.7976931348623157e308


def bucket_index(value: float, schema: int) -> int:
    """The index of the bucket that holds `value` > 0; +Inf has the bucket above the largest finite one."""
    if value == inf:
        return bucket_index(_LARGEST, schema) + 1
    fraction, exponent = frexp(value)
    if schema > 0:
        bounds = _BOUNDS[schema]
        return bisect_left(bounds, fraction) + (exponent - 1) * len(bounds)
    index = exponent - 1 if fraction == 0.5 else exponent
    offset = (1 << -schema) - 1
    return (index + offset) >> -schema


def _fractions(schema: int) -> tuple[float, ...]:
    return tuple(0.5 * 2 ** (step / (1 << schema)) for step in range(1 << schema))


_BOUNDS: Final = {schema: _fractions(schema) for schema in range(1, SCHEMA + 1)}


class NativeHistogramChild(HistogramChild):
    """A histogram series that keeps both kinds of buckets."""

    __slots__ = ("negative", "positive", "schema", "zero_count")

    def __init__(self, labels: str, bounds: Sequence[float]) -> None:
        super().__init__(labels, bounds)
        self._clear()

    def observe(self, value: float) -> None:
        """Count `value` in its classic and in its native bucket; NaN has no native one."""
        super().observe(value)
        if value != value:
            return
        if -ZERO_THRESHOLD <= value <= ZERO_THRESHOLD:
            self.zero_count += 1
            return
        buckets = self.positive if value > 0 else self.negative
        index = bucket_index(abs(value), self.schema)
        buckets[index] = buckets.get(index, 0) + 1
        if len(self.positive) + len(self.negative) > MAX_BUCKETS:
            self._halve()

    def reset(self) -> None:
        super().reset()
        self._clear()

    def _clear(self) -> None:
        self.schema = SCHEMA
        self.zero_count = 0
        self.positive: dict[int, int] = {}
        self.negative: dict[int, int] = {}

    def _halve(self) -> None:
        """Make every bucket twice as wide on the logarithmic scale."""
        self.schema -= 1
        self.positive = _merged(self.positive)
        self.negative = _merged(self.negative)


def _merged(buckets: dict[int, int]) -> dict[int, int]:
    merged: dict[int, int] = {}
    for index, count in buckets.items():
        wider = -(-index // 2)
        merged[wider] = merged.get(wider, 0) + count
    return merged


def spans(buckets: dict[int, int]) -> tuple[list[tuple[int, int]], list[int]]:
    """Buckets as the wire has them: (gap, length) spans and each count minus the one before it.

    Gaps of one or two empty buckets are filled, which is shorter than a new span.
    """
    found: list[tuple[int, int]] = []
    deltas: list[int] = []
    last_count, next_index = 0, 0
    for index in sorted(buckets):
        gap = index - next_index
        if not found or gap > 2:
            found.append((gap, 0))
        else:
            deltas += _filling(gap, last_count)
            last_count = 0 if gap else last_count
            offset, length = found[-1]
            found[-1] = (offset, length + gap)
        offset, length = found[-1]
        found[-1] = (offset, length + 1)
        deltas.append(buckets[index] - last_count)
        last_count, next_index = buckets[index], index + 1
    return found, deltas


def _filling(gap: int, last_count: int) -> list[int]:
    return [-last_count, *[0] * (gap - 1)] if gap else []

"""Timing-ratio histograms: how long a ratio stayed at which value.

A value v held from t0 to t1 counts as (t1 - t0) nanoseconds of observations under v, so `_count` is the nanoseconds
since creation and `_sum` the time integral of the ratio. Every change of numerator or denominator, and every scrape,
first accounts for the time since the change before.
Follows k8s.io/component-base/metrics/prometheusextension (timing and weighted histograms).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from kubeglass.telemetry.metrics.definitions import TimingRatioHistogram
from kubeglass.telemetry.metrics.instruments import RECORDING, Binding, Instrument, needs_labels


class TimingRatioChild:
    """One ratio, gauge-style: numerator / denominator, weighed by how long each quotient lasted."""

    __slots__ = ("_clock_ns", "_since_ns", "bounds", "counts", "denominator", "labels", "numerator", "sum")

    def __init__(self, labels: str, bounds: Sequence[float], clock_ns: Callable[[], int]) -> None:
        self.labels = labels
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum: float = 0.0
        self.numerator: float = 0.0
        self.denominator: float = 1.0
        self._clock_ns = clock_ns
        self._since_ns = clock_ns()

    def set(self, numerator: float) -> None:
        """Change the numerator."""
        self.settle()
        self.numerator = numerator

    def inc(self, amount: float = 1) -> None:
        """Raise the numerator."""
        self.settle()
        self.numerator += amount

    def dec(self, amount: float = 1) -> None:
        """Lower the numerator."""
        self.settle()
        self.numerator -= amount

    def set_denominator(self, denominator: float) -> None:
        """Change what the numerator is measured against."""
        self.settle()
        self.denominator = denominator

    @property
    def ratio(self) -> float:
        return self.numerator / self.denominator if self.denominator else 0.0

    def settle(self) -> None:
        """Account for the time the present ratio has lasted."""
        now = self._clock_ns()
        elapsed = now - self._since_ns
        if elapsed > 0:
            ratio = self.ratio
            self.counts[bisect_left(self.bounds, ratio)] += elapsed
            self.sum += ratio * elapsed
            self._since_ns = now

    @property
    def count(self) -> int:
        self.settle()
        return sum(self.counts)


class IgnoringTimingRatio(TimingRatioChild):
    """The child of a hidden timing-ratio histogram."""

    __slots__ = ()

    def set(self, numerator: float) -> None:
        """Nothing."""

    def inc(self, amount: float = 1) -> None:
        """Nothing."""

    def dec(self, amount: float = 1) -> None:
        """Nothing."""

    def set_denominator(self, denominator: float) -> None:
        """Nothing."""


class TimingRatioInstrument(Instrument[TimingRatioChild]):
    """A bound TimingRatioHistogram. Without labels it is its own single series."""

    __slots__ = ("_clock_ns", "bounds", "dec", "inc", "set", "set_denominator")

    def __init__(self, row: TimingRatioHistogram, help_text: str, binding: Binding = RECORDING) -> None:
        self.bounds = tuple(map(float, row.buckets))
        self._clock_ns = binding.clock_ns
        super().__init__(row, help_text, binding)
        single = None if row.labels else self.children[()]
        self.set: Callable[[float], None] = single.set if single else needs_labels
        self.inc: Callable[..., None] = single.inc if single else needs_labels
        self.dec: Callable[..., None] = single.dec if single else needs_labels
        self.set_denominator: Callable[[float], None] = single.set_denominator if single else needs_labels

    def _child(self, labels: str) -> TimingRatioChild:
        return TimingRatioChild(labels, self.bounds, self._clock_ns)

    def _ignoring(self) -> TimingRatioChild:
        return IgnoringTimingRatio("", self.bounds, self._clock_ns)

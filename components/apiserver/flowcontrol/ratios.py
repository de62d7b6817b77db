"""Time-weighted ratios for what changes at every request.

A timing-ratio histogram settles its account at every change, which is too dear for a path that changes four ratios
twice per request. Here it is only told how long which numerator lasted, when somebody reads it or before a denominator
changes; that account replaces what the instrument shows.
"""

from __future__ import annotations

from bisect import bisect_left

from kubeglass.telemetry.metrics.timing import TimingRatioChild


class RatioAccount:
    """The histogram of one ratio, shown through one child of a TimingRatioHistogram."""

    __slots__ = ("_child", "_counts", "_sum", "denominator")

    def __init__(self, child: TimingRatioChild) -> None:
        self._child = child
        self._counts = [0] * len(child.counts)
        self._sum = 0.0
        self.denominator = 1

    def add(self, numerator: int, nanoseconds: int) -> None:
        """The ratio had this numerator for so long."""
        ratio = numerator / self.denominator
        self._counts[bisect_left(self._child.bounds, ratio)] += nanoseconds
        self._sum += ratio * nanoseconds

    def publish(self, numerator: int) -> None:
        """Puts the account into the child, which goes on from the present ratio until the next call."""
        child = self._child
        child.set_denominator(self.denominator)
        child.set(numerator)
        child.counts[:] = self._counts
        child.sum = self._sum

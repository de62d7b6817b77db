"""Time-weighted ratios at the price of one dictionary update per change.

A timing-ratio histogram settles its account at every change, which is too dear for a path that changes four ratios
twice per request. Here changes only note how long which state lasted; the accounts are made up when somebody reads
them, or before a denominator changes, and then replace what the instrument shows.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Generic, TypeVar

from kubeglass.telemetry.metrics.timing import TimingRatioChild

S = TypeVar("S")


class Held(Generic[S]):
    """For how many nanoseconds something was in which state."""

    __slots__ = ("_held", "_since", "state")

    def __init__(self, state: S, now: int) -> None:
        self.state = state
        self._since = now
        self._held: dict[S, int] = {}

    def change(self, state: S, now: int) -> None:
        """From now on it is in this state."""
        elapsed = now - self._since
        if elapsed > 0:
            self._held[self.state] = self._held.get(self.state, 0) + elapsed
            self._since = now
        self.state = state

    def take(self, now: int) -> dict[S, int]:
        """Nanoseconds per state since the last call."""
        self.change(self.state, now)
        taken, self._held = self._held, {}
        return taken


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

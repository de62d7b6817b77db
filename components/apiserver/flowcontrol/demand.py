"""How much a level wanted: time-weighted average, deviation and peak of its seat demand, and their smoothing.

smoothed = max(envelope, A * smoothed + (1 - A) * envelope), envelope = average + standard deviation, A = 0.977: with a
period of 10 s a peak loses half of its weight in 298 s, while a rise counts at once.
"""

from __future__ import annotations

import math

import msgspec

SMOOTHING = 0.977


class DemandSample(msgspec.Struct, frozen=True):
    """Statistics of one period. Average and deviation are NaN for a period without length."""

    duration_ns: int
    average: float
    deviation: float
    high: int


class DemandPeriod:
    """Sums up one period: which demand there was, for how long. Whoever raises the demand raises `high`, too."""

    __slots__ = ("_area", "_duration", "_squares", "high")

    def __init__(self, demand: int = 0) -> None:
        self._duration = self._area = self._squares = 0
        self.high = demand  # even if it was so for no time at all

    def add(self, demand: int, nanoseconds: int) -> None:
        """The demand was this for so long."""
        area = demand * nanoseconds
        self._duration += nanoseconds
        self._area += area
        self._squares += demand * area

    def sample(self) -> DemandSample:
        """The statistics so far."""
        duration = self._duration
        if not duration:
            return DemandSample(0, math.nan, math.nan, self.high)
        average = self._area / duration
        variance = self._squares / duration - average * average
        return DemandSample(duration, average, math.sqrt(max(variance, 0.0)), self.high)


class SeatDemand:
    """What the last periods said about a level's demand."""

    __slots__ = ("average", "deviation", "high_watermark", "smoothed")

    def __init__(self) -> None:
        self.average = self.deviation = self.smoothed = 0.0
        self.high_watermark = 0

    def update(self, period: DemandSample) -> None:
        """Takes in one period; one without length moves only the watermark."""
        self.high_watermark = period.high
        if period.duration_ns <= 0:
            return
        self.average, self.deviation = period.average, period.deviation
        self.smoothed = smooth(self.smoothed, period.average + period.deviation)


def smooth(smoothed: float, envelope: float) -> float:
    """One step of the smoothing."""
    return max(envelope, SMOOTHING * smoothed + (1 - SMOOTHING) * envelope)

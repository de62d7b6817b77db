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
    low: int
    high: int


class Integrator:
    """Integrates a quantity over time."""

    __slots__ = ("_area", "_high", "_low", "_since", "_squares", "_start", "value")

    def __init__(self, now: int, value: int = 0) -> None:
        self.value = value
        self._since = self._start = now
        self._area = self._squares = 0
        self._low = self._high = value

    def set(self, value: int, now: int) -> None:
        """The quantity has this value from now on."""
        if now > self._since:
            self._advance(now)
        self.value = value
        if value > self._high:
            self._high = value
        elif value < self._low:
            self._low = value

    def _advance(self, now: int) -> None:
        elapsed = now - self._since
        if elapsed > 0:
            self._since = now
            area = self.value * elapsed
            self._area += area
            self._squares += self.value * area

    def sample(self, now: int) -> DemandSample:
        """The statistics since the last reset."""
        self._advance(now)
        duration = self._since - self._start
        if not duration:
            return DemandSample(0, math.nan, math.nan, self._low, self._high)
        average = self._area / duration
        variance = self._squares / duration - average * average
        return DemandSample(duration, average, math.sqrt(max(variance, 0.0)), self._low, self._high)

    def reset(self, now: int) -> DemandSample:
        """Ends the period and starts a new one at the present value."""
        ended = self.sample(now)
        self._start = self._since
        self._area = self._squares = 0
        self._low = self._high = self.value
        return ended


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

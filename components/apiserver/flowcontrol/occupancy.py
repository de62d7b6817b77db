"""How long a level was in which state: the raw material of the time-weighted histograms.

A transition costs one dictionary update; readers take the whole of it, and must do so before a denominator changes.
"""

from __future__ import annotations

import msgspec


class Load(msgspec.Struct, frozen=True, gc=False):
    """A state of a level: requests waiting and executing, seats in use (lingering included) and waited for."""

    waiting: int = 0
    executing: int = 0
    seats_in_use: int = 0
    waiting_seats: int = 0


class Occupancy:
    """Collects nanoseconds per Load."""

    __slots__ = ("_held", "_now", "load")

    def __init__(self, now: int) -> None:
        self.load = (0, 0, 0, 0)
        self._now = now
        self._held: dict[tuple[int, int, int, int], int] = {}

    def set(self, waiting: int, executing: int, seats_in_use: int, waiting_seats: int, now: int) -> None:
        """The level is in this state from now on."""
        elapsed = now - self._now
        if elapsed > 0:
            held, load = self._held, self.load
            held[load] = held.get(load, 0) + elapsed
            self._now = now
        self.load = (waiting, executing, seats_in_use, waiting_seats)

    def take(self, now: int) -> dict[Load, int]:
        """Nanoseconds per state since the last call."""
        self.set(*self.load, now)
        taken, self._held = self._held, {}
        return {Load(*load): held for load, held in taken.items()}

"""Exponential back-off as client-go does it: 10 s, doubled up to 300 s, forgotten after ten quiet minutes.

Pure: `now` and `since` are seconds on one clock.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

INITIAL_SECONDS = 10.0
MAX_SECONDS = 300.0


@dataclass(slots=True)
class _Entry:
    seconds: float
    updated_at: float


class BackOff:
    """How long each key has to wait after its last failure."""

    def __init__(self, initial_seconds: float = INITIAL_SECONDS, max_seconds: float = MAX_SECONDS) -> None:
        self._initial = initial_seconds
        self._max = max_seconds
        self._entries: dict[Hashable, _Entry] = {}

    def remaining(self, key: Hashable, since: float, now: float) -> float:
        """Seconds that `key` still has to wait, counted from the failure at `since`; 0 when it may go on."""
        entry = self._entries.get(key)
        if entry is None or self._expired(entry, since):
            return 0.0
        return max(0.0, entry.seconds - (now - since))

    def current(self, key: Hashable) -> float:
        """The wait that applies to `key` at present."""
        entry = self._entries.get(key)
        return entry.seconds if entry else 0.0

    def next(self, key: Hashable, since: float, now: float) -> None:
        """Note another attempt after the failure at `since`: the next wait is twice as long."""
        entry = self._entries.get(key)
        if entry is None or self._expired(entry, since):
            self._entries[key] = _Entry(self._initial, now)
        else:
            entry.seconds = min(entry.seconds * 2, self._max)
            entry.updated_at = now

    def forget(self, prefix: str) -> None:
        """Drop every key that is a tuple beginning with `prefix` (a pod's uid)."""
        for key in [key for key in self._entries if isinstance(key, tuple) and key[0] == prefix]:
            del self._entries[key]

    def _expired(self, entry: _Entry, since: float) -> bool:
        return since - entry.updated_at > self._max * 2

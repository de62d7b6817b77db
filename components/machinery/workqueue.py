"""Keys that wait for work: each at most once in the queue and at most once in work, retried ever more slowly.

Upstream: client-go/util/workqueue. A key added while it is in work is queued again when the work is done.
The queue is unbounded in principle and bounded in fact: by the number of objects, since keys are unique.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from kubeglass.components.machinery.metrics import WorkQueueMetrics
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.tracing.causality import Trigger, triggered_by

K = TypeVar("K", bound=Hashable)

_FIRST_RETRY_SECONDS = 0.005
_LAST_RETRY_SECONDS = 1000.0
_TRIGGER_LIMIT = 8


class ShutDown(Exception):
    """The queue is empty and will stay so."""


class WorkQueue(Generic[K]):
    """A deduplicating, rate-limited queue on one event loop."""

    def __init__(self, name: str, telemetry: Telemetry) -> None:
        self.name = name
        self._metrics = WorkQueueMetrics(telemetry.metrics, name, self.unfinished)
        self._waiting: deque[K] = deque()
        self._dirty: set[K] = set()  # waiting, or to be queued again when its work is done
        self._processing: dict[K, float] = {}  # in work since, on the loop's clock
        self._added_at: dict[K, float] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._triggers: dict[K, tuple[Trigger, ...]] = {}
        self._open: dict[K, Trigger] = {}  # the change that the key's own object has not followed to its end
        self._filled = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: K) -> None:
        """Queue a key, unless it waits already. The change that is being told counts among its causes."""
        trigger = triggered_by.get()
        if trigger is not None:
            self._learn(key, trigger)
        if self._closed or key in self._dirty:
            return
        self._metrics.added()
        self._dirty.add(key)
        self._added_at[key] = asyncio.get_running_loop().time()
        if key not in self._processing:
            self._enqueue(key)

    def _learn(self, key: K, trigger: Trigger) -> None:
        if trigger.about == key:
            if trigger.open:
                self._open[key] = trigger
            else:
                self._open.pop(key, None)
        if trigger.reaction:
            self.note(key, (trigger,))

    def note(self, key: K, triggers: tuple[Trigger, ...]) -> None:
        """Why a key waits, or will: of many causes the newest are kept."""
        known = self._triggers.get(key, ())
        self._triggers[key] = (*(each for each in known if each not in triggers), *triggers)[-_TRIGGER_LIMIT:]

    def take_triggers(self, key: K) -> tuple[Trigger, ...]:
        """Why the key in work was queued, and its own change if that is still open; the asker has taken them over."""
        noted, own = self._triggers.pop(key, ()), self._open.get(key)
        return noted if own is None or own in noted else (own, *noted)

    def add_after(self, key: K, seconds: float) -> None:
        """Queue a key later; of several delays the shortest counts."""
        if self._closed:
            return
        self._metrics.retried()
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        pending = self._timers.get(key)
        if pending is not None:
            if pending.when() <= loop.time() + seconds:
                return
            pending.cancel()
        self._timers[key] = loop.call_later(seconds, self._ripe, key)

    def add_rate_limited(self, key: K) -> None:
        """Queue a key after a failure: 5 ms, doubled with each failure, at most 1000 s."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.add_after(key, min(_FIRST_RETRY_SECONDS * 2.0 ** min(failures, 30), _LAST_RETRY_SECONDS))

    def forget(self, key: K) -> None:
        """The key's work succeeded: its next failure starts from the first delay."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """How often the key failed in a row."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key, which is in work until `done`. Raises ShutDown."""
        while not self._waiting:
            if self._closed:
                raise ShutDown
            self._filled.clear()
            await self._filled.wait()
        key = self._waiting.popleft()
        self._dirty.discard(key)
        now = asyncio.get_running_loop().time()
        self._processing[key] = now
        self._metrics.taken(now - self._added_at.pop(key, now))
        return key

    def done(self, key: K) -> None:
        """The key's work ended, well or not."""
        now = asyncio.get_running_loop().time()
        self._metrics.finished(now - self._processing.pop(key, now))
        if key in self._dirty:
            self._enqueue(key)

    def shut_down(self) -> None:
        """Take no more keys; `get` raises once the waiting ones are gone."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._filled.set()

    def unfinished(self) -> tuple[float, float]:
        """(seconds of work in progress summed, the longest of them): for metrics, at scrape time."""
        if not self._processing:
            return 0.0, 0.0
        now = asyncio.get_running_loop().time()
        seconds = [now - since for since in self._processing.values()]
        return sum(seconds), max(seconds)

    def _ripe(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _enqueue(self, key: K) -> None:
        self._waiting.append(key)
        self._filled.set()

"""All objects of one resource in memory, and its recent changes: what every GET, LIST and WATCH is served from.

The cache is fed by watchcaches.py in revision order. It keeps the current records, sorted keys, and a ring of changes.
An older state is the current one with the ring undone, so pages of one LIST stay true for one revision.
Watchers have bounded queues: one that falls too far behind is ended, and its client resumes or lists again.
Semantics and texts follow k8s.io/apiserver/pkg/storage/cacher.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kubeglass.components.api.errors import Expired
from kubeglass.components.apiserver.storage.backend import Event, Page, prefix_end, tail_with_resource_version
from kubeglass.components.apiserver.storage.instruments import ResourceInstruments
from kubeglass.components.apiserver.storage.records import Change, Filter, Record

CAPACITY_MIN = 1024
CAPACITY_MAX = 100 * 1024
FRESH_SECONDS = 75.0
"""The ring grows rather than forget a change younger than this, so that a watch may be resumed for that long."""
WATCHER_CAPACITY = 1000
"""How many changes may wait for one watcher before it is ended."""
_SAMPLED = 100
_TRIGGERS = {"pods": "spec.nodeName"}
"""The field most watches of a resource select by: such watchers are found by value instead of asked one by one."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of a LIST."""

    records: Sequence[Record]
    revision: int
    more: bool = False
    """Whether the list goes on behind the last record."""
    remaining: int | None = None
    """How many objects follow; None when selectors make that unknown."""


class Watcher:
    """One watch: changes that match its filter wait here until its handler takes them."""

    __slots__ = ("_taker", "_waiting", "ended", "on_overflow", "wanted")

    def __init__(self, wanted: Filter) -> None:
        self.wanted = wanted
        self.ended = False
        """Whether nothing more will come: too slow, or the cache began anew."""
        self.on_overflow: Callable[[], object] | None = None
        """Called when the watcher is ended for being too slow: its handler may be stuck in a write."""
        self._waiting: deque[tuple[str, Change]] = deque()
        self._taker: asyncio.Future[None] | None = None

    async def take(self) -> Sequence[tuple[str, Change]]:
        """Everything that waits; waits for something when there is nothing. Empty after `wake` or the end."""
        if not self._waiting and not self.ended:
            self._taker = asyncio.get_running_loop().create_future()
            await self._taker
        return self.take_now()

    def take_now(self) -> Sequence[tuple[str, Change]]:
        """Everything that waits, without waiting."""
        taken = tuple(self._waiting)
        self._waiting.clear()
        return taken

    def wake(self) -> None:
        """Let `take` return."""
        taker, self._taker = self._taker, None
        if taker is not None and not taker.done():
            taker.set_result(None)

    def offer(self, change: Change) -> bool:
        """Queue a change if it concerns this watcher; False when the watcher is too slow and has been ended."""
        event_type = change.seen_by(self.wanted)
        if event_type:
            if len(self._waiting) >= WATCHER_CAPACITY:
                self.end()
                if self.on_overflow is not None:
                    self.on_overflow()
                return False
            self._waiting.append((event_type, change))
            self.wake()
        return True

    def end(self) -> None:
        """Nothing more will come."""
        self.ended = True
        self.wake()


class WatchCache:
    """The objects under one storage prefix."""

    def __init__(
        self, resource: str, prefix: str, instruments: ResourceInstruments, clock: Callable[[], float]
    ) -> None:
        self.resource = resource
        self.prefix = prefix
        self.revision = 0
        self.ready = False
        self._records: dict[str, Record] = {}
        self._keys: list[str] = []
        self._ring: deque[Change] = deque()
        self._capacity = CAPACITY_MIN
        self._forgotten = 0  # the newest revision that the ring can no longer replay
        self._watchers: dict[str, dict[Watcher, None]] = {}  # by trigger value; "" holds those without one
        self._trigger = _TRIGGERS.get(resource, "metadata.name")
        self._clock = clock
        self._instruments = instruments
        self._early: list[Event] = []  # what arrived while the first list was being read
        instruments.capacity.set(self._capacity)

    # Feeding

    def begin(self, page: Page) -> None:
        """Take a complete list as the new state. Watchers of an earlier state are ended."""
        for watcher in list(self._all_watchers()):
            watcher.end()
        self._watchers.clear()
        self._ring.clear()
        self._records = {}
        for entry in page.entries:
            tail = tail_with_resource_version(entry.value, entry.revision)
            self._records[entry.key] = Record(entry.key, len(self.prefix), tail, entry.revision)
        self._keys = sorted(self._records)
        self.revision = self._forgotten = page.revision
        self.ready = True
        self._instruments.initializations.inc()
        early, self._early = self._early, []
        for event in early:
            if event.revision > page.revision:
                self.apply(event)

    def apply(self, event: Event) -> None:
        """Take one storage event: change the state, remember the change, tell whom it concerns."""
        if not self.ready:
            self._early.append(event)
            return
        if event.revision <= self.revision:
            return
        self._instruments.received.inc()
        change = Change.of(event, len(self.prefix), self._records.get(event.key), self._clock())
        if change.after is not None:
            if change.before is None:
                insort(self._keys, event.key)
            self._records[event.key] = change.after
        elif change.before is not None:
            del self._records[event.key]
            del self._keys[bisect_left(self._keys, event.key)]
        else:
            return  # a delete of what was never seen
        self.revision = event.revision
        self._remember(change)
        self._dispatch(change)
        self._instruments.resource_version.set(event.revision % 10**15)

    def end(self) -> None:
        """The store's history was lost: end all watchers and wait for a new list."""
        self.ready = False
        for watcher in list(self._all_watchers()):
            watcher.end()
        self._watchers.clear()

    # Reading

    def get(self, key: str) -> Record | None:
        return self._records.get(key)

    def __len__(self) -> int:
        return len(self._records)

    def average_bytes(self) -> int:
        """How large an object is, by a sample of them."""
        keys = self._keys[:: max(len(self._keys) // _SAMPLED, 1)]
        return sum(len(self._records[key].tail) for key in keys) // max(len(keys), 1)

    def records(self) -> Iterator[Record]:
        """All of them, in key order."""
        return (self._records[key] for key in self._keys)

    def list(self, wanted: Filter, limit: int = 0, start: str = "") -> Listing:
        """The current objects from key `start` on."""
        if wanted.name and wanted.kind.namespaced <= bool(wanted.namespace):
            return self._list_one(wanted, start)
        keys = self._range(self._keys, wanted, start)
        return _page(keys, self._records.__getitem__, wanted, limit, self.revision)

    def list_at(self, revision: int, wanted: Filter, limit: int = 0, start: str = "") -> Listing | None:
        """The objects as they were at `revision`; None when the ring does not reach back so far."""
        if revision < self._forgotten:
            return None
        undone: dict[str, Record | None] = {}
        for change in reversed(self._ring):
            if change.revision <= revision:
                break
            undone[change.key] = change.before
        if not undone:
            return _revised(self.list(wanted, limit, start), revision)
        keys = sorted({*self._keys, *undone})
        state = {key: record for key in keys if (record := undone.get(key, self._records.get(key))) is not None}
        for key, record in undone.items():
            if record is None:
                state.pop(key, None)
        return _page(self._range(list(state), wanted, start), state.__getitem__, wanted, limit, revision)

    # Watching

    def watch(self, wanted: Filter, after: int) -> Watcher:
        """A watcher for changes newer than `after`. Raises Expired when the ring no longer holds them all."""
        if after < self._forgotten:
            raise Expired(f"too old resource version: {after} ({self._forgotten})")
        watcher = Watcher(wanted)
        for change in self._after(after):
            if event_type := change.seen_by(wanted):
                watcher._waiting.append((event_type, change))
        self._watchers.setdefault(self._trigger_of(wanted), {})[watcher] = None
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Forget a watcher whose handler is done."""
        value = self._trigger_of(watcher.wanted)
        group = self._watchers.get(value, {})
        group.pop(watcher, None)
        if not group:
            self._watchers.pop(value, None)

    @property
    def watcher_count(self) -> int:
        return sum(map(len, self._watchers.values()))

    def _all_watchers(self) -> Iterator[Watcher]:
        return (watcher for group in self._watchers.values() for watcher in group)

    def _trigger_of(self, wanted: Filter) -> str:
        return wanted.fields.required_value(self._trigger) or ""

    def _dispatch(self, change: Change) -> None:
        self._instruments.dispatched.inc()
        if not self._watchers:
            return
        values = {""}
        if len(self._watchers) > 1 or "" not in self._watchers:
            values |= self._trigger_values(change)
        for value in values:
            for watcher in list(self._watchers.get(value, ())):
                if not watcher.offer(change):
                    self.leave(watcher)
                    self._instruments.terminated.inc()

    def _trigger_values(self, change: Change) -> set[str]:
        records = [record for record in (change.before, change.after) if record is not None]
        if self._trigger == "metadata.name":
            return {record.name for record in records}
        a_watcher = next(watcher for value, group in self._watchers.items() if value for watcher in group)
        wanted = a_watcher.wanted
        return {record.field_values(wanted.kind, wanted.selectable)[self._trigger] for record in records}

    def _remember(self, change: Change) -> None:
        ring = self._ring
        if len(ring) >= self._capacity:
            self._resize(change.time)
        while len(ring) >= self._capacity:
            self._forgotten = ring.popleft().revision
        ring.append(change)

    def _resize(self, now: float) -> None:
        """Grow while the oldest change is still fresh; shrink when a quarter of the ring covers that time."""
        ring, before = self._ring, self._capacity
        if now - ring[0].time < FRESH_SECONDS:
            self._capacity = min(before * 2, CAPACITY_MAX)
        elif before > CAPACITY_MIN and now - ring[-(len(ring) // 4)].time > FRESH_SECONDS:
            self._capacity = max(before // 2, CAPACITY_MIN)
        if self._capacity != before:
            self._instruments.resized(self._capacity, grown=self._capacity > before)

    def _after(self, revision: int) -> Iterator[Change]:
        newer: deque[Change] = deque()
        for change in reversed(self._ring):
            if change.revision <= revision:
                break
            newer.appendleft(change)
        return iter(newer)

    def _range(self, keys: Sequence[str], wanted: Filter, start: str) -> Sequence[str]:
        prefix = f"{self.prefix}{wanted.namespace}/" if wanted.namespace else self.prefix
        first = bisect_left(keys, max(prefix, start))
        last = bisect_left(keys, prefix_end(prefix))
        return keys if first == 0 and last == len(keys) else keys[first:last]

    def _list_one(self, wanted: Filter, start: str) -> Listing:
        path = f"{wanted.namespace}/{wanted.name}" if wanted.namespace else wanted.name
        record = self._records.get(self.prefix + path)
        found = record is not None and record.key >= start and wanted.matches(record)
        return Listing((record,) if record is not None and found else (), self.revision)


def _page(
    keys: Sequence[str], record_of: Callable[[str], Record], wanted: Filter, limit: int, revision: int
) -> Listing:
    """The first `limit` records that match, and what is known about the rest."""
    if not wanted.selective and not wanted.name:
        part = keys[:limit] if limit else keys
        remaining = len(keys) - len(part)
        return Listing([record_of(key) for key in part], revision, remaining > 0, remaining or None)
    found: list[Record] = []
    for record in map(record_of, keys):
        if wanted.matches(record):
            if limit and len(found) == limit:
                return Listing(found, revision, more=True)
            found.append(record)
    return Listing(found, revision)


def _revised(listing: Listing, revision: int) -> Listing:
    return Listing(listing.records, revision, listing.more, listing.remaining)

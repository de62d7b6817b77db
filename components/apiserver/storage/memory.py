"""The storage contract as plain data structures: the readable specification, and the store of fast tests.

State is a dictionary of current entries and a list of events, oldest first. The state at an older revision is the
current one with the newer events undone.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncIterator, Callable
from typing import Literal

from kubeglass.components.apiserver.storage.backend import (
    Batch,
    Compacted,
    Entry,
    Event,
    FutureRevision,
    KeyExists,
    Page,
    RevisionConflict,
    prefix_end,
)
from kubeglass.components.apiserver.storage.feed import Signal


class MemoryBackend:
    """A Backend that lives as long as its process."""

    name = "memory"

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._keys: list[str] = []
        self._deadlines: dict[str, float] = {}
        self._log: list[tuple[Event, Entry | None]] = []  # each event with the entry it replaced
        self._revision = 1  # as etcd: an empty store is at revision 1
        self._compacted = 0
        self._written = Signal()

    async def start(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to release."""

    async def get(self, key: str, revision: int = 0) -> Entry | None:
        return self._as_of(revision).get(key)

    async def list(self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0) -> Page:
        entries = self._as_of(revision)
        keys = self._keys if entries is self._entries else sorted(entries)
        first = max(bisect_left(keys, prefix), bisect_right(keys, start_after))
        behind = bisect_left(keys, prefix_end(prefix))
        last = min(behind, first + limit) if limit else behind
        page = tuple(entries[key] for key in keys[first:last])
        return Page(page, revision or self._revision, max(0, behind - last))

    async def create(self, key: str, value: bytes, ttl_seconds: int = 0) -> int:
        if key in self._entries:
            raise KeyExists(key)
        insort(self._keys, key)
        return self._put(key, value, ttl_seconds)

    async def update(self, key: str, value: bytes, expected_revision: int, ttl_seconds: int = 0) -> int:
        self._expect(key, expected_revision)
        return self._put(key, value, ttl_seconds)

    async def delete(self, key: str, expected_revision: int) -> int:
        self._expect(key, expected_revision)
        return self._delete(key)

    async def watch(self, prefix: str, after_revision: int) -> AsyncIterator[Batch]:
        position = after_revision
        while True:
            if position < self._compacted:
                raise Compacted(position, self._compacted)
            newer = self._log[bisect_right(self._log, position, key=_revision_of) :]
            events = tuple(event for event, _ in newer if event.key.startswith(prefix))
            if newer:
                position = newer[-1][0].revision
                yield Batch(events, position)
            else:
                await self._written.wait()

    async def request_progress(self) -> None:
        """Watches always know."""

    async def compact(self, revision: int) -> None:
        if revision > self._revision:
            raise FutureRevision(revision, self._revision)
        self._compacted = max(self._compacted, revision)
        del self._log[: bisect_right(self._log, self._compacted, key=_revision_of)]

    async def expire(self, now: float) -> None:
        for key in [key for key, deadline in self._deadlines.items() if deadline <= now]:
            self._delete(key)

    async def current_revision(self) -> int:
        return self._revision

    async def count(self, prefix: str) -> int:
        return bisect_left(self._keys, prefix_end(prefix)) - bisect_left(self._keys, prefix)

    async def size_bytes(self) -> int:
        return sum(len(entry.key) + len(entry.value) for entry in self._entries.values())

    def _expect(self, key: str, revision: int) -> None:
        current = self._entries.get(key)
        if current is None or current.revision != revision:
            raise RevisionConflict(key, current)

    def _put(self, key: str, value: bytes, ttl_seconds: int) -> int:
        before = self._entries.get(key)
        revision = self._revision + 1
        self._entries[key] = Entry(key, value, revision, before.create_revision if before else revision)
        self._deadlines.pop(key, None)
        if ttl_seconds:
            self._deadlines[key] = self._clock() + ttl_seconds
        return self._append("put", key, value, before)

    def _delete(self, key: str) -> int:
        before = self._entries.pop(key)
        del self._keys[bisect_left(self._keys, key)]
        self._deadlines.pop(key, None)
        return self._append("delete", key, b"", before)

    def _append(self, kind: Literal["put", "delete"], key: str, value: bytes, before: Entry | None) -> int:
        self._revision += 1
        previous = before.value if before else None
        self._log.append((Event(kind, key, value, previous, self._revision, before is None), before))
        self._written.fire()
        return self._revision

    def _as_of(self, revision: int) -> dict[str, Entry]:
        if revision > self._revision:
            raise FutureRevision(revision, self._revision)
        if revision in (0, self._revision):
            return self._entries
        if revision < self._compacted:
            raise Compacted(revision, self._compacted)
        entries = dict(self._entries)
        for event, before in reversed(self._log):
            if event.revision <= revision:
                break
            if before is None:
                del entries[event.key]
            else:
                entries[event.key] = before
        return entries


def _revision_of(row: tuple[Event, Entry | None]) -> int:
    return row[0].revision

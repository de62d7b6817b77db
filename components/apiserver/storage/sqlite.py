"""The embedded store: one SQLite file in WAL mode, safe against `kill -9` and power loss once a write is acknowledged.

A log table holds every version once, and a current table says which one is the newest for each key. One writer thread
commits whatever has queued up as a single transaction (group commit), so the loop never waits for the disk and
many writers share one fsync; each write in the group succeeds or fails alone. Reads use a second connection on the
loop's thread. The file itself, and why it may be refused: sqlitefile.py.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from kubeglass.components.apiserver.storage import sqlitefile
from kubeglass.components.apiserver.storage.backend import (
    Batch,
    Compacted,
    Entry,
    Event,
    FutureRevision,
    KeyExists,
    Page,
    RevisionConflict,
    StorageError,
    StoreUnavailable,
    prefix_end,
)
from kubeglass.components.apiserver.storage.feed import Signal

_GROUP = 256
"""How many queued writes share one commit at most."""
_RECENT = 4096
"""How many events are kept in memory for watches; older ones are read from the file."""
_BATCH = 500
"""How many events a watch that reads from the file delivers at once."""

_FIRST_REVISION = 1
_ENTRY = "SELECT log.key, log.value, log.revision, log.create_revision FROM "
_CURRENT = _ENTRY + "current JOIN log ON log.revision = current.revision "

T = TypeVar("T")


@dataclass(slots=True)
class _Job:
    """Something the writer thread does inside a transaction, and who waits for it."""

    run: Callable[[], Any]
    done: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


class SqliteBackend:
    """A Backend in one file. Exactly one process may have it open."""

    name = "sqlite"

    def __init__(self, path: str | Path, clock: Callable[[], float] = time.time) -> None:
        self.path = Path(path)
        self._clock = clock
        self._revision = _FIRST_REVISION  # what readers may see
        self._compacted = 0
        self._recent: deque[Event] = deque(maxlen=_RECENT)
        self._written = Signal()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock: IO[str] | None = None
        self._reader: sqlite3.Connection
        self._writer: _Writer
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = sqlitefile.lock(self.path)
        try:
            if not self.path.exists():
                sqlitefile.create(self.path)
            connection = sqlitefile.checked(self.path)
            self._writer = _Writer(connection, self._clock)
            self._reader = sqlitefile.connect(self.path)
        except BaseException:
            self._lock.close()
            raise
        self._revision, self._compacted = self._writer.revision, self._writer.compacted
        self._thread = threading.Thread(target=self._write_forever, name="sqlite writer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        if self._thread is None:
            return
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._thread = None
        self._reader.close()
        self._writer.connection.close()
        if self._lock:
            self._lock.close()

    async def get(self, key: str, revision: int = 0) -> Entry | None:
        if self._is_current(revision):
            row = self._read(_CURRENT + "WHERE current.key = ?", (key,))
            return Entry(*row[0]) if row else None
        entries = (await self.list(key, limit=1, revision=revision)).entries
        return entries[0] if entries and entries[0].key == key else None

    async def list(self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0) -> Page:
        end = prefix_end(prefix)
        with self._snapshot() as newest:
            if revision == 0 or (self._is_current(revision) and revision == newest):
                where = "WHERE current.key >= ? AND current.key > ? AND current.key < ? ORDER BY current.key LIMIT ?"
                rows = self._read(_CURRENT + where, (prefix, start_after, end, limit or -1))
                entries = tuple(Entry(*row) for row in rows)
                remaining = self._count(entries[-1].key, end) if limit and len(entries) == limit else 0
                return Page(entries, newest, remaining)
            keys = self._keys_as_of(prefix, end, revision)
            wanted = sorted(key for key in keys if key > start_after)
            page = wanted[:limit] if limit else wanted
            return Page(tuple(self._entry_at(keys[key]) for key in page), revision, len(wanted) - len(page))

    async def create(self, key: str, value: bytes, ttl_seconds: int = 0) -> int:
        return await self._write(lambda: self._writer.create(key, value, ttl_seconds))

    async def update(self, key: str, value: bytes, expected_revision: int, ttl_seconds: int = 0) -> int:
        return await self._write(lambda: self._writer.update(key, value, expected_revision, ttl_seconds))

    async def delete(self, key: str, expected_revision: int) -> int:
        return await self._write(lambda: self._writer.delete(key, expected_revision))

    async def watch(self, prefix: str, after_revision: int) -> AsyncIterator[Batch]:
        position = after_revision
        while True:
            if position < self._compacted:
                raise Compacted(position, self._compacted)
            events = self._events_after(position)
            if events:
                position = events[-1].revision
                yield Batch(tuple(event for event in events if event.key.startswith(prefix)), position)
            else:
                await self._written.wait()

    async def request_progress(self) -> None:
        """Watches always know."""

    async def compact(self, revision: int) -> None:
        if revision > self._revision:
            raise FutureRevision(revision, self._revision)
        await self._write(lambda: self._writer.compact(revision))
        self._compacted = max(self._compacted, revision)

    async def expire(self, now: float) -> None:
        if self._read("SELECT 1 FROM current WHERE expires <= ? LIMIT 1", (now,)):
            await self._write(lambda: self._writer.expire(now))

    async def current_revision(self) -> int:
        return self._revision

    async def count(self, prefix: str) -> int:
        return self._count(prefix, prefix_end(prefix), inclusive=True)

    async def size_bytes(self) -> int:
        return sum(file.stat().st_size for file in (self.path, sqlitefile.wal(self.path)) if file.exists())

    # Reading: on the loop's thread, from committed state only.

    @contextmanager
    def _snapshot(self) -> Iterator[int]:
        """Several reads of one state; yields its revision, which may be ahead of what has been acknowledged."""
        self._read("BEGIN", ())
        try:
            yield self._read("SELECT max(revision) FROM log", ())[0][0] or _FIRST_REVISION
        finally:
            self._read("COMMIT", ())

    def _read(self, sql: str, parameters: Sequence[object]) -> Sequence[Any]:
        try:
            return self._reader.execute(sql, parameters).fetchall()
        except sqlite3.DatabaseError as error:
            raise sqlitefile.translated(self.path, error) from error

    def _count(self, after: str, end: str, *, inclusive: bool = False) -> int:
        operator = ">=" if inclusive else ">"
        rows = self._read(f"SELECT count(*) FROM current WHERE key {operator} ? AND key < ?", (after, end))
        return int(rows[0][0])

    def _is_current(self, revision: int) -> bool:
        if revision > self._revision:
            raise FutureRevision(revision, self._revision)
        if 0 < revision < self._compacted:
            raise Compacted(revision, self._compacted)
        return revision in (0, self._revision)

    def _keys_as_of(self, prefix: str, end: str, revision: int) -> dict[str, int]:
        """Key → row revision, as of an older revision: the current keys with newer changes undone."""
        keys = dict(self._read("SELECT key, revision FROM current WHERE key >= ? AND key < ?", (prefix, end)))
        first_change_since = """SELECT key, prev_revision, min(revision) FROM log
                                WHERE revision > ? AND key >= ? AND key < ? GROUP BY key"""
        for key, before, _ in self._read(first_change_since, (revision, prefix, end)):
            if before:
                keys[key] = before
            else:
                keys.pop(key, None)
        return keys

    def _entry_at(self, revision: int) -> Entry:
        return Entry(*self._read(_ENTRY + "log WHERE revision = ?", (revision,))[0])

    def _events_after(self, position: int) -> Sequence[Event]:
        if position >= self._revision:
            return ()
        recent = self._recent
        if recent and recent[0].revision <= position + 1:
            newest = recent[-1].revision
            return [recent[index] for index in range(position - newest, 0)]  # revisions are dense
        sql = """SELECT log.key, log.value, log.prev_revision, old.value, log.revision
                 FROM log LEFT JOIN log AS old ON old.revision = log.prev_revision
                 WHERE log.revision > ? AND log.revision <= ? ORDER BY log.revision LIMIT ?"""
        rows = self._read(sql, (position, self._revision, _BATCH))
        return [_event(key, value, before, old, revision) for key, value, before, old, revision in rows]

    # Writing: queued here, done on the writer thread, acknowledged here after the commit.

    async def _write(self, run: Callable[[], T]) -> T:
        if self._thread is None:
            raise StoreUnavailable(f"the store {self.path} is closed")
        job = _Job(run, self._loop.create_future())
        self._jobs.put(job)
        result: T = await job.done
        return result

    def _write_forever(self) -> None:
        while (first := self._jobs.get()) is not None:
            jobs = [first]
            stop = False
            while len(jobs) < _GROUP and not self._jobs.empty():
                job = self._jobs.get()
                if job is None:
                    stop = True
                    break
                jobs.append(job)
            events = self._commit(jobs)
            self._loop.call_soon_threadsafe(self._committed, jobs, events, self._writer.revision)
            if stop:
                return

    def _commit(self, jobs: Sequence[_Job]) -> Sequence[Event]:
        """One transaction for all jobs. A job that breaks the contract fails alone; a broken disk fails them all."""
        writer = self._writer
        before = writer.revision
        try:
            writer.connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                try:
                    job.result = job.run()
                except StorageError as error:
                    job.error = error
            writer.connection.execute("COMMIT")
            return writer.take_events()
        except sqlite3.Error as error:
            if writer.connection.in_transaction:
                writer.connection.execute("ROLLBACK")
            writer.revision = before
            writer.take_events()
            failure = sqlitefile.translated(self.path, error)
            for job in jobs:
                job.error = failure
            return []

    def _committed(self, jobs: Sequence[_Job], events: Sequence[Event], revision: int) -> None:
        self._revision = revision
        self._recent.extend(events)
        if events:
            self._written.fire()
        for job in jobs:
            if job.done.done():
                continue
            if job.error is not None:
                job.done.set_exception(job.error)
            else:
                job.done.set_result(job.result)


class _Writer:
    """The statements of a write; lives on the writer thread, inside a transaction that its caller opened."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self.connection = connection
        self._clock = clock
        self._events: list[Event] = []
        self.revision: int = connection.execute("SELECT max(revision) FROM log").fetchone()[0] or _FIRST_REVISION
        self.compacted: int = connection.execute("SELECT revision FROM compaction").fetchone()[0]

    def take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def create(self, key: str, value: bytes, ttl_seconds: int) -> int:
        if self._current(key) is not None:
            raise KeyExists(key)
        return self._put(key, value, None, ttl_seconds)

    def update(self, key: str, value: bytes, expected_revision: int, ttl_seconds: int) -> int:
        return self._put(key, value, self._expect(key, expected_revision), ttl_seconds)

    def delete(self, key: str, expected_revision: int) -> int:
        return self._delete(self._expect(key, expected_revision))

    def expire(self, now: float) -> None:
        rows = self.connection.execute(_CURRENT + "WHERE current.expires <= ?", (now,)).fetchall()
        for row in rows:
            self._delete(Entry(*row))

    def compact(self, revision: int) -> None:
        """Drop what was replaced, and the marks of what was deleted, up to `revision`; the newest row always stays."""
        self.connection.execute(
            """DELETE FROM log WHERE revision IN
               (SELECT prev_revision FROM log WHERE revision <= ? AND prev_revision > 0)""",
            (revision,),
        )
        self.connection.execute("DELETE FROM log WHERE revision <= ? AND value IS NULL AND revision < ?",
                                (revision, self.revision))  # fmt: skip
        self.connection.execute("UPDATE compaction SET revision = max(revision, ?)", (revision,))

    def _current(self, key: str) -> Entry | None:
        row = self.connection.execute(_CURRENT + "WHERE current.key = ?", (key,)).fetchone()
        return Entry(*row) if row else None

    def _expect(self, key: str, revision: int) -> Entry:
        current = self._current(key)
        if current is None or current.revision != revision:
            raise RevisionConflict(key, current)
        return current

    def _put(self, key: str, value: bytes, before: Entry | None, ttl_seconds: int) -> int:
        expires = self._clock() + ttl_seconds if ttl_seconds else None
        self._log(key, value, before)
        self.connection.execute("INSERT OR REPLACE INTO current VALUES (?, ?, ?)", (key, self.revision, expires))
        return self.revision

    def _delete(self, before: Entry) -> int:
        self._log(before.key, None, before)
        self.connection.execute("DELETE FROM current WHERE key = ?", (before.key,))
        return self.revision

    def _log(self, key: str, value: bytes | None, before: Entry | None) -> None:
        revision = self.revision + 1
        replaced = before.revision if before else 0
        created = before.create_revision if before else revision
        self.connection.execute("INSERT INTO log VALUES (?, ?, ?, ?, ?)", (revision, key, value, created, replaced))
        self._events.append(_event(key, value, replaced, before.value if before else None, revision))
        self.revision = revision


def _event(key: str, value: bytes | None, replaced: int, old: bytes | None, revision: int) -> Event:
    if value is None:
        return Event("delete", key, b"", old, revision, False)
    return Event("put", key, value, old, revision, replaced == 0)

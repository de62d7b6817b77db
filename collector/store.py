"""Where traces and logs are kept: a ring in memory of what is not yet committed, in front of SQLite.

Everything accepted is in the ring at once and can be queried there; a writer thread commits it every
`commit_seconds`. Bound: the memory limiter's (see processors.py), for the ring holds what is accounted for there.
A kill loses at most the ring; what is committed survives. Retention deletes the oldest by age and by size.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from kubeglass.collector.database import Reader, Retention, Search, Stored, UnreadableDatabase, Writer, set_aside
from kubeglass.collector.matching import matches
from kubeglass.collector.metrics import (
    STORE_BYTES,
    STORE_COMMIT,
    STORE_EXPIRED,
    STORE_LOST,
    STORED,
)
from kubeglass.collector.processors import MemoryLimiter
from kubeglass.collector.segments import Segment
from kubeglass.logging.klog import Logger
from kubeglass.telemetry.metrics.instruments import CounterInstrument
from kubeglass.telemetry.metrics.registry import Registry

T = TypeVar("T")

_EXPIRE_SECONDS = 5.0
_READ_THREADS = 2


class StoreMetrics:
    """The store's instruments."""

    def __init__(self, registry: Registry) -> None:
        self.stored = registry.bind(STORED)
        self.lost = registry.bind(STORE_LOST)
        self.commit = registry.bind(STORE_COMMIT)
        self.bytes = registry.bind(STORE_BYTES)
        self.expired = registry.bind(STORE_EXPIRED)


class Ring:
    """Segments by trace, while they wait to be committed."""

    def __init__(self) -> None:
        self.waiting: list[Segment] = []
        self._by_trace: dict[bytes, list[Segment]] = {}

    def add(self, segments: list[Segment]) -> None:
        self.waiting += segments
        for segment in segments:
            self._by_trace.setdefault(segment.trace, []).append(segment)

    def take(self) -> list[Segment]:
        """What is to be committed next; it stays visible until `forget`."""
        taken, self.waiting = self.waiting, []
        return taken

    def forget(self, segments: list[Segment]) -> None:
        for segment in segments:
            left = [other for other in self._by_trace.get(segment.trace, ()) if other is not segment]
            if left:
                self._by_trace[segment.trace] = left
            else:
                self._by_trace.pop(segment.trace, None)

    def of(self, trace: bytes) -> list[Segment]:
        return list(self._by_trace.get(trace, ()))


class Store:
    """Append without waiting, read with `await`."""

    def __init__(
        self,
        path: Path,
        retention: Retention,
        limiter: MemoryLimiter,
        metrics: StoreMetrics,
        log: Logger,
        *,
        commit_seconds: float = 0.1,
    ) -> None:
        self._path = path
        self._retention = retention
        self._limiter = limiter
        self._metrics = metrics
        self._log = log
        self._commit_seconds = commit_seconds
        self._spans, self._logs = Ring(), Ring()
        self._under_way = 0
        self._failure: sqlite3.Error | None = None
        self._arrived = asyncio.Event()
        self._hurry = asyncio.Event()
        self._committed = asyncio.Condition()
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="collector-writer")
        self._reading = ThreadPoolExecutor(_READ_THREADS, thread_name_prefix="collector-reader")
        self._local = threading.local()
        self._readers: list[Reader] = []

    def append_spans(self, segments: list[Segment]) -> None:
        """Keep segments whose size the limiter already holds."""
        self._spans.add(segments)
        self._arrived.set()

    def append_logs(self, segments: list[Segment]) -> None:
        """Keep log records whose size the limiter already holds."""
        self._logs.add(segments)
        self._arrived.set()

    async def run(self, started: Callable[[], None]) -> None:
        """Commit what arrives until cancelled, then commit the rest."""
        loop = asyncio.get_running_loop()
        writer = await loop.run_in_executor(self._writing, self._open)
        started()
        try:
            await self._write_until_cancelled(writer)
        finally:
            await self._commit(writer)
            await loop.run_in_executor(self._writing, writer.close)
            self._writing.shutdown()
            self._reading.shutdown()
            for reader in self._readers:
                reader.close()

    def check(self) -> None:
        """Health: whether the last commit went well."""
        if self._failure is not None:
            raise RuntimeError(f"the last commit failed: {self._failure}")

    async def flush(self) -> None:
        """Return when everything appended so far is committed or counted as lost."""
        async with self._committed:
            self._hurry.set()
            self._arrived.set()
            await self._committed.wait_for(lambda: not self._limbo())

    async def trace(self, trace: bytes) -> list[Stored]:
        """The segments of one trace, committed or not. A segment may appear twice around its commit."""
        return [*map(_as_stored, self._spans.of(trace)), *await self.read(lambda reader: reader.trace(trace))]

    async def logs(self, trace: bytes) -> list[Stored]:
        """The log records of one trace."""
        return [*map(_as_stored, self._logs.of(trace)), *await self.read(lambda reader: reader.logs(trace))]

    async def search(self, search: Search) -> list[bytes]:
        """Ids of the newest traces that match."""
        await self.flush()
        return await self.read(lambda reader: _search(reader, search))

    async def services(self) -> list[str]:
        """All service names."""
        await self.flush()
        return await self.read(lambda reader: reader.services())

    async def operations(self, service: str) -> list[tuple[str, int]]:
        """(name, kind) of a service's operations."""
        await self.flush()
        return await self.read(lambda reader: reader.operations(service))

    async def read(self, question: Callable[[Reader], T]) -> T:
        """Ask a reader in its thread."""

        def ask() -> T:
            reader: Reader | None = getattr(self._local, "reader", None)
            if reader is None:
                reader = self._local.reader = Reader(self._path)
                self._readers.append(reader)
            return question(reader)

        return await asyncio.get_running_loop().run_in_executor(self._reading, ask)

    def _open(self) -> Writer:
        try:
            return Writer(self._path)
        except UnreadableDatabase as error:
            aside = set_aside(self._path)
            self._log.error(error, "The trace store is unreadable, starting a new one", kept=str(aside))
            return Writer(self._path)

    def _limbo(self) -> bool:
        return bool(self._spans.waiting or self._logs.waiting or self._under_way)

    async def _write_until_cancelled(self, writer: Writer) -> None:
        loop = asyncio.get_running_loop()
        expire_at = 0.0
        while True:
            if loop.time() >= expire_at:
                await self._expire(writer)
                expire_at = loop.time() + _EXPIRE_SECONDS
            try:
                async with asyncio.timeout_at(expire_at):
                    await self._arrived.wait()
                    self._arrived.clear()
                async with asyncio.timeout(self._commit_seconds):
                    await self._hurry.wait()
            except TimeoutError:
                pass
            await self._commit(writer)

    async def _commit(self, writer: Writer) -> None:
        spans, logs = self._spans.take(), self._logs.take()
        self._hurry.clear()
        self._under_way = len(spans) + len(logs)
        if self._under_way:
            begun = time.perf_counter()
            try:
                await asyncio.get_running_loop().run_in_executor(self._writing, writer.write, spans, logs)
                _count(self._metrics.stored, spans, logs)
                self._metrics.commit.observe(time.perf_counter() - begun)
                self._failure = None
            except sqlite3.Error as error:
                self._failure = error
                _count(self._metrics.lost, spans, logs)
                self._log.error(error, "Failed to write to the trace store", path=str(self._path))
            self._spans.forget(spans)
            self._logs.forget(logs)
            self._limiter.release(sum(segment.size for segment in spans) + sum(segment.size for segment in logs))
            self._under_way = 0
        async with self._committed:
            self._committed.notify_all()

    async def _expire(self, writer: Writer) -> None:
        def work() -> tuple[dict[str, int], int]:
            return writer.expire(self._retention, time.time_ns()), writer.size()

        lost, size = await asyncio.get_running_loop().run_in_executor(self._writing, work)
        self._metrics.bytes.set(size)
        for reason, count in lost.items():
            if count:
                self._metrics.expired.labels(reason).inc(count)


def _search(reader: Reader, search: Search) -> list[bytes]:
    found: dict[bytes, None] = {}
    for candidate in reader.candidates(search):
        if candidate.trace not in found and matches(candidate, search):
            found[candidate.trace] = None
            if len(found) >= search.limit:
                break
    return list(found)


def _count(counter: CounterInstrument, spans: list[Segment], logs: list[Segment]) -> None:
    for signal, segments in (("traces", spans), ("logs", logs)):
        if segments:
            counter.labels(signal).inc(sum(segment.count for segment in segments))


def _as_stored(segment: Segment) -> Stored:
    group = segment.group
    return Stored(
        0,
        segment.trace,
        group.service,
        segment.start,
        group.resource,
        group.scope,
        group.resource_schema,
        group.scope_schema,
        segment.payload,
    )

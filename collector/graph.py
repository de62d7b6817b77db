"""Who calls whom: edges between services, counted from parent and child spans.

The store is followed in the order it was written, and only when somebody asks; edges are kept per minute. A segment
is looked at `settle_seconds` after it was stored, with its whole trace, so a parent that came later is not missed.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

from kubeglass.collector.database import Reader, Stored
from kubeglass.collector.store import Store

_MINUTE_NS = 60_000_000_000
_SLICE = 2000


class Edge(NamedTuple):
    """Calls from one service to another."""

    parent: str
    child: str


Minutes = dict[int, Counter[Edge]]


class ServiceGraph:
    """Edges per minute. Bounded: minutes older than `keep_minutes` are forgotten."""

    def __init__(self, store: Store, *, keep_minutes: int = 7 * 24 * 60, settle_seconds: float = 1.0) -> None:
        self._store = store
        self._keep = keep_minutes
        self._settle_seconds = settle_seconds
        self._seen = 0
        self._minutes: Minutes = {}
        self._lock = asyncio.Lock()

    async def edges(self, start_ns: int, end_ns: int) -> Counter[Edge]:
        """Calls whose child span began in the given time."""
        async with self._lock:
            await self._catch_up()
        total: Counter[Edge] = Counter()
        for minute, edges in self._minutes.items():
            if start_ns // _MINUTE_NS <= minute <= end_ns // _MINUTE_NS:
                total.update(edges)
        return total

    async def _catch_up(self) -> None:
        await self._store.flush()
        until = time.time_ns() - int(self._settle_seconds * 1e9)
        while True:
            seen, found = await self._store.read(lambda reader: _follow(reader, self._seen, until))
            if seen == self._seen:
                break
            self._seen = seen
            for minute, edges in found.items():
                self._minutes.setdefault(minute, Counter()).update(edges)
        for minute in [m for m in self._minutes if m < until // _MINUTE_NS - self._keep]:
            del self._minutes[minute]


def _follow(reader: Reader, seen: int, until_ns: int) -> tuple[int, Minutes]:
    """(the last segment looked at, the edges of the next slice)."""
    segments = reader.since(seen, until_ns, _SLICE)
    by_trace: dict[bytes, list[Stored]] = {}
    for segment in segments:
        by_trace.setdefault(segment.trace, []).append(segment)
    found: Minutes = {}
    for trace, new in by_trace.items():
        whole = reader.trace(trace)
        if len({segment.service for segment in whole}) > 1:
            _count(new, whole, found)
    return segments[-1].id if segments else seen, found


def _count(new: list[Stored], whole: list[Stored], found: Minutes) -> None:
    """Add the calls that begin in the `new` segments of a trace."""
    owners = {span.span_id: segment.service for segment in whole for span in _spans(segment)}
    for segment in new:
        for span in _spans(segment):
            parent = owners.get(span.parent_span_id)
            if parent is not None and parent != segment.service:
                minute = found.setdefault(span.start_time_unix_nano // _MINUTE_NS, Counter())
                minute[Edge(parent, segment.service)] += 1


def _spans(segment: Stored) -> Iterable[Any]:
    return ScopeSpans.FromString(segment.payload).spans

"""WATCH: initial events if wanted, then changes as they happen, bookmarks between them.

A handler takes everything that waits for its watcher and sends it as one write; frames are shared by all watchers of
the same form. The stream ends at its timeout, when the watcher fell too far behind, or when the client is gone.
Semantics as https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from kubeglass.components.api.errors import ApiError
from kubeglass.components.api.kinds import Kind
from kubeglass.components.apiserver import negotiation
from kubeglass.components.apiserver.flowcontrol.watchinit import initialised
from kubeglass.components.apiserver.handlers import options
from kubeglass.components.apiserver.handlers.handling import about_type, handling, serializing
from kubeglass.components.apiserver.handlers.options import WatchOptions
from kubeglass.components.apiserver.handlers.read import Forms
from kubeglass.components.apiserver.metrics import WatchMetrics
from kubeglass.components.apiserver.negotiation import PARTIAL, TABLE, Media
from kubeglass.components.apiserver.storage.reads import Reads, parse_revision
from kubeglass.components.apiserver.storage.records import Change, Filter, Record, framed
from kubeglass.components.apiserver.storage.watchcache import Watcher
from kubeglass.components.apiserver.views import View
from kubeglass.components.apiserver.wire import Request, Response, Stream
from kubeglass.logging.klog import Logger
from kubeglass.logging.values import Duration
from kubeglass.telemetry.tracing.tracer import Tracer

_SHAPES = frozenset({TABLE, PARTIAL})
_BOOKMARK_SECONDS = 60.0
_LAST_BOOKMARK_SECONDS = 2.0
"""How long before its timeout a stream sends its last bookmark."""
_WRITE_SECONDS = 60.0
"""How long after its timeout a stream may still hang in a write before it is cut."""
_INITIAL_BATCH = 500
_UNTRACED = Tracer()
"""Only a WATCH that begins with a list has spans of its own, as upstream: that part has an end."""
INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}


@dataclass(slots=True)
class _Session:
    """One stream: its clock, its form, how much was sent."""

    stream: Stream
    view: View
    bookmarks: bool
    deadline: float
    next_bookmark: float
    sent: int = 0

    @property
    def wakes_at(self) -> float:
        """When there is something to do even if nothing happens."""
        return min(self.deadline, self.next_bookmark) if self.bookmarks else self.deadline


class WatchHandler:
    """The watch verb of every resource."""

    def __init__(
        self,
        reads: Reads,
        forms: Forms,
        metrics: WatchMetrics,
        log: Logger,
        min_timeout_seconds: float = 1800.0,
        tracer: Tracer = Tracer(),
    ) -> None:
        self._reads = reads
        self._forms = forms
        self._metrics = metrics
        self._log = log
        self._min_timeout = min_timeout_seconds
        self._tracer = tracer
        self._loop = asyncio.get_running_loop()

    async def watch(self, request: Request, kind: Kind) -> Response:
        media = negotiation.accept(request.headers.get("Accept", ""), _SHAPES)
        wanted = options.wanted(request, kind, self._forms.selectable(kind))
        asked = options.watch_options(request)
        timeout = asked.timeout_seconds or self._min_timeout * (1 + random.random())
        self._say(request, asked, timeout)
        revision = parse_revision(asked.resource_version, kind)
        tracer = self._tracer if asked.initial_events else _UNTRACED
        cache, watcher = self._reads.caches.of(kind), None
        try:
            with handling(tracer, "WatchList", request):
                await self._freshen(kind, asked, revision)
                session = await self._open(request, kind, media, asked, timeout)
                try:
                    with tracer.span("cacher.Watch", shared=(about_type(kind), request.identity)):
                        initial, watcher = self._begin(wanted, asked, revision)
                except ApiError as error:
                    await self._write(session, framed("ERROR", msgspec.json.encode(error.status())))
                    return Response(sent=True, size=session.sent)
                with serializing(tracer, request, media, "WatchServer.HandleHTTP") as span:
                    span.event("About to start writing response")
                    await self._send_initial(request, session, kind, initial, ended=bool(asked.initial_events))
                    span.event("Writing initial events done")
            initialised()
            await self._follow(session, watcher, kind)
        finally:
            if watcher is not None:
                cache.leave(watcher)
        return Response(sent=True, size=session.sent)

    async def _freshen(self, kind: Kind, asked: WatchOptions, revision: int | None) -> None:
        """Initial events are as new as a LIST would be."""
        if asked.initial_events and revision is None:
            await self._reads.current(kind)
        elif asked.initial_events and revision:
            await self._reads.wait_until(kind, revision)

    async def _open(self, request: Request, kind: Kind, media: Media, asked: WatchOptions, seconds: float) -> _Session:
        stream = await request.stream(200, {"Content-Type": f"{negotiation.JSON};stream=watch"})
        now = self._loop.time()
        view = self._forms.view(request, kind, media)
        return _Session(stream, view, asked.bookmarks, now + seconds, _next_bookmark(now, now + seconds))

    def _begin(self, wanted: Filter, asked: WatchOptions, revision: int | None) -> tuple[Sequence[Record], Watcher]:
        """The initial records and a watcher that continues exactly behind them (no await between the two)."""
        cache = self._reads.caches.of(wanted.kind)
        if revision and not asked.initial_events:
            return (), cache.watch(wanted, revision)
        initial = () if asked.initial_events is False else cache.list(wanted).records
        self._reads.caches.instruments(wanted.kind).initial_events.inc(len(initial))
        return initial, cache.watch(wanted, cache.revision)

    async def _send_initial(
        self, request: Request, session: _Session, kind: Kind, initial: Sequence[Record], *, ended: bool
    ) -> None:
        revision = self._reads.caches.revision
        view = session.view
        for first in range(0, len(initial), _INITIAL_BATCH):
            await request.pause()
            lines = [view.event("ADDED", record) for record in initial[first : first + _INITIAL_BATCH]]
            await self._send(session, lines, kind)
        if ended and session.bookmarks:
            await self._write(session, view.bookmark(revision, INITIAL_EVENTS_END))
            seconds = time.monotonic() - request.received
            labels = (kind.group, kind.version, kind.plural, request.info.scope)
            self._metrics.watch_list_duration_seconds.labels(*labels).observe(seconds)

    async def _follow(self, session: _Session, watcher: Watcher, kind: Kind) -> None:
        """One timer serves bookmarks, the deadline, and a client that takes nothing any more."""
        task = asyncio.current_task()
        assert task is not None
        watcher.on_overflow = task.cancel
        stuck = self._loop.call_at(session.deadline + _WRITE_SECONDS, task.cancel)
        alarm = self._loop.call_at(session.wakes_at, watcher.wake)
        try:
            while not watcher.ended:
                changes = await watcher.take()
                if changes:
                    await self._send(session, [self._line(session.view, *item) for item in changes], kind)
                now = self._loop.time()
                if now >= session.deadline:
                    return
                if now >= session.wakes_at:
                    await self._bookmark(session, now)
                if alarm.when() <= now:
                    alarm = self._loop.call_at(session.wakes_at, watcher.wake)
        finally:
            alarm.cancel()
            stuck.cancel()

    async def _bookmark(self, session: _Session, now: float) -> None:
        """Everything up to the stream's revision was delivered, because nothing waits."""
        await self._write(session, session.view.bookmark(self._reads.caches.revision, {}))
        session.next_bookmark = _next_bookmark(now, session.deadline)

    @staticmethod
    def _line(view: View, event_type: str, change: Change) -> bytes:
        return change.frame(event_type, view.key, view.event)

    async def _send(self, session: _Session, lines: Sequence[bytes], kind: Kind) -> None:
        labels = (kind.group, kind.version, kind.plural)
        self._metrics.watch_events_total.labels(*labels).inc(len(lines))
        sizes = self._metrics.watch_events_sizes.labels(*labels)
        for line in lines:
            sizes.observe(len(line))
        await self._write(session, lines[0] if len(lines) == 1 else b"".join(lines))

    async def _write(self, session: _Session, data: bytes) -> None:
        await session.stream.write(data)
        session.sent += len(data)

    def _say(self, request: Request, asked: WatchOptions, timeout: float) -> None:
        log = self._log.v(3)
        if log:
            values: Mapping[str, object] = {
                "path": request.path,
                "resourceVersion": asked.resource_version,
                "labels": request.param("labelSelector"),
                "fields": request.param("fieldSelector"),
                "timeout": Duration.of_seconds(timeout),
                "audit-ID": request.audit_id,
            }
            log.info("Starting watch", **values)


def _next_bookmark(now: float, deadline: float) -> float:
    """Roughly every minute, and shortly before the end."""
    last = deadline - _LAST_BOOKMARK_SECONDS
    return min(now + _BOOKMARK_SECONDS, last) if now < last else deadline

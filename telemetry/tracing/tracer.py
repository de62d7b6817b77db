"""Tracer and Span: what components call to say what they are doing.

A span that is not sampled, and every span of a tracer that is off, costs almost nothing and still hands its context on.
Ended spans go to a sink (exporter.py), which encodes and sanitizes them at once and sends them later.
The sampler is the SDK's ParentBased(TraceIdRatioBased) with Go's decision rule.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import time_ns as now_ns
from typing import Any, Protocol

import msgspec

from kubeglass.logging import correlation
from kubeglass.telemetry.tracing.context import INVALID, SpanContext, active, current_context

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5  # the wire values of OTLP's SpanKind
UNSET, OK, ERROR = 0, 1, 2  # the wire values of OTLP's StatusCode

ATTRIBUTE_LIMIT = EVENT_LIMIT = LINK_LIMIT = 128

CURRENT = SpanContext(0, 0)
"""Default of `parent`: the active span. None asks for a new trace."""

ANNOTATION = "tracing.k8s.io/traceparent"
"""The annotation of KEP-5915, by which an object carries the context of its change."""

Attributes = Mapping[str, Any]


class Fixed(dict[str, Any]):
    """Attributes that many spans share and nobody changes: they are cleaned and encoded once, for all of them."""

    encoded: tuple[object, bytes] | None = None
    """Who encoded them, and the bytes."""


class Link(msgspec.Struct, frozen=True, gc=False):
    """A cause that is not the parent."""

    context: SpanContext
    attributes: Attributes = {}


class Event(msgspec.Struct, frozen=True, gc=False):
    """Something that happened at one moment of a span."""

    time_ns: int
    name: str
    attributes: Attributes


class Scope(msgspec.Struct, frozen=True, gc=False):
    """The instrumentation scope: who made the span."""

    name: str
    version: str = ""


class Sink(Protocol):
    """Where ended spans go."""

    def offer(self, span: RecordedSpan) -> None:
        """Take the span or drop it and count; never block, never raise."""

    async def run(self, started: Callable[[], None]) -> None:
        """Send until cancelled, then flush."""

    async def flush(self, timeout_seconds: float) -> bool:
        """Send what waits; whether all of it was sent in time."""


class Span(msgspec.Struct, eq=False, gc=False):
    """A span nobody records: it only carries its context. The recorded one below has the same methods.

    Structs, because they are made in C; unseen by the garbage collector: nothing that a span holds points back at it.
    """

    context: SpanContext
    _token: Any = None
    """What restores the span that was active before."""

    @property
    def tentative(self) -> bool:
        """Whether the span may still turn out never to have been; nothing may point at it before `keep`."""
        return False

    @property
    def shared(self) -> Sequence[Fixed]:
        """Attributes that it has in common with others."""
        return ()

    @property
    def innermost(self) -> Span:
        """Itself, unless it stands for several (nest.py)."""
        return self

    @property
    def recording(self) -> bool:
        """Whether attributes and events are kept; guard expensive ones with it."""
        return False

    def set(self, key: str, value: Any) -> None:
        """Set one attribute: str, bool, int, float, bytes, or a sequence or mapping of those. None is ignored."""

    def update(self, attributes: Attributes) -> None:
        """Set several attributes."""

    def share(self, attributes: Fixed) -> None:
        """Add attributes that many spans have in common."""

    def rename(self, name: str) -> None:
        """Give the span the name that only became known later."""

    def event(self, name: str, /, **attributes: Any) -> None:
        """Note a moment: now."""

    def event_at(self, time_ns: int | None, name: str, attributes: Attributes) -> None:
        """Note another moment, or attributes that are not keywords."""

    def link(self, context: SpanContext, attributes: Attributes | None = None) -> None:
        """Name one more cause."""

    def record_exception(self, error: BaseException) -> None:
        """Note `error` as an `exception` event; the status stays as it is."""

    def error(self, message: str) -> None:
        """Set the status to Error."""

    def ok(self) -> None:
        """Set the status to Ok, which later errors do not change."""

    def end(self, end_ns: int | None = None) -> None:
        """Finish. Only the first call counts."""

    def finish(self, error: BaseException | None) -> None:
        """Finish as leaving `with` does: with what went wrong inside."""

    def discard(self) -> None:
        """Finish without telling anyone: it turned out that nothing was done."""

    def keep(self) -> None:
        """Something points at the span (a child, a header, an annotation): it is tentative no more."""

    @property
    def trace_ids(self) -> correlation.TraceIds | None:
        """What log lines show: only spans that somebody can open."""
        context = self.context
        return (context.trace_hex, context.span_hex) if context.sampled else None

    def __enter__(self) -> Span:
        self._token = active.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        active.reset(self._token)


class _Off(Span, eq=False, gc=False):
    """The span of a tracer that is off: shared by all, changes nothing, lets an outer context pass through."""

    @property  # type: ignore[misc]  # a field of Span; here it is whatever is active
    def context(self) -> SpanContext:  # type: ignore[override]  # the same
        return current_context() or INVALID

    def __enter__(self) -> Span:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        pass


OFF = _Off(INVALID)


class RecordedSpan(Span, eq=False, gc=False, kw_only=True):
    """A sampled span. Fields are read by the exporter after `end`."""

    parent: SpanContext | None
    name: str
    kind: int
    start_ns: int
    own: dict[str, Any]
    shared: Sequence[Fixed]
    scope: Scope
    sink: Sink
    end_ns: int = 0
    tentative: bool = False
    events: list[Event] | None = None
    links: list[Link] | None = None
    status: int = UNSET
    message: str = ""
    dropped_attributes: int = 0
    dropped_events: int = 0
    dropped_links: int = 0

    @property
    def recording(self) -> bool:
        return not self.end_ns

    @property
    def attributes(self) -> dict[str, Any]:
        """All attributes together; the exporter takes the shared and the own ones apart."""
        return {key: value for part in (*self.shared, self.own) for key, value in part.items()}

    def set(self, key: str, value: Any) -> None:
        if value is None or self.end_ns:
            return
        if len(self.own) >= ATTRIBUTE_LIMIT and key not in self.own:
            self.dropped_attributes += 1
        else:
            self.own[key] = value

    def update(self, attributes: Attributes) -> None:
        if len(self.own) + len(attributes) <= ATTRIBUTE_LIMIT and not self.end_ns and None not in attributes.values():
            self.own.update(attributes)
            return
        for key, value in attributes.items():
            self.set(key, value)

    def share(self, attributes: Fixed) -> None:
        if not self.end_ns:
            self.shared = (*self.shared, attributes)

    def rename(self, name: str) -> None:
        if not self.end_ns:
            self.name = name

    def event(self, name: str, /, **attributes: Any) -> None:
        if self.events is None and not self.end_ns:
            self.events = [Event(now_ns(), name, attributes)]
        else:
            self.event_at(None, name, attributes)

    def event_at(self, time_ns: int | None, name: str, attributes: Attributes) -> None:
        if self.end_ns:
            return
        event = Event(time_ns or now_ns(), name, attributes)
        if self.events is None:
            self.events = [event]
        elif len(self.events) < EVENT_LIMIT:
            self.events.append(event)
        else:
            self.dropped_events += 1

    def link(self, context: SpanContext, attributes: Attributes | None = None) -> None:
        if self.end_ns or not context.valid:
            return
        if self.links is None:
            self.links = []
        if len(self.links) < LINK_LIMIT:
            self.links.append(Link(context, attributes or {}))
        else:
            self.dropped_links += 1

    def record_exception(self, error: BaseException) -> None:
        self.event_at(None, "exception", describe(error))

    def error(self, message: str) -> None:
        if self.status != OK and not self.end_ns:
            self.status, self.message, self.tentative = ERROR, message, False

    def ok(self) -> None:
        if not self.end_ns:
            self.status, self.message = OK, ""

    def end(self, end_ns: int | None = None) -> None:
        if self.end_ns:
            return
        end = end_ns or now_ns()
        self.end_ns = end if end > self.start_ns else self.start_ns
        if not self.tentative:
            self.sink.offer(self)

    def discard(self) -> None:
        self.end_ns = self.end_ns or now_ns()

    def keep(self) -> None:
        self.tentative = False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        active.reset(self._token)
        self.finish(error)

    def finish(self, error: BaseException | None) -> None:
        if error is not None and isinstance(error, Exception):  # a cancelled task is no failure of what it did
            self.record_exception(error)
            if self.status == UNSET:
                self.error(f"{type(error).__name__}: {error}")
        if not self.end_ns:
            end = now_ns()
            self.end_ns = end if end > self.start_ns else self.start_ns
            if not self.tentative:
                self.sink.offer(self)


class Tracer:
    """Makes the spans of one component, in one scope.

    `fraction` of the new traces is sampled, children follow their parent. Without a sink the tracer is off.
    `annotation` is the key under which objects carry the context of their change; "" when they carry none.
    """

    __slots__ = ("_bits", "_bound", "annotation", "scope", "sink")

    def __init__(
        self,
        sink: Sink | None = None,
        *,
        fraction: float = 1.0,
        scope: Scope = Scope("kubeglass"),
        bits: Callable[[int], int] = random.getrandbits,
        annotation: str = ANNOTATION,
    ) -> None:
        self.sink = sink
        self.annotation = annotation if sink is not None else ""
        self.scope = scope
        self._bound = int(fraction * (1 << 63))
        self._bits = bits

    @property
    def enabled(self) -> bool:
        """Whether spans can be recorded at all."""
        return self.sink is not None

    def named(self, scope: str, version: str = "") -> Tracer:
        """The same tracer for another instrumentation scope."""
        other = Tracer(self.sink, scope=Scope(scope, version), bits=self._bits, annotation=self.annotation)
        other._bound = self._bound
        return other

    def span(
        self,
        name: str,
        *,
        kind: int = INTERNAL,
        attributes: Attributes | None = None,
        shared: Sequence[Fixed] = (),
        parent: SpanContext | None = CURRENT,
        links: Sequence[Link | SpanContext] = (),
        start_ns: int | None = None,
        sampled: bool | None = None,
        tentative: bool = False,
    ) -> Span:
        """A started span. `with` activates it and ends it, recording an exception as Error; else call `end`.

        `sampled` overrides the sampler, for spans whose cause is a link (see causality.py). A `tentative` span is
        recorded only if it fails or something comes to point at it: what did nothing leaves no span.
        """
        sink = self.sink
        if sink is None:
            return OFF if parent is None or parent is CURRENT else Span(parent)
        if parent is CURRENT:
            outer = active.get()
            if outer is None:
                parent = None
            else:
                if outer.tentative:
                    outer.keep()
                parent = outer.context
        if parent is None or not parent.trace_id:
            context = self._root(sampled)
        else:
            keep = parent.sampled if sampled is None else sampled
            context = SpanContext(parent.trace_id, self._bits(64) or 1, keep, False, parent.state, parent.baggage)
        if not context.sampled:
            return Span(context)
        span = RecordedSpan(
            context,
            parent=parent,
            name=name,
            kind=kind,
            start_ns=start_ns or now_ns(),
            own=dict(attributes) if attributes else {},
            shared=shared,
            scope=self.scope,
            sink=sink,
            tentative=tentative,
        )
        for link in links:
            if isinstance(link, Link):
                span.link(link.context, link.attributes)
            else:
                span.link(link)
        return span

    start = span
    """The same call, named for callers that end the span themselves."""

    def inside(self, outer: Span, name: str, start_ns: int = 0) -> Span:
        """A child of `outer`, which is recorded, with nothing but a name: `span` without its questions. To be ended."""
        sink = self.sink
        if sink is None:
            return OFF
        parent = outer.context
        context = SpanContext(parent.trace_id, self._bits(64) or 1, True, False, parent.state, parent.baggage)
        return RecordedSpan(
            context,
            parent=parent,
            name=name,
            kind=INTERNAL,
            start_ns=start_ns or now_ns(),
            own={},
            shared=(),
            scope=self.scope,
            sink=sink,
        )

    def _root(self, sampled: bool | None) -> SpanContext:
        trace_id = self._bits(128) or 1
        keep = ratio_samples(trace_id, self._bound) if sampled is None else sampled
        return SpanContext(trace_id, self._bits(64) or 1, keep)

    async def run(self, started: Callable[[], None]) -> None:
        """Export until cancelled. A tracer that is off has nothing to run and returns."""
        if self.sink is None:
            started()
        else:
            await self.sink.run(started)

    async def flush(self, timeout_seconds: float = 5.0) -> bool:
        """Send what waits; whether all of it was sent in time."""
        return self.sink is None or await self.sink.flush(timeout_seconds)


def ratio_samples(trace_id: int, bound: int) -> bool:
    """Go's TraceIDRatioBased: the low 8 bytes shifted right by one, against ratio x 2^63."""
    return (trace_id & 0xFFFFFFFFFFFFFFFF) >> 1 < bound


def describe(error: BaseException) -> dict[str, str]:
    """An exception in OpenTelemetry's attribute names."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    stack = "".join(traceback.format_exception(kind, error, error.__traceback__))
    return {"exception.type": name, "exception.message": str(error), "exception.stacktrace": stack}


def current_span() -> Span:
    """The active span; outside any, one that does nothing."""
    span = active.get()
    return OFF if span is None else span.innermost


@contextmanager
def use(context: SpanContext) -> Iterator[None]:
    """Act in `context` without a span of one's own: what starts inside is its child, headers carry it on."""
    with Span(context):
        yield


def leave() -> None:
    """Belong to no span from here on: for tasks that outlive the moment they were started in."""
    active.set(None)


@contextmanager
def untraced() -> Iterator[None]:
    """Act without leaving spans here or at whoever is called: for telemetry's own errands, such as writing Events."""
    context = SpanContext(random.getrandbits(128) or 1, random.getrandbits(64) or 1, sampled=False)
    with Span(context):
        yield

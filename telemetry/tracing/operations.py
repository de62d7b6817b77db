"""Operations: spans that also leave a text in the log when they were slow, as component-base's tracing.Start does.

    with operations.span("Create", attributes=…) as span:  span.event("About to store object in database")
Events of the span are the steps of the text; operations inside one another become one text, printed by the outermost.
The text does not depend on sampling. Below -v=2, where none is printed, an operation is its span and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextvars import ContextVar, Token
from typing import Any

from kubeglass.logging.klog import Logger
from kubeglass.logging.slowlog import tell
from kubeglass.logging.slowtrace import REPORT_LEVEL, SlowTrace, Step
from kubeglass.telemetry.tracing.context import SpanContext
from kubeglass.telemetry.tracing.tracer import CURRENT, INTERNAL, Attributes, Fixed, Link, Span, Tracer

SCOPE = "k8s.io/component-base/tracing"
DEFAULT_SECONDS = 0.5

_outer: ContextVar[SlowTrace | None] = ContextVar("kubeglass_operation", default=None)


class OperationTracer(Tracer):
    """A tracer whose spans are operations with one threshold."""

    __slots__ = ("_inner", "_log", "_threshold_ns")

    def __init__(self, tracer: Tracer, log: Logger, threshold_seconds: float = DEFAULT_SECONDS) -> None:
        self._inner = tracer.named(SCOPE)
        for slot in Tracer.__slots__:
            setattr(self, slot, getattr(self._inner, slot))
        self._log = log
        self._threshold_ns = int(threshold_seconds * 1e9)

    @property
    def enabled(self) -> bool:
        """Whether an operation leaves anything: a span or a text."""
        return self._inner.enabled or bool(self._log.v(REPORT_LEVEL))

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
        """A started operation, to be entered and left by `with`."""
        span = self._inner.span(
            name,
            kind=kind,
            attributes=attributes,
            shared=shared,
            parent=parent,
            links=links,
            start_ns=start_ns,
            sampled=sampled,
            tentative=tentative,
        )
        if not self._log.v(REPORT_LEVEL):
            return span
        fields = tuple(pair for part in (*shared, attributes or {}) for pair in part.items())
        trace = SlowTrace(name, start_ns or time.time_ns(), threshold=self._threshold_ns, fields=fields)
        return Operation(span.context, _span=span, _trace=trace, _log=self._log)


class Operation(Span, eq=False, kw_only=True):
    """A span and the text it may become."""

    _span: Span
    _trace: SlowTrace
    _log: Logger
    _outer_token: Token[SlowTrace | None] | None = None

    @property  # type: ignore[misc]  # a field of Span; here it is that of the span inside
    def context(self) -> SpanContext:  # type: ignore[override]  # the same
        return self._span.context

    @property
    def recording(self) -> bool:
        return True

    def set(self, key: str, value: Any) -> None:
        self._span.set(key, value)

    def update(self, attributes: Attributes) -> None:
        self._span.update(attributes)

    def share(self, attributes: Fixed) -> None:
        self._span.share(attributes)

    def rename(self, name: str) -> None:
        self._span.rename(name)
        self._trace.name = name

    def event(self, name: str, /, **attributes: Any) -> None:
        self.event_at(None, name, attributes)

    def event_at(self, time_ns: int | None, name: str, attributes: Attributes) -> None:
        at = time_ns or time.time_ns()
        self._span.event_at(at, name, attributes)
        self._trace.items.append(Step(name, at, tuple(attributes.items())))

    def link(self, context: SpanContext, attributes: Attributes | None = None) -> None:
        self._span.link(context, attributes)

    def record_exception(self, error: BaseException) -> None:
        self._span.record_exception(error)

    def error(self, message: str) -> None:
        self._span.error(message)

    def ok(self) -> None:
        self._span.ok()

    def end(self, end_ns: int | None = None) -> None:
        self._span.end(end_ns)

    def finish(self, error: BaseException | None) -> None:
        self._span.finish(error)

    def discard(self) -> None:
        self._span.discard()

    def __enter__(self) -> Span:
        self._span.__enter__()
        outer = _outer.get()
        if outer is not None and not outer.end:
            outer.items.append(self._trace)
        self._outer_token = _outer.set(self._trace)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._trace.end = time.time_ns()
        token = self._outer_token
        assert token is not None  # it was entered
        outer = token.old_value
        _outer.reset(token)
        self._span.__exit__(kind, error, trace)
        if not isinstance(outer, SlowTrace) or outer.end:
            tell(self._trace, self._log)  # only the outermost prints; a slow one inside a quick one is printed by it

"""Our tracer behind the OpenTelemetry API: code written for `opentelemetry.trace` lands in our exporter.

    opentelemetry.trace.set_tracer_provider(TracerProvider(tracer))

Contexts meet on both sides: a span of this API is current for our code, and ours is the default parent here.
Imported only by those who want it; components use tracer.py directly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.util._decorator import _agnosticcontextmanager

from kubeglass.telemetry.tracing import tracer as ours
from kubeglass.telemetry.tracing.context import SpanContext

_KINDS = {
    api.SpanKind.INTERNAL: ours.INTERNAL,
    api.SpanKind.SERVER: ours.SERVER,
    api.SpanKind.CLIENT: ours.CLIENT,
    api.SpanKind.PRODUCER: ours.PRODUCER,
    api.SpanKind.CONSUMER: ours.CONSUMER,
}


class TracerProvider(api.TracerProvider):
    """Hands out tracers that share one of ours."""

    def __init__(self, tracer: ours.Tracer) -> None:
        self._tracer = tracer

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Any = None,
    ) -> api.Tracer:
        return Tracer(self._tracer.named(instrumenting_module_name, instrumenting_library_version or ""))


class Tracer(api.Tracer):
    """One instrumentation scope."""

    def __init__(self, tracer: ours.Tracer) -> None:
        self._tracer = tracer

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: api.SpanKind = api.SpanKind.INTERNAL,
        attributes: Any = None,
        links: Sequence[api.Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> api.Span:
        outer = api.get_current_span(context).get_span_context()
        span = self._tracer.span(
            name,
            kind=_KINDS[kind],
            attributes=attributes,
            parent=_inward(outer) if outer.is_valid else ours.CURRENT,
            links=[ours.Link(_inward(link.context), dict(link.attributes or {})) for link in links or ()],
            start_ns=start_time,
        )
        return Span(span, record_exception, set_status_on_exception)

    @_agnosticcontextmanager
    def start_as_current_span(
        self,
        name: str,
        context: Context | None = None,
        kind: api.SpanKind = api.SpanKind.INTERNAL,
        attributes: Any = None,
        links: Sequence[api.Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[api.Span]:
        span = self.start_span(name, context, kind, attributes, links, start_time)
        with ours.use(_inward(span.get_span_context())):
            with api.use_span(span, end_on_exit, record_exception, set_status_on_exception):
                yield span


class Span(api.Span):
    """The API's face of one of our spans."""

    def __init__(self, span: ours.Span, record_exception: bool, set_status: bool) -> None:
        self.inner = span
        self._record_exception = record_exception
        self._set_status = set_status

    def get_span_context(self) -> api.SpanContext:
        context = self.inner.context
        flags = api.TraceFlags(api.TraceFlags.SAMPLED if context.sampled else api.TraceFlags.DEFAULT)
        state = api.TraceState.from_header([context.state]) if context.state else None
        return api.SpanContext(context.trace_id, context.span_id, context.remote, flags, state)

    def is_recording(self) -> bool:
        return self.inner.recording

    def end(self, end_time: int | None = None) -> None:
        self.inner.end(end_time)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        self.inner.update(attributes)

    def set_attribute(self, key: str, value: Any) -> None:
        self.inner.set(key, value)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        self.inner.event_at(timestamp, name, attributes or {})

    def add_link(self, context: api.SpanContext, attributes: Any = None) -> None:
        self.inner.link(_inward(context), dict(attributes or {}))

    def update_name(self, name: str) -> None:
        self.inner.rename(name)

    def set_status(self, status: api.Status | api.StatusCode, description: str | None = None) -> None:
        code = status.status_code if isinstance(status, api.Status) else status
        text = status.description if isinstance(status, api.Status) else description
        if code is api.StatusCode.ERROR:
            self.inner.error(text or "")
        elif code is api.StatusCode.OK:
            self.inner.ok()

    def record_exception(
        self, exception: BaseException, attributes: Any = None, timestamp: int | None = None, escaped: bool = False
    ) -> None:
        self.inner.event_at(timestamp, "exception", {**ours.describe(exception), **(attributes or {})})

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception):
            if self._record_exception:
                self.record_exception(error)
            if self._set_status:
                self.inner.error(f"{type(error).__name__}: {error}")
        self.end()


def _inward(context: api.SpanContext) -> SpanContext:
    return SpanContext(
        context.trace_id,
        context.span_id,
        context.trace_flags.sampled,
        context.is_remote,
        context.trace_state.to_header() if context.trace_state else "",
    )

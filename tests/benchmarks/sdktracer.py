"""The OpenTelemetry SDK behind our Tracer's methods, to put it in our place in a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from kubeglass.telemetry.tracing.context import SpanContext
from kubeglass.telemetry.tracing.tracer import ANNOTATION, CURRENT, Attributes, Fixed, Link, Span, Tracer

_KINDS = (api.SpanKind.INTERNAL, *api.SpanKind)


class _SdkSpan(Span, eq=False, kw_only=True):
    """An SDK span with our span's methods."""

    inner: api.Span
    _active: AbstractContextManager[Any] | None = None

    @property
    def recording(self) -> bool:
        return self.inner.is_recording()

    def set(self, key: str, value: Any) -> None:
        if value is not None:
            self.inner.set_attribute(key, value)

    def update(self, attributes: Attributes) -> None:
        self.inner.set_attributes(dict(attributes))

    def share(self, attributes: Fixed) -> None:
        self.update(attributes)

    def rename(self, name: str) -> None:
        self.inner.update_name(name)

    def event(self, name: str, /, **attributes: Any) -> None:
        self.inner.add_event(name, attributes)

    def record_exception(self, error: BaseException) -> None:
        self.inner.record_exception(error)

    def error(self, message: str) -> None:
        self.inner.set_status(api.StatusCode.ERROR, message)

    def end(self, end_ns: int | None = None) -> None:
        self.inner.end(end_ns)

    def finish(self, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            self.record_exception(error)
            self.error(f"{type(error).__name__}: {error}")
        self.end()

    def __enter__(self) -> Span:
        super().__enter__()
        self._active = api.use_span(self.inner, end_on_exit=True)
        self._active.__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        super().__exit__(kind, error, trace)
        assert self._active is not None  # it was entered
        self._active.__exit__(kind, error, trace)


def _sdk_span(inner: api.Span) -> _SdkSpan:
    context = inner.get_span_context()
    return _SdkSpan(SpanContext(context.trace_id, context.span_id, context.trace_flags.sampled), inner=inner)


class _SdkTracer(Tracer):
    """Our tracer's methods over the SDK's tracer."""

    __slots__ = ("_provider", "_sdk")

    def __init__(self, provider: TracerProvider) -> None:
        super().__init__()
        self.annotation = ANNOTATION
        self._provider = provider
        self._sdk = provider.get_tracer("bench")

    @property
    def enabled(self) -> bool:
        return True

    def named(self, scope: str, version: str = "") -> Tracer:
        return _SdkTracer(self._provider)

    def span(
        self,
        name: str,
        *,
        kind: int = 1,
        shared: Sequence[Fixed] = (),
        attributes: Attributes | None = None,
        parent: SpanContext | None = CURRENT,
        links: Sequence[Link | SpanContext] = (),
        start_ns: int | None = None,
        sampled: bool | None = None,
        tentative: bool = False,
    ) -> Span:
        parts = (*shared, attributes or {})
        kept = {key: value for part in parts for key, value in part.items() if value is not None}
        return _sdk_span(self._sdk.start_span(name, kind=_KINDS[kind], attributes=kept, start_time=start_ns))

    start = span

    def inside(self, outer: Span, name: str, start_ns: int = 0) -> Span:
        above = api.set_span_in_context(outer.inner) if isinstance(outer, _SdkSpan) else None
        return _sdk_span(self._sdk.start_span(name, above, start_time=start_ns or None))

    async def run(self, started: Callable[[], None]) -> None:
        started()

    async def flush(self, timeout_seconds: float = 5.0) -> bool:
        return True


def sdk_tracer(target: str) -> Tracer:
    """The SDK as users configure it: everything sampled, batch processor with its defaults, OTLP/gRPC."""
    provider = TracerProvider(resource=Resource.create({"service.name": "apiserver"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"http://{target}", insecure=True)))
    return _SdkTracer(provider)

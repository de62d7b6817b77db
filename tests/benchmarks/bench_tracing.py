"""What a span costs: ours against the OpenTelemetry SDK's, from start to queue, and from queue to bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from tests.benchmarks.report import Row, alternate

from kubeglass.telemetry.tracing import encode
from kubeglass.telemetry.tracing.tracer import RecordedSpan, Tracer

SPANS = 2000
ATTRIBUTES = {"verb": "get", "resource": "pods", "namespace": "default", "limit": 500, "watch": False}


class _Keep:
    """Our sink: keeps the last spans, as a queue does."""

    def __init__(self) -> None:
        self.spans: list[RecordedSpan] = []

    def offer(self, span: RecordedSpan) -> None:
        self.spans.append(span)
        if len(self.spans) >= SPANS:
            del self.spans[: SPANS // 2]

    async def run(self, started: Callable[[], None]) -> None:
        started()

    async def flush(self, timeout_seconds: float) -> bool:
        return True


class _Forget(SpanExporter):
    """The SDK's cheapest exporter."""

    def __init__(self) -> None:
        self.spans: Sequence[ReadableSpan] = ()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans = spans
        return SpanExportResult.SUCCESS


def _ours(fraction: float) -> tuple[Callable[[], None], _Keep]:
    sink = _Keep()
    tracer = Tracer(sink, fraction=fraction)

    def spans() -> None:
        for _ in range(SPANS):
            with tracer.span("Get", attributes=ATTRIBUTES):
                pass

    return spans, sink


def _theirs(fraction: float) -> tuple[Callable[[], None], TracerProvider, _Forget]:
    exporter = _Forget()
    sampler = ParentBased(TraceIdRatioBased(fraction))
    provider = TracerProvider(sampler=sampler, resource=Resource.create({"service.name": "bench"}))
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=2 * SPANS))
    tracer = provider.get_tracer("bench")

    def spans() -> None:
        for _ in range(SPANS):
            with tracer.start_as_current_span("Get", attributes=ATTRIBUTES):
                pass

    return spans, provider, exporter


def _off() -> None:
    tracer = Tracer()
    for _ in range(SPANS):
        with tracer.span("Get", attributes=ATTRIBUTES):
            pass


def _row(what: str, ours: float, theirs: float, bound: float) -> Row:
    ratio = ours / theirs
    return Row(
        what, f"{ours / SPANS * 1e6:.2f} µs", f"{theirs / SPANS * 1e6:.2f} µs", ratio, f"<= {bound}", ratio <= bound
    )


def run(rounds: int) -> Iterable[Row]:
    """Medians of `rounds` runs of 2,000 spans each, both sides in turn."""
    for what, fraction, bound in (("span, sampled, current, 5 attributes", 1.0, 0.4), ("span, not sampled", 0.0, 0.6)):
        mine, _ = _ours(fraction)
        sdk, provider, _ = _theirs(fraction)
        ours, theirs, off = alternate([mine, sdk, _off], rounds)
        provider.shutdown()
        yield _row(what, ours, theirs, bound)
        if fraction == 0.0:
            yield _row("span of a tracer that is off (theirs: not sampled)", off, theirs, 0.2)
    yield _encoding(rounds)


def _encoding(rounds: int) -> Row:
    mine, sink = _ours(1.0)
    sdk, provider, exporter = _theirs(1.0)
    mine()
    sdk()
    provider.force_flush()
    count = min(len(sink.spans), len(exporter.spans))
    our_spans, their_spans = sink.spans[:count], exporter.spans[:count]
    resource, encoder = encode.resource({"service.name": "bench"}), encode.Encoder()

    def ours() -> bytes:
        return encode.request(resource, [encode.Encoded(span.scope, encoder.span(span)) for span in our_spans])

    def theirs() -> bytes:
        return bytes(encode_spans(their_spans).SerializeToString())

    one, other = alternate([ours, theirs], rounds)
    provider.shutdown()
    scale = SPANS / count
    return _row("encode one span as OTLP", one * scale, other * scale, 0.5)

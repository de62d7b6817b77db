"""Code written for the OpenTelemetry API, landing in our exporter."""

from __future__ import annotations

import pytest
from opentelemetry import trace

from kubeglass.telemetry.tracing import tracer as ours
from kubeglass.telemetry.tracing.otel import TracerProvider


def test_api_spans_join_ours(tracer, kept) -> None:
    """Ours is the parent of the API's span and the other way round; everything set arrives."""
    theirs = TracerProvider(tracer).get_tracer("lib", "1.0")
    with tracer.span("outer") as outer:
        with theirs.start_as_current_span("middle", kind=trace.SpanKind.CLIENT, attributes={"a": 1}) as span:
            assert trace.get_current_span() is span
            span.set_attribute("b", [1, 2])
            span.add_event("e", {"x": 1}, timestamp=5)
            span.add_link(trace.SpanContext(7, 8, is_remote=True))
            span.update_name("renamed")
            span.set_status(trace.Status(trace.StatusCode.ERROR, "bad"))
            with tracer.span("inner"):
                pass
    inner, middle, top = kept.spans
    assert (middle.name, middle.kind, middle.scope) == ("renamed", ours.CLIENT, ours.Scope("lib", "1.0"))
    assert middle.parent.span_id == outer.context.span_id and inner.parent.span_id == middle.context.span_id
    assert middle.attributes == {"a": 1, "b": [1, 2]} and middle.events[0].time_ns == 5
    assert middle.links[0].context.trace_id == 7 and (middle.status, middle.message) == (ours.ERROR, "bad")
    assert top.name == "outer"


def test_explicit_context_and_exceptions(tracer, kept) -> None:
    """A context given by the caller is the parent; exceptions are recorded once."""
    theirs = TracerProvider(tracer).get_tracer("lib")
    remote = trace.NonRecordingSpan(trace.SpanContext(7, 8, True, trace.TraceFlags(1)))
    with pytest.raises(KeyError):
        with theirs.start_as_current_span("s", context=trace.set_span_in_context(remote)):
            raise KeyError("k")
    with pytest.raises(KeyError), theirs.start_span("t"):
        raise KeyError("k")
    first, second = kept.spans
    assert first.context.trace_id == 7 and first.parent.remote
    for span in (first, second):
        assert span.status == ours.ERROR and [e.name for e in span.events] == ["exception"]


def test_as_decorator(tracer, kept) -> None:
    """`start_as_current_span` decorates functions, as the API promises."""
    theirs = TracerProvider(tracer).get_tracer("lib")

    @theirs.start_as_current_span("f")
    def f() -> int:
        return 3

    assert f() == 3 and kept.spans[0].name == "f"

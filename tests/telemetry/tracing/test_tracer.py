"""Spans: parents, sampling, limits, status, and what the log sees."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from kubeglass.logging import correlation
from kubeglass.telemetry.tracing.context import SpanContext, current_context
from kubeglass.telemetry.tracing.tracer import (
    CLIENT,
    ERROR,
    OFF,
    OK,
    Link,
    RecordedSpan,
    Tracer,
    current_span,
    ratio_samples,
)


def test_children_share_the_trace(tracer, kept) -> None:
    """A span started inside another is its child, and ends before it."""
    with tracer.span("outer") as outer:
        with tracer.span("inner", kind=CLIENT, attributes={"a": 1}) as inner:
            assert current_span() is inner
    child, parent = kept.spans
    assert (child.name, parent.name) == ("inner", "outer")
    assert child.parent == parent.context and child.context.trace_id == parent.context.trace_id
    assert parent.parent is None and current_span() is OFF and outer.context.sampled
    assert parent.start_ns <= child.start_ns <= child.end_ns <= parent.end_ns


def test_parent_none_starts_a_new_trace(tracer, kept) -> None:
    """`parent=None` leaves the current trace and keeps the links."""
    with tracer.span("outer") as outer:
        tracer.start("detached", parent=None, links=[outer.context, Link(outer.context, {"why": "x"})]).end()
    detached = kept.spans[0]
    assert detached.parent is None and detached.context.trace_id != outer.context.trace_id
    assert [link.attributes for link in detached.links] == [{}, {"why": "x"}]


def test_off_tracer_changes_nothing() -> None:
    """A tracer that is off hands out one shared span and lets an outer context through."""
    off = Tracer()
    with off.span("a") as span:
        span.set("k", 1)
        span.event("e")
        assert span is OFF and current_context() is None and not span.recording
    remote = SpanContext(5, 6, True, True)
    with off.span("b", parent=remote):
        assert current_context() == remote
        with off.span("c") as inner:
            assert inner.context == remote


@pytest.mark.parametrize("sampled", [True, False])
def test_children_follow_a_remote_parent(kept, sampled: bool) -> None:
    """The parent's flag decides, whatever the rate."""
    tracer = Tracer(kept, fraction=0.0 if sampled else 1.0)
    with tracer.span("s", parent=SpanContext(5, 6, sampled, True)) as span:
        assert span.context.trace_id == 5 and span.context.sampled is sampled
        with tracer.span("child") as child:
            assert child.context.sampled is sampled
    assert len(kept.spans) == (2 if sampled else 0)


def test_rate_zero_keeps_ids(kept) -> None:
    """An unsampled root still has ids that its children share."""
    tracer = Tracer(kept, fraction=0.0)
    with tracer.span("root") as root, tracer.span("child") as child:
        assert root.context.valid and child.context.trace_id == root.context.trace_id and not child.recording
    assert kept.spans == []


@given(st.integers(1, 2**128 - 1), st.integers(0, 1_000_000))
def test_sampler_agrees_with_the_sdk(trace_id: int, rate: int) -> None:
    """Go's rule and the Python SDK's differ at most where rounding of the bound does."""
    theirs = TraceIdRatioBased(rate / 1e6)
    low = trace_id & (2**64 - 1)
    if abs(low - theirs.bound) > 2**12:
        assert ratio_samples(trace_id, int(rate / 1e6 * (1 << 63))) is (low < theirs.bound)


def test_exception_is_recorded(tracer, kept) -> None:
    """An exception ends the span as Error with an `exception` event, and passes on."""
    with pytest.raises(ValueError, match="no"), tracer.span("s"):
        raise ValueError("no")
    span = kept.spans[0]
    assert (span.status, span.message) == (ERROR, "ValueError: no")
    assert span.events[0].name == "exception"
    assert span.events[0].attributes["exception.type"] == "ValueError"
    assert "test_tracer.py" in span.events[0].attributes["exception.stacktrace"]


async def test_cancellation_is_no_error(tracer, kept) -> None:
    """A cancelled task leaves its span unset."""
    with pytest.raises(asyncio.CancelledError), tracer.span("s"):
        raise asyncio.CancelledError
    assert kept.spans[0].status == 0 and kept.spans[0].events is None


def test_limits_are_counted(tracer, kept) -> None:
    """128 attributes, events and links are kept, the rest is counted."""
    with tracer.span("s") as span:
        for n in range(130):
            span.set(f"k{n}", n)
            span.event("e", n=n)
            span.link(SpanContext(n + 1, 1))
        span.set("k0", "changed")
    span = kept.spans[0]
    assert (len(span.attributes), len(span.events), len(span.links)) == (128, 128, 128)
    assert (span.dropped_attributes, span.dropped_events, span.dropped_links) == (2, 2, 2)
    assert span.attributes["k0"] == "changed"


def test_ended_and_discarded_spans_stay_as_they_are(tracer, kept) -> None:
    """Only the first end counts, nothing is added after it, and a discarded span is never exported."""
    span = tracer.start("s", start_ns=10)
    span.ok()
    span.error("ignored: Ok is final")
    span.end(5)
    span.end(99)
    span.set("late", 1)
    dropped = tracer.start("d")
    dropped.discard()
    dropped.end()
    assert kept.spans == [span] and isinstance(span, RecordedSpan)
    assert (span.status, span.end_ns, span.attributes) == (OK, 10, {})


def test_log_correlation(tracer, kept) -> None:
    """Log lines see the ids of the active sampled span, and none for spans nobody can open."""
    with tracer.span("s") as span:
        assert correlation.trace_ids() == (span.context.trace_hex, span.context.span_hex)
        with Tracer(kept, fraction=0).span("unsampled", parent=None):
            assert correlation.trace_ids() is None
    assert correlation.trace_ids() is None


async def test_tasks_inherit(tracer, kept) -> None:
    """A task started inside a span belongs to it; siblings do not disturb each other."""

    async def work(name: str) -> None:
        with tracer.span(name):
            await asyncio.sleep(0)

    with tracer.span("root") as root:
        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(work(name))
    assert {s.parent.span_id for s in kept.spans[:3]} == {root.context.span_id}

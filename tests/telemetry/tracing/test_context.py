"""W3C headers in and out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeglass.telemetry.tracing.context import SpanContext, extract, format_traceparent, inject, parse_traceparent
from kubeglass.telemetry.tracing.tracer import Tracer, use

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
contexts = st.builds(SpanContext, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans(), st.just(True))


@given(contexts)
def test_round_trip(context: SpanContext) -> None:
    """What is formatted parses back to the same context."""
    assert parse_traceparent(format_traceparent(context)) == context


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-extra",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01x",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",
    ],
)
def test_invalid_is_ignored(value: str) -> None:
    """Everything W3C forbids parses to None."""
    assert parse_traceparent(value) is None


def test_later_versions_are_read_as_far_as_known() -> None:
    """A future version may carry more, and unknown flags are not an error."""
    context = parse_traceparent(f"cc-{TRACE}-{SPAN}-ff-what-comes-next")
    assert context is not None and context.sampled and context.trace_hex == TRACE and context.span_hex == SPAN


def test_state_and_baggage_travel_through_spans() -> None:
    """tracestate and baggage of the caller reach the callee's callee unchanged, with the new span id."""
    incoming = {"Traceparent": f"00-{TRACE}-{SPAN}-00", "Tracestate": "a=1, b@x=2", "Baggage": "user=7"}
    outgoing: dict[str, str] = {}
    with Tracer(None).span("off", parent=extract(incoming)):
        inject(outgoing)
    assert outgoing == {"traceparent": f"00-{TRACE}-{SPAN}-00", "tracestate": "a=1, b@x=2", "baggage": "user=7"}


def test_broken_state_is_left_out() -> None:
    """A tracestate that cannot be forwarded does not cost the parent."""
    parent = extract({"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "A=\x01", "baggage": "x=1\r\nEvil: 1"})
    assert parent == SpanContext(int(TRACE, 16), int(SPAN, 16), True, True)


def test_inject_without_context_adds_nothing() -> None:
    """Outside any span no header is invented."""
    headers: dict[str, str] = {}
    inject(headers)
    assert headers == {} and extract({}) is None


def test_use_carries_a_remote_context() -> None:
    """`use` forwards a context without a span."""
    headers: dict[str, str] = {}
    with use(SpanContext(1, 2, True, True)):
        inject(headers)
    assert headers == {"traceparent": f"00-{1:032x}-{2:016x}-01"}

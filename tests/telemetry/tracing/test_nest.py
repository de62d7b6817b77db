"""Spans of a chain: the same as those of nested `with` statements, with one active span in place of all."""

from __future__ import annotations

import asyncio

import pytest

from kubeglass.logging import correlation
from kubeglass.telemetry.tracing.nest import nest
from kubeglass.telemetry.tracing.tracer import ERROR, OFF, Fixed, Tracer, current_span


def test_each_lies_in_the_one_before(tracer, kept) -> None:
    """Parents, order of ends and scope are those of spans inside one another; the nest ends the outermost."""
    filters = tracer.named("filters")
    with nest(tracer.span("request")) as inside:
        inside.enter(filters.inside(inside.innermost, "audit"))
        inside.enter(filters.inside(inside.innermost, "authorization"))
        with tracer.span("Get") as get:
            assert current_span() is get
        inside.leave()
        inside.leave()
    assert current_span() is OFF
    assert [span.name for span in kept.spans] == ["Get", "authorization", "audit", "request"]
    for child, parent in zip(kept.spans, kept.spans[1:], strict=False):
        assert child.parent == parent.context and child.context.trace_id == parent.context.trace_id
        assert parent.start_ns <= child.start_ns <= child.end_ns <= parent.end_ns
    assert [span.scope.name for span in kept.spans] == ["kubeglass", "filters", "filters", "kubeglass"]
    assert kept.spans[3].parent is None and len({span.context.span_id for span in kept.spans}) == 4


def test_what_is_said_meanwhile_is_said_of_the_innermost(tracer, kept) -> None:
    """Attributes and log lines belong to the span entered last, and to the one around it once that has ended."""
    with nest(tracer.span("request")) as inside:
        inside.enter(tracer.inside(inside.innermost, "flow control"))
        current_span().share(Fixed({"level": "exempt"}))
        assert correlation.trace_ids() == (inside.context.trace_hex, current_span().context.span_hex)
        inside.leave()
        current_span().set("status", 200)
    inner, request = kept.spans
    assert (inner.attributes, request.attributes) == ({"level": "exempt"}, {"status": 200})


def test_a_failure_marks_every_span_that_it_passes(tracer, kept) -> None:
    """As an exception does on its way through `with` statements."""

    def request() -> None:
        with nest(tracer.span("request")) as inside:
            inside.enter(tracer.inside(inside.innermost, "audit"))
            try:
                raise ValueError("no")
            except ValueError as error:
                inside.leave(error)
                raise

    with pytest.raises(ValueError, match="no"):
        request()
    assert [(span.name, span.status, span.message) for span in kept.spans] == [
        ("audit", ERROR, "ValueError: no"),
        ("request", ERROR, "ValueError: no"),
    ]
    assert [span.events[0].name for span in kept.spans] == ["exception", "exception"]


async def test_tasks_inherit_the_innermost(tracer, kept) -> None:
    """Whatever is started at the bottom of the chain is a child of the last filter's span."""

    async def work() -> None:
        with tracer.span("work"):
            await asyncio.sleep(0)

    with nest(tracer.span("request")) as inside:
        inside.enter(tracer.inside(inside.innermost, "last"))
        await asyncio.gather(work(), work())
        inside.leave()
    first, second, last, _ = kept.spans
    assert first.parent == second.parent == last.context


def test_a_tracer_that_is_off_puts_nothing_inside(tracer) -> None:
    """Nor does one without a sink."""
    assert Tracer().inside(tracer.span("request"), "audit") is OFF

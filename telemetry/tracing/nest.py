"""Spans inside one another that share one change of the context variable: those of a request's filters.

Entering and leaving a span is nearly half of its cost. The filters of a chain lie inside one another
and every request passes through them, so one `Nest` is active in place of them all and knows the innermost. What is
started inside, in this task or in others, is a child of the span that is innermost at that moment.
"""

from __future__ import annotations

import msgspec

from kubeglass.telemetry.tracing.context import active
from kubeglass.telemetry.tracing.tracer import Span


class Nest(Span, eq=False, gc=False, kw_only=True):
    """`with nest(span)` activates and ends `span`, as `with span` would, and those entered meanwhile can lie inside."""

    innermost: Span
    _around: list[Span] = msgspec.field(default_factory=list)

    def enter(self, span: Span) -> None:
        """`span`, a child of the innermost, is the innermost from here on."""
        self._around.append(self.innermost)
        self.innermost = span
        self.context = span.context

    def leave(self, error: BaseException | None = None) -> None:
        """The innermost ends, and with it what failed in it."""
        left = self.innermost
        self.innermost = outer = self._around.pop()
        self.context = outer.context
        left.finish(error)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        active.reset(self._token)
        self.innermost.finish(error)


def nest(outermost: Span) -> Nest:
    """A nest with one span in it."""
    return Nest(outermost.context, innermost=outermost)

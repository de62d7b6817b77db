"""The one place where a log line learns which trace it belongs to.

The tracer keeps the active span in `current`; whatever is logged meanwhile asks it for its ids.
Nothing here knows more of a span than that, so logging does not depend on tracing.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

TraceIds = tuple[str, str]
"""(trace id as 32 hex digits, span id as 16 hex digits)."""


class Traced(Protocol):
    """Something that may belong to a trace."""

    @property
    def trace_ids(self) -> TraceIds | None:
        """What log lines show; None when nobody could open the trace."""


current: ContextVar[Traced | None] = ContextVar("kubeglass_active_span", default=None)


def trace_ids() -> TraceIds | None:
    """The ids of what is going on right now."""
    traced = current.get()
    return None if traced is None else traced.trace_ids

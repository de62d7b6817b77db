"""The one place where a log line learns which trace it belongs to.

The tracer sets `current` when it activates a span; every record made meanwhile carries the pair.
Nothing here knows what a span is, so logging does not depend on tracing.
"""

from __future__ import annotations

from contextvars import ContextVar

TraceIds = tuple[str, str]
"""(trace id as 32 hex digits, span id as 16 hex digits)."""

current: ContextVar[TraceIds | None] = ContextVar("kubeglass_trace_ids", default=None)

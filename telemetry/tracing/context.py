"""The part of a span that travels: ids, the sampled bit, and the W3C headers that carry them between processes.

`traceparent` and `tracestate` follow https://www.w3.org/TR/trace-context/, `baggage` https://www.w3.org/TR/baggage/.
The one context variable of tracing is here, so that metrics (exemplars) and clients (headers) need not know spans.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, cast

import msgspec

from kubeglass.logging import correlation

if TYPE_CHECKING:
    from kubeglass.telemetry.tracing.tracer import Span

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
BAGGAGE = "baggage"

_STATE_LIMIT = 512  # characters a vendor must at least carry
_BAGGAGE_LIMIT = 8192  # bytes
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_STATE_MEMBER = re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,256}", re.ASCII)


class SpanContext(msgspec.Struct, frozen=True, gc=False):
    """Which span this is, and what must be handed on with it. `state` and `baggage` are the raw header values."""

    trace_id: int
    span_id: int
    sampled: bool = True
    remote: bool = False
    state: str = ""
    baggage: str = ""

    @property
    def trace_hex(self) -> str:
        """32 lower-case hexadecimal digits."""
        return self.trace_id.to_bytes(16).hex()

    @property
    def span_hex(self) -> str:
        """16 lower-case hexadecimal digits."""
        return self.span_id.to_bytes(8).hex()

    @property
    def valid(self) -> bool:
        """Whether both ids are non-zero, as W3C demands."""
        return self.trace_id != 0 and self.span_id != 0


INVALID = SpanContext(0, 0, sampled=False)

active = cast("ContextVar[Span | None]", correlation.current)
"""The active span: the same variable by which log lines find it."""


def current_context() -> SpanContext | None:
    """The context of the active span, to be handed on; None outside any."""
    span = active.get()
    if span is None:
        return None
    span.keep()
    return span.context


def parse_traceparent(value: str) -> SpanContext | None:
    """Read one `traceparent` value; None when W3C says it must be ignored."""
    match = _TRACEPARENT.fullmatch(value.strip(" \t"))
    if match is None:
        return None
    version, trace, span, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest):
        return None
    context = SpanContext(int(trace, 16), int(span, 16), sampled=bool(int(flags, 16) & 1), remote=True)
    return context if context.valid else None


def format_traceparent(context: SpanContext) -> str:
    """Write `context` as a version 00 `traceparent`."""
    return f"00-{context.trace_hex}-{context.span_hex}-{'01' if context.sampled else '00'}"


def inject(headers: MutableMapping[str, str], context: SpanContext | None = None) -> None:
    """Put `context`, by default the active span's, into the headers of an outgoing call; nothing when there is none."""
    context = context or current_context()
    if context is None or not context.valid:
        return
    headers[TRACEPARENT] = format_traceparent(context)
    if context.state:
        headers[TRACESTATE] = context.state
    if context.baggage:
        headers[BAGGAGE] = context.baggage


def extract(headers: Mapping[str, str]) -> SpanContext | None:
    """The caller's context from the headers of an incoming call (any capitalisation of the names)."""
    value = _header(headers, TRACEPARENT)
    parent = parse_traceparent(value) if value else None
    if parent is None:
        return None
    state, baggage = _header(headers, TRACESTATE), _header(headers, BAGGAGE)
    if not state and not baggage:
        return parent
    return SpanContext(
        parent.trace_id,
        parent.span_id,
        sampled=parent.sampled,
        remote=True,
        state=state if _valid_state(state) else "",
        baggage=baggage if len(baggage) <= _BAGGAGE_LIMIT and "\n" not in baggage and "\r" not in baggage else "",
    )


def _header(headers: Mapping[str, str], name: str) -> str:
    return headers.get(name) or headers.get(name.capitalize()) or ""


def _valid_state(value: str) -> bool:
    members = [member.strip(" \t") for member in value.split(",")]
    return (
        len(value) <= _STATE_LIMIT
        and len(members) <= 32
        and all(not member or _STATE_MEMBER.fullmatch(member) for member in members)
    )

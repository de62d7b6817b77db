"""Ended spans to the bytes of an OTLP ExportTraceServiceRequest, written by hand: a fifth of the SDK's cost.

opentelemetry/proto/trace/v1/trace.proto. Every value passes the sanitizer on its way out, and what protobuf
cannot hold (lone surrogates, integers beyond 64 bits) is replaced rather than costing the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, TypeVar

import msgspec

from kubeglass.telemetry.tracing.context import SpanContext
from kubeglass.telemetry.tracing.tracer import INTERNAL, Event, Fixed, Link, RecordedSpan, Scope
from kubeglass.telemetry.tracing.wire import double, field, fixed64, int64, varint

T = TypeVar("T")
Clean = Callable[[str, Any], Any]
"""What to show of a value under a key: the log sanitizer's `pair`."""

_REMOTE_KNOWN, _REMOTE = 0x100, 0x200  # SpanFlags
_REMEMBERED_KEYS, _REMEMBERED_VALUES, _REMEMBERED_LENGTH = 256, 128, 200
_root = Struct("<16s2s8sBQBQ").pack
_child = Struct("<16s2s8s2s8sBQBQ").pack
_SPAN_ID, _PARENT_ID, _STARTED, _ENDED = b"\x12\x08", b"\x22\x08", 0x39, 0x41


def resource(attributes: Mapping[str, Any]) -> bytes:
    """An encoded Resource."""
    return _pairs(attributes)


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """A span that waits to be sent. Thousands may, and the garbage collector walks over none of them."""

    scope: Scope
    data: bytes


def request(resource_bytes: bytes, spans: Iterable[Encoded]) -> bytes:
    """One ResourceSpans of already encoded spans, grouped by scope in order of appearance."""
    scopes: dict[Scope, list[bytes]] = {}
    for span in spans:
        group = scopes.get(span.scope)
        if group is None:
            group = scopes[span.scope] = [field(b"\x0a", _scope(span.scope))]
        group += (b"\x12", varint(len(span.data)), span.data)
    pieces = [field(b"\x0a", resource_bytes)]
    for group in scopes.values():
        whole = b"".join(group)
        pieces += (b"\x12", varint(len(whole)), whole)
    return b"".join((b"\x0a", varint(sum(map(len, pieces))), *pieces))


def as_is(key: str, value: Any) -> Any:
    """No sanitizer."""
    return value


class Encoder:
    """Spans to bytes. Remembers how values that come again (verbs, resources, user agents) were cleaned and encoded."""

    def __init__(self, clean: Clean = as_is) -> None:
        self._clean = clean
        self._known: dict[str, dict[str | int, bytes]] = {}
        self._heads = _Remembered(_inner_head)
        self._events = _Remembered(_plain_event)
        self._trace_id, self._trace = 0, b""  # of the span before: those of one request come together

    def span(self, item: RecordedSpan) -> bytes:
        """One encoded Span."""
        context, parent, own, shared, events = item.context, item.parent, item.own, item.shared, item.events
        if context.trace_id is not self._trace_id:
            self._trace_id, self._trace = context.trace_id, context.trace_id.to_bytes(16)
        if parent is None:
            head = _head(item.name, item.kind, False) + _root(
                self._trace, _SPAN_ID, context.span_id.to_bytes(8), _STARTED, item.start_ns, _ENDED, item.end_ns
            )
        else:
            inner = item.kind == INTERNAL and not parent.remote
            head = (self._heads[item.name] if inner else _head(item.name, item.kind, parent.remote)) + _child(
                self._trace, _SPAN_ID, context.span_id.to_bytes(8), _PARENT_ID, parent.span_id.to_bytes(8),
                _STARTED, item.start_ns, _ENDED, item.end_ns,
            )  # fmt: skip
        rare = item.links or item.status or context.state or item.dropped_attributes or item.dropped_events
        if not (own or shared or events or rare):
            return head
        out = [head]
        for fixed in shared:
            encoded = fixed.encoded
            out.append(encoded[1] if encoded is not None and encoded[0] is self else self._fixed(fixed))
        if own:
            self._attributes(out, b"\x4a", own)
        if events:
            plain = self._events
            for event in events:
                if event.attributes:
                    self._event(out, event)
                else:
                    before, after = plain[event.name]
                    out += (before, fixed64(event.time_ns), after)
        if rare:
            self._rare(out, item)
        return b"".join(out)

    def _rare(self, out: list[bytes], item: RecordedSpan) -> None:
        """What few spans have."""
        if item.context.state:
            out.append(_text(b"\x1a", item.context.state))
        if item.links:
            out += [field(b"\x6a", self._link(link)) for link in item.links]
        if item.status:
            message = _text(b"\x12", str(self._clean("", item.message))) if item.message else b""
            out.append(field(b"\x7a", message + b"\x18" + varint(item.status)))
        _dropped(out, b"\x50", item.dropped_attributes)
        _dropped(out, b"\x60", item.dropped_events)
        _dropped(out, b"\x70", item.dropped_links)

    def _fixed(self, fixed: Fixed) -> bytes:
        """Shared attributes, encoded for good."""
        encoded = b"".join([b"\x4a" + self._pair(key, value) for key, value in fixed.items()])
        fixed.encoded = self, encoded
        return encoded

    def _event(self, out: list[bytes], event: Event) -> None:
        inner = [b"\x09", fixed64(event.time_ns), _name_of_event(event.name)]
        self._attributes(inner, b"\x1a", event.attributes)
        out.append(field(b"\x5a", b"".join(inner)))

    def _link(self, link: Link) -> bytes:
        context = link.context
        flags = _REMOTE_KNOWN | (_REMOTE if context.remote else 0) | context.sampled
        out = [_ids(context)]
        if context.state:
            out.append(_text(b"\x1a", context.state))
        self._attributes(out, b"\x22", link.attributes)
        out.append(b"\x35" + flags.to_bytes(4, "little"))
        return b"".join(out)

    def _attributes(self, out: list[bytes], tag: bytes, attributes: Mapping[str, Any]) -> None:
        """The hot loop: two look-ups for a value seen before, instead of cleaning and encoding it."""
        known = self._known
        for key, value in attributes.items():
            kind = type(value)
            if (kind is str or kind is int) and (seen := known.get(key)) and (pair := seen.get(value)):
                out += (tag, pair)
            else:
                pair = self._pair(key, value)
                out += (tag, pair)
                if kind is int or (kind is str and len(value) <= _REMEMBERED_LENGTH):
                    self._remember(key, value, pair)

    def _pair(self, key: str, value: Any) -> bytes:
        shown = self._clean(key, value)
        if type(shown) is str:
            text = _text(b"\x0a", shown)
            encoded = _key(key) + b"\x12" + varint(len(text)) + text
        else:
            encoded = _key(key) + _value(b"\x12", shown)
        return varint(len(encoded)) + encoded

    def _remember(self, key: str, value: str | int, pair: bytes) -> None:
        seen = self._known.get(key)
        if seen is None:
            if len(self._known) >= _REMEMBERED_KEYS:
                return
            seen = self._known[key] = {}
        elif len(seen) >= _REMEMBERED_VALUES:
            seen.clear()  # begin anew: an id that all spans of a request carry is worth remembering for a while
        seen[value] = pair


class _Remembered(dict[str, T]):
    """What a function of a text gives: the last 1,024 texts' results are a look-up in C."""

    def __init__(self, make: Callable[[str], T]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, text: str) -> T:
        if len(self) >= 1024:
            self.clear()
        made = self[text] = self._make(text)
        return made


def _ids(context: SpanContext) -> bytes:
    return b"\x0a\x10" + context.trace_id.to_bytes(16) + b"\x12\x08" + context.span_id.to_bytes(8)


@lru_cache(maxsize=256)
def _scope(scope: Scope) -> bytes:
    return _text(b"\x0a", scope.name) + (_text(b"\x12", scope.version) if scope.version else b"")


def _dropped(out: list[bytes], tag: bytes, count: int) -> None:
    if count:
        out.append(tag + varint(count))


def _pairs(attributes: Mapping[str, Any]) -> bytes:
    """KeyValues as field 1, where nothing is left to clean."""
    return b"".join(field(b"\x0a", _key(key) + _value(b"\x12", value)) for key, value in attributes.items())


@lru_cache(maxsize=1024)
def _head(name: str, kind: int, remote: bool) -> bytes:
    """All that spans of one name have in common: name, kind and flags, up to the trace id."""
    flags = _REMOTE_KNOWN | (_REMOTE if remote else 0) | 1  # only what is sampled is recorded
    return _text(b"\x2a", name) + b"\x30" + varint(kind) + b"\x85\x01" + flags.to_bytes(4, "little") + b"\x0a\x10"


@lru_cache(maxsize=1024)
def _name_of_event(name: str) -> bytes:
    return _text(b"\x12", name)


@lru_cache(maxsize=4096)
def _key(key: str) -> bytes:
    return _text(b"\x0a", key)


def _inner_head(name: str) -> bytes:
    """That of most spans."""
    return _head(name, INTERNAL, False)


def _plain_event(name: str) -> tuple[bytes, bytes]:
    """An event without attributes, before and after its time."""
    encoded = _name_of_event(name)
    return b"\x5a" + varint(len(encoded) + 9) + b"\x09", encoded


def _text(tag: bytes, text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    return tag + varint(len(raw)) + raw


def _value(tag: bytes, value: Any) -> bytes:
    """An AnyValue as the field `tag`."""
    encoded = _any(value)
    return tag + varint(len(encoded)) + encoded


def _any(value: Any) -> bytes:
    if isinstance(value, str):
        return _text(b"\x0a", value)
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + int64(value) if -(1 << 63) <= value < 1 << 63 else _text(b"\x0a", str(value))
    if isinstance(value, float):
        return b"\x21" + double(value)
    if isinstance(value, bytes | bytearray):
        return field(b"\x3a", bytes(value))
    if isinstance(value, Mapping):
        return field(b"\x32", _pairs({str(key): inner for key, inner in value.items()}))
    if isinstance(value, Sequence | set | frozenset):
        return field(b"\x2a", b"".join(_value(b"\x0a", inner) for inner in value))
    return b"" if value is None else _text(b"\x0a", str(value))

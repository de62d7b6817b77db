"""Ended spans to the bytes of an OTLP ExportTraceServiceRequest, written by hand: a fifth of the SDK's cost.

opentelemetry/proto/trace/v1/trace.proto. Every value passes the sanitizer on its way out, and what protobuf
cannot hold (lone surrogates, integers beyond 64 bits) is replaced rather than costing the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from kubeglass.telemetry.tracing.context import SpanContext
from kubeglass.telemetry.tracing.tracer import Event, Link, RecordedSpan, Scope
from kubeglass.telemetry.tracing.wire import double, field, fixed64, int64, varint

Clean = Callable[[str, Any], Any]
"""What to show of a value under a key: the log sanitizer's `pair`."""

_REMOTE_KNOWN, _REMOTE = 0x100, 0x200  # SpanFlags
_REMEMBERED_KEYS, _REMEMBERED_TEXTS, _REMEMBERED_LENGTH = 256, 128, 200


def resource(attributes: Mapping[str, Any]) -> bytes:
    """An encoded Resource."""
    return _pairs(attributes)


def request(resource_bytes: bytes, spans: Iterable[tuple[Scope, bytes]]) -> bytes:
    """One ResourceSpans of already encoded spans, grouped by scope in order of appearance."""
    scopes: dict[Scope, list[bytes]] = {}
    for scope, encoded in spans:
        scopes.setdefault(scope, []).append(field(b"\x12", encoded))
    groups = [field(b"\x12", field(b"\x0a", _scope(scope)) + b"".join(group)) for scope, group in scopes.items()]
    return field(b"\x0a", field(b"\x0a", resource_bytes) + b"".join(groups))


def as_is(key: str, value: Any) -> Any:
    """No sanitizer."""
    return value


class Encoder:
    """Spans to bytes. Remembers how texts that come again (verbs, resources, user agents) were cleaned and encoded.

    Keys whose values hardly ever come again (audit ids) are found out and not remembered.
    """

    def __init__(self, clean: Clean = as_is) -> None:
        self._clean = clean
        self._known: dict[str, dict[str, bytes] | None] = {}

    def span(self, item: RecordedSpan) -> bytes:
        """One encoded Span."""
        context, parent = item.context, item.parent
        out = [_ids(context)]
        flags = _REMOTE_KNOWN | context.sampled
        if context.state:
            out.append(_text(b"\x1a", context.state))
        if parent is not None:
            out.append(b"\x22\x08" + parent.span_id.to_bytes(8, "big"))
            flags |= _REMOTE if parent.remote else 0
        out.append(_name(item.name))
        out.append(b"\x30" + varint(item.kind) + b"\x39" + fixed64(item.start_ns) + b"\x41" + fixed64(item.end_ns))
        self._attributes(out, b"\x4a", item.attributes)
        _dropped(out, b"\x50", item.dropped_attributes)
        if item.events:
            out += [field(b"\x5a", self._event(event)) for event in item.events]
        _dropped(out, b"\x60", item.dropped_events)
        if item.links:
            out += [field(b"\x6a", self._link(link)) for link in item.links]
        _dropped(out, b"\x70", item.dropped_links)
        if item.status:
            message = _text(b"\x12", str(self._clean("", item.message))) if item.message else b""
            out.append(field(b"\x7a", message + b"\x18" + varint(item.status)))
        out.append(b"\x85\x01" + flags.to_bytes(4, "little"))
        return b"".join(out)

    def _event(self, event: Event) -> bytes:
        out = [b"\x09" + fixed64(event.time_ns), _name_of_event(event.name)]
        self._attributes(out, b"\x1a", event.attributes)
        return b"".join(out)

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
        """The hot loop: two look-ups for a text seen before, instead of cleaning and encoding it."""
        known = self._known
        for key, value in attributes.items():
            out.append(tag)
            if type(value) is str and (texts := known.get(key)) is not None and (pair := texts.get(value)) is not None:
                out.append(pair)
            else:
                out.append(self._pair(key, value))

    def _pair(self, key: str, value: Any) -> bytes:
        encoded = _key(key) + _value(b"\x12", self._clean(key, value))
        pair = varint(len(encoded)) + encoded
        if type(value) is str and len(value) <= _REMEMBERED_LENGTH:
            self._remember(key, value, pair)
        return pair

    def _remember(self, key: str, value: str, pair: bytes) -> None:
        if key not in self._known and len(self._known) < _REMEMBERED_KEYS:
            self._known[key] = {}
        texts = self._known.get(key)
        if texts is not None:
            texts[value] = pair
            if len(texts) > _REMEMBERED_TEXTS:
                self._known[key] = None


def _ids(context: SpanContext) -> bytes:
    return b"\x0a\x10" + context.trace_id.to_bytes(16, "big") + b"\x12\x08" + context.span_id.to_bytes(8, "big")


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
def _name(name: str) -> bytes:
    return _text(b"\x2a", name)


@lru_cache(maxsize=1024)
def _name_of_event(name: str) -> bytes:
    return _text(b"\x12", name)


@lru_cache(maxsize=4096)
def _key(key: str) -> bytes:
    return _text(b"\x0a", key)


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

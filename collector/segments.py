"""What the collector keeps of a request: segments, each the spans that one trace has in one group. Pure.

A group is one (resource, scope). A segment's payload is the bytes of a ScopeSpans message that holds only spans, so
the official protobuf classes decode it whole and at C speed when somebody asks; until then only the light index
beside it (times, flags, operations) is looked at. This is what makes ingest cheap: two thirds of it is upb's parser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from kubeglass.telemetry.tracing.wire import field, varint

ERROR, ROOT, CHANGE = 1, 2, 4
"""Segment flags: a span failed; it holds the trace's root; a request that changes something was served."""

_CHANGING_METHODS = ("POST ", "PUT ", "PATCH ", "DELETE ")
_SERVER = 2
MAX_TIME = (1 << 63) - 1  # SQLite's integers are signed, OTLP's times are not
_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)
_SEGMENT_OVERHEAD = 600  # bytes a segment costs in Python beside its payload

UNKNOWN_SERVICE = "unknown_service"

Observe = Callable[[int, bytes, bytes], None]
"""Duration in nanoseconds, trace id, span id of one span."""


class Operation(msgspec.Struct, gc=False, eq=False):
    """A span name of a service, as one status. `id` is the store's, 0 until it has one."""

    service: str
    name: str
    kind: int
    changing: bool
    observe: Observe
    id: int = 0


class Group(msgspec.Struct, eq=False):
    """One resource and scope, as received. `id` is the store's, 0 until it has one."""

    service: str
    resource: bytes
    scope: bytes
    resource_schema: str
    scope_schema: str
    operations: dict[tuple[str, int, int], Operation]
    id: int = 0


class Segment(msgspec.Struct, gc=False, eq=False):
    """The spans of one trace in one group of one request. Times are Unix nanoseconds."""

    trace: bytes
    group: Group
    start: int
    end: int
    longest: int
    flags: int
    operations: set[Operation]
    payload: bytes
    count: int

    @property
    def size(self) -> int:
        """Bytes of memory it is accounted for."""
        return len(self.payload) + _SEGMENT_OVERHEAD


class Received(msgspec.Struct):
    """A request, split. `rejected` spans lacked a valid id."""

    segments: list[Segment]
    spans: int
    rejected: int


class Groups:
    """Interns groups and operations, so that equal ones are one object. Bounded: it starts anew when full."""

    def __init__(self, observer: Callable[[str, str, int, int], Observe], capacity: int = 4096) -> None:
        self._observer = observer
        self._capacity = capacity
        self._known: dict[tuple[bytes, bytes, str, str], Group] = {}

    def group(self, resource: Any, scope: Any, resource_schema: str, scope_schema: str) -> Group:
        """The group of these protobuf messages."""
        key = (resource.SerializeToString(), scope.SerializeToString(), resource_schema, scope_schema)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= self._capacity:
                self._known.clear()
            found = self._known[key] = Group(service_name(resource.attributes), *key, {})
        return found

    def operation(self, group: Group, name: str, kind: int, status: int) -> Operation:
        """A new operation of `group`."""
        if len(group.operations) >= self._capacity:
            group.operations.clear()
        changing = kind == _SERVER and name.startswith(_CHANGING_METHODS)
        made = Operation(group.service, name, kind, changing, self._observer(group.service, name, kind, status))
        group.operations[name, kind, status] = made
        return made


def service_name(attributes: Iterable[Any]) -> str:
    """`service.name` of a resource, or what Jaeger calls a service without."""
    for pair in attributes:
        if pair.key == "service.name":
            return pair.value.string_value or UNKNOWN_SERVICE
    return UNKNOWN_SERVICE


def split(request: ExportTraceServiceRequest, groups: Groups) -> Received:
    """Sort the spans of a request into segments, and observe each."""
    received = Received([], 0, 0)
    for resource_spans in request.resource_spans:
        resource, schema = resource_spans.resource, resource_spans.schema_url
        for scope_spans in resource_spans.scope_spans:
            group = groups.group(resource, scope_spans.scope, schema, scope_spans.schema_url)
            _split_group(scope_spans.spans, group, groups, received)
    return received


def _split_group(spans: Any, group: Group, groups: Groups, received: Received) -> None:
    """The hot loop: some 3 µs per span, so no calls that can be avoided."""
    known = group.operations
    by_trace: dict[bytes, tuple[Segment, list[bytes]]] = {}
    for span in spans:
        trace, span_id = span.trace_id, span.span_id
        if len(trace) != 16 or len(span_id) != 8 or trace == _NO_TRACE or span_id == _NO_SPAN:
            received.rejected += 1
            continue
        name, kind, status = span.name, span.kind, span.status.code
        operation = known.get((name, kind, status)) or groups.operation(group, name, kind, status)
        start, end = span.start_time_unix_nano, span.end_time_unix_nano
        if end < start:
            end = start
        duration = end - start
        operation.observe(duration, trace, span_id)
        flags = (ERROR if status == 2 else 0) | (CHANGE if operation.changing else 0)
        if not span.parent_span_id:
            flags |= ROOT
        encoded = span.SerializeToString()
        found = by_trace.get(trace)
        if found is None:
            segment = Segment(trace, group, start, end, duration, flags, {operation}, b"", 1)
            by_trace[trace] = segment, [b"\x12", varint(len(encoded)), encoded]
            continue
        segment, parts = found
        parts += (b"\x12", varint(len(encoded)), encoded)
        segment.count += 1
        segment.flags |= flags
        segment.operations.add(operation)
        segment.start = min(segment.start, start)
        segment.end = max(segment.end, end)
        segment.longest = max(segment.longest, duration)
    for segment, parts in by_trace.values():
        segment.payload = b"".join(parts)
        if segment.end > MAX_TIME:
            segment.start, segment.end = min(segment.start, MAX_TIME), MAX_TIME
            segment.longest = min(segment.longest, MAX_TIME)
        received.spans += segment.count
        received.segments.append(segment)


def to_request(segments: Iterable[Segment]) -> bytes:
    """The bytes of an ExportTraceServiceRequest with these segments, to pass them on."""
    by_group: dict[int, tuple[Group, list[bytes]]] = {}
    for segment in segments:
        by_group.setdefault(id(segment.group), (segment.group, []))[1].append(segment.payload)
    return b"".join(field(b"\x0a", _resource_spans(group, payloads)) for group, payloads in by_group.values())


def _resource_spans(group: Group, payloads: list[bytes]) -> bytes:
    scope = field(b"\x0a", group.scope) + b"".join(payloads) + _schema(group.scope_schema)
    return field(b"\x0a", group.resource) + field(b"\x12", scope) + _schema(group.resource_schema)


def _schema(url: str) -> bytes:
    return field(b"\x1a", url.encode()) if url else b""

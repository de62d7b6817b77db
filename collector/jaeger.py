"""Stored segments as Jaeger's JSON: the legacy model that Grafana and jaeger-query clients read. Pure.

https://www.jaegertracing.io/docs/latest/architecture/apis/; from OTLP as Jaeger's own translator does it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, TracesData

from kubeglass.collector.database import Stored
from kubeglass.collector.matching import KINDS, STATUSES
from kubeglass.collector.values import python, tag, tags

Json = dict[str, Any]


def trace(trace_id: bytes, segments: Iterable[Stored]) -> Json:
    """One trace of the legacy API: spans by start time, processes p1, p2, … by first appearance."""
    processes: dict[bytes, str] = {}
    described: Json = {}
    spans: dict[bytes, Json] = {}
    for segment in segments:
        if segment.resource not in processes:
            name = processes[segment.resource] = f"p{len(processes) + 1}"
            described[name] = _process(segment)
        scope = InstrumentationScope.FromString(segment.scope)
        for span in ScopeSpans.FromString(segment.payload).spans:
            if span.span_id not in spans:  # retried and just committed segments arrive twice
                spans[span.span_id] = _span(span, scope, processes[segment.resource])
    ordered = sorted(spans.values(), key=lambda span: (span["startTime"], span["spanID"]))
    return {"traceID": trace_hex(trace_id), "spans": ordered, "processes": described, "warnings": None}


def otlp_traces(segments: Iterable[Stored]) -> TracesData:
    """The same segments as one OTLP message, for the v3 API."""
    data = TracesData()
    groups: dict[tuple[bytes, bytes, str, str], ResourceSpans] = {}
    seen: set[tuple[bytes, bytes]] = set()
    for segment in segments:
        key = (segment.resource, segment.scope, segment.resource_schema, segment.scope_schema)
        group = groups.get(key)
        if group is None:
            group = groups[key] = data.resource_spans.add(schema_url=segment.resource_schema)
            group.resource.ParseFromString(segment.resource)
            group.scope_spans.add(schema_url=segment.scope_schema).scope.ParseFromString(segment.scope)
        for span in ScopeSpans.FromString(segment.payload).spans:
            if (span.trace_id, span.span_id) not in seen:
                seen.add((span.trace_id, span.span_id))
                group.scope_spans[0].spans.append(span)
    return data


def envelope(data: Any, *, total: int = 0, errors: list[Json] | None = None) -> Json:
    """What every legacy answer is wrapped in; jaeger-query fills `total` for names only."""
    return {"data": data, "total": total, "limit": 0, "offset": 0, "errors": errors}


def trace_hex(trace: bytes) -> str:
    """A trace id as Jaeger prints it: 16 digits when the high half is zero, else 32."""
    return trace.hex() if any(trace[:8]) else trace[8:].hex()


def logs(segments: Iterable[Stored]) -> list[Json]:
    """Log records of a trace, in order: ours, for Jaeger has none."""
    from opentelemetry.proto.logs.v1.logs_pb2 import ScopeLogs

    found: dict[tuple[int, bytes], Json] = {}
    for segment in segments:
        for record in ScopeLogs.FromString(segment.payload).log_records:
            time_ns = record.time_unix_nano or record.observed_time_unix_nano
            found[time_ns, record.SerializeToString(deterministic=True)] = {
                "timestamp": time_ns // 1000,
                "traceID": trace_hex(record.trace_id),
                "spanID": record.span_id.hex(),
                "serviceName": segment.service,
                "severity": record.severity_text or _severity(record.severity_number),
                "body": python(record.body),
                "fields": tags(record.attributes),
            }
    return [found[key] for key in sorted(found)]


def _severity(number: int) -> str:
    words = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
    return words[(number - 1) // 4] if 1 <= number <= 24 else ""


def _process(segment: Stored) -> Json:
    attributes = Resource.FromString(segment.resource).attributes
    return {
        "serviceName": segment.service,
        "tags": tags(pair for pair in attributes if pair.key != "service.name"),
    }


def _span(span: Any, scope: InstrumentationScope, process: str) -> Json:
    start = span.start_time_unix_nano
    made: Json = {
        "traceID": trace_hex(span.trace_id),
        "spanID": span.span_id.hex(),
        "operationName": span.name,
        "references": _references(span),
        "startTime": start // 1000,
        "duration": max(0, span.end_time_unix_nano - start) // 1000,
        "tags": _span_tags(span, scope),
        "logs": [_event(event) for event in span.events],
        "processID": process,
        "warnings": None,
    }
    if span.flags & 1:
        made["flags"] = 1
    return made


def _references(span: Any) -> list[Json]:
    found = []
    if span.parent_span_id:
        found.append({"refType": "CHILD_OF", "traceID": trace_hex(span.trace_id), "spanID": span.parent_span_id.hex()})
    for link in span.links:
        found.append({"refType": "FOLLOWS_FROM", "traceID": trace_hex(link.trace_id), "spanID": link.span_id.hex()})
    return found


def _span_tags(span: Any, scope: InstrumentationScope) -> list[Json]:
    found = tags(span.attributes)
    if scope.name:
        found.append(tag("otel.scope.name", scope.name))
    if scope.version:
        found.append(tag("otel.scope.version", scope.version))
    if 0 < span.kind < len(KINDS):
        found.append(tag("span.kind", KINDS[span.kind]))
    if span.status.code:
        found.append(tag("otel.status_code", STATUSES[span.status.code] if span.status.code < 3 else STATUSES[0]))
    if span.status.code == 2:
        found.append(tag("error", True))
    if span.status.message:
        found.append(tag("otel.status_description", span.status.message))
    if span.trace_state:
        found.append(tag("w3c.tracestate", span.trace_state))
    return found


def _event(event: Any) -> Json:
    fields = tags(event.attributes)
    if event.name:
        fields.insert(0, tag("event", event.name))
    return {"timestamp": event.time_unix_nano // 1000, "fields": fields}

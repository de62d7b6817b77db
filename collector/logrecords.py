"""Log records as segments: the records one trace has in one group, so that a trace's logs are one look-up. Pure."""

from __future__ import annotations

from typing import Any

from kubeglass.collector.segments import MAX_TIME, Group, Groups, Received, Segment
from kubeglass.telemetry.tracing.wire import field

NO_TRACE = b""
"""Trace id of records that belong to none."""


def split(request: Any, groups: Groups) -> Received:
    """Sort the records of an ExportLogsServiceRequest into segments."""
    received = Received([], 0, 0)
    for resource_logs in request.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            group = groups.group(
                resource_logs.resource, scope_logs.scope, resource_logs.schema_url, scope_logs.schema_url
            )
            _split_group(scope_logs.log_records, group, received)
    return received


def _split_group(records: Any, group: Group, received: Received) -> None:
    by_trace: dict[bytes, list[Any]] = {}
    for record in records:
        trace = record.trace_id
        if len(trace) not in (0, 16):
            received.rejected += 1
        else:
            by_trace.setdefault(trace if any(trace) else NO_TRACE, []).append(record)
    for trace, found in by_trace.items():
        times = [min(record.time_unix_nano or record.observed_time_unix_nano, MAX_TIME) for record in found]
        payload = b"".join(field(b"\x12", record.SerializeToString()) for record in found)
        segment = Segment(trace, group, min(times), max(times), 0, 0, set(), payload, len(found))
        received.segments.append(segment)
        received.spans += len(found)

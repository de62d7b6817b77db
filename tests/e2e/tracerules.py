"""The rules that traces of changes keep, over Records: each names the changes that break it."""

from __future__ import annotations

from collections.abc import Sequence

from tests.e2e.changes import SERVICE_NAME, Record
from tests.e2e.tracegraph import Observer, Traces, path_to_settled, spans_of

from kubeglass.components.cli.waterfall import Trace

_SHARE = 0.05


def disconnected(records: Sequence[Record], traces: Traces) -> list[str]:
    """Changes that are not one connected graph: one root, which is the client's own span of its request, and every
    span that the settled state needed reachable from it by parents or links. (A step that serves several changes at
    once is in the trace of one of them, with links to the others.)"""
    return [found for record in records if (found := _disconnected(record, traces))]


def _disconnected(record: Record, traces: Traces) -> str:
    trace = traces.get(record.cause.trace_hex)
    if trace is None:
        return f"{_name(record)}: no trace"
    roots = [root.span for root in trace.roots]
    if [(root.id, root.service) for root in roots] != [(record.cause.span_hex, SERVICE_NAME)]:
        return f"{_name(record)}: roots {[(root.service, root.name) for root in roots]}"
    missing = record.wanted - traces.names(record.cause.trace_hex)
    if missing:
        missing -= traces.merged(record.cause.trace_hex, record.asked, record.settled)
    return f"{_name(record)}: no {sorted(missing)}" if missing else ""


def orphans(traces: Sequence[Trace]) -> int:
    """Spans whose parent nobody sent, of all traces together."""
    return sum(len(trace.roots) - 1 for trace in traces)


def off_the_clock(records: Sequence[Record], traces: Traces, observer: Observer) -> list[str]:
    """Changes whose critical path's length is not within 5 % of the time they took. That is the wall time that was
    measured, less at most the time by which the observer sees writes late, measured by control writes."""
    off, late = [], observer.late
    for record in records:
        trace = traces.get(record.cause.trace_hex)
        assert trace is not None, _name(record)
        length, wall = path_seconds(trace, record), record.wall_seconds
        if not (1 - _SHARE) * (wall - late) <= length <= (1 + _SHARE) * wall:
            off.append(f"{_name(record)}: path {length:.3f} s, wall {wall:.3f} s, observer {late:.3f} s late")
    return off


def path_shares(records: Sequence[Record], traces: Traces) -> list[float]:
    """Of each change, the critical path's length as a part of the measured wall time."""
    found = ((record, traces.get(record.cause.trace_hex)) for record in records)
    return [path_seconds(trace, record) / record.wall_seconds for record, trace in found if trace is not None]


def path_seconds(trace: Trace, record: Record) -> float:
    """The length of the critical path; 0 when the write that made the settled state is not in the trace."""
    try:
        path = path_to_settled(trace, record)
    except LookupError:
        return 0.0
    return (path[-1].end - path[0].start) / 1e6


def unnamed_share(records: Sequence[Record], traces: Traces) -> float:
    """The part of all critical paths during which no span was at work."""
    waited = total = 0
    for record in records:
        trace = traces.get(record.cause.trace_hex)
        assert trace is not None, _name(record)
        for segment in path_to_settled(trace, record):
            total += segment.end - segment.start
            waited += (segment.end - segment.start) if segment.span is None else 0
    return waited / total


def _name(record: Record) -> str:
    return f"{record.what} {record.name} {record.cause.trace_hex}"


def spans_in(traces: Sequence[Trace]) -> int:
    """How many spans there are."""
    return sum(len(spans_of(trace)) for trace in traces)

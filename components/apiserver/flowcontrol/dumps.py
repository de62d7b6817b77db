"""The debug dumps: aligned text as upstream prints it, today's columns or (`?format=v1.20`) those of release 1.20.

`?format=json` and the dumps whose names upstream does not have (rejections, talkers, recording, explain) are our own.
Every column but the last is a cell: value, comma, blanks up to the longest cell of the column (at least 8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from kubeglass.components.api.objects.flowcontrol import FlowSchema
from kubeglass.components.apiserver.flowcontrol.controller import FlowController, Ticket
from kubeglass.components.apiserver.flowcontrol.explain import describe_subject, explain
from kubeglass.components.apiserver.flowcontrol.records import Record
from kubeglass.components.apiserver.flowcontrol.regulator import Level
from kubeglass.components.apiserver.flowcontrol.requests import Queue, Request, State
from kubeglass.components.apiserver.flowcontrol.schemas import RequestDigest
from kubeglass.components.apiserver.flowcontrol.seats import SEAT_SECOND, SECOND, format_work
from kubeglass.logging.goduration import duration_text

PREFIX = "/debug/api_priority_and_fairness/"
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
JSON_LINES = "application/x-ndjson"
ZERO_TIME = "0001-01-01T00:00:00Z"

Rows = list[Sequence[str]]
Query = Mapping[str, str]

LEVEL_COLUMNS = ("PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests")
LEVEL_TOTALS = ("DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests")
QUEUE_COLUMNS = ("PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests")
QUEUE_WORK = ("SeatsInUse", "NextDispatchR", "InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum")
REQUEST_COLUMNS = (
    "PriorityLevelName",
    "FlowSchemaName",
    "QueueIndex",
    "RequestIndexInQueue",
    "FlowDistingsher",  # spelled so upstream, and tools rely on it
    "ArriveTime",
)
REQUEST_WORK = ("InitialSeats", "FinalSeats", "AdditionalLatency", "StartTime")
REQUEST_DETAILS = ("UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource")
REJECTION_COLUMNS = (
    "PriorityLevelName",
    "FlowSchemaName",
    "Outcome",
    "ArriveTime",
    "Wait",
    "UserName",
    "Groups",
    "UserAgent",
    "Source",
    "Verb",
    "Resource",
    "Namespace",
    "APIPath",
    "MatchedRule",
    "FlowDistinguisher",
    "Hand",
    "QueueIndex",
    "InitialSeats",
    "FinalSeats",
    "SeatsInUse",
    "Limit",
    "TraceID",
    "AuditID",
)
TALKER_COLUMNS = (
    "PriorityLevelName",
    "FlowSchemaName",
    "UserName",
    "SeatSeconds",
    "WaitSeconds",
    "Requests",
    "QueuedRequests",
    "RejectedRequests",
    "UserAgent",
    "Source",
    "LastVerb",
    "LastResource",
)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Header and rows, aligned. Values are neither quoted nor escaped."""
    lines = [columns, *rows]
    widths = [max(8, *(len(line[index]) + 2 for line in lines)) for index in range(len(columns) - 1)]
    return "".join(_line(line, widths) for line in lines)


def _line(values: Sequence[str], widths: Sequence[int]) -> str:
    cells = [f"{value},".ljust(width) for value, width in zip(values[:-1], widths, strict=True)]
    return "".join(cells) + values[-1] + "\n"


def time_text(wall_ns: int) -> str:
    """RFC 3339 in UTC with as many of nine fraction digits as are needed."""
    seconds, nanoseconds = divmod(wall_ns, SECOND)
    stamp = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""
    return f"{stamp}{fraction}Z"


def api_version(group: str, version: str) -> str:
    """`apps/v1`, or `v1` for the core group."""
    return f"{group}/{version}" if group else version


def _flag(value: bool) -> str:
    return "true" if value else "false"


class Dumps:
    """All dumps of one server, by path."""

    def __init__(self, controller: FlowController) -> None:
        self._controller = controller
        self.pages: dict[str, Callable[[Query], tuple[str, str]]] = {
            PREFIX + "dump_priority_levels": self.priority_levels,
            PREFIX + "dump_queues": self.queues,
            PREFIX + "dump_requests": self.requests,
            PREFIX + "dump_rejections": self.rejections,
            PREFIX + "dump_talkers": self.talkers,
            PREFIX + "dump_recording": self.recording,
            PREFIX + "explain": self.explain,
        }
        """Path -> page; a page takes the query and gives (content type, body)."""

    def _levels(self) -> list[Level]:
        levels = self._controller.regulator.levels
        return [levels[name] for name in sorted(levels)]

    # upstream's dumps

    def priority_levels(self, query: Query) -> tuple[str, str]:
        """One row per level that the controller holds."""
        if query.get("format") == "json":
            return _json([self._level_state(level) for level in self._levels()])
        if query.get("format") == "v1.20":
            return TEXT, table(LEVEL_COLUMNS, [_level_row_of_120(level) for level in self._levels()])
        return TEXT, table(LEVEL_COLUMNS + LEVEL_TOTALS, [_level_row(level) for level in self._levels()])

    def queues(self, query: Query) -> tuple[str, str]:
        """One row per queue."""
        old = query.get("format") == "v1.20"
        rows: Rows = []
        for level in self._levels():
            if old and level.view.is_exempt:
                rows.append((level.name, *["<none>"] * 4))
            for queue in level.queues.queues:
                rows.append(_queue_row_of_120(level, queue) if old else _queue_row(level, queue))
        return TEXT, table((*QUEUE_COLUMNS, "VirtualStart") if old else QUEUE_COLUMNS + QUEUE_WORK, rows)

    def requests(self, query: Query) -> tuple[str, str]:
        """One row per waiting and (but not in 1.20) executing request."""
        old, details = query.get("format") == "v1.20", bool(query.get("includeRequestDetails"))
        columns = REQUEST_COLUMNS if old else REQUEST_COLUMNS + REQUEST_WORK
        rows: Rows = []
        for level in self._levels():
            for request in level.queues.requests():
                if old and request.state is not State.WAITING:
                    continue
                row = self._request_row(level, request)
                rows.append(row[: len(columns)] + (_details(request) if details else ()))
        return TEXT, table(columns + REQUEST_DETAILS if details else columns, rows)

    def _request_row(self, level: Level, request: Request) -> tuple[str, ...]:
        queue = request.queue
        waiting = request.state is State.WAITING
        position = queue.waiting.index(request) if waiting and queue is not None else -1
        return (
            level.name,
            request.flow.schema,
            str(-1 if queue is None else queue.index),
            str(position),
            request.distinguisher,
            time_text(self._wall(request.arrival_ns)),
            str(request.initial_seats),
            str(request.final_seats),
            duration_text(request.additional_latency_ns),
            ZERO_TIME if waiting else time_text(self._wall(request.start_ns)),
        )

    def _wall(self, monotonic_ns: int) -> int:
        return self._controller.wall_ns() - (self._controller.now() - monotonic_ns)

    def _level_state(self, level: Level) -> dict[str, Any]:
        """What upstream's dump leaves out: limits, seats, demand."""
        queues, demand = level.queues, level.demand
        return {
            "name": level.name,
            "exempt": level.view.is_exempt,
            "quiescing": level.quiescing,
            "waiting": queues.waiting,
            "waitingSeats": queues.waiting_seats,
            "executing": queues.executing,
            "seatsInUse": queues.seats_in_use,
            "currentLimit": queues.limit,
            "nominalLimit": level.limits.nominal,
            "minimumLimit": level.limits.minimum,
            "maximumLimit": level.limits.maximum,
            "seatCap": level.seat_cap,
            "retryAfterSeconds": level.retry_after.seconds,
            "dispatched": queues.totals.dispatched,
            "rejected": queues.totals.rejected,
            "cancelled": queues.totals.cancelled,
            "rejectedByReason": _reasons(level),
            "demandAverage": demand.average,
            "demandSmoothed": demand.smoothed,
            "queues": len(queues.queues),
            "activeQueues": sum(bool(queue.waiting) for queue in queues.queues),
        }

    # our own

    def rejections(self, query: Query) -> tuple[str, str]:
        """Everything of the last minutes that waited, was rejected or gave up; the newest last."""
        records = list(self._controller.recorder.incidents.since(self._controller.wall_ns()))
        if level := query.get("priorityLevel"):
            records = [record for record in records if record.priority_level == level]
        if query.get("format") == "json":
            return _json(records)
        schemas = {schema.name: schema for schema in self._controller.regulator.schemas}
        return TEXT, table(REJECTION_COLUMNS, [_rejection_row(record, schemas) for record in records])

    def talkers(self, query: Query) -> tuple[str, str]:
        """The heaviest users of each level in the last half to full minute; the heaviest of late first."""
        count = int(query["top"]) if query.get("top", "").isdigit() else 10
        top = self._controller.top_talkers(count)
        if query.get("format") == "json":
            return _json(top)
        rows: Rows = [
            (
                level,
                talker.schema,
                talker.user,
                f"{talker.seat_ns / SECOND:.3f}",
                f"{talker.wait_ns / SECOND:.3f}",
                str(talker.requests),
                str(talker.queued),
                str(talker.rejected),
                talker.user_agent,
                talker.source,
                talker.verb,
                talker.resource,
            )
            for level, talkers in top.items()
            for talker in talkers
        ]
        return TEXT, table(TALKER_COLUMNS, rows)

    def recording(self, query: Query) -> tuple[str, str]:
        """The traffic of the last minutes as JSON lines; the first line holds the configuration it met."""
        regulator = self._controller.regulator
        header = {
            "kind": "FlowControlRecording",
            "serverLimit": regulator.server_limit,
            "flowSchemas": regulator.schemas,
            "priorityLevels": [level.view for level in self._levels() if not level.quiescing],
        }
        records = self._controller.recorder.traffic.since(self._controller.wall_ns())
        lines = [msgspec.json.encode(header), *map(msgspec.json.encode, records)]
        return JSON_LINES, b"\n".join(lines).decode() + "\n"

    def explain(self, query: Query) -> tuple[str, str]:
        """What would happen to a request: user, groups (comma-separated), verb, group, resource, … or path."""
        groups = tuple(filter(None, query.get("groups", "").split(",")))
        resource, _, subresource = query.get("resource", "").partition("/")
        digest = RequestDigest(
            query.get("user", ""),
            groups,
            bool(resource),
            query.get("verb", "get"),
            query.get("group", ""),
            query.get("version", "v1"),
            resource,
            query.get("subresource", subresource),
            query.get("namespace", ""),
            query.get("name", ""),
            query.get("path", ""),
        )
        options = {name: value for name, value in query.items() if name in _LIST_PARAMETERS}
        return _json(explain(self._controller.regulator, digest, options, self._controller.now()))


_LIST_PARAMETERS = frozenset(
    ("limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector")
) | {"sendInitialEvents"}


def _json(value: Any) -> tuple[str, str]:
    return JSON, msgspec.json.encode(value).decode() + "\n"


def _level_row(level: Level) -> tuple[str, ...]:
    totals = level.queues.totals
    # Nothing upstream ever moves TimedoutRequests: requests whose wait ended count as rejected and cancelled.
    return (*_level_state_cells(level), str(totals.dispatched), str(totals.rejected), "0", str(totals.cancelled))


def _level_row_of_120(level: Level) -> tuple[str, ...]:
    return (level.name, *["<none>"] * 5) if level.view.is_exempt else _level_state_cells(level)


def _level_state_cells(level: Level) -> tuple[str, ...]:
    queues = level.queues
    return (
        level.name,
        str(sum(bool(queue.waiting) for queue in queues.queues)),
        _flag(queues.idle),
        _flag(level.quiescing),
        str(queues.waiting),
        str(queues.executing),
    )


def _reasons(level: Level) -> dict[str, int]:
    reasons: dict[str, int] = {}
    for counters in level.flows.values():
        for reason, count in counters.rejected.items():
            reasons[reason] = reasons.get(reason, 0) + count
    return reasons


def _queue_row_of_120(level: Level, queue: Queue) -> tuple[str, ...]:
    start = f"{queue.next_dispatch_r / SEAT_SECOND:.4f}"
    return level.name, str(queue.index), str(len(queue.waiting)), str(len(queue.executing)), start


def _queue_row(level: Level, queue: Queue) -> tuple[str, ...]:
    return (
        level.name,
        str(queue.index),
        str(len(queue.waiting)),
        str(len(queue.executing)),
        str(queue.seats_in_use),
        format_work(queue.next_dispatch_r),
        str(queue.initial_seats),
        str(queue.max_seats),
        format_work(queue.work),
    )


def _details(request: Request) -> tuple[str, ...]:
    ticket = request.owner
    assert isinstance(ticket, Ticket)
    digest = ticket.digest
    version = api_version(digest.api_group, digest.api_version)
    who = (digest.user, digest.verb, digest.path)
    return (*who, digest.namespace, digest.name, version, digest.resource, digest.subresource)


def _rejection_row(record: Record, schemas: Mapping[str, FlowSchema]) -> tuple[str, ...]:
    digest, caller = record.digest, record.caller
    resource = f"{digest.resource}/{digest.subresource}" if digest.subresource else digest.resource
    return (
        record.priority_level,
        record.flow_schema,
        "cancelled" if record.cancelled and record.outcome != "executed" else record.outcome,
        time_text(record.arrived_ns),
        duration_text(record.waited_ns),
        digest.user,
        " ".join(digest.groups),
        caller.user_agent,
        caller.source,
        digest.verb,
        resource,
        digest.namespace,
        digest.path,
        _rule_text(record, schemas),
        record.distinguisher,
        " ".join(map(str, record.hand)),
        str(record.queue),
        str(record.initial_seats),
        str(record.final_seats),
        str(record.seats_in_use),
        str(record.limit),
        caller.trace_id,
        caller.audit_id,
    )


def _rule_text(record: Record, schemas: Mapping[str, FlowSchema]) -> str:
    """`0 (Group system:authenticated)`: the rule that matched, and for whom it is."""
    schema = schemas.get(record.flow_schema)
    if schema is None or not 0 <= record.rule < len(schema.spec.rules):
        return str(record.rule)
    return f"{record.rule} ({' | '.join(map(describe_subject, schema.spec.rules[record.rule].subjects))})"

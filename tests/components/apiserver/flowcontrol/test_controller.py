"""Flow control on a real event loop: waiting, cancelling, timing out, watching, and what is counted."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from kubeglass.components.api.flowcontrol import LEVELS, SCHEMAS
from kubeglass.components.api.objects.flowcontrol import FlowSchema, PriorityLevel, flow_schema, priority_level
from kubeglass.components.apiserver.flowcontrol.controller import FlowController, Rejected
from kubeglass.components.apiserver.flowcontrol.metrics import FlowControlMetrics
from kubeglass.components.apiserver.flowcontrol.requests import State
from kubeglass.components.apiserver.flowcontrol.schemas import RequestDigest
from kubeglass.components.apiserver.flowcontrol.seats import MILLISECOND, SECOND
from kubeglass.telemetry.metrics.options import MetricsOptions
from kubeglass.telemetry.metrics.registry import Registry


def list_pods(user: str = "alice") -> RequestDigest:
    return RequestDigest(user, ("system:authenticated",), True, "list", "", "v1", "pods", "", "default", "", "/api")


def tight(queues: int = 1, length: int = 2, shares: int = 1) -> tuple[list[FlowSchema], list[PriorityLevel]]:
    """A level for everybody, with about one seat of a server of two."""
    queuing = {"queues": queues, "handSize": 1, "queueLengthLimit": length}
    response: dict[str, Any] = {"type": "Queue", "queuing": queuing} if queues else {"type": "Reject"}
    limited = {"nominalConcurrencyShares": shares, "limitResponse": response, "borrowingLimitPercent": 0}
    rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
    subject = {"kind": "Group", "group": {"name": "*"}}
    schema = {
        "metadata": {"name": "all", "uid": "uid-of-all"},
        "spec": {
            "priorityLevelConfiguration": {"name": "tight"},
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [{"subjects": [subject], "resourceRules": [rule]}],
        },
    }
    level = {"metadata": {"name": "tight", "uid": "uid-of-tight"}, "spec": {"type": "Limited", "limited": limited}}
    return [flow_schema(schema)], [priority_level(level)]


class Server:
    """A controller with its registry."""

    def __init__(self, server_limit: int = 2, **options: Any) -> None:
        self.registry = Registry()
        self.controller = FlowController(server_limit, FlowControlMetrics(self.registry), **options)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.value(f"apiserver_flowcontrol_{name}", **labels)


@pytest.fixture
def server() -> Server:
    server = Server()
    server.controller.configure(*tight())
    assert server.controller.regulator.levels["tight"].queues.limit == 1
    return server


FLOW = {"priority_level": "tight", "flow_schema": "all"}


async def _hold(server: Server, release: asyncio.Event, user: str = "alice", **times: Any) -> str:
    ticket = server.controller.ticket(list_pods(user), **times)
    try:
        async with ticket:
            await release.wait()
    except Rejected as rejection:
        return rejection.reason
    return "executed"


async def test_requests_take_turns(server: Server) -> None:
    """What does not fit waits, runs when a seat is free, and everything is counted once."""
    release = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_hold(server, release)) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert server.metric("current_inqueue_requests", **FLOW) == 2
        assert server.metric("current_inqueue_seats", **FLOW) == 2
        assert server.metric("current_executing_requests", **FLOW) == 1
        assert server.metric("current_executing_seats", **FLOW) == 1
        release.set()
    assert [task.result() for task in tasks] == ["executed"] * 3
    assert server.metric("dispatched_requests_total", **FLOW) == 3
    assert server.metric("request_wait_duration_seconds_count", **FLOW, execute="true") == 3
    assert server.metric("request_execution_seconds_count", **FLOW, type="regular") == 3
    assert server.metric("request_queue_length_after_enqueue_count", **FLOW) == 3
    assert server.metric("work_estimated_seats_count", **FLOW) == 3
    assert server.metric("current_inqueue_requests", **FLOW) == 0
    assert server.metric("current_executing_seats", **FLOW) == 0
    assert server.controller.regulator.levels["tight"].queues.seats_in_use == 0


async def test_a_full_queue_rejects_at_once(server: Server) -> None:
    """With no free seat and a full queue a request is turned away, and its wait is labelled as not executed."""
    release = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(_hold(server, release))
        await asyncio.sleep(0.01)
        assert await _hold(server, release) == "queue-full"
        release.set()
    assert server.metric("rejected_requests_total", **FLOW, reason="queue-full") == 1
    assert server.metric("request_wait_duration_seconds_count", **FLOW, execute="false") == 1


async def test_a_level_that_rejects() -> None:
    """A level without queues turns away what does not fit."""
    server = Server()
    server.controller.configure(*tight(queues=0))
    release = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(_hold(server, release))
        await asyncio.sleep(0)
        assert await _hold(server, release) == "concurrency-limit"
        release.set()


async def test_a_wait_ends_after_a_quarter_of_the_deadline(server: Server) -> None:
    """A request leaves its queue when a quarter of its time is over, and is rejected."""
    release = asyncio.Event()
    now = server.controller.now()
    async with asyncio.TaskGroup() as group:
        group.create_task(_hold(server, release))
        await asyncio.sleep(0)
        outcome = await _hold(server, release, received=now, deadline=now + 80 * MILLISECOND)
        assert 15 * MILLISECOND < server.controller.now() - now < 500 * MILLISECOND
        release.set()
    assert outcome == "time-out"
    assert server.metric("rejected_requests_total", **FLOW, reason="time-out") == 1
    assert server.metric("request_wait_duration_seconds_count", **FLOW, execute="true") == 2
    assert server.controller.regulator.levels["tight"].queues.totals.cancelled == 1


async def test_a_client_that_leaves_while_waiting(server: Server) -> None:
    """A cancelled wait leaves the queue and counts as timed out; nothing leaks."""
    release = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(_hold(server, release))
        await asyncio.sleep(0)
        waiting = group.create_task(_hold(server, release))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.sleep(0)
        release.set()
    assert waiting.cancelled()
    assert server.metric("rejected_requests_total", **FLOW, reason="time-out") == 1
    (record,) = server.controller.recorder.incidents.since(server.controller.wall_ns())
    assert (record.cancelled, record.outcome) == (True, "time-out")
    assert server.controller.regulator.levels["tight"].queues.idle


async def test_a_client_that_leaves_just_after_its_turn_came(server: Server) -> None:
    """A task cancelled between its dispatch and its next step gives the seat back, exactly once."""
    release = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        holder = group.create_task(_hold(server, release))
        await asyncio.sleep(0)
        waiting = group.create_task(_hold(server, release))
        await asyncio.sleep(0.01)
        release.set()
        while not holder.done():
            await asyncio.sleep(0)
            if server.metric("current_inqueue_requests", **FLOW) == 0:
                waiting.cancel()
                break
    queues = server.controller.regulator.levels["tight"].queues
    assert waiting.cancelled()
    assert (queues.idle, queues.seats_in_use, queues.totals.dispatched, queues.totals.rejected) == (True, 0, 2, 0)
    assert server.metric("rejected_requests_total", **FLOW, reason="time-out") is None


async def test_a_handler_that_fails_gives_its_seats_back(server: Server) -> None:
    """An exception in the handler still finishes the request."""
    ticket = server.controller.ticket(list_pods())
    with pytest.raises(RuntimeError, match="boom"):
        async with ticket:
            raise RuntimeError("boom")
    assert server.controller.regulator.levels["tight"].queues.seats_in_use == 0
    assert server.metric("request_execution_seconds_count", **FLOW, type="regular") == 1


async def test_a_watch_gives_its_seats_back_when_initialised(server: Server) -> None:
    """A watch holds seats only while it initialises; it is counted for writes until it ends."""
    digest = RequestDigest("alice", (), True, "watch", "", "v1", "pods", "", "default", "", "/api")
    queues = server.controller.regulator.levels["tight"].queues
    async with server.controller.ticket(digest) as ticket:
        assert queues.seats_in_use == 1
        ticket.initialised()
        assert (queues.seats_in_use, queues.idle) == (0, True)
        assert server.controller.regulator.watches.open_watches() == 1
        ticket.initialised()
    assert server.controller.regulator.watches.open_watches() == 0
    assert server.metric("request_execution_seconds_count", **FLOW, type="watch") == 1


async def test_lingering_seats() -> None:
    """A write that wakes many watchers keeps its final seats for a moment after its response."""
    server = Server(600)
    server.controller.configure(SCHEMAS, LEVELS)
    watch = RequestDigest("alice", ("system:authenticated",), True, "watch", "", "v1", "pods", "", "default")
    for _ in range(29):
        server.controller.regulator.watches.register(watch)
    write = RequestDigest("alice", ("system:authenticated",), True, "create", "", "v1", "pods", "", "default")
    queues = server.controller.regulator.levels["global-default"].queues
    async with server.controller.ticket(write) as ticket:
        assert (ticket.request.final_seats, queues.seats_in_use) == (3, 3)
    assert (queues.idle, queues.seats_in_use, ticket.request.state) == (True, 3, State.LINGERING)
    await asyncio.sleep(0.03)
    assert queues.seats_in_use == 0
    flow = {"priority_level": "global-default", "flow_schema": "global-default"}
    assert server.metric("watch_count_samples_sum", **flow) == 29


async def test_exempt_requests_never_wait_nor_count_a_wait() -> None:
    """Exempt requests run at once, are counted as dispatched, and have no wait."""
    server = Server(2)
    admin = RequestDigest("admin", ("system:masters",), False, "get", path="/metrics")
    tickets = [server.controller.ticket(admin) for _ in range(5)]
    for ticket in tickets:
        await server.controller.enter(ticket)
    flow = {"priority_level": "exempt", "flow_schema": "exempt"}
    assert server.metric("current_executing_requests", **flow) == 5
    assert server.metric("dispatched_requests_total", **flow) == 5
    assert server.metric("request_wait_duration_seconds_count", **flow, execute="true") is None
    for ticket in tickets:
        server.controller.leave(ticket)
    assert server.metric("current_executing_requests", **flow) == 0


async def test_limits_are_published() -> None:
    """Every limit in the metrics is the one the allocator decided."""
    server = Server(600)
    server.controller.configure(SCHEMAS, LEVELS)
    for name, level in server.controller.regulator.levels.items():
        for metric, value in (
            ("nominal_limit_seats", level.limits.nominal),
            ("lower_limit_seats", level.limits.minimum),
            ("upper_limit_seats", level.limits.maximum),
            ("current_limit_seats", level.queues.limit),
            ("target_seats", level.target),
        ):
            assert server.metric(metric, priority_level=name) == value, (metric, name)
    assert server.metric("seat_fair_frac") == pytest.approx(7 / 3)
    assert server.metric("request_concurrency_limit", priority_level="system") is None  # hidden since 1.31


async def test_series_leave_with_their_level(server: Server) -> None:
    """A deleted level takes its series with it once it has drained."""
    async with server.controller.ticket(list_pods()):
        server.controller.configure([], [])
        assert server.metric("nominal_limit_seats", priority_level="tight") is not None
    assert server.metric("dispatched_requests_total", **FLOW) == 1
    server.controller.configure([], [])
    assert server.metric("nominal_limit_seats", priority_level="tight") is None
    assert server.metric("dispatched_requests_total", **FLOW) is None


async def test_a_drained_level_asks_for_a_pass(server: Server) -> None:
    """When the last request of a retired level ends, the configuration is looked at again."""
    calls: list[int] = []
    server.controller.on_idle_quiescing = lambda: calls.append(1)
    async with server.controller.ticket(list_pods()):
        server.controller.configure([], [])
        assert calls == []
    assert calls == [1]


async def test_every_rejection_is_attributed(server: Server) -> None:
    """The recorder knows each rejection with who, what, where and why; the talkers name the culprit first."""
    release = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(_hold(server, release, "elephant"))
        await asyncio.sleep(0.01)
        for _ in range(4):
            assert await _hold(server, release, "elephant") == "queue-full"
        release.set()
    async with server.controller.ticket(list_pods("mouse")):
        pass
    records = [r for r in server.controller.recorder.incidents.since(server.controller.wall_ns())]
    rejected = [r for r in records if r.outcome == "queue-full"]
    assert len(rejected) == server.metric("rejected_requests_total", **FLOW, reason="queue-full") == 4
    first = rejected[0]
    assert (first.digest.user, first.flow_schema, first.priority_level, first.rule) == ("elephant", "all", "tight", 0)
    assert (first.limit, first.seats_in_use, first.initial_seats) == (1, 1, 1)
    assert [r.queue for r in records if r.outcome == "executed"] == [0, 0]
    (top, *_) = server.controller.top_talkers(10)["tight"]
    assert (top.user, top.requests, top.rejected, top.queued) == ("elephant", 7, 4, 2)
    name = "kubeglass_flowcontrol_talker_rejections"
    assert server.registry.value(name, **FLOW, user="elephant") == 4
    assert server.registry.value(name, **FLOW, user="mouse") == 0


async def test_peaks_of_a_second(server: Server) -> None:
    """The in-flight and in-queue gauges say the peak of the second that ended."""
    release = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(_hold(server, release))
        await asyncio.sleep(0.01)
        release.set()
    server.controller.metrics.observe_second()
    assert server.registry.value("apiserver_current_inqueue_requests", request_kind="readOnly") == 2
    assert server.registry.value("apiserver_current_inflight_requests", request_kind="readOnly") == 1
    assert server.registry.value("apiserver_current_inflight_requests", request_kind="mutating") == 0
    server.controller.metrics.observe_second()
    assert server.registry.value("apiserver_current_inflight_requests", request_kind="readOnly") == 0


async def test_utilisation_is_weighted_by_time(server: Server) -> None:
    """The ratio histograms count nanoseconds of what the level did."""
    release = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(_hold(server, release))
        group.create_task(_hold(server, release))
        while server.metric("current_inqueue_requests", **FLOW) != 1:
            await asyncio.sleep(0)  # one executes, the other waits: from here on the time is known
        began = time.monotonic_ns()
        await asyncio.sleep(0.05)
        held = time.monotonic_ns() - began
        release.set()
    busy = server.metric("priority_level_seat_utilization_sum", priority_level="tight", phase="executing")
    assert busy is not None
    assert held <= busy <= 5 * SECOND
    waiting = server.metric("priority_level_request_utilization_sum", priority_level="tight", phase="waiting")
    assert waiting is not None
    assert waiting >= held / 2  # one of two places in the queue
    demand = server.metric("demand_seats_sum", priority_level="tight")
    assert demand is not None
    assert demand >= 2 * held


async def test_old_names_are_shown_when_asked_for() -> None:
    """A metric of an earlier release is hidden, and shown again by the flag of its release."""
    registry = Registry(MetricsOptions(show_hidden_for_version="1.35"))
    controller = FlowController(600, FlowControlMetrics(registry))
    controller.configure(SCHEMAS, LEVELS)
    assert registry.value("apiserver_flowcontrol_request_concurrency_limit", priority_level="system") == 74

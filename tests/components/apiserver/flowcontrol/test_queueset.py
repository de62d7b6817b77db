"""Fair queuing on virtual time: the scenarios, the selection of queues and requests, the accounting."""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from kubeglass.components.apiserver.flowcontrol.queueset import (
    CONCURRENCY_LIMIT,
    QUEUE_FULL,
    SEAT_WORK,
    TIME_OUT,
    Occupancy,
    QueueSet,
    QueuingConfig,
)
from kubeglass.components.apiserver.flowcontrol.requests import FlowCounters, Request, State
from kubeglass.components.apiserver.flowcontrol.seats import SEAT_SECOND, SECOND, WorkEstimate

DATA: Any = json.loads((Path(__file__).parent / "data" / "queuesets.json").read_text())
DEALING: Any = json.loads((Path(__file__).parent / "data" / "dealing.json").read_text())


class Clock:
    """Runs events in the order of their times; equal times in the order of insertion."""

    def __init__(self) -> None:
        self.now = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, when: int, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def run(self, until: int | None = None) -> None:
        while self._events and (until is None or self._events[0][0] <= until):
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = max(self.now, until or 0)


class Scenario:
    """Closed-loop threads of several flows against one queue set."""

    def __init__(self, case: Any) -> None:
        self.case = case
        self.clock = Clock()
        queues = case["queues"]
        config = QueuingConfig(max(queues, 0), case["handSize"], case["queueLengthLimit"], exempt=queues < 0)
        self.set = QueueSet(config, case["concurrencyLimit"], 0, self._dispatched)
        self.counters = [FlowCounters(str(index)) for index in range(len(case["flows"]))]
        self.rejections: dict[str, int] = {}
        self.widest = 0
        self._integrals = [0] * len(case["flows"])
        self._executing = [0] * len(case["flows"])
        self._since = 0
        for index, flow in enumerate(case["flows"]):
            for thread in range(flow["threads"]):
                start, calls = 90 * thread + 20 * index, flow["callsPerThread"]
                if flow["halfOfTheThreadsStartAtHalfTime"] and thread >= flow["threads"] // 2:
                    start, calls = start + int(case["evalNs"]) // 2, calls // 2
                self._schedule_call(start, index, calls)

    def _schedule_call(self, when: int, flow: int, calls: int) -> None:
        self.clock.at(when, lambda: self._call(flow, calls))

    def _call(self, flow: int, calls: int) -> None:
        if calls <= 0:
            return
        row = self.case["flows"][flow]
        work = WorkEstimate(row["initialSeats"], row["finalSeats"], int(row["additionalLatencyNs"]))
        request = Request(self.counters[flow], work, int(row["hash"]), owner=(flow, calls))
        self.set.arrive(request, self.clock.now)
        if request.state is State.REJECTED:
            self.rejections[request.reason] = self.rejections.get(request.reason, 0) + 1

    def _dispatched(self, request: Request) -> None:
        flow, calls = request.owner
        row, now = self.case["flows"][flow], self.clock.now
        self._count(flow, row["initialSeats"])
        self.widest = max(self.widest, self.set.seats_in_use)
        execution, think = int(row["execNs"]), int(row["thinkNs"])
        if think < 0:
            self._schedule_call(now + execution + think, flow, calls - 1)
        self.clock.at(now + execution, lambda: self._finish(request))
        if think >= 0:
            self._schedule_call(now + execution + think, flow, calls - 1)

    def _finish(self, request: Request) -> None:
        flow, _ = request.owner
        self._count(flow, -self.case["flows"][flow]["initialSeats"])
        release = self.set.finish(request, self.clock.now)
        if release is not None:
            self.clock.at(release, lambda: self.set.release(request, self.clock.now))

    def _count(self, flow: int, seats: int) -> None:
        self._integrate()
        self._executing[flow] += seats

    def _integrate(self) -> None:
        elapsed = self.clock.now - self._since
        self._since = self.clock.now
        for index, executing in enumerate(self._executing):
            self._integrals[index] += executing * elapsed

    def averages(self, period_ns: int) -> list[float]:
        """The seats held by each flow over the next period."""
        before = list(self._integrals)
        self.clock.run(until=self.clock.now + period_ns)
        self._integrate()
        return [(after - start) / period_ns for after, start in zip(self._integrals, before, strict=True)]


@pytest.mark.parametrize("case", DATA["scenarios"], ids=lambda c: c["id"])
def test_scenario(case: Any) -> None:
    """Each flow gets its max-min fair share of the seats."""
    scenario = Scenario(case)
    for period in case["periods"]:
        measured = scenario.averages(int(case["evalNs"]) // len(case["periods"]))
        expected, margin = period["expectedAverageSeats"], period["margin"]
        deviations = [abs(m - e) / e for m, e in zip(measured, expected, strict=True)]
        if period["expectFair"]:
            assert max(deviations) <= margin + 1e-6, (measured, expected)
        else:
            assert min(deviations) > margin, (measured, expected)
    scenario.clock.run()
    assert bool(scenario.rejections) is not case["expectAllRequestsServed"]
    if "expectedRejectReason" in case:
        assert set(scenario.rejections) == {case["expectedRejectReason"]}
    assert scenario.set.totals.epochs == case["expectedEpochAdvances"]
    assert scenario.set.totals.epochs_wrapped == 0
    assert (scenario.set.idle, scenario.set.seats_in_use, scenario.set.waiting_seats) == (True, 0, 0)


def _set_with_heads(case: Any) -> tuple[QueueSet, list[Request]]:
    """A queue set whose queues hold one waiting request each, brought into the described state by hand."""
    count, dispatched = len(case["queues"]), []
    queues = QueueSet(QueuingConfig(count, 1, 10), 0, 0, dispatched.append)
    queues.limit, queues.seats_in_use, queues.robin = case["concurrencyLimit"], case["seatsInUse"], case["robinIndex"]
    queues.executing = 1 if queues.seats_in_use else 0
    for queue, row in zip(queues.queues, case["queues"], strict=True):
        request = Request(FlowCounters("s"), WorkEstimate(row["headInitialSeats"]))
        request.queue, request.total_work = queue, request.initial_seats * SEAT_WORK
        queues._enqueue(request, queue)
        queue.next_dispatch_r = row["nextDispatchSeatSeconds"] * SEAT_SECOND
        queue.bound()
    return queues, dispatched


@pytest.mark.parametrize("case", DATA["dispatchSelection"], ids=lambda c: c["id"])
def test_dispatch_selection(case: Any) -> None:
    """Only the queue with the smallest virtual finish may go, and only if its head fits."""
    queues, dispatched = _set_with_heads(case)
    for number, attempt in enumerate(case["attempts"], 1):
        queues.seats_in_use = case.get("seatsInUseBeforeAttempt", {}).get(str(number), queues.seats_in_use)
        queues._dispatch_one()
        picked = dispatched.pop().queue.index if dispatched else None
        assert (picked, queues.robin) == (attempt["pickedQueue"], attempt["robinIndexAfter"])


@pytest.mark.parametrize("case", DATA["finishAccounting"], ids=lambda c: c["id"])
def test_finish_accounting(case: Any) -> None:
    """A finished request stops executing at once; its seats may linger."""
    queues = QueueSet(QueuingConfig(1, 1, 10), 1000, 0, lambda request: None)
    work = case["work"]
    latency = work["additionalLatencySeconds"] * SECOND
    request = Request(FlowCounters("s"), WorkEstimate(work["initialSeats"], work["finalSeats"], latency))
    queues.arrive(request, 0)
    before, after = case["before"], case["after"]
    queues.executing = before["setRequestsExecuting"]
    queues.seats_in_use = before["setSeatsInUse"]
    queue = queues.queues[0]
    queue.seats_in_use = before["queueSeatsInUse"]
    release = queues.finish(request, SECOND)
    assert queues.executing == after["setRequestsExecutingAtOnce"]
    assert len(queue.executing) == after["queueRequestsExecutingAtOnce"] - 1
    if release is not None:
        assert release == SECOND + latency
        assert queues.seats_in_use == before["setSeatsInUse"]
        queues.release(request, release)
    suffix = "AtOnce" if release is None else "AfterLatency"
    assert queues.seats_in_use == after[f"setSeatsInUse{suffix}"]
    assert queue.seats_in_use == after[f"queueSeatsInUse{suffix}"]


@pytest.mark.parametrize("case", DATA["virtualTimeRate"], ids=lambda c: c["id"])
def test_rate(case: Any) -> None:
    """Virtual time runs at the seats used or wanted, at most the limit, per active queue."""
    count = len(case["queues"])
    queues = QueueSet(QueuingConfig(max(count, 1), 1, 10), case["concurrencyLimit"], 0, lambda request: None)
    queues.seats_in_use = sum(row["seatsInUse"] for row in case["queues"])
    queues.waiting_seats = sum(row["waitingMaxSeats"] for row in case["queues"])
    queues._active = count
    assert queues.rate() == case["ratePerSecond"]


@pytest.mark.parametrize("case", DATA["totalWork"])
def test_total_work(case: Any) -> None:
    """A request is charged for its guessed execution and its whole final phase."""
    work = WorkEstimate(case["initialSeats"], case["finalSeats"], case["additionalLatencySeconds"] * SECOND)
    assert work.total_work(case["estimatedServiceSeconds"] * SECOND) == case["totalSeatSeconds"] * SEAT_SECOND


@pytest.mark.parametrize("case", DEALING["queueSelection"]["cases"])
def test_choose(case: Any) -> None:
    """The least waiting work wins; the first place to look rotates."""
    queues = QueueSet(QueuingConfig(8, 3, 10), 1, 0, lambda request: None)
    queues.enqueues = case["enqueuesSoFar"]
    for index, work in zip(case["hand"], case["waitingWorkOfHand"], strict=True):
        queues.queues[index].work = work
    assert queues._choose(tuple(case["hand"])).index == case["chosenQueue"]
    assert queues.enqueues == case["enqueuesSoFar"] + 1


def test_cancelled_while_waiting() -> None:
    """A request whose wait ends leaves its queue, is counted once, and never runs."""
    case = DATA["contextCancel"]
    config = QueuingConfig(case["queues"], case["handSize"], case["queueLengthLimit"])
    started: list[Request] = []
    queues = QueueSet(config, case["concurrencyLimit"], 0, started.append)
    counters = FlowCounters("s")
    first, second = Request(counters, WorkEstimate(), 1), Request(counters, WorkEstimate(), 2)
    queues.arrive(first, 0)
    queues.arrive(second, 0)
    assert (first.state, second.state) == (State.EXECUTING, State.WAITING)
    assert queues.eject(second, SECOND)
    assert not queues.eject(second, SECOND)
    assert (second.state, second.reason) == (State.REJECTED, TIME_OUT)
    queues.finish(first, 2 * SECOND)
    assert (queues.idle, started, counters.rejected) == (True, [first], {TIME_OUT: 1})
    assert (queues.totals.rejected, queues.totals.cancelled) == (1, 1)


def _arrive(queues: QueueSet, seats: int = 1, hash_value: int = 0, now: int = 0) -> Request:
    request = Request(FlowCounters("s"), WorkEstimate(seats), hash_value)
    queues.arrive(request, now)
    return request


def test_a_full_queue_rejects_only_while_no_seat_is_free() -> None:
    """A queue may exceed its length while seats are free but its wide head blocks."""
    queues = QueueSet(QueuingConfig(1, 1, 1), 4, 0, lambda request: None)
    assert _arrive(queues, 2).state is State.EXECUTING
    assert _arrive(queues, 4).state is State.WAITING
    assert _arrive(queues, 1).state is State.WAITING
    queues.set_limit(2, 1)
    assert _arrive(queues, 1).reason == QUEUE_FULL


def test_a_request_wider_than_the_level_runs_alone() -> None:
    """What is wider than the limit waits for an empty level, and then runs."""
    queues = QueueSet(QueuingConfig(1, 1, 10), 2, 0, lambda request: None)
    narrow, wide = _arrive(queues, 1), _arrive(queues, 5)
    assert wide.state is State.WAITING
    queues.finish(narrow, SECOND)
    assert wide.state is State.EXECUTING
    assert queues.seats_in_use == 5


@pytest.mark.parametrize("queues_per_level", [0, 1])
def test_zero_means_zero(queues_per_level: int) -> None:
    """A level without seats lets nothing through, whether it queues or rejects."""
    queues = QueueSet(QueuingConfig(queues_per_level, queues_per_level, 10), 0, 0, lambda request: None)
    request = _arrive(queues)
    assert request.state is (State.WAITING if queues_per_level else State.REJECTED)
    assert request.reason == ("" if queues_per_level else CONCURRENCY_LIMIT)


def test_exempt_never_waits() -> None:
    """An exempt level has no limit, and still counts its seats."""
    queues = QueueSet(QueuingConfig(exempt=True), 0, 0, lambda request: None)
    assert [_arrive(queues, 7).state for _ in range(3)] == [State.EXECUTING] * 3
    assert queues.seats_in_use == 21


def test_final_seats_are_cut_and_no_seat_leaks() -> None:
    """A final phase wider than the level becomes narrower and longer; all counters return to zero."""
    queues = QueueSet(QueuingConfig(1, 1, 10), 2, 0, lambda request: None)
    counters = FlowCounters("s")
    blocker = _arrive(queues, 2)
    request = Request(counters, WorkEstimate(1, 10, 50_000_000))
    queues.arrive(request, 0)
    assert (queues.waiting_seats, counters.waiting_seats) == (10, 10)
    queues.finish(blocker, SECOND)
    assert (request.final_seats, request.additional_latency_ns) == (2, 250_000_000)
    assert (queues.waiting_seats, counters.waiting_seats, queues.seats_in_use) == (0, 0, 2)
    release = queues.finish(request, 2 * SECOND)
    assert release == 2 * SECOND + 250_000_000
    queues.release(request, release)
    assert (queues.seats_in_use, counters.executing_seats, queues.queues[0].work) == (0, 0, 0)


def test_queues_shrink_when_they_have_drained() -> None:
    """Surplus queues serve what they hold, then disappear; new requests use the new number at once."""
    queues = QueueSet(QueuingConfig(4, 1, 10), 1, 0, lambda request: None)
    running = _arrive(queues, hash_value=3)
    waiting = _arrive(queues, hash_value=2)
    queues.reconfigure(QueuingConfig(1, 1, 10), 1, SECOND)
    assert len(queues.queues) == 3
    assert queues.hand(3) == (0,)
    queues.finish(running, 2 * SECOND)
    assert (waiting.state, len(queues.queues)) == (State.EXECUTING, 2)
    queues.finish(waiting, 3 * SECOND)
    assert [queue.index for queue in queues.queues] == [0]
    queues.reconfigure(QueuingConfig(3, 2, 10), 1, 4 * SECOND)
    assert [queue.index for queue in queues.queues] == [0, 1, 2]


def test_every_state_is_accounted_for() -> None:
    """Whoever listens hears for how long the set was in each state it settled in, once."""
    told: list[Mapping[Occupancy, int]] = []
    queues = QueueSet(QueuingConfig(1, 1, 10), 1, 0, lambda request: None)
    queues.on_account = told.append
    first = _arrive(queues)
    _arrive(queues, now=SECOND)
    queues.finish(first, 3 * SECOND)
    queues.account(7 * SECOND)
    queues.account(8 * SECOND)
    assert told == [{(0, 1, 1, 0): 5 * SECOND, (1, 1, 1, 1): 2 * SECOND}, {(0, 1, 1, 0): SECOND}]


def test_a_cancelled_wide_head_lets_the_next_one_go() -> None:
    """When the head that did not fit gives up, what fits behind it starts at once."""
    queues = QueueSet(QueuingConfig(1, 1, 10), 2, 0, lambda request: None)
    _arrive(queues, 1)
    wide, narrow = _arrive(queues, 2), _arrive(queues, 1)
    assert (wide.state, narrow.state) == (State.WAITING, State.WAITING)
    queues.eject(wide, SECOND)
    assert narrow.state is State.EXECUTING

"""Whatever happens to a queue set, no seat, request or decision is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kubeglass.components.apiserver.flowcontrol.queueset import (
    CONCURRENCY_LIMIT,
    QUEUE_FULL,
    TIME_OUT,
    Occupancy,
    QueueSet,
    QueuingConfig,
)
from kubeglass.components.apiserver.flowcontrol.requests import FlowCounters, Request, State
from kubeglass.components.apiserver.flowcontrol.seats import MILLISECOND, SECOND, WorkEstimate

CONFIGS = st.one_of(
    st.builds(lambda q, h, n: QueuingConfig(q, min(q, h), n), st.integers(1, 6), st.integers(1, 3), st.integers(1, 4)),
    st.just(QueuingConfig()),
)
WORK = st.builds(WorkEstimate, st.integers(1, 5), st.integers(0, 6), st.sampled_from([0, 5 * MILLISECOND, SECOND]))


class QueueSetMachine(RuleBasedStateMachine):
    """Random arrivals, endings, cancellations, configuration changes and clock jumps, also backwards."""

    @initialize(config=CONFIGS, limit=st.integers(0, 6))
    def start(self, config: QueuingConfig, limit: int) -> None:
        self.now = 0
        self.dispatches: dict[Request, int] = {}
        self.requests: list[Request] = []
        self.lingering: list[Request] = []
        self.counters = [FlowCounters("a"), FlowCounters("b")]
        self.lasted: Counter[Occupancy] = Counter()
        self.period: Counter[Occupancy] = Counter()  # the same since the last adjustment
        self.told: Counter[Occupancy] = Counter()
        self.latest = 0  # what the set has seen of time
        self.demands = [0]
        self.set = QueueSet(config, limit, 0, self._dispatched)
        self.set.on_account = self._told

    def _told(self, lasted: Mapping[Occupancy, int]) -> None:
        self.told.update(lasted)

    def _dispatched(self, request: Request) -> None:
        self.dispatches[request] = self.dispatches.get(request, 0) + 1
        asked = request.owner
        assert isinstance(asked, WorkEstimate)
        lone = self.set.executing == 1 and asked.max_seats > self.set.limit  # its final seats may be cut by now
        assert self.set.limit > 0
        assert lone or self.set.seats_in_use <= self.set.limit

    @rule(work=WORK, hash_value=st.integers(0, 2**64 - 1), flow=st.integers(0, 1))
    def arrive(self, work: WorkEstimate, hash_value: int, flow: int) -> None:
        request = Request(self.counters[flow], work, hash_value, owner=work)
        full = self.set.seats_in_use >= self.set.limit
        self.set.arrive(request, self.now)
        self.requests.append(request)
        self.demands.append(self.set.seats_in_use + self.set.waiting_seats)
        if request.reason == QUEUE_FULL:
            assert full
        if request.reason == CONCURRENCY_LIMIT:
            assert not self.set.config.queues

    @precondition(lambda self: any(r.state is State.EXECUTING for r in self.requests))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from([r for r in self.requests if r.state is State.EXECUTING]))
        if self.set.finish(request, self.now) is not None:
            self.lingering.append(request)

    @precondition(lambda self: self.lingering)
    @rule()
    def release(self) -> None:
        self.set.release(self.lingering.pop(0), self.now)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if not self.requests:
            return
        request = data.draw(st.sampled_from(self.requests))
        was_waiting = request.state is State.WAITING
        assert self.set.eject(request, self.now) is was_waiting
        if was_waiting:
            assert request.reason == TIME_OUT

    @rule(config=CONFIGS, limit=st.integers(0, 6))
    def reconfigure(self, config: QueuingConfig, limit: int) -> None:
        self.set.reconfigure(config, limit, self.now)

    @rule(elapsed=st.sampled_from([-SECOND, 0, 1, MILLISECOND, SECOND, 10**18]))
    def pass_time(self, elapsed: int) -> None:
        self.set.account(self.now)
        self.now += elapsed
        if self.now > self.latest:
            state = self.set.occupancy
            self.lasted[state] += self.now - self.latest
            self.period[state] += self.now - self.latest
            self.latest = self.now

    @rule()
    def every_state_is_accounted_for(self) -> None:
        """What is told adds up to how long the set was in each state, and so do the statistics of the demand."""
        period = self.set.end_demand_period(self.now)
        assert self.told == self.lasted
        assert period.high == max(self.demands)
        lasted = [(seats + waited_for, ns) for (_, _, seats, waited_for), ns in self.period.items()]
        assert period.duration_ns == sum(ns for _, ns in lasted)
        if lasted:
            average = Fraction(sum(demand * ns for demand, ns in lasted), period.duration_ns)
            assert period.average == pytest.approx(float(average))
        self.period.clear()
        self.demands = [self.set.seats_in_use + self.set.waiting_seats]

    @invariant()
    def every_request_is_in_exactly_one_place(self) -> None:
        states = [r.state for r in self.requests]
        assert State.NEW not in states
        assert self.set.waiting == states.count(State.WAITING)
        assert self.set.executing == states.count(State.EXECUTING)
        assert sorted(map(id, self.set.requests())) == sorted(
            id(r) for r in self.requests if r.state in (State.WAITING, State.EXECUTING)
        )

    @invariant()
    def nothing_is_both_rejected_and_executed_or_dispatched_twice(self) -> None:
        for request in self.requests:
            ran = self.dispatches.get(request, 0)
            assert ran == (request.state in (State.EXECUTING, State.LINGERING, State.DONE))

    @invariant()
    def seats_add_up(self) -> None:
        held = [r for r in self.requests if r.state in (State.EXECUTING, State.LINGERING)]
        waiting = [r for r in self.requests if r.state is State.WAITING]
        assert self.set.seats_in_use == sum(r.max_seats for r in held)
        assert self.set.waiting_seats == sum(r.max_seats for r in waiting)
        assert sum(c.executing_seats for c in self.counters) == self.set.seats_in_use
        assert sum(c.waiting_seats for c in self.counters) == self.set.waiting_seats
        for queue in self.set.queues:
            assert queue.work == sum(r.total_work for r in queue.waiting)
            assert queue.seats_in_use == sum(r.max_seats for r in held if r.queue is queue)

    @invariant()
    def totals_add_up(self) -> None:
        totals = self.set.totals
        assert totals.dispatched + totals.rejected + self.set.waiting == len(self.requests)
        assert totals.rejected == sum(sum(c.rejected.values()) for c in self.counters)
        assert totals.dispatched == sum(c.dispatched for c in self.counters)

    @invariant()
    def no_seat_idles_while_the_chosen_head_fits(self) -> None:
        if self.set.waiting and self.set.seats_in_use < self.set.limit:
            assert not self.set._fits(self.set._select().waiting[0].max_seats)

    @invariant()
    def queues_are_numbered_and_needed(self) -> None:
        assert [q.index for q in self.set.queues] == list(range(len(self.set.queues)))
        assert self.set._active == sum(q.active for q in self.set.queues)
        for queue in self.set.queues[self.set.config.queues :]:
            assert queue.active or queue.seats_in_use


TestQueueSet = QueueSetMachine.TestCase
TestQueueSet.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

"""Flow control on one asyncio loop: a request takes a ticket, waits for its seats, and gives them back.

    ticket = controller.ticket(digest, …)      # classified: schema, level and width are known, nothing is counted yet
    async with ticket:                         # waits for its turn; raises Rejected
        …                                      # holds its seats
        ticket.initialised()                   # a watch gives them back before it ends

A critical section here is code without `await`. A task cancelled while it waits leaves its queue; one cancelled just
after its dispatch gives its seats back; each request is finished exactly once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType

from kubeglass.components.api.objects.flowcontrol import FlowSchema, PriorityLevel
from kubeglass.components.apiserver.flowcontrol.configuration import Plan
from kubeglass.components.apiserver.flowcontrol.metrics import FlowControlMetrics, FlowTally
from kubeglass.components.apiserver.flowcontrol.recorder import Recorder
from kubeglass.components.apiserver.flowcontrol.records import EXECUTED, Caller, Record
from kubeglass.components.apiserver.flowcontrol.regulator import Flow, Level, Regulator
from kubeglass.components.apiserver.flowcontrol.rejections import wait_deadline
from kubeglass.components.apiserver.flowcontrol.requests import EXECUTING, REJECTED, WAITING, Request
from kubeglass.components.apiserver.flowcontrol.rows import (
    OPEN_WATCHES,
    OVERWRITTEN,
    RECORDED,
    TALKER_REJECTIONS,
    TALKER_REQUESTS,
    TALKER_SEAT_SECONDS,
    TALKER_WAIT_SECONDS,
)
from kubeglass.components.apiserver.flowcontrol.schemas import RequestDigest, rule_matches
from kubeglass.components.apiserver.flowcontrol.seats import SECOND, EstimatorFeatures
from kubeglass.components.apiserver.flowcontrol.talkers import HALF_LIFE_NS, Talker
from kubeglass.components.apiserver.flowcontrol.watches import WatchKey
from kubeglass.components.machinery import clock
from kubeglass.telemetry.metrics.definitions import Metric

READ_ONLY_VERBS = frozenset(("get", "list", "watch"))
NOBODY = Caller()
_NO_QUERY: Mapping[str, str] = {}
_UNQUERIED: dict[str, str] = {}
_METRIC_TALKERS = 10


class Rejected(Exception):
    """A request was turned away. `reason` is upstream's word, `retry_after_seconds` the advice."""

    def __init__(self, ticket: Ticket, retry_after_seconds: int) -> None:
        super().__init__(ticket.request.reason)
        self.ticket = ticket
        self.reason = ticket.request.reason
        self.retry_after_seconds = retry_after_seconds


class Ticket:
    """The way of one request through flow control."""

    __slots__ = (
        "_controller",
        "_expiry",
        "_turn",
        "_watch",
        "caller",
        "cancelled",
        "deadline",
        "digest",
        "executed_ns",
        "flow",
        "is_watch",
        "kind",
        "limit",
        "query",
        "received",
        "request",
        "seats_in_use",
        "tally",
        "waited_ns",
    )

    def __init__(
        self,
        controller: FlowController,
        flow: Flow,
        digest: RequestDigest,
        query: Mapping[str, str],
        caller: Caller,
        received: int,
        deadline: int | None,
    ) -> None:
        self._controller = controller
        self._turn: asyncio.Future[None] | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._watch: WatchKey | None = None
        self.flow = flow
        self.digest = digest
        self.kind = "readOnly" if digest.verb in READ_ONLY_VERBS else "mutating"
        self.is_watch = digest.verb == "watch" and digest.is_resource
        self.query = query
        self.caller = caller
        self.received = received
        self.deadline = deadline
        self.request: Request
        self.tally: FlowTally
        self.waited_ns = 0
        self.executed_ns = 0
        self.cancelled = False
        self.limit = self.seats_in_use = 0  # of the level, when it was decided

    async def __aenter__(self) -> Ticket:
        controller = self._controller
        if controller.arrive(self):
            await controller.wait(self)
        controller.admit(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._controller.leave(self)

    def initialised(self) -> None:
        """The watch has sent what it had to begin with: its seats are free, its stream goes on."""
        self._controller.finish(self)

    @property
    def exempt(self) -> bool:
        return self.flow.level.view.is_exempt


class FlowController:
    """Admits, queues and rejects the requests of one server. Belongs to one event loop.

    `now` gives monotonic nanoseconds; `on_idle_quiescing` is called when a retired level has drained.
    """

    def __init__(
        self,
        server_limit: int,
        metrics: FlowControlMetrics,
        recorder: Recorder | None = None,
        *,
        default_wait_ns: int = 15 * SECOND,
        features: EstimatorFeatures = EstimatorFeatures(),
        now: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = clock.now_ns,
    ) -> None:
        self.now = now
        self.wall_ns = wall_ns
        self.metrics = metrics
        self._tallies, self._executing = metrics.tallies, metrics.executing
        self.recorder = recorder or Recorder()
        self.regulator = Regulator(server_limit, now(), self._dispatched, features)
        self.default_wait_ns = default_wait_ns
        self.on_idle_quiescing: Callable[[], None] = lambda: None
        self._metered: dict[str, Level] = {}
        self._follow_levels()
        metrics.collect(self.regulator, self._own_samples, now)

    # configuration

    def configure(self, schemas: Iterable[FlowSchema], levels: Iterable[PriorityLevel]) -> Plan:
        """Puts the observed objects in force at once; what waits or runs is not touched."""
        plan = self.regulator.configure(schemas, levels, self.now())
        self._follow_levels()
        return plan

    def adjust(self) -> None:
        """The borrowing step, due every ten seconds."""
        now = self.now()
        self.regulator.adjust(now)
        self.regulator.sizes.prune(now)
        self.metrics.limits_changed(self.regulator, now)

    def _follow_levels(self) -> None:
        levels = self.regulator.levels
        for name in self._metered.keys() - levels.keys():
            self.metrics.level_removed(self._metered[name])
            self.recorder.forget_level(name)
        for name in levels.keys() - self._metered.keys():
            self.metrics.level_added(levels[name])
        self._metered = dict(levels)
        self.metrics.limits_changed(self.regulator, self.now())

    # requests

    def ticket(
        self,
        digest: RequestDigest,
        query: Mapping[str, str] = _NO_QUERY,
        caller: Caller = NOBODY,
        *,
        received: int | None = None,
        deadline: int | None = None,
    ) -> Ticket:
        """Classifies a request. `received` and `deadline` are monotonic nanoseconds; a watch has no deadline."""
        now = self.now()
        flow = self.regulator.classify(digest)
        work, watchers = self.regulator.estimate(digest, query, flow.level, now)
        ticket = Ticket(self, flow, digest, query, caller, now if received is None else received, deadline)
        ticket.request = request = flow.request(digest, work, ticket)
        ticket.tally = tally = self._tallies.get(flow.counters) or self.metrics.begin_tally(flow)
        tally.classified(request.max_seats, watchers)
        return ticket

    async def enter(self, ticket: Ticket) -> None:
        """`async with ticket` without the `with`. Raises Rejected, or CancelledError after having undone the wait."""
        await ticket.__aenter__()

    def arrive(self, ticket: Ticket) -> bool:
        """The request comes to its level; whether it has to wait."""
        request = ticket.request
        ticket.flow.level.queues.arrive(request, self.now())
        if request.state is EXECUTING:
            ticket.tally.ran_at_once(request.queue_length)
        elif request.state is WAITING:
            ticket.tally.enqueued(request.queue_length)
            return True
        return False

    def admit(self, ticket: Ticket) -> None:
        """The decision has fallen. Raises Rejected."""
        queues = ticket.flow.level.queues
        ticket.limit, ticket.seats_in_use = queues.limit, queues.seats_in_use
        if ticket.request.state is REJECTED:
            raise self._rejected(ticket)
        self._executing[ticket.kind].change(1, ticket.request.start_ns)
        if ticket.is_watch:
            ticket._watch = self.regulator.watches.register(ticket.digest, ticket.query.get("fieldSelector", ""))

    async def wait(self, ticket: Ticket) -> None:
        """Waits until the decision falls."""
        loop = asyncio.get_running_loop()
        ticket._turn = loop.create_future()
        until = wait_deadline(ticket.received, ticket.deadline, self.default_wait_ns)
        ticket._expiry = loop.call_later(max(until - self.now(), 0) / SECOND, self._expire, ticket)
        load = self.metrics.waiting[ticket.kind]
        load.change(1, self.now())
        try:
            await ticket._turn
        except asyncio.CancelledError:
            self._abandon(ticket)
            raise
        finally:
            ticket._expiry.cancel()
            ticket._expiry = ticket._turn = None
            load.change(-1, self.now())
            self._waited(ticket)
        if ticket.request.state is EXECUTING:
            ticket.tally.dispatched(ticket.waited_ns)

    def _waited(self, ticket: Ticket) -> None:
        """The wait ended with the dispatch or, for a rejected request, now."""
        ticket.waited_ns = max((ticket.request.start_ns or self.now()) - ticket.request.arrival_ns, 0)

    def _abandon(self, ticket: Ticket) -> None:
        """The client left. If its turn had come meanwhile, it gives the seats back unused."""
        ticket.cancelled = True
        self._waited(ticket)
        if ticket.flow.level.queues.eject(ticket.request, self.now()):
            self._rejected(ticket)
        elif ticket.request.state is EXECUTING:
            ticket.tally.dispatched(ticket.waited_ns)
            self.admit(ticket)
            self.leave(ticket)

    def _expire(self, ticket: Ticket) -> None:
        if ticket._turn is not None and ticket.flow.level.queues.eject(ticket.request, self.now()):
            self._wake(ticket._turn)

    def _dispatched(self, request: Request) -> None:
        ticket = request.owner
        assert isinstance(ticket, Ticket)
        if ticket._turn is not None:
            self._wake(ticket._turn)

    def _wake(self, turn: asyncio.Future[None]) -> None:
        if not turn.done():  # done: cancelled
            turn.set_result(None)

    def leave(self, ticket: Ticket) -> None:
        """The handler is done: its seats, if it still holds them, and its watch."""
        self.finish(ticket)
        if ticket._watch is not None:
            self.regulator.watches.forget(ticket._watch)
            ticket._watch = None

    def finish(self, ticket: Ticket) -> None:
        """Gives the seats back, some of them later. Only the first call counts."""
        request, level = ticket.request, ticket.flow.level
        if request.state is not EXECUTING:
            return
        now = self.now()
        release = level.queues.finish(request, now)
        if release is not None:
            asyncio.get_running_loop().call_later((release - now) / SECOND, self._release, ticket)
        ticket.executed_ns = executed_ns = now - request.start_ns
        self._executing[ticket.kind].change(-1, now)
        ticket.tally.finished(executed_ns, ticket.is_watch)
        self.recorder.add(self._record(ticket, EXECUTED, now), now)
        if release is None:
            request.owner = None  # breaks the cycle between ticket and request, which would keep the collector busy
        if level.quiescing and level.queues.idle:
            self.on_idle_quiescing()

    def _release(self, ticket: Ticket) -> None:
        ticket.flow.level.queues.release(ticket.request, self.now())
        ticket.request.owner = None

    def _rejected(self, ticket: Ticket) -> Rejected:
        level, request = ticket.flow.level, ticket.request
        level.retry_after.dropped(self.wall_ns() // SECOND)
        ticket.tally.turned_away(request.reason, ticket.waited_ns, request.queue is not None)
        now = self.now()
        self.recorder.add(self._record(ticket, request.reason, now), now)
        request.owner = None
        return Rejected(ticket, level.retry_after.seconds)

    # remembering

    def _record(self, ticket: Ticket, outcome: str, now: int) -> Record:
        request, flow = ticket.request, ticket.flow
        queue = request.queue
        incident = outcome != EXECUTED or ticket.waited_ns > 0
        return Record(
            ticket.digest,
            ticket.caller,
            flow.name,
            flow.level.name,
            matching_rule(flow.schema, ticket.digest) if incident else -1,
            request.distinguisher,
            request.hash_value,
            flow.level.queues.hand(request.hash_value) if incident else (),
            -1 if queue is None else queue.index,
            request.initial_seats,
            request.final_seats,
            request.additional_latency_ns,
            self.wall_ns() - (now - request.arrival_ns),
            ticket.waited_ns,
            ticket.executed_ns,
            outcome,
            ticket.cancelled,
            ticket.limit,
            ticket.seats_in_use,
            dict(ticket.query) if ticket.query else _UNQUERIED,
        )

    def top_talkers(self, count: int) -> dict[str, list[Talker]]:
        """The heaviest users of each level, with what their unfinished requests have cost so far."""
        now = self.now()
        in_flight = {
            name: [_so_far(request, now) for request in level.queues.requests() if isinstance(request.owner, Ticket)]
            for name, level in self.regulator.levels.items()
        }
        return self.recorder.top_talkers(count, now, {name: found for name, found in in_flight.items() if found})

    def _own_samples(self) -> Iterable[tuple[Metric, tuple[str, ...], float]]:
        yield OPEN_WATCHES, (), self.regulator.watches.open_watches()
        for name, ring in (("incidents", self.recorder.incidents), ("traffic", self.recorder.traffic)):
            yield RECORDED, (name,), len(ring)
            yield OVERWRITTEN, (name,), ring.overwritten
        for level, talkers in self.top_talkers(_METRIC_TALKERS).items():
            for talker in talkers:
                labels = (level, talker.schema, talker.user)
                yield TALKER_SEAT_SECONDS, labels, talker.seat_ns / SECOND
                yield TALKER_REQUESTS, labels, talker.requests
                yield TALKER_REJECTIONS, labels, talker.rejected
                yield TALKER_WAIT_SECONDS, labels, talker.wait_ns / SECOND


def _so_far(request: Request, now: int) -> Talker:
    """What an unfinished request has cost; of a long one no more than a half-life is recent."""
    ticket = request.owner
    assert isinstance(ticket, Ticket)
    started = request.start_ns or now
    seat_ns = request.initial_seats * max(now - started, 0)
    wait_ns = max(started - request.arrival_ns, 0)
    return Talker(
        ticket.flow.name,
        ticket.digest.user,
        recent=min(seat_ns + request.initial_seats * wait_ns, request.initial_seats * HALF_LIFE_NS),
        seat_ns=seat_ns,
        wait_ns=wait_ns,
        user_agent=ticket.caller.user_agent,
        source=ticket.caller.source,
        verb=ticket.digest.verb,
        resource=ticket.digest.resource or ticket.digest.path,
    )


def matching_rule(schema: FlowSchema, digest: RequestDigest) -> int:
    """The index of the schema's first rule that covers the request; -1 when none does."""
    return next((index for index, rule in enumerate(schema.spec.rules) if rule_matches(rule, digest)), -1)

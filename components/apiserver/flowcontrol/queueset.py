"""Fair queuing of one priority level, on virtual time.

    R      the progress meter: seat-seconds that each active queue could have received so far
    dR/dt  = min(C, seats in use + seats waiting) / active queues        (C: the level's limit)
    S      = next_dispatch_r: the meter's value at which a queue's next request would start
    F      = S + work of the head; the queue with the smallest F goes next, and only if its head fits

At dispatch S grows by the work with the execution guessed at G = 3 ms; at the end it is corrected by the real duration.
S never lags behind the arrival of the head, so an idle queue saves nothing up. A flow that keeps its queue busy gets
C / active queues seats on average, within C requests. R is kept in 64 bits: at 3/4 of the range an epoch is taken off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter

import msgspec

from kubeglass.components.apiserver.flowcontrol.demand import DemandPeriod, DemandSample
from kubeglass.components.apiserver.flowcontrol.requests import (
    DONE,
    EXECUTING,
    LINGERING,
    REJECTED,
    WAITING,
    Queue,
    Request,
)
from kubeglass.components.apiserver.flowcontrol.seats import MILLISECOND, ns_per_seat, seats_for
from kubeglass.components.apiserver.flowcontrol.shufflesharding import Dealer

SERVICE_NS = 3 * MILLISECOND  # G
SEAT_WORK = SERVICE_NS // 10  # the work of one seat for so long
EPOCH = (2**64 - 1) // 2
HIGH_R = EPOCH + EPOCH // 2

QUEUE_FULL = "queue-full"
CONCURRENCY_LIMIT = "concurrency-limit"
TIME_OUT = "time-out"

_virtual_finish = attrgetter("virtual_finish")


Occupancy = tuple[int, int, int, int]  # of a set: requests waiting and executing, seats in use and waited for


class QueuingConfig(msgspec.Struct, frozen=True):
    """`queues` 0: reject what does not fit at once."""

    queues: int = 0
    hand_size: int = 0
    queue_length_limit: int = 0
    exempt: bool = False


class Totals:
    """Counts since the set was created, and the virtual times of the last dispatch."""

    __slots__ = ("cancelled", "dispatch_r", "dispatched", "epochs", "epochs_wrapped", "latest_s", "rejected")

    def __init__(self) -> None:
        self.dispatched = self.rejected = self.cancelled = self.epochs = self.epochs_wrapped = 0
        self.dispatch_r = self.latest_s = 0


class QueueSet:
    """All queues of one priority level. Every method takes the current time; time that runs backwards stands still.

    `on_dispatch` is called for each request that starts, also from within `arrive`. What a transition costs is paid by
    every request, so nobody is told of one: the set only notes how long it was in which state, and `on_account` hears
    of that when the account is made up.
    """

    def __init__(
        self,
        config: QueuingConfig,
        limit: int,
        now: int,
        on_dispatch: Callable[[Request], None],
    ) -> None:
        self.on_dispatch = on_dispatch
        self.on_account: Callable[[Mapping[Occupancy, int]], None] = lambda lasted: None
        self.queues: list[Queue] = []
        self.unqueued: set[Request] = set()  # executing requests that never had a queue
        self.r = 0
        self.robin = -1
        self.enqueues = 0
        self.waiting = self.executing = 0
        self.waiting_seats = self.seats_in_use = 0
        self.totals = Totals()
        self.demand = DemandPeriod()  # since the last adjustment, as of the last account
        self._lasted: dict[Occupancy, int] = {}  # nanoseconds since the last account
        self._active = 0
        self._nonempty: dict[Queue, None] = {}
        self._now = now
        self._dealer: Dealer | None = None
        self.config = QueuingConfig()
        self.limit = 0
        self.reconfigure(config, limit, now)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing executes; seats may still linger."""
        return not (self.waiting or self.executing)

    # configuration

    def reconfigure(self, config: QueuingConfig, limit: int, now: int) -> None:
        """New queues and a new limit; what waits keeps its place, surplus queues drain."""
        self._advance(now)
        if config.queues and (config.queues, config.hand_size) != (self.config.queues, self.config.hand_size):
            self._dealer = Dealer(config.queues, config.hand_size)
        self.config, self.limit = config, limit
        self.queues.extend(Queue(index) for index in range(len(self.queues), config.queues))
        for queue in self.queues[config.queues :]:
            self._drop_if_surplus(queue)
        self._dispatch()

    def set_limit(self, limit: int, now: int) -> None:
        """A new concurrency limit."""
        self._advance(now)
        self.limit = limit
        self._dispatch()

    # the life of a request

    def arrive(self, request: Request, now: int) -> None:
        """Admits, queues or rejects; the request's `state` and `reason` say which."""
        self._advance(now)
        request.arrival_ns = now
        request.arrival_r = self.r
        if self.config.queues:
            self._arrive_queued(request)
        else:
            self._arrive_unqueued(request)
        wanted = self.seats_in_use + self.waiting_seats
        if wanted > self.demand.high:
            self.demand.high = wanted

    def _arrive_unqueued(self, request: Request) -> None:
        if not self._fits(request.max_seats):
            return self._reject(request, CONCURRENCY_LIMIT)
        self.unqueued.add(request)
        self._start(request)

    def _arrive_queued(self, request: Request) -> None:
        assert self._dealer is not None
        queue = self._choose(self._dealer.deal(request.hash_value))
        if self.seats_in_use >= self.limit and len(queue.waiting) >= self.config.queue_length_limit:
            return self._reject(request, QUEUE_FULL)
        if not queue.executing and not queue.waiting:
            queue.next_dispatch_r = self.r
            self._active += 1
        request.total_work = request.initial_seats * SEAT_WORK
        if request.final_seats:
            request.total_work += seats_for(request.final_seats, request.additional_latency_ns)
        request.queue = queue
        if not self.waiting and self.seats_in_use + request.max_seats <= self.limit:
            # What enqueueing and dispatching at once would come to, without touching the waiting line.
            request.queue_length = 1
            if queue.next_dispatch_r < self.r:
                queue.next_dispatch_r = self.r
            self._begin(request, queue)
        else:
            self._enqueue(request, queue)
            queue.bound()
            self._dispatch()

    def _enqueue(self, request: Request, queue: Queue) -> None:
        request.state = WAITING
        queue.waiting.append(request)
        request.queue_length = len(queue.waiting)
        self._nonempty[queue] = None
        self._count_waiting(request, queue, 1)

    def eject(self, request: Request, now: int) -> bool:
        """The wait is over (expired, or the client left). False when the request no longer waits."""
        if request.state is not WAITING or request.queue is None:
            return False
        self._advance(now)
        queue = request.queue
        queue.waiting.remove(request)
        self._left_waiting(request, queue)
        if not queue.active:
            self._active -= 1
        queue.bound()
        self._reject(request, TIME_OUT)
        self.totals.cancelled += 1
        self._drop_if_surplus(queue)
        self._dispatch()
        return True

    def finish(self, request: Request, now: int) -> int | None:
        """The response is done. When seats linger: the time at which `release` must be called."""
        self._advance(now)
        request.flow.executing -= 1
        self.executing -= 1
        queue = request.queue
        if queue is None:
            self.unqueued.discard(request)
        else:
            queue.executing.remove(request)
            duration = max(now - request.start_ns, 0)
            queue.next_dispatch_r -= seats_for(request.initial_seats, SERVICE_NS - duration)
            if queue.waiting:
                queue.bound()
            elif not queue.executing:
                self._active -= 1
        if request.additional_latency_ns > 0:
            request.state = LINGERING
            self._dispatch()
            return now + request.additional_latency_ns
        self._free(request)
        return None

    def release(self, request: Request, now: int) -> None:
        """The lingering seats become free."""
        self._advance(now)
        self._free(request)

    # accounts

    def account(self, now: int) -> None:
        """Makes up the account: how long the set was in which state since the last time."""
        self._advance(now)
        lasted, self._lasted = self._lasted, {}
        for (_, _, seats, waited_for), elapsed in lasted.items():
            self.demand.add(seats + waited_for, elapsed)
        self.on_account(lasted)

    def end_demand_period(self, now: int) -> DemandSample:
        """The statistics of the seats wanted since the last call; a new period starts with what is wanted now."""
        self.account(now)
        ended, self.demand = self.demand.sample(), DemandPeriod(self.seats_in_use + self.waiting_seats)
        return ended

    # questions

    @property
    def occupancy(self) -> Occupancy:
        """What it holds now."""
        return self.waiting, self.executing, self.seats_in_use, self.waiting_seats

    def hand(self, hash_value: int) -> tuple[int, ...]:
        """The queues a flow may use; empty when the level does not queue."""
        return self._dealer.deal(hash_value) if self._dealer is not None and self.config.queues else ()

    def rate(self) -> float:
        """Seat-seconds per second that each active queue receives."""
        return min(self.limit, self.seats_in_use + self.waiting_seats) / self._active if self._active else 0.0

    def requests(self) -> Iterator[Request]:
        """Everything that waits or executes: per queue in its order, then what never had a queue."""
        for queue in self.queues:
            yield from queue.waiting
            yield from queue.executing
        yield from self.unqueued

    def next_starts(self) -> list[tuple[int, int]]:
        """Of each queue with waiting requests: its virtual start, and the same without the seats it has in use."""
        return [
            (queue.next_dispatch_r, queue.next_dispatch_r - queue.seats_in_use * SEAT_WORK) for queue in self._nonempty
        ]

    # mechanics

    def _advance(self, now: int) -> None:
        elapsed = now - self._now
        if elapsed <= 0:
            return
        self._now = now
        state = self.waiting, self.executing, self.seats_in_use, self.waiting_seats
        self._lasted[state] = self._lasted.get(state, 0) + elapsed
        active = self._active
        if active:
            rate = min(self.limit, self.seats_in_use + self.waiting_seats) / active
            self.r += int(rate * elapsed / 10 + 0.5)
            if self.r >= HIGH_R:
                self._take_off_epoch()

    def _take_off_epoch(self) -> None:
        self.totals.epochs += 1
        self.r -= EPOCH
        lowest = self.r
        for queue in self.queues:
            queue.next_dispatch_r = queue.next_dispatch_r - EPOCH if queue.active else 0
            for request in queue.waiting:
                request.arrival_r -= EPOCH
            queue.bound()
            lowest = min(lowest, queue.next_dispatch_r, *(request.arrival_r for request in queue.waiting))
        self.totals.epochs_wrapped += lowest < 0

    def _choose(self, hand: tuple[int, ...]) -> Queue:
        """The queue of the hand with the least waiting work, counting what executes as a seat's work each: that is
        charged in full only when it ends, and whoever waits behind it then pays. The first place to look rotates."""
        offset = self.enqueues % len(hand)
        self.enqueues += 1
        queues = self.queues
        best = queues[hand[offset]]
        least = best.work + len(best.executing) * SEAT_WORK
        if least:
            for index in hand[offset + 1 :] + hand[:offset]:
                queue = queues[index]
                work = queue.work + len(queue.executing) * SEAT_WORK
                if work < least:
                    best, least = queue, work
        return best

    def _fits(self, seats: int) -> bool:
        if self.config.exempt:
            return True
        if seats > self.limit:
            return self.limit > 0 and not self.executing
        return self.seats_in_use + seats <= self.limit

    def _dispatch(self) -> None:
        while self.waiting and self.seats_in_use < self.limit and self._dispatch_one():
            pass

    def _dispatch_one(self) -> bool:
        queue = self._select()
        request = queue.waiting[0]
        if not self._fits(request.max_seats):
            request.flow.no_accommodation += 1
            self.robin %= len(self.queues)
            return False
        queue.waiting.popleft()
        self._left_waiting(request, queue)
        self._begin(request, queue)
        return True

    def _begin(self, request: Request, queue: Queue) -> None:
        """Charges a request to its queue and starts it."""
        self.robin = queue.index
        if request.final_seats > self.limit:
            self._cut_final_seats(request)
        self.totals.dispatch_r, self.totals.latest_s = self.r, queue.next_dispatch_r
        queue.seats_in_use += request.max_seats
        queue.executing.add(request)
        queue.next_dispatch_r += request.total_work
        if queue.waiting:
            queue.bound()
        self._start(request)

    def _select(self) -> Queue:
        """The queue with the smallest virtual finish; among equals the first one after the last dispatched."""
        if len(self._nonempty) == 1:
            return next(iter(self._nonempty))
        finish = min(self._nonempty, key=_virtual_finish).virtual_finish
        first, count = self.robin + 1, len(self.queues)
        equals = [queue for queue in self._nonempty if queue.virtual_finish == finish]
        return min(equals, key=lambda queue: (queue.index - first) % count) if len(equals) > 1 else equals[0]

    def _cut_final_seats(self, request: Request) -> None:
        """Nothing can be wider than the level: the final phase becomes narrower and longer, its work stays."""
        work = seats_for(request.final_seats, request.additional_latency_ns)
        request.additional_latency_ns = ns_per_seat(work, self.limit)
        request.final_seats = self.limit
        request.max_seats = max(request.initial_seats, request.final_seats)

    def _start(self, request: Request) -> None:
        request.state = EXECUTING
        request.start_ns = self._now
        flow, seats = request.flow, request.max_seats
        self.executing += 1
        self.seats_in_use += seats
        self.totals.dispatched += 1
        flow.dispatched += 1
        flow.executing += 1
        flow.executing_seats += seats
        self.on_dispatch(request)

    def _reject(self, request: Request, reason: str) -> None:
        request.state = REJECTED
        request.reason = reason
        self.totals.rejected += 1
        rejected = request.flow.rejected
        rejected[reason] = rejected.get(reason, 0) + 1

    def _left_waiting(self, request: Request, queue: Queue) -> None:
        if not queue.waiting:
            del self._nonempty[queue]
        self._count_waiting(request, queue, -1)

    def _count_waiting(self, request: Request, queue: Queue, sign: int) -> None:
        seats = sign * request.max_seats
        self.waiting += sign
        self.waiting_seats += seats
        queue.initial_seats += sign * request.initial_seats
        queue.max_seats += seats
        queue.work += sign * request.total_work
        flow = request.flow
        flow.waiting += sign
        flow.waiting_seats += seats

    def _free(self, request: Request) -> None:
        request.state = DONE
        self.seats_in_use -= request.max_seats
        request.flow.executing_seats -= request.max_seats
        queue = request.queue
        if queue is not None:
            queue.seats_in_use -= request.max_seats
            if queue.index >= self.config.queues:
                self._drop_if_surplus(queue)
        if self.waiting:
            self._dispatch()

    def _drop_if_surplus(self, queue: Queue) -> None:
        if queue.index < self.config.queues or queue.active or queue.seats_in_use:
            return
        del self.queues[queue.index]
        for index in range(queue.index, len(self.queues)):
            self.queues[index].index = index
        if self.robin >= queue.index:
            self.robin -= 1

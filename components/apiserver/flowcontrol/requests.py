"""What a queue set holds: requests, the queues they stand in, and the counts of the flows they belong to."""

from __future__ import annotations

from collections import deque
from enum import IntEnum

from kubeglass.components.apiserver.flowcontrol.seats import WorkEstimate


class State(IntEnum):
    """A request moves downwards only."""

    NEW = 0
    WAITING = 1
    EXECUTING = 2
    LINGERING = 3
    DONE = 4
    REJECTED = 5


# On the way of every request: looking a member up by `State.` takes six times as long as a name.
NEW, WAITING, EXECUTING, LINGERING, DONE, REJECTED = State


class FlowCounters:
    """What a level counts per flow schema."""

    __slots__ = (
        "dispatched",
        "executing",
        "executing_seats",
        "no_accommodation",
        "rejected",
        "schema",
        "waiting",
        "waiting_seats",
    )

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self.dispatched = self.executing = self.executing_seats = self.waiting = self.waiting_seats = 0
        self.no_accommodation = 0
        self.rejected: dict[str, int] = {}


class Request:
    """One request inside a queue set. Owners may keep something of theirs in `owner`."""

    __slots__ = (
        "additional_latency_ns",
        "arrival_ns",
        "arrival_r",
        "distinguisher",
        "final_seats",
        "flow",
        "hash_value",
        "initial_seats",
        "max_seats",
        "owner",
        "queue",
        "queue_length",
        "reason",
        "start_ns",
        "state",
        "total_work",
    )

    def __init__(
        self, flow: FlowCounters, work: WorkEstimate, hash_value: int = 0, distinguisher: str = "", owner: object = None
    ) -> None:
        self.flow = flow
        self.hash_value = hash_value
        self.distinguisher = distinguisher
        self.owner = owner
        self.initial_seats = work.initial_seats
        self.final_seats = work.final_seats
        self.additional_latency_ns = work.additional_latency_ns
        self.max_seats = max_seats = work.initial_seats
        if work.final_seats > max_seats:
            self.max_seats = work.final_seats
        self.total_work = 0
        self.arrival_ns = self.start_ns = 0
        self.arrival_r = 0
        self.queue: Queue | None = None
        self.queue_length = 0  # of its queue, itself included, when it was appended
        self.state = NEW
        self.reason = ""  # why it was rejected


class Queue:
    """The waiting and executing requests of one queue."""

    __slots__ = (
        "executing",
        "index",
        "initial_seats",
        "max_seats",
        "next_dispatch_r",
        "seats_in_use",
        "virtual_finish",
        "waiting",
        "work",
    )

    def __init__(self, index: int) -> None:
        self.index = index
        self.waiting: deque[Request] = deque()
        self.executing: set[Request] = set()
        self.next_dispatch_r = 0
        self.virtual_finish = 0  # of the head; meaningless while nothing waits
        self.seats_in_use = 0  # lingering ones included
        self.initial_seats = self.max_seats = self.work = 0  # sums over the waiting requests

    @property
    def active(self) -> bool:
        return bool(self.waiting or self.executing)

    def bound(self) -> None:
        """Keeps the virtual start from lagging behind the head's arrival; due after every change of either."""
        if self.waiting:
            head = self.waiting[0]
            if self.next_dispatch_r < head.arrival_r:
                self.next_dispatch_r = head.arrival_r
            self.virtual_finish = self.next_dispatch_r + head.total_work

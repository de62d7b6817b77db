"""Seats: the unit of concurrency, and how many of them a request takes.

A request holds `initial_seats` while it executes, and `final_seats` for `additional_latency` after its response was
sent (a write keeps the server busy with informing watchers). Work is measured in seat-seconds, as integers of 1e-8.
LIST and WATCH are as wide as the bytes they load, writes as the watchers they wake. Times are integer nanoseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

SEAT_SECOND = 10**8
MILLISECOND = 10**6
SECOND = 10**9

MAX_LIST_SEATS = 100
MAX_LIST_SEATS_BY_COUNT = 10
MAX_MUTATING_SEATS = 10
BYTES_PER_SEAT = 100_000
CACHE_BYTES_CAP = 1_000_000
ASSUMED_OBJECT_BYTES = 1_500_000
ASSUMED_COUNT = 10**9
OBJECTS_PER_SEAT = 100
WATCHES_PER_SEAT = 10
EVENT_NS = 5 * MILLISECOND

_MUTATING = frozenset(("create", "update", "patch", "delete"))


def half_away(value: float) -> int:
    """Rounds halves away from zero, as Go's math.Round; Python's round() would go to the even neighbour."""
    return math.floor(value + 0.5) if value >= 0 else math.ceil(value - 0.5)


def seats_for(seats: int, duration_ns: int) -> int:
    """The work of holding `seats` for a duration (negative: given back), in units of 1e-8 seat-seconds."""
    work = seats * duration_ns
    return (work + 5) // 10 if work >= 0 else -((5 - work) // 10)


def ns_per_seat(work: int, seats: int) -> int:
    """How long `seats` must be held to do `work`."""
    return work * 10 // seats


def format_work(work: int) -> str:
    """`12.34500000ss`, the notation of the debug dumps."""
    return f"{work // SEAT_SECOND}.{work % SEAT_SECOND:08d}ss"


class WorkEstimate(msgspec.Struct, frozen=True, gc=False):
    """How wide a request is now (`initial_seats`) and how wide, for how long, after its response."""

    initial_seats: int = 1
    final_seats: int = 0
    additional_latency_ns: int = 0

    @property
    def max_seats(self) -> int:
        return max(self.initial_seats, self.final_seats)

    @property
    def final_work(self) -> int:
        return seats_for(self.final_seats, self.additional_latency_ns)

    def total_work(self, service_ns: int) -> int:
        """The work charged at dispatch, guessing that the execution takes `service_ns`."""
        return seats_for(self.initial_seats, service_ns) + self.final_work


ONE_SEAT = WorkEstimate()


class CollectionStats(msgspec.Struct, frozen=True, gc=False):
    """What the store knows of one collection: how many objects and how large on average."""

    count: int
    average_bytes: int


UNKNOWN_STATS = CollectionStats(ASSUMED_COUNT, ASSUMED_OBJECT_BYTES)


@dataclass(frozen=True, slots=True)
class EstimatorFeatures:
    """The switches of the estimate, all on since 1.34."""

    by_size: bool = True
    streaming_lists: bool = True
    consistent_reads_from_cache: bool = True

    @property
    def max_list_seats(self) -> int:
        return MAX_LIST_SEATS if self.by_size else MAX_LIST_SEATS_BY_COUNT


class ListCost(msgspec.Struct, frozen=True, gc=False):
    """What a LIST (or the first part of a WATCH) has to read."""

    stats: CollectionStats
    limit: int = 0
    has_selector: bool = False
    from_cache: bool = False
    single_object: bool = False

    @property
    def _limited(self) -> int:
        return min(self.limit, self.stats.count) if self.limit > 0 else self.stats.count

    def seats_by_size(self) -> int:
        """Uncapped seats by bytes loaded."""
        average = self.stats.average_bytes
        if average == 0 and self.stats.count > 0:
            average = ASSUMED_OBJECT_BYTES
        loaded = self._objects_loaded() * average
        if self.from_cache:
            loaded = min(loaded, CACHE_BYTES_CAP)
        return max(1, -(-loaded // BYTES_PER_SEAT))

    def _objects_loaded(self) -> int:
        if self.single_object:
            return 1
        if self.has_selector and not self.from_cache:
            return max(self._limited, self.stats.count // 2)
        return self._limited

    def seats_by_count(self) -> int:
        """Uncapped seats by objects touched: the rule of 1.23 to 1.33."""
        if self.single_object:
            touched = 1
        elif self.from_cache:
            touched = self.stats.count
        elif self.has_selector:
            touched = self.stats.count + self._limited
        else:
            touched = 2 * self._limited
        return max(1, -(-touched // OBJECTS_PER_SEAT))


class ListOptions(msgspec.Struct, frozen=True, gc=False):
    """The query of a LIST or WATCH, as far as the estimate reads it."""

    limit: int = 0
    continue_: str = ""
    resource_version: str = ""
    resource_version_match: str = ""
    label_selector: str = ""
    field_selector: str = ""
    send_initial_events: bool = False

    @property
    def pinned_name(self) -> str:
        return pinned_field(self.field_selector, "metadata.name")

    def served_from_cache(self, consistent_reads: bool) -> bool:
        """Whether a LIST with these options is answered by the watch cache."""
        if self.resource_version_match:
            return self.resource_version_match == "NotOlderThan"
        if self.continue_:
            return False
        if self.resource_version == "0":
            return True
        if self.resource_version:
            return self.limit == 0
        return consistent_reads


def list_options(query: Mapping[str, str]) -> ListOptions | None:
    """The options in a query; None when they cannot be parsed."""
    if not query:
        return _NO_OPTIONS
    try:
        int(query.get("timeoutSeconds") or 0)
        return ListOptions(
            limit=int(query.get("limit") or 0),
            continue_=query.get("continue", ""),
            resource_version=query.get("resourceVersion", ""),
            resource_version_match=query.get("resourceVersionMatch", ""),
            label_selector=query.get("labelSelector", ""),
            field_selector=query.get("fieldSelector", ""),
            send_initial_events=query.get("sendInitialEvents", "false").lower() not in ("false", "0"),
        )
    except ValueError:
        return None


_NO_OPTIONS = ListOptions()


def pinned_field(field_selector: str, field: str) -> str:
    """The value that a field selector demands of `field` by equality; empty when it demands none."""
    for term in field_selector.split(",") if field_selector else ():
        key, equals, value = term.partition("=")
        if equals and key == field:
            return value.removeprefix("=")
    return ""


def level_seat_cap(nominal_limit: int, hand_size: int) -> int:
    """The widest that one request of a queueing level may be."""
    return max(1, min(math.ceil(0.15 * nominal_limit), nominal_limit // hand_size))


def effective_cap(level_cap: int, global_cap: int) -> int:
    """The level's cap where there is one (not 0) and it is the narrower."""
    return level_cap if 0 < level_cap <= global_cap else global_cap


def list_estimate(
    verb: str,
    name: str,
    options: ListOptions | None,
    stats: CollectionStats | None,
    level_cap: int,
    features: EstimatorFeatures,
) -> WorkEstimate:
    """The width of a LIST or WATCH; `stats` is None for a collection that the store does not know."""
    if verb == "watch" and not features.streaming_lists:
        return ONE_SEAT
    cap = effective_cap(level_cap, features.max_list_seats)
    if options is None:
        return WorkEstimate(cap)
    if verb == "watch" and not options.send_initial_events and options.resource_version not in ("", "0"):
        return ONE_SEAT
    if stats is None:
        return ONE_SEAT
    cost = ListCost(
        stats,
        options.limit,
        bool(options.label_selector or options.field_selector),
        verb == "watch" or options.served_from_cache(features.consistent_reads_from_cache),
        bool(name or options.pinned_name),
    )
    seats = min(cost.seats_by_size() if features.by_size else cost.seats_by_count(), cap)
    return ONE_SEAT if seats == 1 else WorkEstimate(seats)


def mutating_estimate(watchers: int, level_cap: int) -> WorkEstimate:
    """The width of a write that `watchers` watches will hear of: the wider it is, the longer its tail."""
    if watchers < WATCHES_PER_SEAT:
        return ONE_SEAT
    wanted = -(-watchers // WATCHES_PER_SEAT)
    seats = min(wanted, effective_cap(level_cap, MAX_MUTATING_SEATS))
    return WorkEstimate(1, seats, ns_per_seat(seats_for(wanted, EVENT_NS), seats))


def is_mutating_estimate(verb: str, resource: str, subresource: str) -> bool:
    """Whether a request's width depends on watchers; token requests do not store anything."""
    return verb in _MUTATING and not (resource == "serviceaccounts" and subresource == "token")


def unclassifiable_estimate(level_cap: int, features: EstimatorFeatures) -> WorkEstimate:
    """The width of a request about which nothing is known: as wide as any may be."""
    return WorkEstimate(effective_cap(level_cap, max(features.max_list_seats, MAX_MUTATING_SEATS)))

"""Who uses a level most, in bounded memory: a frequent-items sketch over two generations of a window.

Each generation keeps at most 2 * `capacity` users per level; when that is exceeded, the lighter half goes. A newcomer
inherits the weight of the heaviest one that ever went as possible error, so whoever holds more than 1/capacity of a
level's work is always in the list. Who leads it is decided by recent work, which counts half as much every few seconds:
a new culprit overtakes one that has stopped. Recent work is kept as it would count at the start of its generation, so
that nothing has to be touched as time goes by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from kubeglass.components.apiserver.flowcontrol.records import EXECUTED, Record
from kubeglass.components.apiserver.flowcontrol.seats import MILLISECOND

CAPACITY = 32
WINDOW_NS = 30 * 10**9
HALF_LIFE_NS = 2 * 10**9

Key = tuple[str, str]  # (flow schema, user)


class Talker(msgspec.Struct, rename="camel"):
    """What one user did on one level in the window."""

    schema: str
    user: str
    recent: float = 0.0  # what the list is sorted by: the weight, fading
    weight: int = 0  # what the sketch keeps by: seat-nanoseconds used and waited for
    error: int = 0  # how much of the weight may belong to users that were replaced
    requests: int = 0
    queued: int = 0
    rejected: int = 0
    seat_ns: int = 0
    wait_ns: int = 0
    user_agent: str = ""
    source: str = ""
    verb: str = ""
    resource: str = ""


class _Account:
    """What one user did on one level in one generation; the meaning of the fields is that of Talker's."""

    __slots__ = ("error", "latest", "queued", "recent", "rejected", "requests", "seat_ns", "wait_ns", "weight")

    def __init__(self, error: int, latest: Record) -> None:
        self.weight = self.error = error
        self.recent = 0.0
        self.requests = self.queued = self.rejected = self.seat_ns = self.wait_ns = 0
        self.latest = latest

    def talker(self, fading: float) -> Talker:
        """The account as it is shown."""
        digest, caller = self.latest.digest, self.latest.caller
        return Talker(
            self.latest.flow_schema,
            digest.user,
            self.recent * fading,
            self.weight,
            self.error,
            self.requests,
            self.queued,
            self.rejected,
            self.seat_ns,
            self.wait_ns,
            caller.user_agent,
            caller.source,
            digest.verb,
            digest.resource or digest.path,
        )


class Talkers:
    """The heaviest users of one level over the last one to two windows."""

    __slots__ = ("_capacity", "_current", "_floor", "_previous", "_turned", "_turned_before", "_window_ns")

    def __init__(self, now: int, capacity: int = CAPACITY, window_ns: int = WINDOW_NS) -> None:
        self._capacity = capacity
        self._window_ns = window_ns
        self._turned = self._turned_before = now
        self._floor = 0  # the heaviest weight that went in this generation
        self._current: dict[Key, _Account] = {}
        self._previous: dict[Key, _Account] = {}

    def add(self, record: Record, now: int) -> None:
        """A request is over: it used seats, and waited for some. Just to have come counts as a millisecond."""
        since = now - self._turned
        if since >= self._window_ns:
            self._turn(now)
            since = 0
        key = record.flow_schema, record.digest.user
        account = self._current.get(key) or self._admit(key, record)
        seats, waited_ns = record.initial_seats, record.waited_ns
        seat_ns = seats * record.executed_ns + record.final_seats * record.additional_latency_ns
        cost = seat_ns + seats * waited_ns + MILLISECOND
        account.weight += cost
        account.recent += cost * 2.0 ** (since / HALF_LIFE_NS)
        account.requests += 1
        account.seat_ns += seat_ns
        if waited_ns:
            account.queued += 1
            account.wait_ns += waited_ns
        if record.outcome != EXECUTED:
            account.rejected += 1
        account.latest = record

    def _turn(self, now: int) -> None:
        skipped = now - self._turned >= 2 * self._window_ns
        self._previous = {} if skipped else self._current
        self._current = {}
        self._floor = 0
        self._turned_before, self._turned = self._turned, now

    def _admit(self, key: Key, record: Record) -> _Account:
        if len(self._current) >= 2 * self._capacity:
            self._drop_lighter_half()
        account = self._current[key] = _Account(self._floor, record)
        return account

    def _drop_lighter_half(self) -> None:
        by_weight = sorted(self._current.items(), key=lambda entry: entry[1].weight, reverse=True)
        self._floor = by_weight[self._capacity][1].weight
        self._current = dict(by_weight[: self._capacity])

    def top(self, count: int, now: int, in_flight: Iterable[Talker] = ()) -> list[Talker]:
        """The heaviest users, the heaviest of late first; `in_flight` is what unfinished requests have cost so far."""
        if now - self._turned >= self._window_ns:
            self._turn(now)
        merged: dict[Key, Talker] = {}
        for talker in (*self._entries(now), *in_flight):
            present = merged.get((talker.schema, talker.user))
            merged[talker.schema, talker.user] = talker if present is None else _sum(talker, present)
        return sorted(merged.values(), key=lambda talker: (-talker.recent, talker.user))[:count]

    def _entries(self, now: int) -> Iterator[Talker]:
        for turned, generation in ((self._turned_before, self._previous), (self._turned, self._current)):
            fading = 2 ** ((turned - now) / HALF_LIFE_NS)
            for account in generation.values():
                yield account.talker(fading)


def _sum(new: Talker, old: Talker) -> Talker:
    """Both accounts of one user; the newer one says what it did last."""
    return msgspec.structs.replace(
        new,
        recent=new.recent + old.recent,
        weight=new.weight + old.weight,
        error=new.error + old.error,
        requests=new.requests + old.requests,
        queued=new.queued + old.queued,
        rejected=new.rejected + old.rejected,
        seat_ns=new.seat_ns + old.seat_ns,
        wait_ns=new.wait_ns + old.wait_ns,
    )

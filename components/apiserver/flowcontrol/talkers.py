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


class Talkers:
    """The heaviest users of one level over the last one to two windows."""

    __slots__ = ("_capacity", "_current", "_floor", "_previous", "_turned", "_turned_before", "_window_ns")

    def __init__(self, now: int, capacity: int = CAPACITY, window_ns: int = WINDOW_NS) -> None:
        self._capacity = capacity
        self._window_ns = window_ns
        self._turned = self._turned_before = now
        self._floor = 0  # the heaviest weight that went in this generation
        self._current: dict[Key, Talker] = {}
        self._previous: dict[Key, Talker] = {}

    def of(self, schema: str, user: str, now: int) -> Talker:
        """The entry of a user, made room for if need be. Add to it at once; it may be replaced later."""
        if now - self._turned >= self._window_ns:
            self._turn(now)
        talker = self._current.get((schema, user))
        return talker if talker is not None else self._admit(schema, user)

    def account(self, talker: Talker, cost: int, now: int) -> None:
        """The user has used or waited for so many seat-nanoseconds."""
        talker.weight += cost
        talker.recent += cost * float(2 ** ((now - self._turned) / HALF_LIFE_NS))

    def _turn(self, now: int) -> None:
        skipped = now - self._turned >= 2 * self._window_ns
        self._previous = {} if skipped else self._current
        self._current = {}
        self._floor = 0
        self._turned_before, self._turned = self._turned, now

    def _admit(self, schema: str, user: str) -> Talker:
        if len(self._current) >= 2 * self._capacity:
            self._drop_lighter_half()
        talker = self._current[schema, user] = Talker(schema, user, weight=self._floor, error=self._floor)
        return talker

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
            for talker in generation.values():
                yield msgspec.structs.replace(talker, recent=talker.recent * fading)


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

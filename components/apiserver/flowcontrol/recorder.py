"""The flight recorder: which requests waited, were rejected or gave up, who sent them and why they were treated so.

Two bounded rings: `incidents` (everything that did not run at once) and `traffic` (everything that came, the material
of what-if). When a ring is full the oldest entry goes and is counted. Talkers are kept per level beside them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from kubeglass.components.apiserver.flowcontrol.records import EXECUTED, Record
from kubeglass.components.apiserver.flowcontrol.seats import SECOND
from kubeglass.components.apiserver.flowcontrol.talkers import Talker, Talkers

NOTHING: Mapping[str, Iterable[Talker]] = {}


class Ring:
    """The newest entries of a kind, no older than `minutes`, at most `capacity`."""

    __slots__ = ("_records", "capacity", "keep_ns", "overwritten")

    def __init__(self, capacity: int, minutes: float) -> None:
        self.capacity = capacity
        self.keep_ns = int(minutes * 60 * SECOND)
        self.overwritten = 0
        self._records: deque[Record] = deque(maxlen=capacity)

    def add(self, record: Record) -> None:
        if len(self._records) == self.capacity:
            oldest = self._records[0]
            self.overwritten += record.arrived_ns - oldest.arrived_ns < self.keep_ns
        self._records.append(record)

    def __len__(self) -> int:
        return len(self._records)

    def since(self, wall_ns: int) -> Iterator[Record]:
        """The records that are still young enough, the oldest first."""
        while self._records and wall_ns - self._records[0].arrived_ns > self.keep_ns:
            self._records.popleft()
        yield from self._records


class Recorder:
    """Incidents, traffic and talkers of one server."""

    def __init__(self, incidents: int = 10_000, traffic: int = 20_000, minutes: float = 10) -> None:
        self.incidents = Ring(incidents, minutes)
        self.traffic = Ring(traffic, minutes)
        self._talkers: dict[str, Talkers] = {}

    def talkers(self, level: str, now: int) -> Talkers:
        """The running accounts of a level's users."""
        talkers = self._talkers.get(level)
        if talkers is None:
            talkers = self._talkers[level] = Talkers(now)
        return talkers

    def top_talkers(
        self, count: int, now: int, in_flight: Mapping[str, Iterable[Talker]] = NOTHING
    ) -> dict[str, list[Talker]]:
        """The heaviest users of each level; `in_flight` adds what unfinished requests have cost so far."""
        levels = sorted({*self._talkers, *in_flight})
        return {level: self.talkers(level, now).top(count, now, in_flight.get(level, ())) for level in levels}

    def forget_level(self, level: str) -> None:
        """The level is gone."""
        self._talkers.pop(level, None)

    def add(self, record: Record, now: int) -> None:
        """A request is over."""
        self.traffic.add(record)
        if record.waited_ns > 0 or record.outcome != EXECUTED:
            self.incidents.add(record)
        self.talkers(record.priority_level, now).add(record, now)

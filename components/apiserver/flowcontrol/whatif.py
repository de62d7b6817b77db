"""Replays recorded traffic against changed objects, and says what waits and rejections would have been. Pure.

A recording is what `dump_recording` prints. The requests of one connection that never overlap were sent by a client
that waits for its answers, so they are replayed as a closed loop with the pauses it made after answers and after
rejections; others come at their recorded times. A request that was rejected is given the execution time of its like.
Both runs are replays, so that what the model leaves out (the server's own slowing down) is left out of both.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from kubeglass.components.api.objects.flowcontrol import FlowSchema, PriorityLevel
from kubeglass.components.apiserver.flowcontrol.records import EXECUTED, Record
from kubeglass.components.apiserver.flowcontrol.seats import SECOND, WorkEstimate
from kubeglass.components.apiserver.flowcontrol.simulator import Passage, World

RECORDING_KIND = "FlowControlRecording"
_SHORTEST_PAUSE_NS = 1000  # no client is faster, and a client without any pause would stop the clock


class RecordingError(ValueError):
    """A recording that cannot be read; the text says where and why."""


class RecordingHeader(msgspec.Struct, frozen=True, rename="camel"):
    """The first line: the configuration that the traffic met."""

    kind: str
    server_limit: int
    flow_schemas: tuple[FlowSchema, ...]
    priority_levels: tuple[PriorityLevel, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """Traffic in the order of its arrival, and what it met."""

    header: RecordingHeader
    records: tuple[Record, ...]


def read_recording(data: bytes) -> Recording:
    """Decodes a recording. Raises RecordingError."""
    lines = [line for line in data.splitlines() if line.strip()]
    if not lines:
        raise RecordingError("the recording is empty")
    decoder = msgspec.json.Decoder(Record)
    try:
        header = msgspec.json.decode(lines[0], type=RecordingHeader)
        records = [decoder.decode(line) for line in lines[1:]]
    except msgspec.MsgspecError as error:
        raise RecordingError(f"this is no flow control recording: {error}") from error
    if header.kind != RECORDING_KIND:
        raise RecordingError(f"this is a {header.kind}, not a {RECORDING_KIND}")
    return Recording(header, tuple(sorted(records, key=lambda record: record.arrived_ns)))


@dataclass(slots=True)
class Summary:
    """What happened to the requests of one user under one schema."""

    requests: int = 0
    executed: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    wait_ns: int = 0
    longest_wait_ns: int = 0
    levels: set[str] = field(default_factory=set)

    def add(self, outcome: str, waited_ns: int, level: str) -> None:
        self.requests += 1
        self.levels.add(level)
        self.wait_ns += waited_ns
        self.longest_wait_ns = max(self.longest_wait_ns, waited_ns)
        if outcome == EXECUTED:
            self.executed += 1
        else:
            self.rejected[outcome] = self.rejected.get(outcome, 0) + 1

    @property
    def rejections(self) -> int:
        return sum(self.rejected.values())

    @property
    def mean_wait_seconds(self) -> float:
        return self.wait_ns / self.requests / SECOND if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Per user: as recorded, replayed against the recorded objects, and against the changed ones."""

    recorded: dict[str, Summary]
    before: dict[str, Summary]
    after: dict[str, Summary]


def what_if(
    recording: Recording,
    schemas: Iterable[FlowSchema],
    levels: Iterable[PriorityLevel],
    server_limit: int | None = None,
) -> Comparison:
    """Replays the recording against its own objects and against the given ones."""
    header = recording.header
    recorded: dict[str, Summary] = {}
    for record in recording.records:
        summary = recorded.setdefault(record.digest.user, Summary())
        summary.add(record.outcome, record.waited_ns, record.priority_level)
    before = replay(recording, header.flow_schemas, header.priority_levels, header.server_limit)
    return Comparison(recorded, before, replay(recording, schemas, levels, server_limit or header.server_limit))


def replay(
    recording: Recording, schemas: Iterable[FlowSchema], levels: Iterable[PriorityLevel], server_limit: int
) -> dict[str, Summary]:
    """Runs the recorded traffic in a World; summaries per user."""
    world = World(server_limit, schemas, levels)
    if not recording.records:
        return {}
    first = recording.records[0].arrived_ns
    end = max(record.arrived_ns + record.waited_ns + record.executed_ns for record in recording.records) - first
    replayer = _Replayer(world, first, end, _typical_executions(recording.records))
    for records in _connections(recording.records):
        replayer.add(records)
    world.run(end)
    return replayer.summaries


def _connections(records: Sequence[Record]) -> Iterable[list[Record]]:
    """The records of each connection; those that came by none (no source, or no port) stand alone."""
    by_source: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.caller.source and not record.caller.source.endswith(":0"):
            by_source.setdefault((record.caller.source, record.digest.user), []).append(record)
        else:
            yield [record]
    yield from by_source.values()


Like = tuple[str, str, str]


def _like(record: Record) -> Like:
    return record.digest.user, record.digest.verb, record.digest.resource or record.digest.path


def _typical_executions(records: Sequence[Record]) -> dict[Like, int]:
    """The mean execution time of each user's requests of a kind; of all requests under ("", "", "")."""
    times: dict[Like, list[int]] = {("", "", ""): []}
    for record in records:
        if record.outcome == EXECUTED:
            times.setdefault(_like(record), []).append(record.executed_ns)
            times["", "", ""].append(record.executed_ns)
    return {like: sum(each) // len(each) for like, each in times.items() if each}


class _Pauses:
    """How long a client rests after an answer, and after a rejection: as it did, in the same order, over and over.
    One that was never rejected is taken to heed Retry-After, as the Kubernetes client libraries do."""

    def __init__(self, records: Sequence[Record]) -> None:
        after: dict[bool, list[int]] = {True: [], False: []}
        for earlier, later in itertools.pairwise(records):
            pause = max(later.arrived_ns - _answered(earlier), _SHORTEST_PAUSE_NS)
            after[earlier.outcome == EXECUTED].append(pause)
        self._after_answers = itertools.cycle(after[True] or after[False])
        self._after_rejections = itertools.cycle(after[False]) if after[False] else None

    def after(self, passage: Passage) -> int:
        if passage.outcome == EXECUTED:
            return next(self._after_answers)
        if self._after_rejections is None:
            return passage.retry_after_seconds * SECOND
        return next(self._after_rejections)


class _Replayer:
    def __init__(self, world: World, first: int, end: int, typical: dict[Like, int]) -> None:
        self.summaries: dict[str, Summary] = {}
        self._world, self._first, self._end = world, first, end
        self._typical = typical

    def add(self, records: list[Record]) -> None:
        """Schedules the requests of one connection."""
        if len(records) > 1 and not _overlap(records):
            self._loop(records)
            return
        for record in records:
            self._world.at(record.arrived_ns - self._first, partial(self._send, record, _ignore))

    def _loop(self, records: list[Record]) -> None:
        """A client that sends its next request when it has its answer.

        One that was still at it when the recording ended goes on as it did; one that had ended before ends.
        """
        pauses = _Pauses(records)
        rhythm = max(_answered(later) - _answered(earlier) for earlier, later in itertools.pairwise(records))
        at_it = _answered(records[-1]) - self._first + 2 * rhythm >= self._end
        script = itertools.cycle(records) if at_it else iter(records)

        def step() -> None:
            record = next(script, None)
            if record is not None:
                self._send(record, lambda passage: self._world.at(self._world.now + pauses.after(passage), step))

        self._world.at(records[0].arrived_ns - self._first, step)

    def _send(self, record: Record, done: Callable[[Passage], None]) -> None:
        executed = record.executed_ns
        if record.outcome != EXECUTED:
            executed = self._typical.get(_like(record), self._typical.get(("", "", ""), 0))
        work = WorkEstimate(record.initial_seats, record.final_seats, record.additional_latency_ns)

        def ended(passage: Passage) -> None:
            summary = self.summaries.setdefault(record.digest.user, Summary())
            summary.add(passage.outcome, passage.waited_ns, passage.level.name)
            done(passage)

        self._world.submit(record.digest, work, executed, ended)


def _ignore(passage: Passage) -> None:
    return None


def _answered(record: Record) -> int:
    return record.arrived_ns + record.waited_ns + record.executed_ns


def _overlap(records: Sequence[Record]) -> bool:
    return any(later.arrived_ns < _answered(earlier) for earlier, later in itertools.pairwise(records))

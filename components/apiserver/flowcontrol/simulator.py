"""Flow control in virtual time: the server's own regulator, driven by an event queue instead of a clock. Pure.

`World` runs requests whose execution times are given; `simulate` runs a Scenario of closed-loop or open-loop flows in
it and measures what each flow got: seats over time, waits, rejections, and how fair that was.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kubeglass.components.api.flowcontrol import LEVELS, SCHEMAS
from kubeglass.components.api.objects.flowcontrol import FlowSchema, PriorityLevel, flow_schema, priority_level
from kubeglass.components.apiserver.flowcontrol.regulator import ADJUSTMENT_PERIOD_NS, Level, Regulator
from kubeglass.components.apiserver.flowcontrol.requests import Request, State
from kubeglass.components.apiserver.flowcontrol.schemas import RequestDigest
from kubeglass.components.apiserver.flowcontrol.seats import SECOND, WorkEstimate

EXECUTED = "executed"
DEFAULT_WAIT_NS = 15 * SECOND


class ScenarioError(ValueError):
    """A scenario that cannot be run; the text says why."""


@dataclass(slots=True)
class Passage:
    """One request on its way through a World."""

    digest: RequestDigest
    work: WorkEstimate
    execution_ns: int
    done: Callable[[Passage], None]
    level: Level
    schema: str
    arrived_ns: int
    waited_ns: int = 0
    outcome: str = ""
    retry_after_seconds: int = 0  # the advice to one that was rejected
    started: Callable[[Passage], None] | None = None


class World:
    """A server without network: time jumps from event to event; equal times keep the order of insertion."""

    def __init__(
        self,
        server_limit: int,
        schemas: Iterable[FlowSchema],
        levels: Iterable[PriorityLevel],
        default_wait_ns: int = DEFAULT_WAIT_NS,
    ) -> None:
        self.now = 0
        self.regulator = Regulator(server_limit, 0, self._dispatched)
        self.regulator.configure(schemas, levels, 0)
        self._default_wait_ns = default_wait_ns
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._adjust_again()

    def at(self, when: int, event: Callable[[], None]) -> None:
        """Runs an event at a time, not before now."""
        heapq.heappush(self._events, (max(when, self.now), next(self._order), event))

    def run(self, until: int) -> None:
        """Runs everything that happens up to a time."""
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = until

    def submit(
        self,
        digest: RequestDigest,
        work: WorkEstimate,
        execution_ns: int,
        done: Callable[[Passage], None],
        started: Callable[[Passage], None] | None = None,
    ) -> None:
        """A request arrives now; `done` is called when it was executed or rejected."""
        flow = self.regulator.classify(digest)
        passage = Passage(digest, work, execution_ns, done, flow.level, flow.schema.name, self.now, started=started)
        request = flow.request(digest, work, passage)
        flow.level.queues.arrive(request, self.now)
        if request.state is State.WAITING:
            self.at(self.now + self._default_wait_ns, lambda: self._expire(request))
        elif request.state is State.REJECTED:
            self._end(passage, request.reason)

    def _dispatched(self, request: Request) -> None:
        passage = _passage(request)
        passage.waited_ns = self.now - passage.arrived_ns
        if passage.started is not None:
            passage.started(passage)
        self.at(self.now + passage.execution_ns, lambda: self._finish(request))

    def _finish(self, request: Request) -> None:
        passage = _passage(request)
        release = passage.level.queues.finish(request, self.now)
        if release is not None:
            self.at(release, lambda: passage.level.queues.release(request, self.now))
        self._end(passage, EXECUTED)

    def _expire(self, request: Request) -> None:
        passage = _passage(request)
        if passage.level.queues.eject(request, self.now):
            passage.waited_ns = self.now - passage.arrived_ns
            self._end(passage, request.reason)

    def _end(self, passage: Passage, outcome: str) -> None:
        passage.outcome = outcome
        if outcome != EXECUTED:
            passage.level.retry_after.dropped(self.now // SECOND)
            passage.retry_after_seconds = passage.level.retry_after.seconds
        passage.done(passage)

    def _adjust_again(self) -> None:
        if self.now:
            self.regulator.adjust(self.now)
        self.at(self.now + ADJUSTMENT_PERIOD_NS, self._adjust_again)


def _passage(request: Request) -> Passage:
    passage = request.owner
    assert isinstance(passage, Passage)
    return passage


class FlowSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One group of equal clients. `{n}` in `user` is the number of the client, from 0."""

    name: str
    user: str
    groups: tuple[str, ...] = ("system:authenticated",)
    clients: int = 1
    connections: int = 1  # of each client
    verb: str = "list"
    api_group: str = ""
    resource: str = "pods"
    namespace: str = "default"
    path: str = ""  # set: a non-resource request
    seats: int = 1
    final_seats: int = 0
    additional_latency_seconds: float = 0
    execute_seconds: float = 0.1
    think_seconds: float = 0
    requests_per_second: float = 0  # above 0: open loop, and thinkSeconds is not used
    start_seconds: float = 0
    stop_seconds: float | None = None

    @property
    def work(self) -> WorkEstimate:
        return WorkEstimate(self.seats, self.final_seats, _ns(self.additional_latency_seconds))

    def digest(self, client: int) -> RequestDigest:
        return RequestDigest(
            self.user.replace("{n}", str(client)),
            self.groups,
            not self.path,
            self.verb,
            self.api_group,
            "v1",
            "" if self.path else self.resource,
            "",
            "" if self.path else self.namespace,
            "",
            self.path,
        )

    @property
    def demand(self) -> float:
        """The seats the flow would hold on average if it never waited."""
        if self.requests_per_second > 0:
            return self.senders * self.requests_per_second * self.execute_seconds * self.seats
        cycle = self.execute_seconds + self.think_seconds
        return self.senders * self.seats * self.execute_seconds / cycle if cycle > 0 else 0.0

    @property
    def senders(self) -> int:
        return self.clients * self.connections


class Scenario(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What a YAML scenario holds. Objects that it does not bring are the built-in ones."""

    flows: tuple[FlowSpec, ...]
    title: str = ""
    server_limit: int = 600
    duration_seconds: float = 30
    warmup_seconds: float = 0
    wait_limit_seconds: float = 15
    built_in_objects: bool = True
    objects: tuple[dict[str, Any], ...] = ()


def _ns(seconds: float) -> int:
    return round(seconds * SECOND)


def load_scenario(document: Any) -> Scenario:
    """The scenario of a decoded YAML document. Raises ScenarioError."""
    try:
        scenario = msgspec.convert(document, Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioError(str(error)) from error
    for flow in scenario.flows:
        if flow.requests_per_second <= 0 and flow.execute_seconds + flow.think_seconds <= 0:
            raise ScenarioError(
                f"flow {flow.name} would send infinitely many requests: give it a time to execute or think"
            )
    return scenario


def objects_of(
    manifests: Iterable[Mapping[str, Any]], schemas: Iterable[FlowSchema] = (), levels: Iterable[PriorityLevel] = ()
) -> tuple[list[FlowSchema], list[PriorityLevel]]:
    """Objects with manifests laid over them, by name; a manifest without spec removes. Raises ScenarioError."""
    schema_of = {schema.name: schema for schema in schemas}
    level_of = {level.name: level for level in levels}
    for manifest in manifests:
        kind, name = manifest.get("kind"), str((manifest.get("metadata") or {}).get("name", ""))
        try:
            if kind == "FlowSchema":
                _lay_over(schema_of, name, flow_schema(manifest) if manifest.get("spec") else None)
            elif kind == "PriorityLevelConfiguration":
                _lay_over(level_of, name, priority_level(manifest) if manifest.get("spec") else None)
            else:
                raise ScenarioError(f"{kind} {name} is neither a FlowSchema nor a PriorityLevelConfiguration")
        except msgspec.ValidationError as error:
            raise ScenarioError(f"{kind} {name}: {error}") from error
    return list(schema_of.values()), list(level_of.values())


def _lay_over(known: dict[str, Any], name: str, view: object) -> None:
    if view is None:
        known.pop(name, None)
    else:
        known[name] = view


@dataclass(slots=True)
class FlowResult:
    """What one flow got in the measured time."""

    name: str
    level: str = ""
    schema: str = ""
    demand: float = 0.0
    average_seats: float = 0.0
    fair_share: float = 0.0
    executed: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    waits_seconds: list[float] = field(default_factory=list)
    timeline: list[tuple[float, int]] = field(default_factory=list)  # (seconds, seats held from then on)

    @property
    def rejections(self) -> int:
        return sum(self.rejected.values())

    @property
    def mean_wait_seconds(self) -> float:
        return sum(self.waits_seconds) / len(self.waits_seconds) if self.waits_seconds else 0.0

    def wait_quantile(self, q: float) -> float:
        """A quantile of the waits of what was executed, in seconds."""
        ordered = sorted(self.waits_seconds)
        return ordered[min(int(q * len(ordered)), len(ordered) - 1)] if ordered else 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a simulation."""

    scenario: Scenario
    flows: tuple[FlowResult, ...]
    limits: dict[str, int]  # current limit per level at the end

    @property
    def fairness(self) -> float:
        """Jain's index of what the flows of contended levels got against their max-min fair share; 1 is perfect."""
        return jain([flow.average_seats / flow.fair_share for flow in self.flows if flow.fair_share > 0])


def jain(values: Sequence[float]) -> float:
    """(sum x)² / (n · sum x²): 1 when all are equal, 1/n when one has everything."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def max_min_fair(demands: Sequence[float], capacity: float) -> list[float]:
    """Nobody gets more than it demands, and nobody could get more without one who has less getting less."""
    shares = [0.0] * len(demands)
    left = capacity
    ordered = sorted(range(len(demands)), key=lambda index: demands[index])
    for position, index in enumerate(ordered):
        shares[index] = min(demands[index], left / (len(ordered) - position))
        left -= shares[index]
    return shares


def simulate(scenario: Scenario) -> Outcome:
    """Runs a scenario. Raises ScenarioError."""
    built_in = (SCHEMAS, LEVELS) if scenario.built_in_objects else ((), ())
    schemas, levels = objects_of(scenario.objects, *built_in)
    world = World(scenario.server_limit, schemas, levels, _ns(scenario.wait_limit_seconds))
    runs = [_FlowRun(world, scenario, flow) for flow in scenario.flows]
    world.run(_ns(scenario.duration_seconds))
    results = tuple(run.finish() for run in runs)
    limits = {name: level.queues.limit for name, level in world.regulator.levels.items()}
    _judge(results, limits)
    return Outcome(scenario, results, limits)


def _judge(results: Sequence[FlowResult], limits: Mapping[str, int]) -> None:
    """Each flow's fair share of its level's final limit."""
    for level in {flow.level for flow in results}:
        sharers = [flow for flow in results if flow.level == level]
        for flow, share in zip(sharers, max_min_fair([f.demand for f in sharers], limits[level]), strict=True):
            flow.fair_share = share


class _FlowRun:
    """Drives the clients of one flow and measures."""

    def __init__(self, world: World, scenario: Scenario, flow: FlowSpec) -> None:
        self._world, self._flow = world, flow
        bound = world.regulator.classify(flow.digest(0))
        self._result = FlowResult(flow.name, bound.level.name, bound.schema.name, demand=flow.demand)
        self._measured_from = _ns(scenario.warmup_seconds)
        self._until = _ns(scenario.duration_seconds if flow.stop_seconds is None else flow.stop_seconds)
        self._duration = _ns(scenario.duration_seconds) - self._measured_from
        self._held = self._integral = 0
        self._since = 0
        for sender in range(flow.senders):
            # Senders start a little apart, as real ones do; simultaneous starts would make one burst of everything.
            self._start_client(flow.digest(sender % flow.clients), _ns(flow.start_seconds) + sender * 1000)

    def _start_client(self, digest: RequestDigest, start: int) -> None:
        if self._flow.requests_per_second > 0:
            self._world.at(start, lambda: self._tick(digest, start, 0))
        else:
            self._world.at(start, lambda: self._send(digest, repeat=True))

    def _tick(self, digest: RequestDigest, start: int, count: int) -> None:
        if self._world.now < self._until:
            self._send(digest, repeat=False)
            following = start + round((count + 1) * SECOND / self._flow.requests_per_second)
            self._world.at(following, lambda: self._tick(digest, start, count + 1))

    def _send(self, digest: RequestDigest, *, repeat: bool) -> None:
        if self._world.now >= self._until:
            return

        def done(passage: Passage) -> None:
            self._ended(passage)
            if repeat:
                # A rejected client stays away for as long as the server asks it to.
                advice = passage.retry_after_seconds * SECOND
                pause = _ns(self._flow.think_seconds) if passage.outcome == EXECUTED else advice
                self._world.at(self._world.now + pause, lambda: self._send(digest, repeat=True))

        self._world.submit(digest, self._flow.work, _ns(self._flow.execute_seconds), done, self._started)

    def _started(self, passage: Passage) -> None:
        self._hold(self._flow.seats)

    def _ended(self, passage: Passage) -> None:
        measured = self._world.now >= self._measured_from
        if passage.outcome == EXECUTED:
            self._hold(-self._flow.seats)
            if measured:
                self._result.executed += 1
                self._result.waits_seconds.append(passage.waited_ns / SECOND)
        elif measured:
            rejected = self._result.rejected
            rejected[passage.outcome] = rejected.get(passage.outcome, 0) + 1

    def _hold(self, seats: int) -> None:
        self._integrate()
        self._held += seats
        self._result.timeline.append((self._world.now / SECOND, self._held))

    def _integrate(self) -> None:
        begin = max(self._since, self._measured_from)
        self._integral += self._held * max(self._world.now - begin, 0)
        self._since = self._world.now

    def finish(self) -> FlowResult:
        """The result, at the end of the world."""
        self._integrate()
        self._result.average_seats = self._integral / self._duration if self._duration else 0.0
        return self._result

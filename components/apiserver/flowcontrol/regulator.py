"""Everything that priority and fairness decides, with time as an argument: levels, classification, widths, lending.

The server drives it from one asyncio loop, the simulator from a virtual clock. Nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from kubeglass.components.api.objects.flowcontrol import FlowSchema, PriorityLevel
from kubeglass.components.apiserver.flowcontrol.configuration import Plan, plan
from kubeglass.components.apiserver.flowcontrol.demand import SeatDemand
from kubeglass.components.apiserver.flowcontrol.limits import (
    Adjustment,
    AllocationError,
    LevelDemand,
    LevelLimits,
    LevelShares,
    adjust,
    divide,
)
from kubeglass.components.apiserver.flowcontrol.queueset import QueueSet, QueuingConfig
from kubeglass.components.apiserver.flowcontrol.rejections import RetryAfter
from kubeglass.components.apiserver.flowcontrol.requests import FlowCounters, Request
from kubeglass.components.apiserver.flowcontrol.schemas import Classifier, RequestDigest, distinguisher
from kubeglass.components.apiserver.flowcontrol.seats import (
    ONE_SEAT,
    SECOND,
    EstimatorFeatures,
    ListOptions,
    WorkEstimate,
    half_away,
    is_mutating_estimate,
    level_seat_cap,
    list_estimate,
    list_options,
    mutating_estimate,
)
from kubeglass.components.apiserver.flowcontrol.shufflesharding import flow_hash
from kubeglass.components.apiserver.flowcontrol.watches import CollectionSizes, WatchTracker

ADJUSTMENT_PERIOD_NS = 10 * SECOND
_CACHED_HASHES = 4096
_NO_LIMITS = LevelLimits(0, 0, 0)


class Level:
    """One priority level at work."""

    __slots__ = (
        "demand",
        "flows",
        "limits",
        "name",
        "queues",
        "quiescing",
        "retry_after",
        "seat_cap",
        "target",
        "view",
    )

    def __init__(self, view: PriorityLevel, queues: QueueSet) -> None:
        self.name = view.name
        self.view = view
        self.queues = queues
        self.limits = _NO_LIMITS
        self.demand = SeatDemand()
        self.target = 0.0
        self.retry_after = RetryAfter()
        self.quiescing = False
        self.seat_cap = 0  # of one request; 0: none of its own
        self.flows: dict[str, FlowCounters] = {}

    @property
    def many_queues(self) -> bool:
        return self.queues.config.queues > 1


class Flow:
    """A schema bound to its level."""

    __slots__ = ("_distinguisher", "_hashes", "counters", "level", "name", "schema")

    def __init__(self, schema: FlowSchema, level: Level) -> None:
        self.name = schema.name
        self.schema = schema
        self.level = level
        self.counters = level.flows.setdefault(schema.name, FlowCounters(schema.name))
        self._distinguisher = distinguisher(schema) if level.many_queues else None
        self._hashes: dict[str, int] = {}

    def request(self, digest: RequestDigest, work: WorkEstimate, owner: object = None) -> Request:
        """A request of this flow. Only where there are queues to choose from do flows differ."""
        if self._distinguisher is None:
            return Request(self.counters, work, owner=owner)
        name = self._distinguisher(digest)
        hash_value = self._hashes.get(name)
        return Request(self.counters, work, self._hash(name) if hash_value is None else hash_value, name, owner)

    def _hash(self, name: str) -> int:
        if len(self._hashes) >= _CACHED_HASHES:
            self._hashes.clear()
        value = self._hashes[name] = flow_hash(self.schema.name, name)
        return value


class Regulator:
    """The levels of one server, and the division of its seats among them."""

    def __init__(
        self,
        server_limit: int,
        now: int,
        on_dispatch: Callable[[Request], None],
        features: EstimatorFeatures = EstimatorFeatures(),
    ) -> None:
        if server_limit <= 0:
            raise ValueError(f"server concurrency limit must be positive, not {server_limit}")
        self.server_limit = server_limit
        self.features = features
        self.watches = WatchTracker()
        self.sizes = CollectionSizes()
        self.levels: dict[str, Level] = {}
        self.fair_fraction = 0.0
        self._on_dispatch = on_dispatch
        self._flows: dict[str, Flow] = {}
        self._in_force: tuple[object, ...] = ()
        self.configure((), (), now)

    # configuration

    def configure(self, schemas: Iterable[FlowSchema], levels: Iterable[PriorityLevel], now: int) -> Plan:
        """Puts the observed objects in force without dropping anything. A pass that changes nothing adjusts nothing."""
        busy = [name for name, level in self.levels.items() if not level.queues.idle]
        decided = plan(schemas, levels, busy)
        in_force = _essence(decided)
        if in_force != self._in_force:
            self._in_force = in_force
            self._put_in_force(decided, now)
        return decided

    def _put_in_force(self, decided: Plan, now: int) -> None:
        old, self.levels = self.levels, {}
        for name, view in decided.levels.items():
            self.levels[name] = old.get(name) or Level(view, self._new_queues(view, now))
            self.levels[name].view = view
        for name in decided.quiescing:
            self.levels[name] = old[name]
        for name, level in self.levels.items():
            level.quiescing = name in decided.quiescing
        self._divide(new=self.levels.keys() - old.keys(), now=now)
        self._bind(decided.schemas)
        self.adjust(now)

    def _new_queues(self, view: PriorityLevel, now: int) -> QueueSet:
        return QueueSet(queuing_config(view), 0, now, self._on_dispatch)

    def _divide(self, new: Iterable[str], now: int) -> None:
        divided = divide(self.server_limit, {name: LevelShares.of(level.view) for name, level in self.levels.items()})
        created = set(new)
        for name, level in self.levels.items():
            level.limits = limits = divided[name]
            queuing = level.view.queuing
            level.seat_cap = level_seat_cap(limits.nominal, queuing.hand_size) if queuing else 0
            limit = limits.initial if name in created else level.queues.limit
            level.queues.reconfigure(queuing_config(level.view), limit, now)

    def _bind(self, schemas: tuple[FlowSchema, ...]) -> None:
        self._classifier = Classifier(schemas)
        self._flows = {schema.name: Flow(schema, self.levels[schema.level]) for schema in schemas}
        for level in self.levels.values():
            level.flows = {
                name: counters
                for name, counters in level.flows.items()
                if self._is_bound(name, counters) or counters.waiting or counters.executing_seats
            }

    def _is_bound(self, schema: str, counters: FlowCounters) -> bool:
        flow = self._flows.get(schema)
        return flow is not None and flow.counters is counters

    @property
    def schemas(self) -> tuple[FlowSchema, ...]:
        """The schemas in force, in the order they are tried."""
        return self._classifier.schemas

    def flow(self, schema: str) -> Flow:
        """The flow of a schema in force."""
        return self._flows[schema]

    # lending

    def adjust(self, now: int) -> Adjustment | None:
        """Ends the demand period and moves seats between the levels; None when the bounds left no room."""
        for level in self.levels.values():
            level.demand.update(level.queues.end_demand_period(now))
        try:
            adjustment = adjust({name: level_demand(level) for name, level in self.levels.items()})
        except AllocationError:
            return None
        self.fair_fraction = adjustment.fair_fraction
        for name, level in self.levels.items():
            level.target = adjustment.targets[name]
            level.queues.set_limit(adjustment.current[name], now)
        return adjustment

    def seat_denominator(self, level: Level) -> int:
        """What the utilisation of a level is measured against; never 0."""
        return level.queues.limit or max(1, half_away(self.server_limit / 10))

    # requests

    def classify(self, digest: RequestDigest) -> Flow:
        """The flow of a request."""
        return self._flows[self._classifier.classify(digest).name]

    def estimate(
        self, digest: RequestDigest, query: Mapping[str, str], level: Level, now: int
    ) -> tuple[WorkEstimate, int | None]:
        """The width of a request, and how many watches a write will wake (None for what is no write)."""
        verb = digest.verb
        if not digest.is_resource or verb == "get":
            return ONE_SEAT, None
        if verb in ("list", "watch"):
            options: ListOptions | None = list_options(query)
            stats = self.sizes.get(digest.api_group, digest.resource, now)
            return list_estimate(verb, digest.name, options, stats, level.seat_cap, self.features), None
        if is_mutating_estimate(verb, digest.resource, digest.subresource):
            watchers = self.watches.interested(digest)
            return mutating_estimate(watchers, level.seat_cap), watchers
        return ONE_SEAT, None


def _essence(decided: Plan) -> tuple[object, ...]:
    """What of a plan matters to requests: not the versions and statuses of the objects."""
    levels = tuple((view.name, view.metadata.uid, view.spec) for view in decided.levels.values())
    schemas = tuple((view.name, view.metadata.uid, view.spec) for view in decided.schemas)
    return decided.quiescing, levels, schemas


def queuing_config(view: PriorityLevel) -> QueuingConfig:
    """How a level's queue set is built."""
    queuing = view.queuing
    if queuing is None:
        return QueuingConfig(exempt=view.is_exempt)
    return QueuingConfig(queuing.queues, queuing.hand_size, queuing.queue_length_limit)


def level_demand(level: Level) -> LevelDemand:
    """A level as the adjustment sees it."""
    return LevelDemand(level.limits, level.view.is_exempt, level.demand.high_watermark, level.demand.smoothed)

"""What observes the rows of flow control (rows.py).

What deserves an exemplar (waits, executions, rejections) is observed as it happens; everything else is taken over from
the regulator and from plain tallies once per scrape. The series of a level leave with it.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from kubeglass.components.apiserver.flowcontrol.queueset import Occupancy, QueueSet
from kubeglass.components.apiserver.flowcontrol.ratios import RatioAccount
from kubeglass.components.apiserver.flowcontrol.regulator import Flow, Level, Regulator
from kubeglass.components.apiserver.flowcontrol.requests import FlowCounters
from kubeglass.components.apiserver.flowcontrol.rows import (
    CURRENT_EXECUTING,
    CURRENT_EXECUTING_SEATS,
    CURRENT_INQUEUE,
    CURRENT_INQUEUE_SEATS,
    CURRENT_LIMIT,
    CURRENT_R,
    DEMAND_AVERAGE,
    DEMAND_HIGH_WATERMARK,
    DEMAND_SEATS,
    DEMAND_SMOOTHED,
    DEMAND_STDEV,
    DISPATCH_R,
    DISPATCHED,
    EPOCH_ADVANCE,
    ESTIMATED_SEATS,
    EXECUTION_SECONDS,
    KINDS,
    LATEST_S,
    LOWER_LIMIT,
    NEXT_DISCOUNTED_S_BOUNDS,
    NEXT_S_BOUNDS,
    NO_ACCOMMODATION,
    NOMINAL_LIMIT,
    OWN_ROWS,
    QUEUE_LENGTH,
    READ_VS_WRITE,
    REJECTED,
    REQUEST_CONCURRENCY_IN_USE,
    REQUEST_CONCURRENCY_LIMIT,
    REQUEST_UTILIZATION,
    SEAT_FAIR_FRAC,
    SEAT_UTILIZATION,
    TARGET_SEATS,
    TURN_SECONDS,
    UPPER_LIMIT,
    WAIT_SECONDS,
    WATCH_COUNT,
)
from kubeglass.components.apiserver.flowcontrol.seats import SEAT_SECOND, SECOND
from kubeglass.components.apiserver.metrics import CURRENT_INFLIGHT_REQUESTS, CURRENT_INQUEUE_REQUESTS
from kubeglass.telemetry.metrics.definitions import Metric
from kubeglass.telemetry.metrics.instruments import HistogramChild, HistogramInstrument, Instrument
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.metrics.timing import TimingRatioChild

OwnSamples = Callable[[], Iterable[tuple[Metric, tuple[str, ...], float]]]


class LevelLoad:
    """The time-weighted ratios of one level, as of the last account of its queue set."""

    __slots__ = ("_demand", "_executing", "_queues", "_seats", "_waiting")

    def __init__(self, metrics: FlowControlMetrics, level: Level) -> None:
        self._waiting = RatioAccount(metrics.request_utilization.labels("waiting", level.name))
        self._executing = RatioAccount(metrics.request_utilization.labels("executing", level.name))
        self._seats = RatioAccount(metrics.seat_utilization.labels(level.name))
        self._demand = RatioAccount(metrics.demand_seats.labels(level.name))
        self._queues = level.queues
        level.queues.on_account = self._add

    def measure_against(self, seats: int, queue_slots: int, now: int) -> None:
        """The limits that the ratios refer to from now on."""
        self._queues.account(now)
        self._waiting.denominator = queue_slots
        self._executing.denominator = self._seats.denominator = self._demand.denominator = seats

    def publish(self, now: int) -> None:
        """Brings the instruments up to date."""
        self._queues.account(now)
        waiting, executing, seats, waited_for = self._queues.occupancy
        self._waiting.publish(waiting)
        self._executing.publish(executing)
        self._seats.publish(seats)
        self._demand.publish(seats + waited_for)

    def _add(self, lasted: Mapping[Occupancy, int]) -> None:
        for (waiting, executing, seats, waited_for), nanoseconds in lasted.items():
            self._waiting.add(waiting, nanoseconds)
            self._executing.add(executing, nanoseconds)
            self._seats.add(seats, nanoseconds)
            self._demand.add(seats + waited_for, nanoseconds)


class KindLoad:
    """Requests of one kind (mutating or readOnly) in one phase: the ratio over time, and the peak of each second.

    A change notes how long which count lasted; the account is made up when somebody reads it.
    """

    __slots__ = ("_account", "_lasted", "_since", "count", "peak")

    def __init__(self, child: TimingRatioChild, now: int) -> None:
        self._account = RatioAccount(child)
        self._lasted: dict[int, int] = {}
        self._since = now
        self.count = self.peak = 0

    def change(self, by: int, now: int) -> None:
        """One more, or one less."""
        count = self.count
        elapsed = now - self._since
        if elapsed > 0:
            self._lasted[count] = self._lasted.get(count, 0) + elapsed
            self._since = now
        self.count = count = count + by
        if count > self.peak:
            self.peak = count

    def measure_against(self, limit: int, now: int) -> None:
        self._settle(now)
        self._account.denominator = limit

    def publish(self, now: int) -> None:
        self._settle(now)
        self._account.publish(self.count)

    def take_peak(self) -> int:
        """The peak of the second that ends; the next one starts at the present."""
        peak, self.peak = self.peak, self.count
        return peak

    def _settle(self, now: int) -> None:
        self.change(0, now)
        lasted, self._lasted = self._lasted, {}
        for count, nanoseconds in lasted.items():
            self._account.add(count, nanoseconds)


class FlowTally:
    """What the requests of one flow did. Where only numbers of equal observations matter they are kept until `publish`;
    waits, executions and rejections are observed at once, so that they carry exemplars."""

    __slots__ = ("_at_once", "_enqueued", "_exempt", "_labels", "_metrics", "_regular", "_seats", "_watch", "_watchers")

    def __init__(self, metrics: FlowControlMetrics, level: str, schema: str, exempt: bool) -> None:
        self._metrics = metrics
        self._labels = (level, schema)
        self._exempt = exempt
        self._seats: dict[int, int] = {}
        self._watchers: dict[int, int] = {}
        self._enqueued: dict[int, int] = {}
        self._at_once: dict[int, int] = {}
        self._regular: HistogramChild | None = None
        self._watch: HistogramChild | None = None

    def classified(self, seats: int, watchers: int | None) -> None:
        """A request has a width, and a write its watchers."""
        self._seats[seats] = self._seats.get(seats, 0) + 1
        if watchers is not None:
            self._watchers[watchers] = self._watchers.get(watchers, 0) + 1

    def ran_at_once(self, queue_length: int) -> None:
        """A request found its seats free. `queue_length` is as for `enqueued`; 0: it came to no queue."""
        self._at_once[queue_length] = self._at_once.get(queue_length, 0) + 1

    def enqueued(self, queue_length: int) -> None:
        """A request has to wait, in a queue that has become so long."""
        self._enqueued[queue_length] = self._enqueued.get(queue_length, 0) + 1

    def dispatched(self, waited_ns: int) -> None:
        """A request that waited leaves flow control for its handler."""
        self._metrics.dispatched.labels(*self._labels).inc()
        if not self._exempt:
            self._metrics.wait_seconds.labels(*self._labels, "true").observe(waited_ns / SECOND)

    def turned_away(self, reason: str, waited_ns: int, queued: bool) -> None:
        """A request was rejected at once, or after it had waited (which upstream labels execute="true")."""
        self._metrics.rejected.labels(*self._labels, reason).inc()
        self._metrics.wait_seconds.labels(*self._labels, "true" if queued else "false").observe(waited_ns / SECOND)

    def finished(self, executed_ns: int, watch: bool) -> None:
        """The handler is done, or the watch initialised."""
        child = self._watch if watch else self._regular
        if child is None:
            child = self._metrics.execution_seconds.labels(*self._labels, "watch" if watch else "regular")
            if watch:
                self._watch = child
            else:
                self._regular = child
        child.observe(executed_ns / SECOND)

    def publish(self) -> None:
        """Hands over what was kept."""
        metrics, labels = self._metrics, self._labels
        _observe_many(metrics.estimated_seats, labels, self._seats)
        _observe_many(metrics.watch_count, labels, self._watchers)
        started = sum(self._at_once.values())
        for length, count in self._at_once.items():
            if length:
                self._enqueued[length] = self._enqueued.get(length, 0) + count
        self._at_once.clear()
        _observe_many(metrics.queue_length, labels, self._enqueued)
        if started:
            metrics.dispatched.labels(*labels).value += started
            if not self._exempt:
                _observe_many(metrics.wait_seconds, (*labels, "true"), {0: started})


def _observe_many(histogram: HistogramInstrument, labels: tuple[str, ...], observations: dict[int, int]) -> None:
    """Counts equal observations at one go, and empties the account."""
    if not observations:
        return
    child = histogram.labels(*labels)
    for value, count in observations.items():
        child.counts[bisect_left(child.bounds, value)] += count
        child.sum += value * count
    observations.clear()


class _Seen(NamedTuple):
    no_accommodation: dict[tuple[str, str], int]
    epochs: dict[tuple[str, str], int]


class FlowControlMetrics:
    """The instruments of flow control."""

    def __init__(self, registry: Registry, now: Callable[[], int] = time.monotonic_ns) -> None:
        bind = registry.bind
        self.rejected, self.dispatched = bind(REJECTED), bind(DISPATCHED)
        self.no_accommodation, self.epoch_advance = bind(NO_ACCOMMODATION), bind(EPOCH_ADVANCE)
        self.wait_seconds, self.execution_seconds = bind(WAIT_SECONDS), bind(EXECUTION_SECONDS)
        self.queue_length, self.watch_count = bind(QUEUE_LENGTH), bind(WATCH_COUNT)
        self.estimated_seats, self.turn_seconds = bind(ESTIMATED_SEATS), bind(TURN_SECONDS)
        self.request_utilization, self.seat_utilization = bind(REQUEST_UTILIZATION), bind(SEAT_UTILIZATION)
        self.demand_seats = bind(DEMAND_SEATS)
        ratios = bind(READ_VS_WRITE)
        self.waiting = {kind: KindLoad(ratios.labels("waiting", kind), now()) for kind in KINDS}
        self.executing = {kind: KindLoad(ratios.labels("executing", kind), now()) for kind in KINDS}
        self._loads: dict[str, LevelLoad] = {}
        self.tallies: dict[FlowCounters, FlowTally] = {}
        self._now = now
        self._flow_gauges = [bind(row) for row in (CURRENT_INQUEUE, CURRENT_INQUEUE_SEATS, CURRENT_EXECUTING)]
        self._flow_gauges += [bind(CURRENT_EXECUTING_SEATS), bind(REQUEST_CONCURRENCY_IN_USE)]
        self._limit_gauges = [bind(row) for row in (NOMINAL_LIMIT, REQUEST_CONCURRENCY_LIMIT, LOWER_LIMIT, UPPER_LIMIT)]
        self._limit_gauges += [bind(CURRENT_LIMIT)]
        self._demand_gauges = [bind(row) for row in (DEMAND_HIGH_WATERMARK, DEMAND_AVERAGE, DEMAND_STDEV)]
        self._demand_gauges += [bind(DEMAND_SMOOTHED), bind(TARGET_SEATS)]
        self._r_gauges = [bind(row) for row in (CURRENT_R, DISPATCH_R, LATEST_S)]
        self._next_s, self._next_discounted_s = bind(NEXT_S_BOUNDS), bind(NEXT_DISCOUNTED_S_BOUNDS)
        self._fair_fraction = bind(SEAT_FAIR_FRAC)
        self._inflight, self._inqueue = bind(CURRENT_INFLIGHT_REQUESTS), bind(CURRENT_INQUEUE_REQUESTS)
        self._seen = _Seen({}, {})
        self._registry = registry

    def collect(self, regulator: Regulator, own: OwnSamples, now: Callable[[], int]) -> None:
        """From now on every scrape takes over the state of the regulator, which runs on the clock `now`."""

        def at_scrape() -> Iterable[tuple[Metric, tuple[str, ...], float]]:
            self.take_over(regulator, now())
            return own()

        self._registry.collect(OWN_ROWS, at_scrape)

    def publish_kinds(self) -> None:
        """Brings the ratios of reading and writing up to date: all that there is without priority and fairness."""
        now = self._now()
        for load in (*self.waiting.values(), *self.executing.values()):
            load.publish(now)

    def observe_second(self) -> None:
        """Publishes the peaks of the second that ends."""
        self.publish_kinds()
        for kind in KINDS:
            self._inqueue.labels(kind).set(self.waiting[kind].take_peak())
            self._inflight.labels(kind).set(self.executing[kind].take_peak())

    def begin_tally(self, flow: Flow) -> FlowTally:
        """Where the requests of a flow are counted, from its first one on; then to be found in `tallies`."""
        level = flow.level
        tally = self.tallies[flow.counters] = FlowTally(self, level.name, flow.schema.name, level.view.is_exempt)
        return tally

    # configuration

    def level_added(self, level: Level) -> None:
        """A level came into being: its ratios start."""
        self._loads[level.name] = LevelLoad(self, level)

    def limits_changed(self, regulator: Regulator, now: int) -> None:
        """The denominators follow the limits."""
        slots = 0
        for name, level in regulator.levels.items():
            config = level.queues.config
            level_slots = config.queues * config.queue_length_limit
            slots += level_slots
            self._loads[name].measure_against(regulator.seat_denominator(level), max(level_slots, 1), now)
        seats = sum(level.limits.nominal for level in regulator.levels.values())
        for kind in KINDS:
            self.waiting[kind].measure_against(max(slots, 1), now)
            self.executing[kind].measure_against(max(seats, 1), now)

    def level_removed(self, level: Level) -> None:
        """The series of a level leave with it."""
        del self._loads[level.name]
        for counters in level.flows.values():
            self.tallies.pop(counters, None)
        everything: list[Instrument[Any]] = [self.rejected, self.dispatched, self.no_accommodation, self.epoch_advance]
        everything += [self.wait_seconds, self.execution_seconds, self.queue_length, self.watch_count]
        everything += [
            self.estimated_seats,
            self.turn_seconds,
            self.request_utilization,
            self.seat_utilization,
            self.demand_seats,
        ]
        everything += [*self._flow_gauges, *self._limit_gauges, *self._demand_gauges, *self._r_gauges]
        for instrument in (*everything, self._next_s, self._next_discounted_s):
            instrument.remove_matching(priority_level=level.name)
        for seen in self._seen:
            for key in [key for key in seen if key[0] == level.name]:
                del seen[key]

    # at scrape time

    def take_over(self, regulator: Regulator, now: int) -> None:
        """Sets the gauges from the regulator's state, and adds what its plain counts grew by."""
        self.publish_kinds()
        for load in self._loads.values():
            load.publish(now)
        for tally in self.tallies.values():
            tally.publish()
        self._fair_fraction.set(regulator.fair_fraction)
        for level in regulator.levels.values():
            self._take_over_level(level)
            for schema, counters in level.flows.items():
                seats = counters.executing_seats
                values = (counters.waiting, counters.waiting_seats, counters.executing, seats, seats)
                for gauge, value in zip(self._flow_gauges, values, strict=True):
                    gauge.labels(level.name, schema).set(value)
                key = (level.name, schema)
                grown = counters.no_accommodation - self._seen.no_accommodation.get(key, 0)
                if grown:
                    self.no_accommodation.labels(*key).value += max(grown, 0)
                    self._seen.no_accommodation[key] = counters.no_accommodation

    def _take_over_level(self, level: Level) -> None:
        name, limits, demand, queues = level.name, level.limits, level.demand, level.queues
        limit_values = (limits.nominal, limits.nominal, limits.minimum, limits.maximum, queues.limit)
        for gauge, value in zip(self._limit_gauges, limit_values, strict=True):
            gauge.labels(name).set(value)
        demand_values = (demand.high_watermark, demand.average, demand.deviation, demand.smoothed, level.target)
        for gauge, number in zip(self._demand_gauges, demand_values, strict=True):
            gauge.labels(name).set(number)
        if not queues.config.queues:
            return
        for gauge, work in zip(
            self._r_gauges, (queues.r, queues.totals.dispatch_r, queues.totals.latest_s), strict=True
        ):
            gauge.labels(name).set(work / SEAT_SECOND)
        if starts := queues.next_starts():
            self._set_bounds(name, starts)
        self._count_epochs(name, queues)

    def _set_bounds(self, level: str, starts: list[tuple[int, int]]) -> None:
        for index, gauge in enumerate((self._next_s, self._next_discounted_s)):
            gauge.labels(level, "min").set(min(start[index] for start in starts) / SEAT_SECOND)
            gauge.labels(level, "max").set(max(start[index] for start in starts) / SEAT_SECOND)

    def _count_epochs(self, level: str, queues: QueueSet) -> None:
        wrapped = queues.totals.epochs_wrapped
        for success, total in (("true", queues.totals.epochs - wrapped), ("false", wrapped)):
            grown = total - self._seen.epochs.get((level, success), 0)
            if grown:
                self.epoch_advance.labels(level, success).value += max(grown, 0)
                self._seen.epochs[level, success] = total

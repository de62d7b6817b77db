"""What observes the rows of flow control (rows.py).

What deserves an exemplar (waits, executions, rejections) is observed as it happens; everything else is taken over from
the regulator and from plain tallies once per scrape. The series of a level leave with it.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from kubeglass.components.apiserver.flowcontrol.queueset import FlowCounters, QueueSet
from kubeglass.components.apiserver.flowcontrol.ratios import Held, RatioAccount
from kubeglass.components.apiserver.flowcontrol.regulator import Flow, Level, Regulator
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
    """The time-weighted ratios of one level; told of every transition of its queue set."""

    __slots__ = ("_demand", "_executing", "_held", "_seats", "_waiting")

    def __init__(self, metrics: FlowControlMetrics, level: str, now: int) -> None:
        self._held: Held[tuple[int, int, int, int]] = Held((0, 0, 0, 0), now)
        self._waiting = RatioAccount(metrics.request_utilization.labels("waiting", level))
        self._executing = RatioAccount(metrics.request_utilization.labels("executing", level))
        self._seats = RatioAccount(metrics.seat_utilization.labels(level))
        self._demand = RatioAccount(metrics.demand_seats.labels(level))

    def changed(self, queues: QueueSet, now: int) -> None:
        """Takes over the state of the queue set."""
        seats = queues.seats_in_use
        self._held.change((queues.waiting, queues.executing, seats, seats + queues.waiting_seats), now)

    def measure_against(self, seats: int, queue_slots: int, now: int) -> None:
        """The limits that the ratios refer to from now on."""
        self._settle(now)
        self._waiting.denominator = queue_slots
        self._executing.denominator = self._seats.denominator = self._demand.denominator = seats

    def publish(self, now: int) -> None:
        """Brings the instruments up to date."""
        self._settle(now)
        for account, numerator in zip(self._accounts, self._held.state, strict=True):
            account.publish(numerator)

    @property
    def _accounts(self) -> tuple[RatioAccount, ...]:
        return self._waiting, self._executing, self._seats, self._demand

    def _settle(self, now: int) -> None:
        for state, nanoseconds in self._held.take(now).items():
            for account, numerator in zip(self._accounts, state, strict=True):
                account.add(numerator, nanoseconds)


class KindLoad:
    """Requests of one kind (mutating or readOnly) in one phase: the ratio over time, and the peak of each second."""

    __slots__ = ("_account", "_held", "count", "peak")

    def __init__(self, child: TimingRatioChild, now: int) -> None:
        self._account = RatioAccount(child)
        self._held: Held[int] = Held(0, now)
        self.count = self.peak = 0

    def change(self, by: int, now: int) -> None:
        """One more, or one less."""
        self.count = count = self.count + by
        if count > self.peak:
            self.peak = count
        self._held.change(count, now)

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
        for count, nanoseconds in self._held.take(now).items():
            self._account.add(count, nanoseconds)


class FlowTally:
    """What the requests of one flow did. Where only numbers of equal observations matter they are kept until `publish`;
    waits, executions and rejections are observed at once, so that they carry exemplars."""

    __slots__ = ("_enqueued", "_exempt", "_labels", "_metrics", "_regular", "_seats", "_started", "_watch", "_watchers")

    def __init__(self, metrics: FlowControlMetrics, level: str, schema: str, exempt: bool) -> None:
        self._metrics = metrics
        self._labels = (level, schema)
        self._exempt = exempt
        self._seats: dict[int, int] = {}
        self._watchers: dict[int, int] = {}
        self._enqueued: dict[int, int] = {}
        self._started = 0  # at once
        self._regular: HistogramChild | None = None
        self._watch: HistogramChild | None = None

    def classified(self, seats: int, watchers: int | None) -> None:
        """A request has a width, and a write its watchers."""
        self._seats[seats] = self._seats.get(seats, 0) + 1
        if watchers is not None:
            self._watchers[watchers] = self._watchers.get(watchers, 0) + 1

    def enqueued(self, queue_length: int) -> None:
        self._enqueued[queue_length] = self._enqueued.get(queue_length, 0) + 1

    def started(self, waited_ns: int) -> None:
        """A request leaves flow control for its handler."""
        if not waited_ns:
            self._started += 1
            return
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
        _observe_many(metrics.queue_length, labels, self._enqueued)
        if self._started:
            metrics.dispatched.labels(*labels).value += self._started
            if not self._exempt:
                _observe_many(metrics.wait_seconds, (*labels, "true"), {0: self._started})
            self._started = 0


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
        self._tallies: dict[FlowCounters, FlowTally] = {}
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

    def collect(self, regulator: Regulator, own: OwnSamples) -> None:
        """From now on every scrape takes over the state of the regulator."""

        def at_scrape() -> Iterable[tuple[Metric, tuple[str, ...], float]]:
            self.take_over(regulator)
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

    def tally(self, flow: Flow) -> FlowTally:
        """Where the requests of a flow are counted."""
        tally = self._tallies.get(flow.counters)
        if tally is None:
            level = flow.level
            tally = FlowTally(self, level.name, flow.schema.name, level.view.is_exempt)
            self._tallies[flow.counters] = tally
        return tally

    # configuration

    def level_added(self, level: Level) -> None:
        """A level came into being: its ratios start."""
        self._loads[level.name] = load = LevelLoad(self, level.name, self._now())
        level.queues.on_change = load.changed

    def limits_changed(self, regulator: Regulator) -> None:
        """The denominators follow the limits."""
        now, slots = self._now(), 0
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
            self._tallies.pop(counters, None)
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

    def take_over(self, regulator: Regulator) -> None:
        """Sets the gauges from the regulator's state, and adds what its plain counts grew by."""
        self.publish_kinds()
        now = self._now()
        for load in self._loads.values():
            load.publish(now)
        for tally in self._tallies.values():
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

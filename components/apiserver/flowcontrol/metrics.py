"""Every apiserver_flowcontrol_* row, our own kubeglass_flowcontrol_* rows, and what observes them.

Counters and histograms are observed as things happen, so that they carry exemplars; gauges and what is a plain count of
the queue sets are taken over once per scrape. The series of a level or schema leave with their object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from kubeglass.components.apiserver.flowcontrol.queueset import QueueSet, Request
from kubeglass.components.apiserver.flowcontrol.regulator import Level, Regulator
from kubeglass.components.apiserver.flowcontrol.seats import SEAT_SECOND, SECOND
from kubeglass.components.apiserver.metrics import CURRENT_INFLIGHT_REQUESTS, CURRENT_INQUEUE_REQUESTS
from kubeglass.telemetry.metrics.definitions import ALPHA, BETA, Counter, Gauge, Histogram, Metric, TimingRatioHistogram
from kubeglass.telemetry.metrics.instruments import Instrument
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.metrics.timing import TimingRatioChild

P: Final = "apiserver_flowcontrol_"
FLOW: Final = ("priority_level", "flow_schema")
LEVEL: Final = ("priority_level",)
SECONDS: Final = (0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)
RATIOS: Final = (0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 1)
TENTHS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)

REJECTED: Final = Counter(
    P + "rejected_requests_total",
    "Number of requests rejected by API Priority and Fairness subsystem",
    (*FLOW, "reason"),
    BETA,
)
DISPATCHED: Final = Counter(
    P + "dispatched_requests_total",
    "Number of requests executed by API Priority and Fairness subsystem",
    FLOW,
    BETA,
)
NO_ACCOMMODATION: Final = Counter(
    P + "request_dispatch_no_accommodation_total",
    "Number of times a dispatch attempt resulted in a non accommodation due to lack of available seats",
    FLOW,
)
EPOCH_ADVANCE: Final = Counter(
    P + "epoch_advance_total",
    "Number of times the queueset's progress meter jumped backward",
    (*LEVEL, "success"),
)
CURRENT_INQUEUE: Final = Gauge(
    P + "current_inqueue_requests",
    "Number of requests currently pending in queues of the API Priority and Fairness subsystem",
    FLOW,
    BETA,
)
CURRENT_INQUEUE_SEATS: Final = Gauge(
    P + "current_inqueue_seats",
    "Number of seats currently pending in queues of the API Priority and Fairness subsystem",
    FLOW,
)
CURRENT_EXECUTING: Final = Gauge(
    P + "current_executing_requests",
    "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API Priority and "
    "Fairness subsystem",
    FLOW,
    BETA,
)
CURRENT_EXECUTING_SEATS: Final = Gauge(
    P + "current_executing_seats",
    "Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage "
    "otherwise) requests in the API Priority and Fairness subsystem",
    FLOW,
    BETA,
)
CURRENT_R: Final = Gauge(P + "current_r", "R(time of last change)", LEVEL)
DISPATCH_R: Final = Gauge(P + "dispatch_r", "R(time of last dispatch)", LEVEL)
LATEST_S: Final = Gauge(P + "latest_s", "S(most recently dispatched request)", LEVEL)
NEXT_S_BOUNDS: Final = Gauge(
    P + "next_s_bounds", "min and max, over queues, of S(oldest waiting request in queue)", (*LEVEL, "bound")
)
NEXT_DISCOUNTED_S_BOUNDS: Final = Gauge(
    P + "next_discounted_s_bounds",
    "min and max, over queues, of S(oldest waiting request in queue) - estimated work in progress",
    (*LEVEL, "bound"),
)
NOMINAL_LIMIT: Final = Gauge(
    P + "nominal_limit_seats",
    "Nominal number of execution seats configured for each priority level",
    LEVEL,
    BETA,
)
LOWER_LIMIT: Final = Gauge(
    P + "lower_limit_seats",
    "Configured lower bound on number of execution seats available to each priority level",
    LEVEL,
)
UPPER_LIMIT: Final = Gauge(
    P + "upper_limit_seats",
    "Configured upper bound on number of execution seats available to each priority level",
    LEVEL,
)
CURRENT_LIMIT: Final = Gauge(
    P + "current_limit_seats",
    "current derived number of execution seats available to each priority level",
    LEVEL,
)
DEMAND_HIGH_WATERMARK: Final = Gauge(
    P + "demand_seats_high_watermark",
    "High watermark, over last adjustment period, of demand_seats",
    LEVEL,
)
DEMAND_AVERAGE: Final = Gauge(
    P + "demand_seats_average", "Time-weighted average, over last adjustment period, of demand_seats", LEVEL
)
DEMAND_STDEV: Final = Gauge(
    P + "demand_seats_stdev",
    "Time-weighted standard deviation, over last adjustment period, of demand_seats",
    LEVEL,
)
DEMAND_SMOOTHED: Final = Gauge(P + "demand_seats_smoothed", "Smoothed seat demands", LEVEL)
TARGET_SEATS: Final = Gauge(P + "target_seats", "Seat allocation targets", LEVEL)
SEAT_FAIR_FRAC: Final = Gauge(
    P + "seat_fair_frac", "Fair fraction of server's concurrency to allocate to each priority level that can use it"
)
WAIT_SECONDS: Final = Histogram(
    P + "request_wait_duration_seconds",
    "Length of time a request spent waiting in its queue",
    (*FLOW, "execute"),
    BETA,
    buckets=SECONDS,
)
EXECUTION_SECONDS: Final = Histogram(
    P + "request_execution_seconds",
    "Duration of initial stage (for a WATCH) or any (for a non-WATCH) stage of request execution in the API Priority "
    "and Fairness subsystem",
    (*FLOW, "type"),
    buckets=SECONDS,
)
QUEUE_LENGTH: Final = Histogram(
    P + "request_queue_length_after_enqueue",
    "Length of queue in the API Priority and Fairness subsystem, as seen by each request after it is enqueued",
    FLOW,
    buckets=(0, 10, 25, 50, 100, 250, 500, 1000),
)
WATCH_COUNT: Final = Histogram(
    P + "watch_count_samples",
    "count of watchers for mutating requests in API Priority and Fairness",
    FLOW,
    buckets=(0, 1, 10, 100, 1000, 10000),
)
ESTIMATED_SEATS: Final = Histogram(
    P + "work_estimated_seats",
    "Number of estimated seats (maximum of initial and final seats) associated with requests in API Priority and "
    "Fairness",
    FLOW,
    buckets=(1, 2, 4, 8, 16, 32, 64, 100),
)
REQUEST_UTILIZATION: Final = TimingRatioHistogram(
    P + "priority_level_request_utilization",
    "Observations, at the end of every nanosecond, of number of requests (as a fraction of the relevant limit) waiting "
    "or in any stage of execution (but only initial stage for WATCHes)",
    ("phase", *LEVEL),
    buckets=RATIOS,
)
SEAT_UTILIZATION: Final = TimingRatioHistogram(
    P + "priority_level_seat_utilization",
    "Observations, at the end of every nanosecond, of utilization of seats for any stage of execution (but only "
    "initial stage for WATCHes)",
    LEVEL,
    const_labels={"phase": "executing"},
    buckets=(0, *TENTHS),
)
READ_VS_WRITE: Final = TimingRatioHistogram(
    P + "read_vs_write_current_requests",
    "Observations, at the end of every nanosecond, of the number of requests (as a fraction of the relevant limit) "
    "waiting or in regular stage of execution",
    ("phase", "request_kind"),
    buckets=(0, 0.001, 0.01, *TENTHS),
)
DEMAND_SEATS: Final = TimingRatioHistogram(
    P + "demand_seats",
    "Observations, at the end of every nanosecond, of (the number of seats each priority level could use) / (nominal "
    "number of seats for that level)",
    LEVEL,
    buckets=(0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.4, 1.7, 2, 2.8, 4, 6),
)

# Names of earlier releases: shown, hidden or absent by the life cycle alone.
REQUEST_CONCURRENCY_LIMIT: Final = Gauge(
    P + "request_concurrency_limit",
    "Nominal number of execution seats configured for each priority level",
    LEVEL,
    ALPHA,
    deprecated="1.30.0",
    until="1.37",
)
REQUEST_CONCURRENCY_IN_USE: Final = Gauge(
    P + "request_concurrency_in_use",
    "Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage "
    "otherwise) requests in the API Priority and Fairness subsystem",
    FLOW,
    ALPHA,
    deprecated="1.31.0",
    since="1.22",
    until="1.37",
)

# Our own: what upstream cannot tell.
K: Final = "kubeglass_flowcontrol_"
TALKER: Final = (*FLOW, "user")
TALKER_SEAT_SECONDS: Final = Gauge(
    K + "talker_seat_seconds", "Seat-seconds of the heaviest users of a level in the talkers' window.", TALKER
)
TALKER_REQUESTS: Final = Gauge(
    K + "talker_requests", "Requests of the heaviest users of a level in the talkers' window.", TALKER
)
TALKER_REJECTIONS: Final = Gauge(
    K + "talker_rejections", "Rejected requests of the heaviest users of a level in the talkers' window.", TALKER
)
TALKER_WAIT_SECONDS: Final = Gauge(
    K + "talker_wait_seconds", "Queue wait of the heaviest users of a level in the talkers' window.", TALKER
)
RECORDED: Final = Gauge(K + "recorded_requests", "Requests held by the flight recorder.", ("ring",))
OVERWRITTEN: Final = Counter(
    K + "overwritten_requests_total", "Requests that the flight recorder forgot to stay within its bound.", ("ring",)
)
OPEN_WATCHES: Final = Gauge(K + "open_watches", "Watches that flow control counts for the width of writes.")
OWN_ROWS: Final[tuple[Metric, ...]] = (
    TALKER_SEAT_SECONDS,
    TALKER_REQUESTS,
    TALKER_REJECTIONS,
    TALKER_WAIT_SECONDS,
    RECORDED,
    OVERWRITTEN,
    OPEN_WATCHES,
)
OwnSamples = Callable[[], Iterable[tuple[Metric, tuple[str, ...], float]]]


class LevelLoad:
    """Keeps the time-weighted ratios of one level; told of every transition of its queue set."""

    __slots__ = ("_demand", "_executing", "_metrics", "_seats", "_waiting")

    def __init__(self, metrics: FlowControlMetrics, level: str) -> None:
        self._metrics = metrics
        self._waiting = metrics.request_utilization.labels("waiting", level)
        self._executing = metrics.request_utilization.labels("executing", level)
        self._seats = metrics.seat_utilization.labels(level)
        self._demand = metrics.demand_seats.labels(level)

    def changed(self, queues: QueueSet) -> None:
        """Takes over the state of the queue set; what did not change costs a comparison."""
        if self._waiting.numerator != queues.waiting:
            self._waiting.set(queues.waiting)
        if self._executing.numerator != queues.executing:
            self._executing.set(queues.executing)
        if self._seats.numerator != queues.seats_in_use:
            self._seats.set(queues.seats_in_use)
        demand = queues.seats_in_use + queues.waiting_seats
        if self._demand.numerator != demand:
            self._demand.set(demand)

    def measure_against(self, seats: int, queue_slots: int) -> None:
        """The limits that the ratios refer to."""
        self._waiting.set_denominator(queue_slots)
        for child in (self._executing, self._seats, self._demand):
            child.set_denominator(seats)


class KindLoad:
    """Requests of one kind (mutating or readOnly) waiting and executing: ratio over time, and peak of each second."""

    __slots__ = ("_executing", "_waiting", "peak_executing", "peak_waiting")

    def __init__(self, waiting: TimingRatioChild, executing: TimingRatioChild) -> None:
        self._waiting, self._executing = waiting, executing
        self.peak_waiting = self.peak_executing = 0.0

    def wait(self, change: int) -> None:
        self._waiting.inc(change)
        self.peak_waiting = max(self.peak_waiting, self._waiting.numerator)

    def execute(self, change: int) -> None:
        self._executing.inc(change)
        self.peak_executing = max(self.peak_executing, self._executing.numerator)

    def measure_against(self, queue_slots: int, seats: int) -> None:
        self._waiting.set_denominator(queue_slots)
        self._executing.set_denominator(seats)

    def take_peaks(self) -> tuple[float, float]:
        """(waiting, executing) of the second that ends; the next one starts at the present."""
        peaks = self.peak_waiting, self.peak_executing
        self.peak_waiting, self.peak_executing = self._waiting.numerator, self._executing.numerator
        return peaks


class _Seen(NamedTuple):
    no_accommodation: dict[tuple[str, str], int]
    epochs: dict[tuple[str, str], int]


class FlowControlMetrics:
    """The instruments of flow control. `own` yields the samples of OWN_ROWS at scrape time."""

    def __init__(self, registry: Registry) -> None:
        bind = registry.bind
        self.rejected, self.dispatched = bind(REJECTED), bind(DISPATCHED)
        self.no_accommodation, self.epoch_advance = bind(NO_ACCOMMODATION), bind(EPOCH_ADVANCE)
        self.wait_seconds, self.execution_seconds = bind(WAIT_SECONDS), bind(EXECUTION_SECONDS)
        self.queue_length, self.watch_count = bind(QUEUE_LENGTH), bind(WATCH_COUNT)
        self.estimated_seats = bind(ESTIMATED_SEATS)
        self.request_utilization, self.seat_utilization = bind(REQUEST_UTILIZATION), bind(SEAT_UTILIZATION)
        self.demand_seats = bind(DEMAND_SEATS)
        read_vs_write = bind(READ_VS_WRITE)
        self.kinds = {
            kind: KindLoad(read_vs_write.labels("waiting", kind), read_vs_write.labels("executing", kind))
            for kind in ("mutating", "readOnly")
        }
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

    def observe_second(self) -> None:
        """Publishes the peaks of the second that ends."""
        for kind, load in self.kinds.items():
            waiting, executing = load.take_peaks()
            self._inqueue.labels(kind).set(waiting)
            self._inflight.labels(kind).set(executing)

    # as things happen

    def classified(self, level: str, schema: str, request: Request, watchers: int | None) -> None:
        """A request has a flow and a width."""
        self.estimated_seats.labels(level, schema).observe(request.max_seats)
        if watchers is not None:
            self.watch_count.labels(level, schema).observe(watchers)

    def enqueued(self, level: str, schema: str, queue_length: int) -> None:
        self.queue_length.labels(level, schema).observe(queue_length)

    def started(self, level: str, schema: str, waited_ns: int, exempt: bool) -> None:
        """A request leaves flow control for its handler."""
        self.dispatched.labels(level, schema).inc()
        if not exempt:
            self.wait_seconds.labels(level, schema, "true").observe(waited_ns / SECOND)

    def turned_away(self, level: str, schema: str, reason: str, waited_ns: int, queued: bool) -> None:
        """A request was rejected at once, or after it had waited (which upstream labels execute="true")."""
        self.rejected.labels(level, schema, reason).inc()
        self.wait_seconds.labels(level, schema, "true" if queued else "false").observe(waited_ns / SECOND)

    def finished(self, level: str, schema: str, executed_ns: int, watch: bool) -> None:
        kind = "watch" if watch else "regular"
        self.execution_seconds.labels(level, schema, kind).observe(executed_ns / SECOND)

    # at configuration and scrape time

    def level_added(self, level: Level) -> None:
        """A level came into being: its ratios start."""
        level.queues.on_change = LevelLoad(self, level.name).changed

    def limits_changed(self, regulator: Regulator) -> None:
        """The denominators follow the limits."""
        slots = 0
        for level in regulator.levels.values():
            config = level.queues.config
            level_slots = config.queues * config.queue_length_limit
            slots += level_slots
            LevelLoad(self, level.name).measure_against(regulator.seat_denominator(level), max(level_slots, 1))
        seats = sum(level.limits.nominal for level in regulator.levels.values())
        for kind in self.kinds.values():
            kind.measure_against(max(slots, 1), max(seats, 1))

    def level_removed(self, name: str) -> None:
        """The series of a level leave with it."""
        everything: list[Instrument[Any]] = [
            self.rejected,
            self.dispatched,
            self.no_accommodation,
            self.epoch_advance,
            self.wait_seconds,
        ]
        everything += [self.execution_seconds, self.queue_length, self.watch_count, self.estimated_seats]
        everything += [self.request_utilization, self.seat_utilization, self.demand_seats]
        everything += [*self._flow_gauges, *self._limit_gauges, *self._demand_gauges, *self._r_gauges]
        for instrument in (*everything, self._next_s, self._next_discounted_s):
            instrument.remove_matching(priority_level=name)

    def take_over(self, regulator: Regulator) -> None:
        """Sets the gauges from the regulator's state, and adds what its plain counts grew by."""
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

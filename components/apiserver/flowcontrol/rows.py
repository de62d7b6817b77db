"""Every apiserver_flowcontrol_* row, and our own kubeglass_flowcontrol_* rows. What moves them is in metrics.py."""

from __future__ import annotations

from typing import Final

from kubeglass.telemetry.metrics.definitions import ALPHA, BETA, Counter, Gauge, Histogram, Metric, TimingRatioHistogram

P: Final = "apiserver_flowcontrol_"
KINDS: Final = ("mutating", "readOnly")
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
TURN_SECONDS: Final = Histogram(
    K + "turn_wait_duration_seconds",
    "How long requests waited for the event loop once they had their seats, or their rejection; those that waited.",
    LEVEL,
    buckets=(0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
)
OWN_ROWS: Final[tuple[Metric, ...]] = (
    TALKER_SEAT_SECONDS,
    TALKER_REQUESTS,
    TALKER_REJECTIONS,
    TALKER_WAIT_SECONDS,
    RECORDED,
    OVERWRITTEN,
    OPEN_WATCHES,
)

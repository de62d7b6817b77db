"""What every component shows of its client, work queues, leader election and Events.

Rows of k8s.io/component-base/metrics/prometheus/{restclient,workqueue,clientgo/leaderelection}.
"""

from __future__ import annotations

from collections.abc import Callable

from kubeglass.telemetry.metrics.definitions import ALPHA, BETA, Counter, Gauge, Histogram, exponential
from kubeglass.telemetry.metrics.registry import Registry

_REQUEST_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_REQUEST_BYTES = (64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216)
_QUEUE_SECONDS = exponential(1e-08, 10, 10)

REST_CLIENT_REQUESTS = Counter(
    "rest_client_requests_total",
    "HTTP requests sent, by status code, method and host.",
    labels=("code", "method", "host"),
    stability=ALPHA,
)
REST_CLIENT_DURATION = Histogram(
    "rest_client_request_duration_seconds",
    "Seconds a request took, retries included, by verb and host.",
    labels=("verb", "host"),
    buckets=_REQUEST_SECONDS,
    stability=ALPHA,
)
REST_CLIENT_RATE_LIMITER = Histogram(
    "rest_client_rate_limiter_duration_seconds",
    "Seconds a request waited for the client's own rate limit, by verb and host.",
    labels=("verb", "host"),
    buckets=_REQUEST_SECONDS,
    stability=ALPHA,
)
REST_CLIENT_REQUEST_SIZE = Histogram(
    "rest_client_request_size_bytes",
    "Bytes of a request's body, by verb and host.",
    labels=("verb", "host"),
    buckets=_REQUEST_BYTES,
    stability=ALPHA,
)
REST_CLIENT_RESPONSE_SIZE = Histogram(
    "rest_client_response_size_bytes",
    "Bytes of an answer's body, by verb and host.",
    labels=("verb", "host"),
    buckets=_REQUEST_BYTES,
    stability=ALPHA,
)
REST_CLIENT_RETRIES = Counter(
    "rest_client_request_retries_total",
    "Requests sent again, by the outcome, verb and host.",
    labels=("code", "verb", "host"),
    stability=ALPHA,
)

WORKQUEUE_DEPTH = Gauge("workqueue_depth", "Items waiting in the queue.", labels=("name",), stability=BETA)
WORKQUEUE_ADDS = Counter("workqueue_adds_total", "Items added to the queue.", labels=("name",), stability=BETA)
WORKQUEUE_QUEUE_DURATION = Histogram(
    "workqueue_queue_duration_seconds",
    "Seconds an item waited before it was taken.",
    labels=("name",),
    buckets=_QUEUE_SECONDS,
    stability=BETA,
)
WORKQUEUE_WORK_DURATION = Histogram(
    "workqueue_work_duration_seconds",
    "Seconds an item was in work.",
    labels=("name",),
    buckets=_QUEUE_SECONDS,
    stability=BETA,
)
WORKQUEUE_UNFINISHED = Gauge(
    "workqueue_unfinished_work_seconds",
    "Seconds of work in progress that work_duration has not seen yet; large values mean stuck workers.",
    labels=("name",),
    stability=BETA,
)
WORKQUEUE_LONGEST_RUNNING = Gauge(
    "workqueue_longest_running_processor_seconds",
    "Seconds the longest running worker has been at its item.",
    labels=("name",),
    stability=BETA,
)
WORKQUEUE_RETRIES = Counter("workqueue_retries_total", "Items added for later.", labels=("name",), stability=BETA)

LEADER_MASTER_STATUS = Gauge(
    "leader_election_master_status",
    "Whether this process holds the lease: 1, or 0 as a stand-by.",
    labels=("name",),
    stability=ALPHA,
)
LEADER_SLOWPATH = Counter(
    "leader_election_slowpath_total",
    "Renewals that had to read the lease again before updating it.",
    labels=("name",),
    stability=ALPHA,
)

EVENTS_DROPPED = Counter(
    "kubeglass_events_dropped_total",
    "Events that were not written, by reason.",
    labels=("reason",),
    stability=ALPHA,
)


class RestClientMetrics:
    """Bound for one host."""

    def __init__(self, registry: Registry, host: str) -> None:
        self._host = host
        self._requests = registry.bind(REST_CLIENT_REQUESTS)
        self._duration = registry.bind(REST_CLIENT_DURATION)
        self._rate_limiter = registry.bind(REST_CLIENT_RATE_LIMITER)
        self._request_size = registry.bind(REST_CLIENT_REQUEST_SIZE)
        self._response_size = registry.bind(REST_CLIENT_RESPONSE_SIZE)
        self._retries = registry.bind(REST_CLIENT_RETRIES)

    def attempted(self, method: str, code: str, *, retry: bool) -> None:
        """One attempt ended: `code` is the HTTP status or `<error>`."""
        self._requests.labels(code, method, self._host).inc()
        if retry:
            self._retries.labels(code, method, self._host).inc()

    def throttled(self, method: str, seconds: float) -> None:
        """An attempt was let through by the rate limit after `seconds`."""
        self._rate_limiter.labels(method, self._host).observe(seconds)

    def completed(self, method: str, seconds: float, sent_bytes: int, received_bytes: int) -> None:
        """A whole request ended, retries included."""
        self._duration.labels(method, self._host).observe(seconds)
        self._request_size.labels(method, self._host).observe(sent_bytes)
        if received_bytes:
            self._response_size.labels(method, self._host).observe(received_bytes)


class WorkQueueMetrics:
    """Bound for one queue; `unfinished` gives (sum, longest) of the seconds in work at scrape time."""

    def __init__(self, registry: Registry, name: str, unfinished: Callable[[], tuple[float, float]]) -> None:
        self._depth = registry.bind(WORKQUEUE_DEPTH).labels(name)
        self._adds = registry.bind(WORKQUEUE_ADDS).labels(name)
        self._queue_duration = registry.bind(WORKQUEUE_QUEUE_DURATION).labels(name)
        self._work_duration = registry.bind(WORKQUEUE_WORK_DURATION).labels(name)
        self._retries = registry.bind(WORKQUEUE_RETRIES).labels(name)
        registry.collect((WORKQUEUE_UNFINISHED,), lambda: ((WORKQUEUE_UNFINISHED, (name,), unfinished()[0]),))
        registry.collect((WORKQUEUE_LONGEST_RUNNING,), lambda: ((WORKQUEUE_LONGEST_RUNNING, (name,), unfinished()[1]),))

    def added(self) -> None:
        """A key that did not wait yet was added."""
        self._adds.inc()
        self._depth.inc()

    def taken(self, waited_seconds: float) -> None:
        """A key went into work."""
        self._depth.dec()
        self._queue_duration.observe(waited_seconds)

    def finished(self, seconds: float) -> None:
        """A key's work ended."""
        self._work_duration.observe(seconds)

    def retried(self) -> None:
        """A key was added for later."""
        self._retries.inc()


class LeaderElectionMetrics:
    """Bound for one lease."""

    def __init__(self, registry: Registry, name: str) -> None:
        self._status = registry.bind(LEADER_MASTER_STATUS).labels(name)
        self._slowpath = registry.bind(LEADER_SLOWPATH).labels(name)

    def leading(self, leads: bool) -> None:
        """The lease was won or lost."""
        self._status.set(1 if leads else 0)

    def slow(self) -> None:
        """A renewal had to read the lease again."""
        self._slowpath.inc()


class EventMetrics:
    """Events that never reached the server."""

    def __init__(self, registry: Registry) -> None:
        self._dropped = registry.bind(EVENTS_DROPPED)

    def dropped(self, reason: str) -> None:
        """One Event was not written: queue-full, rate-limited, refused or unreachable."""
        self._dropped.labels(reason).inc()

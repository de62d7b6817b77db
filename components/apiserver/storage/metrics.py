"""What the store and the watch cache count. Rows and their binding.

Names, labels and buckets are those of k8s.io/apiserver/pkg/storage v1.36; `etcd_*` keep their name whichever backend
stores. Labels are group ("" for core) and resource.
"""

from __future__ import annotations

from typing import Final

from kubeglass.telemetry.metrics.definitions import BETA, NONE, STABLE, Counter, Gauge, Histogram
from kubeglass.telemetry.metrics.registry import Registry

REQUEST_BUCKETS: Final = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
)  # fmt: skip
RESOURCE_LABELS: Final = ("group", "resource")
CALL_LABELS: Final = ("operation", "group", "resource")

ETCD_REQUEST_DURATION_SECONDS: Final = Histogram(
    "etcd_request_duration_seconds", "Seconds one call of the store took.", CALL_LABELS, buckets=REQUEST_BUCKETS
)
ETCD_REQUESTS_TOTAL: Final = Counter("etcd_requests_total", "Calls of the store.", CALL_LABELS)
ETCD_REQUEST_ERRORS_TOTAL: Final = Counter("etcd_request_errors_total", "Calls of the store that failed.", CALL_LABELS)
STORAGE_EVENTS_RECEIVED_TOTAL: Final = Counter(
    "apiserver_storage_events_received_total", "Change events received from the store.", RESOURCE_LABELS, stability=BETA
)


class StorageMetrics:
    """Observed around every call of the storage backend."""

    def __init__(self, registry: Registry) -> None:
        self.etcd_request_duration_seconds = registry.bind(ETCD_REQUEST_DURATION_SECONDS)
        self.etcd_requests_total = registry.bind(ETCD_REQUESTS_TOTAL)
        self.etcd_request_errors_total = registry.bind(ETCD_REQUEST_ERRORS_TOTAL)
        self.storage_events_received_total = registry.bind(STORAGE_EVENTS_RECEIVED_TOTAL)


STORAGE_LIST_TOTAL: Final = Counter("apiserver_storage_list_total", "Lists answered from the store.", RESOURCE_LABELS)
STORAGE_LIST_FETCHED_OBJECTS_TOTAL: Final = Counter(
    "apiserver_storage_list_fetched_objects_total", "Objects read from the store for lists.", RESOURCE_LABELS
)
STORAGE_LIST_EVALUATED_OBJECTS_TOTAL: Final = Counter(
    "apiserver_storage_list_evaluated_objects_total", "Objects tested against the selectors of lists.", RESOURCE_LABELS
)
STORAGE_LIST_RETURNED_OBJECTS_TOTAL: Final = Counter(
    "apiserver_storage_list_returned_objects_total", "Objects returned by lists from the store.", RESOURCE_LABELS
)


class ListMetrics:
    """Counted for every LIST answered from the store."""

    def __init__(self, registry: Registry) -> None:
        self.storage_list_total = registry.bind(STORAGE_LIST_TOTAL)
        self.storage_list_fetched_objects_total = registry.bind(STORAGE_LIST_FETCHED_OBJECTS_TOTAL)
        self.storage_list_evaluated_objects_total = registry.bind(STORAGE_LIST_EVALUATED_OBJECTS_TOTAL)
        self.storage_list_returned_objects_total = registry.bind(STORAGE_LIST_RETURNED_OBJECTS_TOTAL)


RESOURCE_OBJECTS: Final = Gauge("apiserver_resource_objects", "Objects stored, by resource.", RESOURCE_LABELS)
STORAGE_OBJECTS: Final = Gauge(
    "apiserver_storage_objects",
    "[DEPRECATED, consider using apiserver_resource_objects instead] Objects stored, by resource.",
    ("resource",),
    stability=STABLE,
    deprecated="1.34.0",
)
RESOURCE_SIZE_ESTIMATE_BYTES: Final = Gauge(
    "apiserver_resource_size_estimate_bytes", "Estimated bytes of the stored objects, by resource.", RESOURCE_LABELS
)


class ObjectCountMetrics:
    """Set when the objects of a resource are counted, once a minute; -1 when that failed."""

    def __init__(self, registry: Registry) -> None:
        self.resource_objects = registry.bind(RESOURCE_OBJECTS)
        self.storage_objects = registry.bind(STORAGE_OBJECTS)
        self.resource_size_estimate_bytes = registry.bind(RESOURCE_SIZE_ESTIMATE_BYTES)


STORAGE_SIZE_BYTES: Final = Gauge(
    "apiserver_storage_size_bytes", "Bytes the store occupies.", ("storage_cluster_id",), stability=STABLE
)
STORAGE_DB_TOTAL_SIZE_IN_BYTES: Final = Gauge(
    "apiserver_storage_db_total_size_in_bytes",
    "The former name of apiserver_storage_size_bytes.",
    ("endpoint",),
    deprecated="1.28.0",
    until="1.37",
)
SIZE_ROWS: Final = (
    STORAGE_SIZE_BYTES,
    STORAGE_DB_TOTAL_SIZE_IN_BYTES,
)
"""Collected at scrape time, one series per storage endpoint."""
WATCH_CACHE_EVENTS_RECEIVED_TOTAL: Final = Counter(
    "apiserver_watch_cache_events_received_total", "Events that entered the watch cache.", RESOURCE_LABELS
)
WATCH_CACHE_EVENTS_DISPATCHED_TOTAL: Final = Counter(
    "apiserver_watch_cache_events_dispatched_total",
    "Events the watch cache dispatched to its watchers.",
    RESOURCE_LABELS,
)
WATCH_CACHE_INITIALIZATIONS_TOTAL: Final = Counter(
    "apiserver_watch_cache_initializations_total", "Times a watch cache became ready.", RESOURCE_LABELS
)
WATCH_CACHE_RESOURCE_VERSION: Final = Gauge(
    "apiserver_watch_cache_resource_version",
    "The resource version the watch cache has reached, modulo 10^15.",
    RESOURCE_LABELS,
)
WATCH_CACHE_READ_WAIT_SECONDS: Final = Histogram(
    "apiserver_watch_cache_read_wait_seconds",
    "Seconds a read waited for the cache to be fresh enough.",
    RESOURCE_LABELS,
    buckets=(0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3),
)
WATCH_CACHE_CONSISTENT_READ_TOTAL: Final = Counter(
    "apiserver_watch_cache_consistent_read_total",
    "Consistent lists served through the cache, and whether they fell back to the store.",
    ("group", "resource", "success", "fallback"),
)
CACHE_LIST_TOTAL: Final = Counter(
    "apiserver_cache_list_total", "Lists answered from the cache.", ("group", "resource", "index")
)
CACHE_LIST_FETCHED_OBJECTS_TOTAL: Final = Counter(
    "apiserver_cache_list_fetched_objects_total",
    "Objects read from the cache for lists.",
    ("group", "resource", "index"),
)
CACHE_LIST_RETURNED_OBJECTS_TOTAL: Final = Counter(
    "apiserver_cache_list_returned_objects_total", "Objects returned by lists from the cache.", RESOURCE_LABELS
)
INIT_EVENTS_TOTAL: Final = Counter(
    "apiserver_init_events_total", "Initial events sent to new watchers.", RESOURCE_LABELS
)
TERMINATED_WATCHERS_TOTAL: Final = Counter(
    "apiserver_terminated_watchers_total", "Watchers closed because they were too slow.", RESOURCE_LABELS
)
WATCH_CACHE_CAPACITY: Final = Gauge("watch_cache_capacity", "Events the cache can hold.", RESOURCE_LABELS)
WATCH_CACHE_CAPACITY_INCREASE_TOTAL: Final = Counter(
    "watch_cache_capacity_increase_total", "Times the cache grew.", RESOURCE_LABELS
)
WATCH_CACHE_CAPACITY_DECREASE_TOTAL: Final = Counter(
    "watch_cache_capacity_decrease_total", "Times the cache shrank.", RESOURCE_LABELS
)


class WatchCacheMetrics:
    """Counted as events pass the cache and lists are answered from it."""

    def __init__(self, registry: Registry) -> None:
        self.watch_cache_events_received_total = registry.bind(WATCH_CACHE_EVENTS_RECEIVED_TOTAL)
        self.watch_cache_events_dispatched_total = registry.bind(WATCH_CACHE_EVENTS_DISPATCHED_TOTAL)
        self.watch_cache_initializations_total = registry.bind(WATCH_CACHE_INITIALIZATIONS_TOTAL)
        self.watch_cache_resource_version = registry.bind(WATCH_CACHE_RESOURCE_VERSION)
        self.watch_cache_read_wait_seconds = registry.bind(WATCH_CACHE_READ_WAIT_SECONDS)
        self.watch_cache_consistent_read_total = registry.bind(WATCH_CACHE_CONSISTENT_READ_TOTAL)
        self.cache_list_total = registry.bind(CACHE_LIST_TOTAL)
        self.cache_list_fetched_objects_total = registry.bind(CACHE_LIST_FETCHED_OBJECTS_TOTAL)
        self.cache_list_returned_objects_total = registry.bind(CACHE_LIST_RETURNED_OBJECTS_TOTAL)
        self.init_events_total = registry.bind(INIT_EVENTS_TOTAL)
        self.terminated_watchers_total = registry.bind(TERMINATED_WATCHERS_TOTAL)
        self.watch_cache_capacity = registry.bind(WATCH_CACHE_CAPACITY)
        self.watch_cache_capacity_increase_total = registry.bind(WATCH_CACHE_CAPACITY_INCREASE_TOTAL)
        self.watch_cache_capacity_decrease_total = registry.bind(WATCH_CACHE_CAPACITY_DECREASE_TOTAL)


GRPC_CLIENT_STARTED_TOTAL: Final = Counter(
    "grpc_client_started_total",
    "RPCs started on the client.",
    ("grpc_type", "grpc_service", "grpc_method"),
    stability=NONE,
)
GRPC_CLIENT_HANDLED_TOTAL: Final = Counter(
    "grpc_client_handled_total",
    "RPCs completed by the client, regardless of success or failure.",
    ("grpc_type", "grpc_service", "grpc_method", "grpc_code"),
    stability=NONE,
)
GRPC_CLIENT_MSG_RECEIVED_TOTAL: Final = Counter(
    "grpc_client_msg_received_total",
    "Stream messages received by the client.",
    ("grpc_type", "grpc_service", "grpc_method"),
    stability=NONE,
)
GRPC_CLIENT_MSG_SENT_TOTAL: Final = Counter(
    "grpc_client_msg_sent_total",
    "Stream messages sent by the client.",
    ("grpc_type", "grpc_service", "grpc_method"),
    stability=NONE,
)


class GrpcClientMetrics:
    """Counted for every RPC sent to a real etcd."""

    def __init__(self, registry: Registry) -> None:
        self.grpc_client_started_total = registry.bind(GRPC_CLIENT_STARTED_TOTAL)
        self.grpc_client_handled_total = registry.bind(GRPC_CLIENT_HANDLED_TOTAL)
        self.grpc_client_msg_received_total = registry.bind(GRPC_CLIENT_MSG_RECEIVED_TOTAL)
        self.grpc_client_msg_sent_total = registry.bind(GRPC_CLIENT_MSG_SENT_TOTAL)

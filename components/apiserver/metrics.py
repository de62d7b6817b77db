"""What the apiserver counts about requests, watches, audit, aggregation and address allocation: rows and their binding.

Admission, authentication and storage keep their rows in their own folders. Names, labels and buckets are those of
k8s.io/apiserver v1.36; the moment of each observation is said on the class that holds it.
"""

from __future__ import annotations

from typing import Final

from kubeglass.telemetry.metrics.definitions import BETA, STABLE, Counter, Gauge, Histogram, exponential, linear
from kubeglass.telemetry.metrics.registry import Registry

REQUEST_BUCKETS: Final = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
)  # fmt: skip
FILTER_BUCKETS: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 5, 10, 15, 30)
REQUEST_LABELS: Final = ("verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component")
SLI_LABELS: Final = ("verb", "group", "version", "resource", "subresource", "scope", "component")
RESOURCE_LABELS: Final = ("group", "version", "resource")

REQUEST_TOTAL: Final = Counter(
    "apiserver_request_total",
    "Requests answered, by verb, dry run, group, version, resource, scope, component and HTTP code.",
    ("verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component", "code"),
    stability=STABLE,
)
REQUEST_DURATION_SECONDS: Final = Histogram(
    "apiserver_request_duration_seconds",
    "Seconds from the arrival of a request to the end of its answer.",
    REQUEST_LABELS,
    stability=STABLE,
    buckets=REQUEST_BUCKETS,
)
REQUEST_SLI_DURATION_SECONDS: Final = Histogram(
    "apiserver_request_sli_duration_seconds",
    "Seconds of a request that count for the service level: waiting in flow control and webhooks left out.",
    SLI_LABELS,
    buckets=REQUEST_BUCKETS[2:],
)
REQUEST_SLO_DURATION_SECONDS: Final = Histogram(
    "apiserver_request_slo_duration_seconds",
    "The former name of apiserver_request_sli_duration_seconds.",
    SLI_LABELS,
    deprecated="1.27.0",
    since="1.23",
    until="1.37",
    buckets=REQUEST_BUCKETS[2:],
)
RESPONSE_SIZES: Final = Histogram(
    "apiserver_response_sizes",
    "Bytes of the answers to GET and LIST.",
    SLI_LABELS,
    stability=STABLE,
    buckets=exponential(1000, 10, 7),
)
REQUEST_BODY_SIZE_BYTES: Final = Histogram(
    "apiserver_request_body_size_bytes",
    "Bytes of request bodies of writes, once read.",
    ("group", "resource", "verb"),
    buckets=linear(50000, 100000, 31),
)
REQUEST_TERMINATIONS_TOTAL: Final = Counter(
    "apiserver_request_terminations_total",
    "Requests the server ended to protect itself: overload, timeouts, unreachable aggregated servers.",
    ("verb", "group", "version", "resource", "subresource", "scope", "component", "code"),
)
REQUEST_ABORTS_TOTAL: Final = Counter(
    "apiserver_request_aborts_total",
    "Requests aborted while being handled, mostly by a timeout.",
    ("verb", "group", "version", "resource", "subresource", "scope"),
)
REQUEST_FILTER_DURATION_SECONDS: Final = Histogram(
    "apiserver_request_filter_duration_seconds",
    "Seconds spent in each filter of the chain.",
    ("filter",),
    buckets=FILTER_BUCKETS,
)
REQUESTED_DEPRECATED_APIS: Final = Gauge(
    "apiserver_requested_deprecated_apis",
    "1 for each deprecated API version that was asked for, with the release that removes it.",
    ("group", "version", "resource", "subresource", "removed_release"),
    stability=STABLE,
)
SELFREQUEST_TOTAL: Final = Counter(
    "apiserver_selfrequest_total",
    "Requests the apiserver sent to itself.",
    ("verb", "group", "resource", "subresource"),
)
TLS_HANDSHAKE_ERRORS_TOTAL: Final = Counter("apiserver_tls_handshake_errors_total", "TLS handshakes that failed.")
DROPPED_REQUESTS_TOTAL: Final = Counter(
    "apiserver_dropped_requests_total",
    "Requests refused because too many were in flight.",
    ("request_kind",),
    deprecated="1.24.0",
    until="1.25",
)


class RequestMetrics:
    """Observed when a handler has returned (a watch: when its stream ended); 429 rejections count in totals only."""

    def __init__(self, registry: Registry) -> None:
        self.request_total = registry.bind(REQUEST_TOTAL)
        self.request_duration_seconds = registry.bind(REQUEST_DURATION_SECONDS)
        self.request_sli_duration_seconds = registry.bind(REQUEST_SLI_DURATION_SECONDS)
        self.request_slo_duration_seconds = registry.bind(REQUEST_SLO_DURATION_SECONDS)
        self.response_sizes = registry.bind(RESPONSE_SIZES)
        self.request_body_size_bytes = registry.bind(REQUEST_BODY_SIZE_BYTES)
        self.request_terminations_total = registry.bind(REQUEST_TERMINATIONS_TOTAL)
        self.request_aborts_total = registry.bind(REQUEST_ABORTS_TOTAL)
        self.request_filter_duration_seconds = registry.bind(REQUEST_FILTER_DURATION_SECONDS)
        self.requested_deprecated_apis = registry.bind(REQUESTED_DEPRECATED_APIS)
        self.selfrequest_total = registry.bind(SELFREQUEST_TOTAL)
        self.tls_handshake_errors_total = registry.bind(TLS_HANDSHAKE_ERRORS_TOTAL)
        self.dropped_requests_total = registry.bind(DROPPED_REQUESTS_TOTAL)


CURRENT_INFLIGHT_REQUESTS: Final = Gauge(
    "apiserver_current_inflight_requests",
    "Most requests that were executing at once during the last second, by kind.",
    ("request_kind",),
    stability=STABLE,
)
CURRENT_INQUEUE_REQUESTS: Final = Gauge(
    "apiserver_current_inqueue_requests",
    "Most requests that were queued at once during the last second, by kind.",
    ("request_kind",),
)
LONGRUNNING_REQUESTS: Final = Gauge(
    "apiserver_longrunning_requests", "Long-running requests under way.", SLI_LABELS, stability=STABLE
)


class LoadMetrics:
    """Moved by the start and the end of a long-running request; the two above are flow control's to set."""

    def __init__(self, registry: Registry) -> None:
        self.longrunning_requests = registry.bind(LONGRUNNING_REQUESTS)


WATCH_EVENTS_TOTAL: Final = Counter(
    "apiserver_watch_events_total", "Events written to watching clients.", RESOURCE_LABELS
)
WATCH_EVENTS_SIZES: Final = Histogram(
    "apiserver_watch_events_sizes",
    "Bytes of the events written to watching clients.",
    RESOURCE_LABELS,
    buckets=exponential(1024, 2, 8),
)
WATCH_LIST_DURATION_SECONDS: Final = Histogram(
    "apiserver_watch_list_duration_seconds",
    "Seconds until a watch that asked for initial events had received them all.",
    ("group", "version", "resource", "scope"),
    stability=BETA,
    buckets=(0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 15, 20, 30, 45, 60),
)


class WatchMetrics:
    """Observed for every event as it is written to a client."""

    def __init__(self, registry: Registry) -> None:
        self.watch_events_total = registry.bind(WATCH_EVENTS_TOTAL)
        self.watch_events_sizes = registry.bind(WATCH_EVENTS_SIZES)
        self.watch_list_duration_seconds = registry.bind(WATCH_LIST_DURATION_SECONDS)


AUDIT_EVENT_TOTAL: Final = Counter("apiserver_audit_event_total", "Audit events handed to the backend.")
AUDIT_LEVEL_TOTAL: Final = Counter(
    "apiserver_audit_level_total", "Requests by the audit level the policy gave them.", ("level",)
)
AUDIT_ERROR_TOTAL: Final = Counter("apiserver_audit_error_total", "Audit events a backend lost.", ("plugin",))
AUDIT_REQUESTS_REJECTED_TOTAL: Final = Counter(
    "apiserver_audit_requests_rejected_total", "Requests refused because their audit event could not be written."
)


class AuditMetrics:
    """Counted as the audit policy is applied and events leave for their backend."""

    def __init__(self, registry: Registry) -> None:
        self.audit_event_total = registry.bind(AUDIT_EVENT_TOTAL)
        self.audit_level_total = registry.bind(AUDIT_LEVEL_TOTAL)
        self.audit_error_total = registry.bind(AUDIT_ERROR_TOTAL)
        self.audit_requests_rejected_total = registry.bind(AUDIT_REQUESTS_REJECTED_TOTAL)


AGGREGATOR_UNAVAILABLE_APISERVICE: Final = Gauge(
    "aggregator_unavailable_apiservice", "1 for an APIService that is not available, else 0.", ("name",)
)
AGGREGATOR_ROWS: Final = (AGGREGATOR_UNAVAILABLE_APISERVICE,)
"""Collected at scrape time, one series per APIService."""
AGGREGATOR_UNAVAILABLE_APISERVICE_TOTAL: Final = Counter(
    "aggregator_unavailable_apiservice_total", "Changes of an APIService to unavailable, by reason.", ("name", "reason")
)


class AggregatorMetrics:
    """Counted when an APIService becomes unavailable."""

    def __init__(self, registry: Registry) -> None:
        self.aggregator_unavailable_apiservice_total = registry.bind(AGGREGATOR_UNAVAILABLE_APISERVICE_TOTAL)


CLUSTERIP_ALLOCATOR_ALLOCATED_IPS: Final = Gauge(
    "kube_apiserver_clusterip_allocator_allocated_ips", "Cluster IPs in use.", ("cidr",)
)
CLUSTERIP_ALLOCATOR_AVAILABLE_IPS: Final = Gauge(
    "kube_apiserver_clusterip_allocator_available_ips", "Cluster IPs free.", ("cidr",)
)
CLUSTERIP_ALLOCATOR_ALLOCATION_TOTAL: Final = Counter(
    "kube_apiserver_clusterip_allocator_allocation_total", "Cluster IPs allocated.", ("cidr", "scope")
)
CLUSTERIP_ALLOCATOR_ALLOCATION_ERRORS_TOTAL: Final = Counter(
    "kube_apiserver_clusterip_allocator_allocation_errors_total",
    "Cluster IPs that could not be allocated.",
    ("cidr", "scope"),
)
CLUSTERIP_ALLOCATOR_ALLOCATION_DURATION_SECONDS: Final = Histogram(
    "kube_apiserver_clusterip_allocator_allocation_duration_seconds", "Seconds to allocate a cluster IP.", ("cidr",)
)
NODEPORT_ALLOCATOR_ALLOCATED_PORTS: Final = Gauge(
    "kube_apiserver_nodeport_allocator_allocated_ports", "Node ports in use."
)
NODEPORT_ALLOCATOR_AVAILABLE_PORTS: Final = Gauge(
    "kube_apiserver_nodeport_allocator_available_ports", "Node ports free."
)
NODEPORT_ALLOCATOR_ALLOCATION_TOTAL: Final = Counter(
    "kube_apiserver_nodeport_allocator_allocation_total", "Node ports allocated.", ("scope",)
)
NODEPORT_ALLOCATOR_ALLOCATION_ERRORS_TOTAL: Final = Counter(
    "kube_apiserver_nodeport_allocator_allocation_errors_total", "Node ports that could not be allocated.", ("scope",)
)


ALLOCATION_ROWS: Final = (
    CLUSTERIP_ALLOCATOR_ALLOCATED_IPS,
    CLUSTERIP_ALLOCATOR_AVAILABLE_IPS,
    NODEPORT_ALLOCATOR_ALLOCATED_PORTS,
    NODEPORT_ALLOCATOR_AVAILABLE_PORTS,
)
"""Collected at scrape time from the Services that are there."""


class AllocatorMetrics:
    """Counted as Services get addresses and node ports."""

    def __init__(self, registry: Registry) -> None:
        self.clusterip_allocator_allocation_total = registry.bind(CLUSTERIP_ALLOCATOR_ALLOCATION_TOTAL)
        self.clusterip_allocator_allocation_errors_total = registry.bind(CLUSTERIP_ALLOCATOR_ALLOCATION_ERRORS_TOTAL)
        self.clusterip_allocator_allocation_duration_seconds = registry.bind(
            CLUSTERIP_ALLOCATOR_ALLOCATION_DURATION_SECONDS
        )
        self.nodeport_allocator_allocation_total = registry.bind(NODEPORT_ALLOCATOR_ALLOCATION_TOTAL)
        self.nodeport_allocator_allocation_errors_total = registry.bind(NODEPORT_ALLOCATOR_ALLOCATION_ERRORS_TOTAL)


CSR_REQUESTED_DURATION_TOTAL: Final = Counter(
    "apiserver_certificates_registry_csr_requested_duration_total",
    "Certificates issued for requests that asked for a duration.",
    ("signerName",),
)
CSR_HONORED_DURATION_TOTAL: Final = Counter(
    "apiserver_certificates_registry_csr_honored_duration_total",
    "Certificates issued with the duration that was asked for.",
    ("signerName",),
)


class CertificateMetrics:
    """Counted as a signing request gets its certificate; signers of other domains are "other"."""

    def __init__(self, registry: Registry) -> None:
        self.csr_requested_duration_total = registry.bind(CSR_REQUESTED_DURATION_TOTAL)
        self.csr_honored_duration_total = registry.bind(CSR_HONORED_DURATION_TOTAL)


POD_LOGS_INSECURE_BACKEND_TOTAL: Final = Counter(
    "kube_apiserver_pod_logs_insecure_backend_total",
    "Log requests, by whether the kubelet's certificate was checked.",
    ("usage",),
)
POD_LOGS_PODS_LOGS_INSECURE_BACKEND_TOTAL: Final = Counter(
    "kube_apiserver_pod_logs_pods_logs_insecure_backend_total",
    "The former name of kube_apiserver_pod_logs_insecure_backend_total.",
    ("usage",),
    deprecated="1.27.0",
)
WEBSOCKET_STREAMING_REQUESTS_TOTAL: Final = Counter(
    "apiserver_websocket_streaming_requests_total",
    "Streaming requests (exec, attach, portforward) that came by WebSocket.",
    ("subresource", "proxy_type"),
)


class PodLogMetrics:
    """Counted as the log subresource reaches a kubelet."""

    def __init__(self, registry: Registry) -> None:
        self.pod_logs_insecure_backend_total = registry.bind(POD_LOGS_INSECURE_BACKEND_TOTAL)
        self.pod_logs_pods_logs_insecure_backend_total = registry.bind(POD_LOGS_PODS_LOGS_INSECURE_BACKEND_TOTAL)
        self.websocket_streaming_requests_total = registry.bind(WEBSOCKET_STREAMING_REQUESTS_TOTAL)

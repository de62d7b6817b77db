"""What the kubelet counts on /metrics and /metrics/probes: Pods, containers, the runtime, images, volumes, its server.

Rows and their binding; what containers use is in container_metrics.py. Names, labels and buckets are those of
k8s.io/kubernetes/pkg/kubelet/metrics v1.36.
"""

from __future__ import annotations

from typing import Final

from kubeglass.telemetry.metrics.definitions import BETA, INTERNAL, Counter, Gauge, Histogram, exponential
from kubeglass.telemetry.metrics.registry import Registry

POD_START_BUCKETS: Final = (
    0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600,
)  # fmt: skip
HTTP_LABELS: Final = ("method", "path", "server_type", "long_running")
CLAIM_LABELS: Final = ("namespace", "persistentvolumeclaim")

NODE_NAME: Final = Gauge("kubelet_node_name", "Always 1; the label names the node.", ("node",))
METRICS_PROVIDER: Final = Gauge(
    "kubelet_metrics_provider", "Always 1; the label names where container metrics come from.", ("provider",)
)
CGROUP_VERSION: Final = Gauge("kubelet_cgroup_version", "The version of cgroups on the machine.")
NODE_STARTUP_DURATION_SECONDS: Final = Gauge(
    "kubelet_node_startup_duration_seconds", "Seconds from the boot of the machine to the first Ready."
)
NODE_STARTUP_REGISTRATION_DURATION_SECONDS: Final = Gauge(
    "kubelet_node_startup_registration_duration_seconds", "Seconds from the first attempt to register to success."
)
NODE_STARTUP_PRE_KUBELET_DURATION_SECONDS: Final = Gauge(
    "kubelet_node_startup_pre_kubelet_duration_seconds",
    "Seconds from the boot of the machine to the start of the kubelet.",
)
NODE_STARTUP_PRE_REGISTRATION_DURATION_SECONDS: Final = Gauge(
    "kubelet_node_startup_pre_registration_duration_seconds",
    "Seconds from the start of the kubelet to its first attempt to register.",
)
NODE_STARTUP_POST_REGISTRATION_DURATION_SECONDS: Final = Gauge(
    "kubelet_node_startup_post_registration_duration_seconds", "Seconds from the registration to the first Ready."
)


class NodeMetrics:
    """Set when the kubelet starts, registers and first reports Ready."""

    def __init__(self, registry: Registry) -> None:
        self.node_name = registry.bind(NODE_NAME)
        self.metrics_provider = registry.bind(METRICS_PROVIDER)
        self.cgroup_version = registry.bind(CGROUP_VERSION)
        self.node_startup_duration_seconds = registry.bind(NODE_STARTUP_DURATION_SECONDS)
        self.node_startup_registration_duration_seconds = registry.bind(NODE_STARTUP_REGISTRATION_DURATION_SECONDS)
        self.node_startup_pre_kubelet_duration_seconds = registry.bind(NODE_STARTUP_PRE_KUBELET_DURATION_SECONDS)
        self.node_startup_pre_registration_duration_seconds = registry.bind(
            NODE_STARTUP_PRE_REGISTRATION_DURATION_SECONDS
        )
        self.node_startup_post_registration_duration_seconds = registry.bind(
            NODE_STARTUP_POST_REGISTRATION_DURATION_SECONDS
        )


CGROUP_MANAGER_DURATION_SECONDS: Final = Histogram(
    "kubelet_cgroup_manager_duration_seconds",
    "Seconds to make, change or delete a control group of the node, its classes or a Pod.",
    ("operation_type",),
)


class CgroupMetrics:
    """Observed at each create, update and destroy of a control group."""

    def __init__(self, registry: Registry) -> None:
        self.cgroup_manager_duration_seconds = registry.bind(CGROUP_MANAGER_DURATION_SECONDS)


POD_START_SLI_DURATION_SECONDS: Final = Histogram(
    "kubelet_pod_start_sli_duration_seconds",
    "Seconds from the creation of a Pod to all containers running, image pulls and init containers left out.",
    buckets=POD_START_BUCKETS,
)
POD_START_TOTAL_DURATION_SECONDS: Final = Histogram(
    "kubelet_pod_start_total_duration_seconds",
    "Seconds from the creation of a Pod to all containers running.",
    buckets=POD_START_BUCKETS,
)
POD_START_DURATION_SECONDS: Final = Histogram(
    "kubelet_pod_start_duration_seconds",
    "Seconds from the first sight of a Pod to its Running phase.",
    buckets=POD_START_BUCKETS,
)
FIRST_NETWORK_POD_START_SLI_DURATION_SECONDS: Final = Gauge(
    "kubelet_first_network_pod_start_sli_duration_seconds",
    "Seconds the first Pod with an own network took to start.",
    stability=INTERNAL,
)


class PodStartMetrics:
    """Observed once per Pod, when its containers were first seen running."""

    def __init__(self, registry: Registry) -> None:
        self.pod_start_sli_duration_seconds = registry.bind(POD_START_SLI_DURATION_SECONDS)
        self.pod_start_total_duration_seconds = registry.bind(POD_START_TOTAL_DURATION_SECONDS)
        self.pod_start_duration_seconds = registry.bind(POD_START_DURATION_SECONDS)
        self.first_network_pod_start_sli_duration_seconds = registry.bind(FIRST_NETWORK_POD_START_SLI_DURATION_SECONDS)


POD_WORKER_START_DURATION_SECONDS: Final = Histogram(
    "kubelet_pod_worker_start_duration_seconds", "Seconds from the first sight of a Pod to the first sync."
)
POD_WORKER_DURATION_SECONDS: Final = Histogram(
    "kubelet_pod_worker_duration_seconds", "Seconds of one pass of a Pod worker.", ("operation_type",)
)
POD_STATUS_SYNC_DURATION_SECONDS: Final = Histogram(
    "kubelet_pod_status_sync_duration_seconds",
    "Seconds from a status change to its acceptance by the API server.",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 20, 30, 45, 60),
)
STARTED_PODS_TOTAL: Final = Counter("kubelet_started_pods_total", "Pods started.")
STARTED_PODS_ERRORS_TOTAL: Final = Counter("kubelet_started_pods_errors_total", "Pods that could not be started.")
DESIRED_PODS: Final = Gauge("kubelet_desired_pods", "Pods the kubelet is told to run.", ("static",))
ACTIVE_PODS: Final = Gauge(
    "kubelet_active_pods", "Pods the kubelet runs and counts against its resources.", ("static",)
)
MIRROR_PODS: Final = Gauge("kubelet_mirror_pods", "Mirror Pods of static Pods.")
MANAGED_EPHEMERAL_CONTAINERS: Final = Gauge(
    "kubelet_managed_ephemeral_containers", "Ephemeral containers of the Pods that the kubelet manages."
)
WORKING_PODS: Final = Gauge(
    "kubelet_working_pods", "Pods with a worker, by what it does.", ("lifecycle", "config", "static")
)
CONTAINERS_PER_POD_COUNT: Final = Histogram(
    "kubelet_containers_per_pod_count", "Containers of each Pod.", buckets=exponential(1, 2, 5)
)
ORPHANED_RUNTIME_PODS_TOTAL: Final = Counter("kubelet_orphaned_runtime_pods_total", "Running Pods nobody asked for.")


class PodWorkerMetrics:
    """Observed at each pass of a Pod worker and at each housekeeping."""

    def __init__(self, registry: Registry) -> None:
        self.pod_worker_start_duration_seconds = registry.bind(POD_WORKER_START_DURATION_SECONDS)
        self.pod_worker_duration_seconds = registry.bind(POD_WORKER_DURATION_SECONDS)
        self.pod_status_sync_duration_seconds = registry.bind(POD_STATUS_SYNC_DURATION_SECONDS)
        self.started_pods_total = registry.bind(STARTED_PODS_TOTAL)
        self.started_pods_errors_total = registry.bind(STARTED_PODS_ERRORS_TOTAL)
        self.desired_pods = registry.bind(DESIRED_PODS)
        self.active_pods = registry.bind(ACTIVE_PODS)
        self.mirror_pods = registry.bind(MIRROR_PODS)
        self.managed_ephemeral_containers = registry.bind(MANAGED_EPHEMERAL_CONTAINERS)
        self.working_pods = registry.bind(WORKING_PODS)
        self.containers_per_pod_count = registry.bind(CONTAINERS_PER_POD_COUNT)
        self.orphaned_runtime_pods_total = registry.bind(ORPHANED_RUNTIME_PODS_TOTAL)


STARTED_CONTAINERS_TOTAL: Final = Counter(
    "kubelet_started_containers_total", "Containers started.", ("container_type",)
)
STARTED_CONTAINERS_ERRORS_TOTAL: Final = Counter(
    "kubelet_started_containers_errors_total",
    "Containers that could not be started, by reason.",
    ("container_type", "code"),
)
TERMINATED_CONTAINERS_TOTAL: Final = Counter(
    "kubelet_terminated_containers_total",
    "Containers that ended, by exit code and reason.",
    ("container_type", "exit_code", "reason"),
)


class ContainerMetrics:
    """Counted before each start of a container, and when it failed or ended."""

    def __init__(self, registry: Registry) -> None:
        self.started_containers_total = registry.bind(STARTED_CONTAINERS_TOTAL)
        self.started_containers_errors_total = registry.bind(STARTED_CONTAINERS_ERRORS_TOTAL)
        self.terminated_containers_total = registry.bind(TERMINATED_CONTAINERS_TOTAL)


RUNNING_PODS: Final = Gauge("kubelet_running_pods", "Pods with a running sandbox.")
RUNNING_CONTAINERS: Final = Gauge("kubelet_running_containers", "Containers, by state.", ("container_state",))
PLEG_RELIST_DURATION_SECONDS: Final = Histogram("kubelet_pleg_relist_duration_seconds", "Seconds of one relist.")
PLEG_RELIST_INTERVAL_SECONDS: Final = Histogram("kubelet_pleg_relist_interval_seconds", "Seconds between two relists.")
PLEG_LAST_SEEN_SECONDS: Final = Gauge("kubelet_pleg_last_seen_seconds", "When the last relist ended.")


class PlegMetrics:
    """Observed at each relist of the runtime."""

    def __init__(self, registry: Registry) -> None:
        self.running_pods = registry.bind(RUNNING_PODS)
        self.running_containers = registry.bind(RUNNING_CONTAINERS)
        self.pleg_relist_duration_seconds = registry.bind(PLEG_RELIST_DURATION_SECONDS)
        self.pleg_relist_interval_seconds = registry.bind(PLEG_RELIST_INTERVAL_SECONDS)
        self.pleg_last_seen_seconds = registry.bind(PLEG_LAST_SEEN_SECONDS)


RUNTIME_OPERATIONS_TOTAL: Final = Counter(
    "kubelet_runtime_operations_total", "Calls of the runtime.", ("operation_type",)
)
RUNTIME_OPERATIONS_DURATION_SECONDS: Final = Histogram(
    "kubelet_runtime_operations_duration_seconds",
    "Seconds of one call of the runtime.",
    ("operation_type",),
    buckets=exponential(0.005, 2.5, 14),
)
RUNTIME_OPERATIONS_ERRORS_TOTAL: Final = Counter(
    "kubelet_runtime_operations_errors_total", "Failed calls of the runtime.", ("operation_type",)
)
RUN_PODSANDBOX_DURATION_SECONDS: Final = Histogram(
    "kubelet_run_podsandbox_duration_seconds", "Seconds to create a Pod sandbox.", ("runtime_handler",)
)
RUN_PODSANDBOX_ERRORS_TOTAL: Final = Counter(
    "kubelet_run_podsandbox_errors_total", "Pod sandboxes that could not be created.", ("runtime_handler",)
)


class RuntimeMetrics:
    """Observed at the end of each call of the container runtime."""

    def __init__(self, registry: Registry) -> None:
        self.runtime_operations_total = registry.bind(RUNTIME_OPERATIONS_TOTAL)
        self.runtime_operations_duration_seconds = registry.bind(RUNTIME_OPERATIONS_DURATION_SECONDS)
        self.runtime_operations_errors_total = registry.bind(RUNTIME_OPERATIONS_ERRORS_TOTAL)
        self.run_podsandbox_duration_seconds = registry.bind(RUN_PODSANDBOX_DURATION_SECONDS)
        self.run_podsandbox_errors_total = registry.bind(RUN_PODSANDBOX_ERRORS_TOTAL)


IMAGE_PULL_DURATION_SECONDS: Final = Histogram(
    "kubelet_image_pull_duration_seconds",
    "Seconds of a successful pull, by image size.",
    ("image_size_in_bytes",),
    buckets=(1, 5, 10, 20, 30, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600),
)
IMAGE_MANAGER_ENSURE_IMAGE_REQUESTS_TOTAL: Final = Counter(
    "kubelet_image_manager_ensure_image_requests_total",
    "Images asked for, by pull policy and presence.",
    ("pull_policy", "present_locally", "pull_required"),
)


class ImageMetrics:
    """Observed when an image was pulled or removed."""

    def __init__(self, registry: Registry) -> None:
        self.image_pull_duration_seconds = registry.bind(IMAGE_PULL_DURATION_SECONDS)
        self.image_manager_ensure_image_requests_total = registry.bind(IMAGE_MANAGER_ENSURE_IMAGE_REQUESTS_TOTAL)


EVICTIONS: Final = Counter("kubelet_evictions", "Pods evicted, by signal.", ("eviction_signal",))


class EvictionMetrics:
    """Counted when the kubelet evicts a Pod."""

    def __init__(self, registry: Registry) -> None:
        self.evictions = registry.bind(EVICTIONS)


HTTP_REQUESTS_TOTAL: Final = Counter("kubelet_http_requests_total", "Requests to the kubelet.", HTTP_LABELS)
HTTP_REQUESTS_DURATION_SECONDS: Final = Histogram(
    "kubelet_http_requests_duration_seconds", "Seconds of one request to the kubelet.", HTTP_LABELS
)
HTTP_INFLIGHT_REQUESTS: Final = Gauge(
    "kubelet_http_inflight_requests", "Requests the kubelet is answering.", HTTP_LABELS
)
WEBSOCKET_STREAMING_REQUESTS_TOTAL: Final = Counter(
    "kubelet_websocket_streaming_requests_total",
    "Streaming requests (exec, attach, portforward) that came by WebSocket.",
    ("subresource",),
)


class HttpMetrics:
    """Observed for each request to the kubelet's server."""

    def __init__(self, registry: Registry) -> None:
        self.http_requests_total = registry.bind(HTTP_REQUESTS_TOTAL)
        self.http_requests_duration_seconds = registry.bind(HTTP_REQUESTS_DURATION_SECONDS)
        self.http_inflight_requests = registry.bind(HTTP_INFLIGHT_REQUESTS)
        self.websocket_streaming_requests_total = registry.bind(WEBSOCKET_STREAMING_REQUESTS_TOTAL)


CERTIFICATE_MANAGER_CLIENT_TTL_SECONDS: Final = Gauge(
    "kubelet_certificate_manager_client_ttl_seconds", "Seconds until the client certificate expires."
)
CERTIFICATE_MANAGER_SERVER_TTL_SECONDS: Final = Gauge(
    "kubelet_certificate_manager_server_ttl_seconds", "Seconds until the serving certificate expires."
)
CERTIFICATE_MANAGER_CLIENT_EXPIRATION_RENEW_ERRORS: Final = Counter(
    "kubelet_certificate_manager_client_expiration_renew_errors", "Renewals of the client certificate that failed."
)
SERVER_EXPIRATION_RENEW_ERRORS: Final = Counter(
    "kubelet_server_expiration_renew_errors", "Renewals of the serving certificate that failed."
)
CERTIFICATE_MANAGER_SERVER_ROTATION_SECONDS: Final = Histogram(
    "kubelet_certificate_manager_server_rotation_seconds",
    "Seconds that a serving certificate lived before the next took its place.",
    buckets=(60, 3600, 14400, 86400, 604800, 2592000, 7776000, 15552000, 31104000, 124416000),
)


class CertificateMetrics:
    """Counted as a renewal fails, observed as a serving certificate is replaced."""

    def __init__(self, registry: Registry) -> None:
        self.client_renew_errors = registry.bind(CERTIFICATE_MANAGER_CLIENT_EXPIRATION_RENEW_ERRORS)
        self.server_renew_errors = registry.bind(SERVER_EXPIRATION_RENEW_ERRORS)
        self.server_rotation_seconds = registry.bind(CERTIFICATE_MANAGER_SERVER_ROTATION_SECONDS)


CERTIFICATE_TTL_ROWS: Final = (
    CERTIFICATE_MANAGER_CLIENT_TTL_SECONDS,
    CERTIFICATE_MANAGER_SERVER_TTL_SECONDS,
)
"""Collected at scrape time: seconds to expiry, +Inf without a certificate."""
VOLUME_STATS_CAPACITY_BYTES: Final = Gauge(
    "kubelet_volume_stats_capacity_bytes", "Bytes a volume can hold.", CLAIM_LABELS
)
VOLUME_STATS_AVAILABLE_BYTES: Final = Gauge(
    "kubelet_volume_stats_available_bytes", "Bytes free on a volume.", CLAIM_LABELS
)
VOLUME_STATS_USED_BYTES: Final = Gauge("kubelet_volume_stats_used_bytes", "Bytes used on a volume.", CLAIM_LABELS)
VOLUME_STATS_INODES: Final = Gauge("kubelet_volume_stats_inodes", "Inodes of a volume.", CLAIM_LABELS)
VOLUME_STATS_INODES_FREE: Final = Gauge("kubelet_volume_stats_inodes_free", "Inodes free on a volume.", CLAIM_LABELS)
VOLUME_STATS_INODES_USED: Final = Gauge("kubelet_volume_stats_inodes_used", "Inodes used on a volume.", CLAIM_LABELS)
VOLUME_STATS_ROWS: Final = (
    VOLUME_STATS_CAPACITY_BYTES,
    VOLUME_STATS_AVAILABLE_BYTES,
    VOLUME_STATS_USED_BYTES,
    VOLUME_STATS_INODES,
    VOLUME_STATS_INODES_FREE,
    VOLUME_STATS_INODES_USED,
)
"""Collected at scrape time, one series per claim mounted on the node."""
VOLUME_MANAGER_TOTAL_VOLUMES: Final = Gauge(
    "volume_manager_total_volumes", "Volumes of the node.", ("plugin_name", "state")
)
VOLUME_MANAGER_ROWS: Final = (VOLUME_MANAGER_TOTAL_VOLUMES,)
"""Collected at scrape time, by plugin and by wanted or actual state."""
STORAGE_OPERATION_DURATION_SECONDS: Final = Histogram(
    "storage_operation_duration_seconds",
    "Seconds of one operation on a volume.",
    ("volume_plugin", "operation_name", "status", "migrated"),
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600),
)
VOLUME_METRIC_COLLECTION_DURATION_SECONDS: Final = Histogram(
    "kubelet_volume_metric_collection_duration_seconds", "Seconds to measure one volume.", ("metric_source",)
)


class VolumeMetrics:
    """Observed at the end of each operation on a volume."""

    def __init__(self, registry: Registry) -> None:
        self.storage_operation_duration_seconds = registry.bind(STORAGE_OPERATION_DURATION_SECONDS)
        self.volume_metric_collection_duration_seconds = registry.bind(VOLUME_METRIC_COLLECTION_DURATION_SECONDS)


CONTAINER_LOG_FILESYSTEM_USED_BYTES: Final = Gauge(
    "kubelet_container_log_filesystem_used_bytes",
    "Bytes of the logs of a container.",
    ("uid", "namespace", "pod", "container"),
)
LOG_ROWS: Final = (CONTAINER_LOG_FILESYSTEM_USED_BYTES,)
"""Collected at scrape time, one series per container."""
PROBER_PROBE_TOTAL: Final = Counter(
    "prober_probe_total",
    "Probes run, by result.",
    ("probe_type", "result", "container", "pod", "namespace", "pod_uid"),
    stability=BETA,
)
PROBER_PROBE_DURATION_SECONDS: Final = Histogram(
    "prober_probe_duration_seconds",
    "Seconds of one probe that did not fail.",
    ("probe_type", "container", "pod", "namespace"),
)
PROCESS_START_TIME_SECONDS: Final = Gauge(
    "process_start_time_seconds", "Start time of the process since unix epoch in seconds."
)


class ProbeMetrics:
    """Bound in the registry of /metrics/probes; counted after each run of a probe, removed with the container."""

    def __init__(self, registry: Registry) -> None:
        self.prober_probe_total = registry.bind(PROBER_PROBE_TOTAL)
        self.prober_probe_duration_seconds = registry.bind(PROBER_PROBE_DURATION_SECONDS)
        self.process_start_time_seconds = registry.bind(PROCESS_START_TIME_SECONDS)

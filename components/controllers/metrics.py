"""What the controllers count. One class per controller: its rows, bound.

Names, labels and buckets are those of k8s.io/kubernetes/pkg/controller/*/metrics v1.36. Queues and clients count in
machinery/metrics.py.
"""

from __future__ import annotations

from typing import Final

from kubeglass.telemetry.metrics.definitions import BETA, STABLE, Counter, Gauge, Histogram, exponential
from kubeglass.telemetry.metrics.registry import Registry

RUNNING_MANAGED_CONTROLLERS: Final = Gauge(
    "running_managed_controllers", "Whether each controller runs.", ("name", "manager"), stability=BETA
)


class ManagerMetrics:
    """1 while a controller runs, 0 once it has stopped."""

    def __init__(self, registry: Registry) -> None:
        self.running_managed_controllers = registry.bind(RUNNING_MANAGED_CONTROLLERS)


NODE_COLLECTOR_EVICTIONS_TOTAL: Final = Counter(
    "node_collector_evictions_total", "Nodes whose Pods were evicted, by zone.", ("zone",), stability=STABLE
)
NODE_COLLECTOR_UNHEALTHY_NODES_IN_ZONE: Final = Gauge(
    "node_collector_unhealthy_nodes_in_zone", "Nodes that are not ready, by zone.", ("zone",)
)
NODE_COLLECTOR_ZONE_HEALTH: Final = Gauge("node_collector_zone_health", "Percent of ready nodes, by zone.", ("zone",))
NODE_COLLECTOR_ZONE_SIZE: Final = Gauge("node_collector_zone_size", "Nodes, by zone.", ("zone",))
NODE_COLLECTOR_UPDATE_ALL_NODES_HEALTH_DURATION_SECONDS: Final = Histogram(
    "node_collector_update_all_nodes_health_duration_seconds",
    "Seconds of one pass over all nodes.",
    buckets=exponential(0.01, 4, 8),
)
NODE_COLLECTOR_UPDATE_NODE_HEALTH_DURATION_SECONDS: Final = Histogram(
    "node_collector_update_node_health_duration_seconds", "Seconds to check one node.", buckets=exponential(0.001, 4, 8)
)


class NodeLifecycleMetrics:
    """Set at every pass over the nodes; evictions when a NoExecute taint is put on one."""

    def __init__(self, registry: Registry) -> None:
        self.node_collector_evictions_total = registry.bind(NODE_COLLECTOR_EVICTIONS_TOTAL)
        self.node_collector_unhealthy_nodes_in_zone = registry.bind(NODE_COLLECTOR_UNHEALTHY_NODES_IN_ZONE)
        self.node_collector_zone_health = registry.bind(NODE_COLLECTOR_ZONE_HEALTH)
        self.node_collector_zone_size = registry.bind(NODE_COLLECTOR_ZONE_SIZE)
        self.node_collector_update_all_nodes_health_duration_seconds = registry.bind(
            NODE_COLLECTOR_UPDATE_ALL_NODES_HEALTH_DURATION_SECONDS
        )
        self.node_collector_update_node_health_duration_seconds = registry.bind(
            NODE_COLLECTOR_UPDATE_NODE_HEALTH_DURATION_SECONDS
        )


TAINT_EVICTION_CONTROLLER_POD_DELETIONS_TOTAL: Final = Counter(
    "taint_eviction_controller_pod_deletions_total", "Pods deleted because of a taint."
)


class TaintEvictionMetrics:
    """Counted when a Pod is deleted because of a NoExecute taint."""

    def __init__(self, registry: Registry) -> None:
        self.taint_eviction_controller_pod_deletions_total = registry.bind(
            TAINT_EVICTION_CONTROLLER_POD_DELETIONS_TOTAL
        )


JOB_CONTROLLER_JOB_SYNC_DURATION_SECONDS: Final = Histogram(
    "job_controller_job_sync_duration_seconds",
    "Seconds of one sync.",
    ("completion_mode", "result", "action"),
    stability=STABLE,
    buckets=exponential(0.004, 2, 15),
)
JOB_CONTROLLER_JOB_SYNCS_TOTAL: Final = Counter(
    "job_controller_job_syncs_total",
    "Syncs, by what they did.",
    ("completion_mode", "result", "action"),
    stability=STABLE,
)
JOB_CONTROLLER_JOBS_FINISHED_TOTAL: Final = Counter(
    "job_controller_jobs_finished_total",
    "Jobs finished, by result and reason.",
    ("completion_mode", "result", "reason"),
    stability=STABLE,
)
JOB_CONTROLLER_JOB_PODS_FINISHED_TOTAL: Final = Counter(
    "job_controller_job_pods_finished_total",
    "Finished Pods accounted in the status of their Job.",
    ("completion_mode", "result"),
    stability=STABLE,
)
JOB_CONTROLLER_JOB_PODS_CREATION_TOTAL: Final = Counter(
    "job_controller_job_pods_creation_total", "Pods created, by reason and status.", ("reason", "status")
)
JOB_CONTROLLER_POD_FAILURES_HANDLED_BY_FAILURE_POLICY_TOTAL: Final = Counter(
    "job_controller_pod_failures_handled_by_failure_policy_total",
    "Failed Pods a failure policy decided about, by action.",
    ("action",),
    stability=BETA,
)
JOB_CONTROLLER_TERMINATED_PODS_TRACKING_FINALIZER_TOTAL: Final = Counter(
    "job_controller_terminated_pods_tracking_finalizer_total",
    "Terminated Pods that got or lost the tracking finalizer.",
    ("event",),
    stability=BETA,
)
JOB_CONTROLLER_JOB_FINISHED_INDEXES_TOTAL: Final = Counter(
    "job_controller_job_finished_indexes_total", "Finished indexes of Indexed Jobs.", ("status", "backoffLimit")
)
JOB_CONTROLLER_JOBS_BY_EXTERNAL_CONTROLLER_TOTAL: Final = Counter(
    "job_controller_jobs_by_external_controller_total", "Jobs managed by somebody else.", ("controller_name",)
)


class JobMetrics:
    """Observed at the end of each Job sync and as its Pods are accounted."""

    def __init__(self, registry: Registry) -> None:
        self.job_controller_job_sync_duration_seconds = registry.bind(JOB_CONTROLLER_JOB_SYNC_DURATION_SECONDS)
        self.job_controller_job_syncs_total = registry.bind(JOB_CONTROLLER_JOB_SYNCS_TOTAL)
        self.job_controller_jobs_finished_total = registry.bind(JOB_CONTROLLER_JOBS_FINISHED_TOTAL)
        self.job_controller_job_pods_finished_total = registry.bind(JOB_CONTROLLER_JOB_PODS_FINISHED_TOTAL)
        self.job_controller_job_pods_creation_total = registry.bind(JOB_CONTROLLER_JOB_PODS_CREATION_TOTAL)
        self.job_controller_pod_failures_handled_by_failure_policy_total = registry.bind(
            JOB_CONTROLLER_POD_FAILURES_HANDLED_BY_FAILURE_POLICY_TOTAL
        )
        self.job_controller_terminated_pods_tracking_finalizer_total = registry.bind(
            JOB_CONTROLLER_TERMINATED_PODS_TRACKING_FINALIZER_TOTAL
        )
        self.job_controller_job_finished_indexes_total = registry.bind(JOB_CONTROLLER_JOB_FINISHED_INDEXES_TOTAL)
        self.job_controller_jobs_by_external_controller_total = registry.bind(
            JOB_CONTROLLER_JOBS_BY_EXTERNAL_CONTROLLER_TOTAL
        )


CRONJOB_CONTROLLER_JOB_CREATION_SKEW_DURATION_SECONDS: Final = Histogram(
    "cronjob_controller_job_creation_skew_duration_seconds",
    "Seconds between the scheduled time and the creation of the Job.",
    stability=STABLE,
    buckets=exponential(1, 2, 10),
)


class CronJobMetrics:
    """Observed when a Job was created for a schedule."""

    def __init__(self, registry: Registry) -> None:
        self.cronjob_controller_job_creation_skew_duration_seconds = registry.bind(
            CRONJOB_CONTROLLER_JOB_CREATION_SKEW_DURATION_SECONDS
        )


ENDPOINT_SLICE_CONTROLLER_CHANGES: Final = Counter(
    "endpoint_slice_controller_changes", "Slices written, by operation.", ("operation",)
)
ENDPOINT_SLICE_CONTROLLER_SYNCS: Final = Counter(
    "endpoint_slice_controller_syncs", "Service syncs, by result.", ("result",)
)
ENDPOINT_SLICE_CONTROLLER_ENDPOINTS_ADDED_PER_SYNC: Final = Histogram(
    "endpoint_slice_controller_endpoints_added_per_sync",
    "Endpoints added by one sync.",
    stability=BETA,
    buckets=exponential(2, 2, 15),
)
ENDPOINT_SLICE_CONTROLLER_ENDPOINTS_REMOVED_PER_SYNC: Final = Histogram(
    "endpoint_slice_controller_endpoints_removed_per_sync",
    "Endpoints removed by one sync.",
    stability=BETA,
    buckets=exponential(2, 2, 15),
)
ENDPOINT_SLICE_CONTROLLER_NUM_ENDPOINT_SLICES: Final = Gauge(
    "endpoint_slice_controller_num_endpoint_slices", "Slices there are.", stability=BETA
)
ENDPOINT_SLICE_CONTROLLER_DESIRED_ENDPOINT_SLICES: Final = Gauge(
    "endpoint_slice_controller_desired_endpoint_slices",
    "Slices there would be if they were packed as tightly as possible.",
    stability=BETA,
)
ENDPOINT_SLICE_CONTROLLER_ENDPOINTS_DESIRED: Final = Gauge(
    "endpoint_slice_controller_endpoints_desired", "Endpoints wanted.", stability=BETA
)
ENDPOINT_SLICE_CONTROLLER_ENDPOINTSLICES_CHANGED_PER_SYNC: Final = Histogram(
    "endpoint_slice_controller_endpointslices_changed_per_sync",
    "Slices changed by one sync.",
    ("topology", "traffic_distribution"),
)
ENDPOINT_SLICE_CONTROLLER_SERVICES_COUNT_BY_TRAFFIC_DISTRIBUTION: Final = Gauge(
    "endpoint_slice_controller_services_count_by_traffic_distribution",
    "Services, by their traffic distribution.",
    ("traffic_distribution",),
    stability=BETA,
)


class EndpointSliceMetrics:
    """Observed at the end of each Service sync."""

    def __init__(self, registry: Registry) -> None:
        self.endpoint_slice_controller_changes = registry.bind(ENDPOINT_SLICE_CONTROLLER_CHANGES)
        self.endpoint_slice_controller_syncs = registry.bind(ENDPOINT_SLICE_CONTROLLER_SYNCS)
        self.endpoint_slice_controller_endpoints_added_per_sync = registry.bind(
            ENDPOINT_SLICE_CONTROLLER_ENDPOINTS_ADDED_PER_SYNC
        )
        self.endpoint_slice_controller_endpoints_removed_per_sync = registry.bind(
            ENDPOINT_SLICE_CONTROLLER_ENDPOINTS_REMOVED_PER_SYNC
        )
        self.endpoint_slice_controller_num_endpoint_slices = registry.bind(
            ENDPOINT_SLICE_CONTROLLER_NUM_ENDPOINT_SLICES
        )
        self.endpoint_slice_controller_desired_endpoint_slices = registry.bind(
            ENDPOINT_SLICE_CONTROLLER_DESIRED_ENDPOINT_SLICES
        )
        self.endpoint_slice_controller_endpoints_desired = registry.bind(ENDPOINT_SLICE_CONTROLLER_ENDPOINTS_DESIRED)
        self.endpoint_slice_controller_endpointslices_changed_per_sync = registry.bind(
            ENDPOINT_SLICE_CONTROLLER_ENDPOINTSLICES_CHANGED_PER_SYNC
        )
        self.endpoint_slice_controller_services_count_by_traffic_distribution = registry.bind(
            ENDPOINT_SLICE_CONTROLLER_SERVICES_COUNT_BY_TRAFFIC_DISTRIBUTION
        )


HORIZONTAL_POD_AUTOSCALER_CONTROLLER_RECONCILIATIONS_TOTAL: Final = Counter(
    "horizontal_pod_autoscaler_controller_reconciliations_total",
    "Reconciliations, by what they did.",
    ("action", "error"),
    stability=BETA,
)
HORIZONTAL_POD_AUTOSCALER_CONTROLLER_RECONCILIATION_DURATION_SECONDS: Final = Histogram(
    "horizontal_pod_autoscaler_controller_reconciliation_duration_seconds",
    "Seconds of one reconciliation.",
    ("action", "error"),
    stability=BETA,
    buckets=exponential(0.001, 2, 15),
)
HORIZONTAL_POD_AUTOSCALER_CONTROLLER_METRIC_COMPUTATION_DURATION_SECONDS: Final = Histogram(
    "horizontal_pod_autoscaler_controller_metric_computation_duration_seconds",
    "Seconds to compute one metric.",
    ("action", "error", "metric_type"),
    stability=BETA,
    buckets=exponential(0.001, 2, 15),
)
HORIZONTAL_POD_AUTOSCALER_CONTROLLER_METRIC_COMPUTATION_TOTAL: Final = Counter(
    "horizontal_pod_autoscaler_controller_metric_computation_total",
    "Metrics computed.",
    ("action", "error", "metric_type"),
    stability=BETA,
)
HORIZONTAL_POD_AUTOSCALER_CONTROLLER_DESIRED_REPLICAS: Final = Gauge(
    "horizontal_pod_autoscaler_controller_desired_replicas",
    "Replicas the autoscaler last asked for.",
    ("namespace", "hpa_name"),
)
HORIZONTAL_POD_AUTOSCALER_CONTROLLER_NUM_HORIZONTAL_POD_AUTOSCALERS: Final = Gauge(
    "horizontal_pod_autoscaler_controller_num_horizontal_pod_autoscalers", "Autoscalers under control."
)


class HorizontalPodAutoscalerMetrics:
    """Observed at the end of each reconciliation and of each metric it computed."""

    def __init__(self, registry: Registry) -> None:
        self.horizontal_pod_autoscaler_controller_reconciliations_total = registry.bind(
            HORIZONTAL_POD_AUTOSCALER_CONTROLLER_RECONCILIATIONS_TOTAL
        )
        self.horizontal_pod_autoscaler_controller_reconciliation_duration_seconds = registry.bind(
            HORIZONTAL_POD_AUTOSCALER_CONTROLLER_RECONCILIATION_DURATION_SECONDS
        )
        self.horizontal_pod_autoscaler_controller_metric_computation_duration_seconds = registry.bind(
            HORIZONTAL_POD_AUTOSCALER_CONTROLLER_METRIC_COMPUTATION_DURATION_SECONDS
        )
        self.horizontal_pod_autoscaler_controller_metric_computation_total = registry.bind(
            HORIZONTAL_POD_AUTOSCALER_CONTROLLER_METRIC_COMPUTATION_TOTAL
        )
        self.horizontal_pod_autoscaler_controller_desired_replicas = registry.bind(
            HORIZONTAL_POD_AUTOSCALER_CONTROLLER_DESIRED_REPLICAS
        )
        self.horizontal_pod_autoscaler_controller_num_horizontal_pod_autoscalers = registry.bind(
            HORIZONTAL_POD_AUTOSCALER_CONTROLLER_NUM_HORIZONTAL_POD_AUTOSCALERS
        )


REPLICASET_CONTROLLER_SORTING_DELETION_AGE_RATIO: Final = Histogram(
    "replicaset_controller_sorting_deletion_age_ratio",
    "Age of a chosen Pod against the youngest Pod of the set (at best one).",
    buckets=exponential(0.25, 2, 6),
)


class ReplicaSetMetrics:
    """Observed for each Pod chosen for deletion on scale-down."""

    def __init__(self, registry: Registry) -> None:
        self.replicaset_controller_sorting_deletion_age_ratio = registry.bind(
            REPLICASET_CONTROLLER_SORTING_DELETION_AGE_RATIO
        )


STATEFULSET_CONTROLLER_STATEFULSET_MAX_UNAVAILABLE: Final = Gauge(
    "statefulset_controller_statefulset_max_unavailable",
    "The maxUnavailable of each StatefulSet.",
    ("statefulset_namespace", "statefulset_name", "pod_management_policy"),
)
STATEFULSET_CONTROLLER_STATEFULSET_UNAVAILABLE_REPLICAS: Final = Gauge(
    "statefulset_controller_statefulset_unavailable_replicas",
    "Replicas of each StatefulSet that are not available.",
    ("statefulset_namespace", "statefulset_name", "pod_management_policy"),
)


class StatefulSetMetrics:
    """Set at the end of each sync."""

    def __init__(self, registry: Registry) -> None:
        self.statefulset_controller_statefulset_max_unavailable = registry.bind(
            STATEFULSET_CONTROLLER_STATEFULSET_MAX_UNAVAILABLE
        )
        self.statefulset_controller_statefulset_unavailable_replicas = registry.bind(
            STATEFULSET_CONTROLLER_STATEFULSET_UNAVAILABLE_REPLICAS
        )


TTL_AFTER_FINISHED_CONTROLLER_JOB_DELETION_DURATION_SECONDS: Final = Histogram(
    "ttl_after_finished_controller_job_deletion_duration_seconds",
    "Seconds from the expiry of a Job to its deletion.",
    buckets=exponential(0.1, 2, 14),
)


class TtlAfterFinishedMetrics:
    """Observed when a finished Job was deleted."""

    def __init__(self, registry: Registry) -> None:
        self.ttl_after_finished_controller_job_deletion_duration_seconds = registry.bind(
            TTL_AFTER_FINISHED_CONTROLLER_JOB_DELETION_DURATION_SECONDS
        )


POD_GC_COLLECTOR_FORCE_DELETE_PODS_TOTAL: Final = Counter(
    "pod_gc_collector_force_delete_pods_total", "Pods deleted by force, by reason.", ("namespace", "reason")
)
POD_GC_COLLECTOR_FORCE_DELETE_POD_ERRORS_TOTAL: Final = Counter(
    "pod_gc_collector_force_delete_pod_errors_total",
    "Pods that could not be deleted by force, by reason.",
    ("namespace", "reason"),
)


class PodGcMetrics:
    """Counted for each Pod the collector deletes by force."""

    def __init__(self, registry: Registry) -> None:
        self.pod_gc_collector_force_delete_pods_total = registry.bind(POD_GC_COLLECTOR_FORCE_DELETE_PODS_TOTAL)
        self.pod_gc_collector_force_delete_pod_errors_total = registry.bind(
            POD_GC_COLLECTOR_FORCE_DELETE_POD_ERRORS_TOTAL
        )


GARBAGECOLLECTOR_CONTROLLER_RESOURCES_SYNC_ERROR_TOTAL: Final = Counter(
    "garbagecollector_controller_resources_sync_error_total", "Failed syncs of the resources to watch."
)


class GarbageCollectorMetrics:
    """Counted when the collector cannot learn which resources there are."""

    def __init__(self, registry: Registry) -> None:
        self.garbagecollector_controller_resources_sync_error_total = registry.bind(
            GARBAGECOLLECTOR_CONTROLLER_RESOURCES_SYNC_ERROR_TOTAL
        )


ROOT_CA_CERT_PUBLISHER_SYNC_TOTAL: Final = Counter(
    "root_ca_cert_publisher_sync_total", "Namespace syncs of the root CA, by HTTP code.", ("code",)
)
ROOT_CA_CERT_PUBLISHER_SYNC_DURATION_SECONDS: Final = Histogram(
    "root_ca_cert_publisher_sync_duration_seconds",
    "Seconds of one namespace sync.",
    ("code",),
    buckets=exponential(0.001, 2, 15),
)


class RootCaMetrics:
    """Observed at the end of each namespace sync."""

    def __init__(self, registry: Registry) -> None:
        self.root_ca_cert_publisher_sync_total = registry.bind(ROOT_CA_CERT_PUBLISHER_SYNC_TOTAL)
        self.root_ca_cert_publisher_sync_duration_seconds = registry.bind(ROOT_CA_CERT_PUBLISHER_SYNC_DURATION_SECONDS)


NODE_IPAM_CONTROLLER_CIDRSET_ALLOCATION_TRIES_PER_REQUEST: Final = Histogram(
    "node_ipam_controller_cidrset_allocation_tries_per_request",
    "Ranges tried until a free one was found.",
    ("clusterCIDR",),
    buckets=exponential(1, 5, 5),
)
NODE_IPAM_CONTROLLER_CIDRSET_CIDRS_ALLOCATIONS_TOTAL: Final = Counter(
    "node_ipam_controller_cidrset_cidrs_allocations_total", "Ranges allocated.", ("clusterCIDR",)
)
NODE_IPAM_CONTROLLER_CIDRSET_CIDRS_RELEASES_TOTAL: Final = Counter(
    "node_ipam_controller_cidrset_cidrs_releases_total", "Ranges given back.", ("clusterCIDR",)
)
NODE_IPAM_CONTROLLER_CIDRSET_USAGE_CIDRS: Final = Gauge(
    "node_ipam_controller_cidrset_usage_cidrs", "Share of the ranges in use.", ("clusterCIDR",)
)
NODE_IPAM_CONTROLLER_CIRDSET_MAX_CIDRS: Final = Gauge(
    "node_ipam_controller_cirdset_max_cidrs", "Ranges there are.", ("clusterCIDR",)
)


class NodeIpamMetrics:
    """Moved as nodes get and give back their Pod ranges."""

    def __init__(self, registry: Registry) -> None:
        self.node_ipam_controller_cidrset_allocation_tries_per_request = registry.bind(
            NODE_IPAM_CONTROLLER_CIDRSET_ALLOCATION_TRIES_PER_REQUEST
        )
        self.node_ipam_controller_cidrset_cidrs_allocations_total = registry.bind(
            NODE_IPAM_CONTROLLER_CIDRSET_CIDRS_ALLOCATIONS_TOTAL
        )
        self.node_ipam_controller_cidrset_cidrs_releases_total = registry.bind(
            NODE_IPAM_CONTROLLER_CIDRSET_CIDRS_RELEASES_TOTAL
        )
        self.node_ipam_controller_cidrset_usage_cidrs = registry.bind(NODE_IPAM_CONTROLLER_CIDRSET_USAGE_CIDRS)
        self.node_ipam_controller_cirdset_max_cidrs = registry.bind(NODE_IPAM_CONTROLLER_CIRDSET_MAX_CIDRS)


PV_COLLECTOR_BOUND_PV_COUNT: Final = Gauge(
    "pv_collector_bound_pv_count", "Bound PersistentVolumes, by storage class.", ("storage_class",)
)
PV_COLLECTOR_UNBOUND_PV_COUNT: Final = Gauge(
    "pv_collector_unbound_pv_count", "PersistentVolumes without a claim, by storage class.", ("storage_class",)
)
PV_COLLECTOR_BOUND_PVC_COUNT: Final = Gauge(
    "pv_collector_bound_pvc_count",
    "Bound PersistentVolumeClaims.",
    ("namespace", "storage_class", "volume_attributes_class"),
)
PV_COLLECTOR_UNBOUND_PVC_COUNT: Final = Gauge(
    "pv_collector_unbound_pvc_count",
    "PersistentVolumeClaims without a volume.",
    ("namespace", "storage_class", "volume_attributes_class"),
)
PV_COLLECTOR_TOTAL_PV_COUNT: Final = Gauge(
    "pv_collector_total_pv_count", "PersistentVolumes, by plugin and mode.", ("plugin_name", "volume_mode")
)
PV_ROWS: Final = (
    PV_COLLECTOR_BOUND_PV_COUNT,
    PV_COLLECTOR_UNBOUND_PV_COUNT,
    PV_COLLECTOR_BOUND_PVC_COUNT,
    PV_COLLECTOR_UNBOUND_PVC_COUNT,
    PV_COLLECTOR_TOTAL_PV_COUNT,
)
"""Collected at scrape time from volumes and claims."""
VOLUME_OPERATION_TOTAL_SECONDS: Final = Histogram(
    "volume_operation_total_seconds",
    "Seconds from the wish to the end of an operation on a volume.",
    ("plugin_name", "operation_name"),
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600),
)

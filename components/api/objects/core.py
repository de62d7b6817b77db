"""Read-only views: the other kinds of core/v1."""

from __future__ import annotations

from kubeglass.components.api.objects.meta import Condition, Resource
from kubeglass.components.api.objects.pod import NodeSelector, ObjectReference, PodTemplateSpec
from kubeglass.components.api.objects.struct import Object
from kubeglass.components.api.objects.volumes import (
    HostPathVolumeSource,
    LocalObjectReference,
    NFSVolumeSource,
    PersistentVolumeClaimSpec,
)


class ReplicationControllerSpec(Object):
    min_ready_seconds: int = 0
    replicas: int = 1
    selector: dict[str, str] = {}
    template: PodTemplateSpec | None = None


class ReplicationControllerCondition(Object):
    last_transition_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class ReplicationControllerStatus(Object):
    available_replicas: int = 0
    conditions: tuple[ReplicationControllerCondition, ...] = ()
    fully_labeled_replicas: int = 0
    observed_generation: int = 0
    ready_replicas: int = 0
    replicas: int = 0


class ReplicationController(Resource):
    spec: ReplicationControllerSpec = ReplicationControllerSpec()
    status: ReplicationControllerStatus = ReplicationControllerStatus()


class ConfigMapNodeConfigSource(Object):
    kubelet_config_key: str = ""
    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    uid: str = ""


class NodeConfigSource(Object):
    config_map: ConfigMapNodeConfigSource | None = None


class Taint(Object):
    effect: str = ""
    key: str = ""
    time_added: str = ""
    value: str = ""


class NodeSpec(Object):
    config_source: NodeConfigSource | None = None
    external_id: str = ""
    pod_cidr: str = ""
    pod_cidrs: tuple[str, ...] = ()
    provider_id: str = ""
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False


class NodeAddress(Object):
    address: str = ""
    type: str = ""


class NodeCondition(Object):
    last_heartbeat_time: str = ""
    last_transition_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class NodeConfigStatus(Object):
    active: NodeConfigSource | None = None
    assigned: NodeConfigSource | None = None
    error: str = ""
    last_known_good: NodeConfigSource | None = None


class DaemonEndpoint(Object):
    port: int = 0


class NodeDaemonEndpoints(Object):
    kubelet_endpoint: DaemonEndpoint = DaemonEndpoint()


class NodeFeatures(Object):
    supplemental_groups_policy: bool = False


class ContainerImage(Object):
    names: tuple[str, ...] = ()
    size_bytes: int | None = None


class NodeSwapStatus(Object):
    capacity: int = 0


class NodeSystemInfo(Object):
    architecture: str = ""
    boot_id: str = ""
    container_runtime_version: str = ""
    kernel_version: str = ""
    kube_proxy_version: str = ""
    kubelet_version: str = ""
    machine_id: str = ""
    operating_system: str = ""
    os_image: str = ""
    swap: NodeSwapStatus | None = None
    system_uuid: str = ""


class NodeRuntimeHandlerFeatures(Object):
    recursive_read_only_mounts: bool = False
    user_namespaces: bool = False


class NodeRuntimeHandler(Object):
    features: NodeRuntimeHandlerFeatures | None = None
    name: str = ""


class AttachedVolume(Object):
    device_path: str = ""
    name: str = ""


class NodeStatus(Object):
    addresses: tuple[NodeAddress, ...] = ()
    allocatable: dict[str, str] = {}
    capacity: dict[str, str] = {}
    conditions: tuple[NodeCondition, ...] = ()
    config: NodeConfigStatus | None = None
    daemon_endpoints: NodeDaemonEndpoints = NodeDaemonEndpoints()
    declared_features: tuple[str, ...] = ()
    features: NodeFeatures | None = None
    images: tuple[ContainerImage, ...] = ()
    node_info: NodeSystemInfo = NodeSystemInfo()
    phase: str = ""
    runtime_handlers: tuple[NodeRuntimeHandler, ...] = ()
    volumes_attached: tuple[AttachedVolume, ...] = ()
    volumes_in_use: tuple[str, ...] = ()


class Node(Resource):
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class NamespaceSpec(Object):
    finalizers: tuple[str, ...] = ()


class NamespaceCondition(Object):
    last_transition_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class NamespaceStatus(Object):
    conditions: tuple[NamespaceCondition, ...] = ()
    phase: str = ""


class Namespace(Resource):
    spec: NamespaceSpec = NamespaceSpec()
    status: NamespaceStatus = NamespaceStatus()


class ServicePort(Object):
    app_protocol: str = ""
    name: str = ""
    node_port: int = 0
    port: int = 0
    protocol: str = ""
    target_port: int | str | None = None


class ClientIPConfig(Object):
    timeout_seconds: int | None = None


class SessionAffinityConfig(Object):
    client_ip: ClientIPConfig | None = None


class ServiceSpec(Object):
    allocate_load_balancer_node_ports: bool | None = None
    cluster_ip: str = ""
    cluster_ips: tuple[str, ...] = ()
    external_ips: tuple[str, ...] = ()
    external_name: str = ""
    external_traffic_policy: str = ""
    health_check_node_port: int | None = None
    internal_traffic_policy: str = ""
    ip_families: tuple[str, ...] = ()
    ip_family_policy: str = ""
    load_balancer_class: str = ""
    load_balancer_ip: str = ""
    load_balancer_source_ranges: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    publish_not_ready_addresses: bool | None = None
    selector: dict[str, str] = {}
    session_affinity: str = ""
    session_affinity_config: SessionAffinityConfig | None = None
    traffic_distribution: str = ""
    type: str = ""


class PortStatus(Object):
    error: str = ""
    port: int = 0
    protocol: str = ""


class LoadBalancerIngress(Object):
    hostname: str = ""
    ip: str = ""
    ip_mode: str = ""
    ports: tuple[PortStatus, ...] = ()


class LoadBalancerStatus(Object):
    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(Object):
    conditions: tuple[Condition, ...] = ()
    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Service(Resource):
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class EndpointAddress(Object):
    hostname: str = ""
    ip: str = ""
    node_name: str = ""
    target_ref: ObjectReference | None = None


class EndpointPort(Object):
    app_protocol: str = ""
    name: str = ""
    port: int = 0
    protocol: str = ""


class EndpointSubset(Object):
    addresses: tuple[EndpointAddress, ...] = ()
    not_ready_addresses: tuple[EndpointAddress, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class Endpoints(Resource):
    subsets: tuple[EndpointSubset, ...] = ()


class ServiceAccount(Resource):
    automount_service_account_token: bool | None = None
    image_pull_secrets: tuple[LocalObjectReference, ...] = ()
    secrets: tuple[ObjectReference, ...] = ()


class Secret(Resource):
    data: dict[str, str] = {}
    immutable: bool | None = None
    string_data: dict[str, str] = {}
    type: str = ""


class ConfigMap(Resource):
    binary_data: dict[str, str] = {}
    data: dict[str, str] = {}
    immutable: bool | None = None


class EventSeries(Object):
    count: int = 0
    last_observed_time: str = ""


class EventSource(Object):
    component: str = ""
    host: str = ""


class Event(Resource):
    action: str = ""
    count: int = 0
    event_time: str = ""
    first_timestamp: str = ""
    involved_object: ObjectReference = ObjectReference()
    last_timestamp: str = ""
    message: str = ""
    reason: str = ""
    related: ObjectReference | None = None
    reporting_component: str = ""
    reporting_instance: str = ""
    series: EventSeries | None = None
    source: EventSource = EventSource()
    type: str = ""


class SecretReference(Object):
    name: str = ""
    namespace: str = ""


class CSIPersistentVolumeSource(Object):
    controller_expand_secret_ref: SecretReference | None = None
    controller_publish_secret_ref: SecretReference | None = None
    driver: str = ""
    fs_type: str = ""
    node_expand_secret_ref: SecretReference | None = None
    node_publish_secret_ref: SecretReference | None = None
    node_stage_secret_ref: SecretReference | None = None
    read_only: bool = False
    volume_attributes: dict[str, str] = {}
    volume_handle: str = ""


class LocalVolumeSource(Object):
    fs_type: str = ""
    path: str = ""


class VolumeNodeAffinity(Object):
    required: NodeSelector | None = None


class PersistentVolumeSpec(Object):
    access_modes: tuple[str, ...] = ()
    capacity: dict[str, str] = {}
    claim_ref: ObjectReference | None = None
    csi: CSIPersistentVolumeSource | None = None
    host_path: HostPathVolumeSource | None = None
    local: LocalVolumeSource | None = None
    mount_options: tuple[str, ...] = ()
    nfs: NFSVolumeSource | None = None
    node_affinity: VolumeNodeAffinity | None = None
    persistent_volume_reclaim_policy: str = ""
    storage_class_name: str = ""
    volume_attributes_class_name: str = ""
    volume_mode: str = ""


class PersistentVolumeStatus(Object):
    last_phase_transition_time: str = ""
    message: str = ""
    phase: str = ""
    reason: str = ""


class PersistentVolume(Resource):
    spec: PersistentVolumeSpec = PersistentVolumeSpec()
    status: PersistentVolumeStatus = PersistentVolumeStatus()


class PersistentVolumeClaimCondition(Object):
    last_probe_time: str = ""
    last_transition_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class ModifyVolumeStatus(Object):
    status: str = ""
    target_volume_attributes_class_name: str = ""


class PersistentVolumeClaimStatus(Object):
    access_modes: tuple[str, ...] = ()
    allocated_resource_statuses: dict[str, str] = {}
    allocated_resources: dict[str, str] = {}
    capacity: dict[str, str] = {}
    conditions: tuple[PersistentVolumeClaimCondition, ...] = ()
    current_volume_attributes_class_name: str = ""
    modify_volume_status: ModifyVolumeStatus | None = None
    phase: str = ""


class PersistentVolumeClaim(Resource):
    spec: PersistentVolumeClaimSpec = PersistentVolumeClaimSpec()
    status: PersistentVolumeClaimStatus = PersistentVolumeClaimStatus()


class ScopedResourceSelectorRequirement(Object):
    operator: str = ""
    scope_name: str = ""
    values: tuple[str, ...] = ()


class ScopeSelector(Object):
    match_expressions: tuple[ScopedResourceSelectorRequirement, ...] = ()


class ResourceQuotaSpec(Object):
    hard: dict[str, str] = {}
    scope_selector: ScopeSelector | None = None
    scopes: tuple[str, ...] = ()


class ResourceQuotaStatus(Object):
    hard: dict[str, str] = {}
    used: dict[str, str] = {}


class ResourceQuota(Resource):
    spec: ResourceQuotaSpec = ResourceQuotaSpec()
    status: ResourceQuotaStatus = ResourceQuotaStatus()


class LimitRangeItem(Object):
    default: dict[str, str] = {}
    default_request: dict[str, str] = {}
    max: dict[str, str] = {}
    max_limit_request_ratio: dict[str, str] = {}
    min: dict[str, str] = {}
    type: str = ""


class LimitRangeSpec(Object):
    limits: tuple[LimitRangeItem, ...] = ()


class LimitRange(Resource):
    spec: LimitRangeSpec = LimitRangeSpec()

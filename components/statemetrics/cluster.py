"""kube_node_*, kube_namespace_*, kube_service_*, volumes, quotas and what else belongs to no workload. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from kubeglass.components.api import quantity
from kubeglass.components.api.objects import (
    Endpoints,
    EndpointSlice,
    Namespace,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    ResourceQuota,
    Service,
    ServiceAccount,
)
from kubeglass.components.statemetrics.writing import (
    Families,
    Family,
    Sample,
    amounts,
    choice,
    cluster_scoped,
    condition,
    created,
    deleted,
    namespaced,
    one,
    when,
)
from kubeglass.telemetry.metrics.definitions import NONE, Gauge

_NODE = cluster_scoped("kube_node", "node")
_NAMESPACE = cluster_scoped("kube_namespace", "namespace")
_SERVICE = namespaced("kube_service", "service", uid=True)
_ENDPOINT = namespaced("kube_endpoint", "endpoint")
_ENDPOINT_SLICE = Families(
    ("endpointslice", "namespace"), lambda obj: (obj.metadata.name, obj.metadata.namespace), "kube_endpointslice"
)
_CLAIM = namespaced("kube_persistentvolumeclaim", "persistentvolumeclaim")
_VOLUME = cluster_scoped("kube_persistentvolume", "persistentvolume")
_QUOTA = Families(
    ("namespace", "resourcequota"), lambda obj: (obj.metadata.namespace, obj.metadata.name), "kube_resourcequota"
)
_CONFIG_MAP = namespaced("kube_configmap", "configmap")
_SECRET = namespaced("kube_secret", "secret")
_ACCOUNT = namespaced("kube_serviceaccount", "serviceaccount", uid=True)
_LEASE = Families(("lease",), lambda obj: (obj.metadata.name,), "kube_lease")
_STORAGE_CLASS = cluster_scoped("kube_storageclass", "storageclass")
_INGRESS = namespaced("kube_ingress", "ingress")
_POLICY = namespaced("kube_networkpolicy", "networkpolicy")

_ROLE_PREFIX = "node-role.kubernetes.io/"


def _node_info(node: Node) -> Iterator[Sample]:
    info = node.status.node_info
    internal = next((found.address for found in node.status.addresses if found.type == "InternalIP"), "")
    return one(
        1,
        info.kernel_version,
        info.os_image,
        info.container_runtime_version,
        info.kubelet_version,
        "deprecated",
        node.spec.provider_id,
        node.spec.pod_cidr,
        info.system_uuid,
        internal,
    )


def _roles(node: Node) -> Iterator[Sample]:
    for label in node.metadata.labels:
        if label.startswith(_ROLE_PREFIX):
            yield (label.removeprefix(_ROLE_PREFIX),), 1.0


def _taints(node: Node) -> Iterator[Sample]:
    for taint in node.spec.taints:
        yield (taint.key, taint.value, taint.effect), 1.0


def _node_conditions(node: Node) -> Iterator[Sample]:
    for found in node.status.conditions:
        yield from condition(found.status, found.type)


def _addresses(node: Node) -> Iterator[Sample]:
    for found in node.status.addresses:
        yield (found.type, found.address), 1.0


def _capacity(node: Node) -> Iterator[Sample]:
    for resource, unit, value in amounts(node.status.capacity):
        yield (resource, unit), value


def _allocatable(node: Node) -> Iterator[Sample]:
    for resource, unit, value in amounts(node.status.allocatable):
        yield (resource, unit), value


NODES: tuple[Family, ...] = (
    _NODE.gauge(
        "info",
        "Information about a cluster node.",
        _node_info,
        "kernel_version",
        "os_image",
        "container_runtime_version",
        "kubelet_version",
        "kubeproxy_version",
        "provider_id",
        "pod_cidr",
        "system_uuid",
        "internal_ip",
    ),
    _NODE.gauge("created", "Unix creation timestamp", created),
    _NODE.gauge("deletion_timestamp", "Unix deletion timestamp", deleted),
    _NODE.gauge("role", "The role of a cluster node.", _roles, "role"),
    _NODE.gauge("spec_unschedulable", "Whether a node can schedule new pods.", lambda n: one(n.spec.unschedulable)),
    _NODE.gauge("spec_taint", "The taint of a cluster node.", _taints, "key", "value", "effect"),
    _NODE.gauge("status_condition", "The condition of a cluster node.", _node_conditions, "condition", "status"),
    _NODE.gauge("status_capacity", "The capacity for different resources of a node.", _capacity, "resource", "unit"),
    _NODE.gauge(
        "status_allocatable",
        "The allocatable for different resources of a node that are available for scheduling.",
        _allocatable,
        "resource",
        "unit",
    ),
    _NODE.gauge("status_addresses", "Node address information.", _addresses, "type", "address"),
)


def _namespace_conditions(namespace: Namespace) -> Iterator[Sample]:
    for found in namespace.status.conditions:
        yield from condition(found.status, found.type)


NAMESPACES: tuple[Family, ...] = (
    _NAMESPACE.gauge("created", "Unix creation timestamp", created),
    _NAMESPACE.gauge(
        "status_phase",
        "kubernetes namespace status phase.",
        lambda n: choice(n.status.phase, ("Active", "Terminating")),
        "phase",
    ),
    _NAMESPACE.gauge("status_condition", "The condition of a namespace.", _namespace_conditions, "condition", "status"),
)


def _external_ips(service: Service) -> Iterator[Sample]:
    for ip in service.spec.external_ips:
        yield (ip,), 1.0


def _ingress_points(service: Service) -> Iterator[Sample]:
    for found in service.status.load_balancer.ingress:
        yield (found.ip, found.hostname), 1.0


SERVICES: tuple[Family, ...] = (
    _SERVICE.gauge(
        "info",
        "Information about service.",
        lambda s: one(1, s.spec.cluster_ip, s.spec.external_name, s.spec.load_balancer_ip),
        "cluster_ip",
        "external_name",
        "load_balancer_ip",
    ),
    _SERVICE.gauge("created", "Unix creation timestamp", created),
    _SERVICE.gauge("spec_type", "Type about service.", lambda s: one(1, s.spec.type), "type"),
    _SERVICE.gauge("spec_external_ip", "Service external ips. One series for each ip", _external_ips, "external_ip"),
    _SERVICE.gauge(
        "status_load_balancer_ingress",
        "Service load balancer ingress status",
        _ingress_points,
        "ip",
        "hostname",
    ),
)


def _endpoint_addresses(endpoints: Endpoints) -> Iterator[Sample]:
    for subset in endpoints.subsets:
        for port in subset.ports:
            tail = (port.protocol, str(port.port), port.name)
            for address in subset.addresses:
                yield (*tail, address.ip, "true"), 1.0
            for address in subset.not_ready_addresses:
                yield (*tail, address.ip, "false"), 1.0


ENDPOINTS: tuple[Family, ...] = (
    _ENDPOINT.gauge("info", "Information about endpoint.", lambda e: one(1)),
    _ENDPOINT.gauge("created", "Unix creation timestamp", created),
    _ENDPOINT.gauge(
        "address",
        "Information about Endpoint available and non available addresses.",
        _endpoint_addresses,
        "port_protocol",
        "port_number",
        "port_name",
        "ip",
        "ready",
    ),
)


def _slice_endpoints(found: EndpointSlice) -> Iterator[Sample]:
    for endpoint in found.endpoints:
        reference, states = endpoint.target_ref, endpoint.conditions
        labels = (
            _flag(states.ready),
            _flag(states.serving),
            _flag(states.terminating),
            endpoint.hostname,
            reference.kind if reference else "",
            reference.name if reference else "",
            reference.namespace if reference else "",
            endpoint.node_name,
            endpoint.zone,
        )
        for address in endpoint.addresses:
            yield (*labels, address), 1.0


def _flag(value: bool | None) -> str:
    return "" if value is None else str(value).lower()


def _slice_ports(found: EndpointSlice) -> Iterator[Sample]:
    for port in found.ports:
        yield (port.name, port.protocol, str(port.port)), 1.0


ENDPOINT_SLICES: tuple[Family, ...] = (
    _ENDPOINT_SLICE.gauge("info", "Information about endpointslice.", lambda e: one(1, e.address_type), "addresstype"),
    _ENDPOINT_SLICE.gauge("created", "Unix creation timestamp", created),
    _ENDPOINT_SLICE.gauge(
        "endpoints",
        "Endpoints attached to the endpointslice.",
        _slice_endpoints,
        "ready",
        "serving",
        "terminating",
        "hostname",
        "targetref_kind",
        "targetref_name",
        "targetref_namespace",
        "endpoint_nodename",
        "endpoint_zone",
        "address",
    ),
    _ENDPOINT_SLICE.gauge(
        "ports",
        "Ports attached to the endpointslice.",
        _slice_ports,
        "port_name",
        "port_protocol",
        "port_number",
    ),
)


def _access_modes(claim: PersistentVolumeClaim) -> Iterator[Sample]:
    for mode in claim.spec.access_modes:
        yield (mode,), 1.0


def _requested_storage(claim: PersistentVolumeClaim) -> Iterator[Sample]:
    text = claim.spec.resources.requests.get("storage")
    if text:
        yield (), float(quantity.parse(text).value())


def _claim_conditions(claim: PersistentVolumeClaim) -> Iterator[Sample]:
    for found in claim.status.conditions:
        yield from condition(found.status, found.type)


CLAIMS: tuple[Family, ...] = (
    _CLAIM.gauge(
        "info",
        "Information about persistent volume claim.",
        lambda c: one(1, c.spec.storage_class_name, c.spec.volume_name, c.spec.volume_mode),
        "storageclass",
        "volumename",
        "volumemode",
    ),
    _CLAIM.gauge("created", "Unix creation timestamp", created),
    _CLAIM.gauge("deletion_timestamp", "Unix deletion timestamp", deleted),
    _CLAIM.gauge(
        "status_phase",
        "The phase the persistent volume claim is currently in.",
        lambda c: choice(c.status.phase, ("Lost", "Bound", "Pending")),
        "phase",
    ),
    _CLAIM.gauge(
        "access_mode", "The access mode(s) specified by the persistent volume claim.", _access_modes, "access_mode"
    ),
    _CLAIM.gauge(
        "resource_requests_storage_bytes",
        "The capacity of storage requested by the persistent volume claim.",
        _requested_storage,
    ),
    _CLAIM.gauge(
        "status_condition",
        "Information about status of different conditions of persistent volume claim.",
        _claim_conditions,
        "condition",
        "status",
    ),
)


def _claim_ref(volume: PersistentVolume) -> Iterator[Sample]:
    reference = volume.spec.claim_ref
    if reference is not None:
        yield (reference.name, reference.namespace), 1.0


def _capacity_bytes(volume: PersistentVolume) -> Iterator[Sample]:
    text = volume.spec.capacity.get("storage")
    if text:
        yield (), float(quantity.parse(text).value())


VOLUMES: tuple[Family, ...] = (
    _VOLUME.gauge(
        "info",
        "Information about persistentvolume.",
        lambda v: one(1, v.spec.storage_class_name, v.spec.persistent_volume_reclaim_policy, v.spec.volume_mode),
        "storageclass",
        "reclaim_policy",
        "volume_mode",
    ),
    _VOLUME.gauge("created", "Unix creation timestamp", created),
    _VOLUME.gauge("deletion_timestamp", "Unix deletion timestamp", deleted),
    _VOLUME.gauge("capacity_bytes", "Persistentvolume capacity in bytes.", _capacity_bytes),
    _VOLUME.gauge(
        "claim_ref", "Information about the Persistent Volume Claim Reference.", _claim_ref, "name", "claim_namespace"
    ),
    _VOLUME.gauge(
        "status_phase",
        "The phase indicates if a volume is available, bound to a claim, or released by a claim.",
        lambda v: choice(v.status.phase, ("Pending", "Available", "Bound", "Released", "Failed")),
        "phase",
    ),
)


def _quota(quota: ResourceQuota) -> Iterator[Sample]:
    for type, resources in (("hard", quota.status.hard), ("used", quota.status.used)):
        for resource, text in resources.items():
            yield (resource, type), quantity.parse(text).as_float()


QUOTAS: tuple[Family, ...] = (
    Family(
        Gauge(
            "kube_resourcequota",
            "Information about resource quota.",
            (*_QUOTA.identity, "resource", "type"),
            stability=NONE,
        ),
        _quota,
    ),
    _QUOTA.gauge("created", "Unix creation timestamp", created),
)

CONFIG_MAPS: tuple[Family, ...] = (
    _CONFIG_MAP.gauge("info", "Information about configmap.", lambda c: one(1)),
    _CONFIG_MAP.gauge("created", "Unix creation timestamp", created),
    _CONFIG_MAP.gauge(
        "metadata_resource_version",
        "Resource version representing a specific version of the configmap.",
        lambda c: one(float(c.metadata.resource_version or 0)),
    ),
)

SECRETS: tuple[Family, ...] = (
    _SECRET.gauge("info", "Information about secret.", lambda s: one(1)),
    _SECRET.gauge("type", "Type about secret.", lambda s: one(1, s.type), "type"),
    _SECRET.gauge("created", "Unix creation timestamp", created),
    _SECRET.gauge(
        "metadata_resource_version",
        "Resource version representing a specific version of secret.",
        lambda s: one(float(s.metadata.resource_version or 0)),
    ),
)


def _account_info(account: ServiceAccount) -> Iterator[Sample]:
    """`automount_token` is what the account says; an account that says nothing has it empty."""
    automount = account.automount_service_account_token
    return one(1, "" if automount is None else str(automount).lower())


SERVICE_ACCOUNTS: tuple[Family, ...] = (
    _ACCOUNT.gauge("info", "Information about a service account", _account_info, "automount_token"),
    _ACCOUNT.gauge("created", "Unix creation timestamp", created),
)

LEASES: tuple[Family, ...] = (
    _LEASE.gauge(
        "owner",
        "Information about the Lease's owner.",
        lambda found: one(1, found.metadata.namespace, found.spec.holder_identity),
        "namespace",
        "lease_holder",
    ),
    _LEASE.gauge("renew_time", "Kube lease renew time.", lambda found: when(found.spec.renew_time)),
)

STORAGE_CLASSES: tuple[Family, ...] = (
    _STORAGE_CLASS.gauge(
        "info",
        "Information about storageclass.",
        lambda s: one(1, s.provisioner, s.reclaim_policy, s.volume_binding_mode),
        "provisioner",
        "reclaim_policy",
        "volume_binding_mode",
    ),
    _STORAGE_CLASS.gauge("created", "Unix creation timestamp", created),
)

INGRESSES: tuple[Family, ...] = (
    _INGRESS.gauge("info", "Information about ingress.", lambda i: one(1, i.spec.ingress_class_name), "ingressclass"),
    _INGRESS.gauge("created", "Unix creation timestamp", created),
)

NETWORK_POLICIES: tuple[Family, ...] = (
    _POLICY.gauge("created", "Unix creation timestamp of network policy", created),
    _POLICY.gauge(
        "spec_ingress_rules", "Number of ingress rules on the networkpolicy", lambda p: one(len(p.spec.ingress))
    ),
    _POLICY.gauge(
        "spec_egress_rules", "Number of egress rules on the networkpolicy", lambda p: one(len(p.spec.egress))
    ),
)

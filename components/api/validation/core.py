"""What the kinds that run no Pods must look like, and what their updates may change."""

from __future__ import annotations

import base64
import json

from kubeglass.components.api import names, quantity
from kubeglass.components.api.errors import Cause
from kubeglass.components.api.fielderrors import (
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)
from kubeglass.components.api.objects import (
    ClusterRole,
    ClusterRoleBinding,
    ConfigMap,
    Endpoints,
    EndpointSlice,
    Event,
    Ingress,
    Lease,
    LimitRange,
    Namespace,
    NetworkPolicy,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    PolicyRule,
    PriorityClass,
    ResourceQuota,
    Role,
    RoleBinding,
    Secret,
    Service,
    StorageClass,
    Subject,
)
from kubeglass.components.api.objects.struct import encode
from kubeglass.components.api.validation import metadata, pods
from kubeglass.components.api.validation.containers import NON_NEGATIVE, PROTOCOLS

IMMUTABLE = "field is immutable"
MAX_DATA_BYTES = 1024 * 1024
_SERVICE_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_SLICE_ENDPOINTS = 1000
_ENDPOINT_ADDRESSES = 100
_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")


def service(found: Service) -> list[Cause]:
    spec = found.spec
    causes: list[Cause] = []
    headless = spec.cluster_ip == "None"
    if not spec.ports and not headless and spec.type != "ExternalName":
        causes.append(required("spec.ports"))
    if spec.type not in _SERVICE_TYPES:
        causes.append(not_supported("spec.type", spec.type, _SERVICE_TYPES))
    if spec.type == "LoadBalancer" and headless:
        causes.append(invalid("spec.clusterIPs[0]", "None", "may not be set to 'None' for LoadBalancer services"))
    if spec.type == "NodePort" and headless:
        causes.append(invalid("spec.clusterIPs[0]", "None", "may not be set to 'None' for NodePort services"))
    if spec.type == "ExternalName":
        if not spec.external_name:
            causes.append(required("spec.externalName"))
        else:
            complaints = names.dns1123_subdomain(spec.external_name.removesuffix("."))
            causes += [invalid("spec.externalName", spec.external_name, text) for text in complaints]
        if spec.cluster_ip:
            causes.append(forbidden("spec.clusterIPs[0]", "may not be set when `type` is 'ExternalName'"))
    causes += _service_ports(spec.type, found)
    causes += metadata.label_map(spec.selector, "spec.selector")
    if spec.session_affinity not in ("ClientIP", "None"):
        causes.append(not_supported("spec.sessionAffinity", spec.session_affinity, ("ClientIP", "None")))
    if spec.cluster_ip and not headless:
        causes += [invalid("spec.clusterIPs[0]", spec.cluster_ip, text) for text in names.ip(spec.cluster_ip)]
    if spec.external_traffic_policy and spec.type not in ("NodePort", "LoadBalancer"):
        text = "may only be set for externally-accessible services"
        causes.append(invalid("spec.externalTrafficPolicy", spec.external_traffic_policy, text))
    return causes


def service_update(new: Service, old: Service) -> list[Cause]:
    before, after = old.spec, new.spec
    if "ExternalName" in (before.type, after.type) or not before.cluster_ip or before.cluster_ip == after.cluster_ip:
        return []
    return [invalid("spec.clusterIPs[0]", after.cluster_ip, "may not change once set")]


def _service_ports(service_type: str, found: Service) -> list[Cause]:
    causes: list[Cause] = []
    seen_names: set[str] = set()
    seen: set[tuple[str, int]] = set()
    for index, port in enumerate(found.spec.ports):
        at = f"spec.ports[{index}]"
        if len(found.spec.ports) > 1 and not port.name:
            causes.append(required(f"{at}.name"))
        elif port.name:
            causes += [invalid(f"{at}.name", port.name, text) for text in names.dns1123_label(port.name)]
            if port.name in seen_names:
                causes.append(duplicate(f"{at}.name", port.name))
        seen_names.add(port.name)
        causes += [invalid(f"{at}.port", port.port, text) for text in names.port_number(port.port)]
        if port.protocol not in PROTOCOLS:
            causes.append(not_supported(f"{at}.protocol", port.protocol, PROTOCOLS))
        if isinstance(port.target_port, str):
            causes += [
                invalid(f"{at}.targetPort", port.target_port, text) for text in names.port_name(port.target_port)
            ]
        elif port.target_port is not None:
            complaints = names.port_number(port.target_port)
            causes += [invalid(f"{at}.targetPort", port.target_port, text) for text in complaints]
        if service_type == "ClusterIP" and port.node_port:
            causes.append(forbidden(f"{at}.nodePort", "may not be used when `type` is 'ClusterIP'"))
        key = (port.protocol, port.port)
        if key in seen:
            causes.append(duplicate(at, encode(port)))
        seen.add(key)
    return causes


def endpoints(found: Endpoints) -> list[Cause]:
    causes: list[Cause] = []
    for index, subset in enumerate(found.subsets):
        at = f"subsets[{index}]"
        if not subset.addresses and not subset.not_ready_addresses:
            causes.append(required(at, "must specify `addresses` or `notReadyAddresses`"))
        for field, addresses in (("addresses", subset.addresses), ("notReadyAddresses", subset.not_ready_addresses)):
            for position, address in enumerate(addresses):
                causes += _endpoint_ip(f"{at}.{field}[{position}].ip", address.ip)
        for position, port in enumerate(subset.ports):
            if len(subset.ports) > 1 and not port.name:
                causes.append(required(f"{at}.ports[{position}].name"))
            complaints = names.port_number(port.port)
            causes += [invalid(f"{at}.ports[{position}].port", port.port, text) for text in complaints]
            causes += _protocol(f"{at}.ports[{position}]", port.protocol, port.app_protocol)
    return causes


def _protocol(at: str, protocol: str, application: str) -> list[Cause]:
    """The protocols of an endpoint's port."""
    causes = [invalid(f"{at}.appProtocol", application, text) for text in names.qualified_name(application or "http")]
    if not protocol:
        return [*causes, required(f"{at}.protocol")]
    return causes if protocol in PROTOCOLS else [*causes, not_supported(f"{at}.protocol", protocol, PROTOCOLS)]


def _endpoint_ip(path: str, text: str) -> list[Cause]:
    """Upstream refuses loopback endpoints; here Pods live on loopback, so only the form is checked."""
    return [invalid(path, text, complaint) for complaint in names.ip(text)]


def endpoint_slice(found: EndpointSlice) -> list[Cause]:
    causes: list[Cause] = []
    if not found.address_type:
        causes.append(required("addressType"))
    elif found.address_type not in ("FQDN", "IPv4", "IPv6"):
        causes.append(not_supported("addressType", found.address_type, ("FQDN", "IPv4", "IPv6")))
    if len(found.endpoints) > _SLICE_ENDPOINTS:
        causes.append(too_many("endpoints", len(found.endpoints), _SLICE_ENDPOINTS))
    for index, endpoint in enumerate(found.endpoints):
        at = f"endpoints[{index}].addresses"
        if not endpoint.addresses:
            causes.append(required(at, "must contain at least 1 address"))
        if len(endpoint.addresses) > _ENDPOINT_ADDRESSES:
            causes.append(too_many(at, len(endpoint.addresses), _ENDPOINT_ADDRESSES))
        for position, address in enumerate(endpoint.addresses):
            if found.address_type in ("IPv4", "IPv6"):
                causes += _endpoint_ip(f"{at}[{position}]", address)
        if endpoint.hostname:
            complaints = names.dns1123_label(endpoint.hostname)
            causes += [invalid(f"endpoints[{index}].hostname", endpoint.hostname, text) for text in complaints]
    return causes + _slice_ports(found)


def _slice_ports(found: EndpointSlice) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, port in enumerate(found.ports):
        at = f"ports[{index}]"
        if port.name:
            causes += [invalid(f"{at}.name", port.name, text) for text in names.dns1123_label(port.name)]
        if port.name in seen:
            causes.append(duplicate(f"{at}.name", port.name))
        seen.add(port.name)
        causes += _protocol(at, port.protocol, port.app_protocol)
    return causes


def endpoint_slice_update(new: EndpointSlice, old: EndpointSlice) -> list[Cause]:
    return [] if new.address_type == old.address_type else [invalid("addressType", new.address_type, IMMUTABLE)]


def namespace(found: Namespace) -> list[Cause]:
    return []


def node(found: Node) -> list[Cause]:
    causes: list[Cause] = []
    for index, taint in enumerate(found.spec.taints):
        at = f"spec.taints[{index}]"
        causes += [invalid(f"{at}.key", taint.key, text) for text in names.qualified_name(taint.key)]
        if taint.effect not in ("NoSchedule", "PreferNoSchedule", "NoExecute"):
            supported = ("NoExecute", "NoSchedule", "PreferNoSchedule")
            causes.append(not_supported(f"{at}.effect", taint.effect, supported))
        if any(other.key == taint.key and other.effect == taint.effect for other in found.spec.taints[:index]):
            causes.append(duplicate(at, encode(taint)))
    return causes


def node_update(new: Node, old: Node) -> list[Cause]:
    causes: list[Cause] = []
    if old.spec.pod_cidr and new.spec.pod_cidr != old.spec.pod_cidr:
        causes.append(forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'))
    if old.spec.provider_id and new.spec.provider_id != old.spec.provider_id:
        causes.append(forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid'))
    return causes


def secret(found: Secret) -> list[Cause]:
    causes: list[Cause] = []
    size = 0
    for key, value in found.data.items():
        causes += [invalid(f"data[{key}]", key, text) for text in names.config_key(key)]
        size += len(value) * 3 // 4
    if size > MAX_DATA_BYTES:
        causes.append(too_long("data", MAX_DATA_BYTES))
    return causes + _secret_type(found)


def _secret_type(found: Secret) -> list[Cause]:
    match found.type:
        case "kubernetes.io/tls":
            return [required(f"data[{key}]") for key in ("tls.crt", "tls.key") if key not in found.data]
        case "kubernetes.io/ssh-auth":
            return [] if found.data.get("ssh-privatekey") else [required("data[ssh-privatekey]")]
        case "kubernetes.io/basic-auth" if not {"username", "password"} & found.data.keys():
            return [required("data[username]"), required("data[password]")]
        case "kubernetes.io/service-account-token":
            name = "kubernetes.io/service-account.name"
            return [] if found.metadata.annotations.get(name) else [required(f"metadata.annotations[{name}]")]
        case "kubernetes.io/dockerconfigjson":
            content = found.data.get(".dockerconfigjson")
            if content is None:
                return [required("data[.dockerconfigjson]")]
            try:
                json.loads(base64.b64decode(content))
            except ValueError as error:
                return [invalid("data[.dockerconfigjson]", "<secret contents redacted>", str(error))]
    return []


def secret_update(new: Secret, old: Secret) -> list[Cause]:
    causes: list[Cause] = []
    if new.type != old.type:
        causes.append(invalid("type", new.type, IMMUTABLE))
    return causes + _immutable_data(new.data == old.data, bool(new.immutable), bool(old.immutable))


def config_map(found: ConfigMap) -> list[Cause]:
    causes: list[Cause] = []
    for field, keys in (("data", found.data), ("binaryData", found.binary_data)):
        for key in keys:
            causes += [invalid(f"{field}[{key}]", key, text) for text in names.config_key(key)]
            if field == "binaryData" and key in found.data:
                text = "duplicate of key present in data"
                causes.append(invalid(f"{field}[{key}]", key, text))
    size = sum(len(value.encode()) for value in found.data.values())
    size += sum(len(value) * 3 // 4 for value in found.binary_data.values())
    if size > MAX_DATA_BYTES:
        causes.append(too_long("", MAX_DATA_BYTES))
    return causes


def config_map_update(new: ConfigMap, old: ConfigMap) -> list[Cause]:
    same = new.data == old.data and new.binary_data == old.binary_data
    return _immutable_data(same, bool(new.immutable), bool(old.immutable))


def _immutable_data(same: bool, now: bool, before: bool) -> list[Cause]:
    causes: list[Cause] = []
    if before and not now:
        causes.append(forbidden("immutable", "field is immutable when `immutable` is set"))
    if before and not same:
        causes.append(forbidden("data", "field is immutable when `immutable` is set"))
    return causes


def event(found: Event) -> list[Cause]:
    namespace_of = found.involved_object.namespace
    if namespace_of and namespace_of != found.metadata.namespace:
        return [invalid("involvedObject.namespace", namespace_of, "does not match event.namespace")]
    if not namespace_of and found.metadata.namespace not in ("", "default", "kube-system"):
        return [invalid("involvedObject.namespace", namespace_of, "does not match event.namespace")]
    return []


def lease(found: Lease) -> list[Cause]:
    causes: list[Cause] = []
    spec = found.spec
    if spec.lease_duration_seconds is not None and spec.lease_duration_seconds <= 0:
        causes.append(invalid("spec.leaseDurationSeconds", spec.lease_duration_seconds, "must be greater than 0"))
    if (spec.lease_transitions or 0) < 0:
        causes.append(invalid("spec.leaseTransitions", spec.lease_transitions, NON_NEGATIVE))
    return causes


def limit_range(found: LimitRange) -> list[Cause]:
    causes: list[Cause] = []
    for index, limit in enumerate(found.spec.limits):
        for name, low in limit.min.items():
            high = limit.max.get(name)
            if high is not None and quantity.parse(low) > quantity.parse(high):
                text = f"min value {low} is greater than max value {high}"
                causes.append(invalid(f"spec.limits[{index}].min[{name}]", low, text))
    return causes


def resource_quota(found: ResourceQuota) -> list[Cause]:
    causes: list[Cause] = []
    for name, amount in found.spec.hard.items():
        if quantity.parse(amount).nanos < 0:
            causes.append(invalid(f"spec.hard[{name}]", amount, NON_NEGATIVE))
    return causes


def persistent_volume(found: PersistentVolume) -> list[Cause]:
    causes: list[Cause] = []
    if not found.spec.access_modes:
        causes.append(required("spec.accessModes"))
    if not found.spec.capacity:
        causes.append(required("spec.capacity"))
    for mode in found.spec.access_modes:
        if mode not in _ACCESS_MODES:
            causes.append(not_supported("spec.accessModes", mode, _ACCESS_MODES))
    sources = (found.spec.host_path, found.spec.local, found.spec.nfs, found.spec.csi)
    if not any(source is not None for source in sources):
        causes.append(required("spec", "must specify a volume type"))
    return causes


def persistent_volume_claim(found: PersistentVolumeClaim) -> list[Cause]:
    causes: list[Cause] = []
    if not found.spec.access_modes:
        causes.append(required("spec.accessModes", "at least 1 access mode is required"))
    for mode in found.spec.access_modes:
        if mode not in _ACCESS_MODES:
            causes.append(not_supported("spec.accessModes", mode, _ACCESS_MODES))
    if "storage" not in found.spec.resources.requests:
        causes.append(required("spec.resources[storage]"))
    return causes


def storage_class(found: StorageClass) -> list[Cause]:
    return [] if found.provisioner else [required("provisioner")]


def priority_class(found: PriorityClass) -> list[Cause]:
    causes: list[Cause] = []
    system = {"system-node-critical": 2000001000, "system-cluster-critical": 2000000000}
    name = found.metadata.name
    if name.startswith("system-") and system.get(name) != found.value:
        causes.append(
            forbidden("metadata.name", "priority class names with 'system-' prefix are reserved for system use only")
        )
    elif not name.startswith("system-") and found.value > 1_000_000_000:
        text = "maximum allowed value of a user defined priority is 1000000000"
        causes.append(forbidden("value", text))
    return causes


def priority_class_update(new: PriorityClass, old: PriorityClass) -> list[Cause]:
    causes: list[Cause] = []
    if new.value != old.value:
        causes.append(forbidden("value", "may not be changed in an update."))
    if new.preemption_policy != old.preemption_policy:
        causes.append(invalid("preemptionPolicy", new.preemption_policy, IMMUTABLE))
    return causes


def network_policy(found: NetworkPolicy) -> list[Cause]:
    causes = pods.label_selector(found.spec.pod_selector, "spec.podSelector")
    for policy_type in found.spec.policy_types:
        if policy_type not in ("Ingress", "Egress"):
            causes.append(not_supported("spec.policyTypes", policy_type, ("Egress", "Ingress")))
    return causes


def ingress(found: Ingress) -> list[Cause]:
    causes: list[Cause] = []
    if not found.spec.rules and found.spec.default_backend is None:
        causes.append(invalid("spec", [], "either `defaultBackend` or `rules` must be specified"))
    for index, rule in enumerate(found.spec.rules):
        at = f"spec.rules[{index}]"
        if rule.host:
            check = names.wildcard_subdomain if rule.host.startswith("*") else names.dns1123_subdomain
            causes += [invalid(f"{at}.host", rule.host, text) for text in check(rule.host)]
        for position, path in enumerate(rule.http.paths if rule.http else ()):
            where = f"{at}.http.paths[{position}]"
            if not path.path_type:
                causes.append(required(f"{where}.pathType", "pathType must be specified"))
            if path.path_type in ("Exact", "Prefix") and not path.path.startswith("/"):
                causes.append(invalid(f"{where}.path", path.path, "must be an absolute path"))
    return causes


def role(found: Role) -> list[Cause]:
    return _rules(found.rules, namespaced=True)


def cluster_role(found: ClusterRole) -> list[Cause]:
    return _rules(found.rules, namespaced=False)


def _rules(rules: tuple[PolicyRule, ...], namespaced: bool) -> list[Cause]:
    causes: list[Cause] = []
    for index, rule in enumerate(rules):
        at = f"rules[{index}]"
        if not rule.verbs:
            causes.append(required(f"{at}.verbs", "verbs must contain at least one value"))
        if rule.non_resource_urls:
            if namespaced:
                text = "namespaced rules cannot apply to non-resource URLs"
                causes.append(invalid(f"{at}.nonResourceURLs", list(rule.non_resource_urls), text))
            if rule.api_groups or rule.resources or rule.resource_names:
                text = "rules cannot apply to both regular resources and non-resource URLs"
                causes.append(invalid(f"{at}.nonResourceURLs", list(rule.non_resource_urls), text))
            continue
        if not rule.api_groups:
            causes.append(required(f"{at}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.resources:
            causes.append(required(f"{at}.resources", "resource rules must supply at least one resource"))
    return causes


def role_binding(found: RoleBinding) -> list[Cause]:
    return _binding(found.role_ref.kind, found.role_ref.name, ("ClusterRole", "Role"), found.subjects)


def cluster_role_binding(found: ClusterRoleBinding) -> list[Cause]:
    return _binding(found.role_ref.kind, found.role_ref.name, ("ClusterRole",), found.subjects)


def role_binding_update(new: RoleBinding, old: RoleBinding) -> list[Cause]:
    same = new.role_ref == old.role_ref
    return [] if same else [invalid("roleRef", encode(new.role_ref), "cannot change roleRef")]


def cluster_role_binding_update(new: ClusterRoleBinding, old: ClusterRoleBinding) -> list[Cause]:
    same = new.role_ref == old.role_ref
    return [] if same else [invalid("roleRef", encode(new.role_ref), "cannot change roleRef")]


def _binding(kind: str, name: str, kinds: tuple[str, ...], subjects: tuple[Subject, ...]) -> list[Cause]:
    causes: list[Cause] = []
    if kind not in kinds:
        causes.append(not_supported("roleRef.kind", kind, kinds))
    if not name:
        causes.append(required("roleRef.name"))
    for index, subject in enumerate(subjects):
        at = f"subjects[{index}]"
        if not subject.name:
            causes.append(required(f"{at}.name"))
        if subject.kind not in ("ServiceAccount", "User", "Group"):
            causes.append(not_supported(f"{at}.kind", subject.kind, ("Group", "ServiceAccount", "User")))
        elif subject.kind == "ServiceAccount" and not subject.namespace and kinds == ("ClusterRole",):
            causes.append(required(f"{at}.namespace"))
    return causes

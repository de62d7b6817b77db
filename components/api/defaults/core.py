"""Defaults of every kind that runs no Pods."""

from __future__ import annotations

from typing import Any

from kubeglass.components.api.defaults.members import Object, child, fill, items


def service(obj: Object) -> None:
    spec = child(obj, "spec")
    fill(spec, sessionAffinity="None", type="ClusterIP")
    if spec["sessionAffinity"] == "ClientIP":
        fill(child(child(spec, "sessionAffinityConfig"), "clientIP"), timeoutSeconds=10800)
    elif spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    for port in items(spec, "ports"):
        fill(port, protocol="TCP")
        if port.get("targetPort") in (None, "", 0):
            port["targetPort"] = port.get("port", 0)
    if spec["type"] in ("NodePort", "LoadBalancer"):
        fill(spec, externalTrafficPolicy="Cluster")
    if spec["type"] in ("ClusterIP", "NodePort", "LoadBalancer"):
        fill(spec, internalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    for ingress in items(child(child(obj, "status"), "loadBalancer"), "ingress"):
        if ingress.get("ip"):
            fill(ingress, ipMode="VIP")


def endpoints(obj: Object) -> None:
    for subset in items(obj, "subsets"):
        for port in items(subset, "ports"):
            fill(port, protocol="TCP")


def endpoint_slice(obj: Object) -> None:
    for port in items(obj, "ports"):
        port.setdefault("name", "")
        fill(port, protocol="TCP")


def namespace(obj: Object) -> None:
    name = child(obj, "metadata").get("name")
    if name:
        child(child(obj, "metadata"), "labels").setdefault("kubernetes.io/metadata.name", name)


def node(obj: Object) -> None:
    status = obj.get("status") or {}
    if status.get("capacity") and not status.get("allocatable"):
        status["allocatable"] = dict(status["capacity"])


def secret(obj: Object) -> None:
    fill(obj, type="Opaque")


def persistent_volume(obj: Object) -> None:
    fill(child(obj, "spec"), persistentVolumeReclaimPolicy="Retain", volumeMode="Filesystem")
    fill(child(obj, "status"), phase="Pending")


def persistent_volume_claim(obj: Object) -> None:
    fill(child(obj, "spec"), volumeMode="Filesystem")
    fill(child(obj, "status"), phase="Pending")


def limit_range(obj: Object) -> None:
    """For containers: max is the default limit, a default limit the default request, a min the default request."""
    for limit in items(child(obj, "spec"), "limits"):
        if limit.get("type") != "Container":
            continue
        _inherit(limit, "default", "max")
        _inherit(limit, "defaultRequest", "default")
        _inherit(limit, "defaultRequest", "min")


def _inherit(limit: Object, name: str, source: str) -> None:
    for resource, amount in (limit.get(source) or {}).items():
        child(limit, name).setdefault(resource, amount)


def network_policy(obj: Object) -> None:
    spec = child(obj, "spec")
    spec.setdefault("podSelector", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in [*items(spec, "ingress"), *items(spec, "egress")]:
        for port in items(rule, "ports"):
            fill(port, protocol="TCP")


def role_binding(obj: Object) -> None:
    fill(child(obj, "roleRef"), apiGroup="rbac.authorization.k8s.io")
    for subject in items(obj, "subjects"):
        if subject.get("kind") in ("User", "Group"):
            fill(subject, apiGroup="rbac.authorization.k8s.io")


def storage_class(obj: Object) -> None:
    fill(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def csi_driver(obj: Object) -> None:
    spec = child(obj, "spec")
    fill(spec, fsGroupPolicy="ReadWriteOnceWithFSType", volumeLifecycleModes=["Persistent"])
    for name, value in (("attachRequired", True), ("podInfoOnMount", False), ("storageCapacity", False)):
        spec.setdefault(name, value)
    for name in ("requiresRepublish", "seLinuxMount"):
        spec.setdefault(name, False)


def priority_class(obj: Object) -> None:
    fill(obj, preemptionPolicy="PreemptLowerPriority")
    obj.setdefault("value", 0)


def mutating_webhooks(obj: Object) -> None:
    for webhook in items(obj, "webhooks"):
        _webhook(webhook)
        fill(webhook, reinvocationPolicy="Never")


def validating_webhooks(obj: Object) -> None:
    for webhook in items(obj, "webhooks"):
        _webhook(webhook)


def _webhook(webhook: Object) -> None:
    fill(webhook, failurePolicy="Fail", matchPolicy="Equivalent", timeoutSeconds=10)
    webhook.setdefault("namespaceSelector", {})
    webhook.setdefault("objectSelector", {})
    service_reference = child(webhook, "clientConfig").get("service")
    if isinstance(service_reference, dict):
        fill(service_reference, port=443)
    for rule in items(webhook, "rules"):
        fill(rule, scope="*")


def custom_resource_definition(obj: Object) -> None:
    spec = child(obj, "spec")
    names = child(spec, "names")
    kind: Any = names.get("kind") or ""
    fill(names, singular=kind.lower(), listKind=f"{kind}List" if kind else "")
    fill(child(spec, "conversion"), strategy="None")


def api_service(obj: Object) -> None:
    reference = child(obj, "spec").get("service")
    if isinstance(reference, dict):
        fill(reference, port=443)

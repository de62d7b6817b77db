"""The RBAC objects every cluster begins with: upstream's default roles and bindings, as rows. Pure.

Answers to k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy. The controller manager runs all its
controllers under one identity, so that user is bound to the controllers' roles as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kubeglass.components.api.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING, Kind
from kubeglass.components.api.signing import KUBE_APISERVER_CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY_UNKNOWN
from kubeglass.components.api.user import NODES

Object = dict[str, Any]
_API_GROUP = "rbac.authorization.k8s.io"
_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_AUTO_UPDATE = {"rbac.authorization.kubernetes.io/autoupdate": "true"}
_READ = "get list watch"
_WRITE = "create delete deletecollection patch update"
_ALL_VERBS = f"{_READ} {_WRITE}"
MANAGER = "system:kube-controller-manager"
SCHEDULER = "system:kube-scheduler"


def _on(groups: str, resources: str, verbs: str, names: str = "") -> Object:
    """A resource rule; `core` stands for the group without a name."""
    rule: Object = {
        "verbs": verbs.split(),
        "apiGroups": ["" if group == "core" else group for group in groups.split()],
        "resources": resources.split(),
    }
    if names:
        rule["resourceNames"] = names.split()
    return rule


def _urls(urls: str, verbs: str = "get") -> Object:
    return {"verbs": verbs.split(), "nonResourceURLs": urls.split()}


_EVENTS = _on("core events.k8s.io", "events", "create patch update")
_HEALTH = "/healthz /livez /readyz"
_DISCOVERY = "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/"
_WORKLOADS = (
    "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets "
    "statefulsets/scale"
)
_NAMESPACED_CORE = (
    "configmaps endpoints persistentvolumeclaims replicationcontrollers replicationcontrollers/scale serviceaccounts "
    "services"
)

_EDIT = (
    _on("core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy", _READ),
    _on("core", "serviceaccounts", "impersonate"),
    _on("core", "pods pods/attach pods/exec pods/portforward pods/proxy", _WRITE),
    _on("core", "pods/eviction", "create"),
    _on("core", f"{_NAMESPACED_CORE} secrets services/proxy events", _WRITE),
    _on("core", "serviceaccounts/token", "create"),
    _on("apps", _WORKLOADS, _WRITE),
    _on("autoscaling", "horizontalpodautoscalers", _WRITE),
    _on("batch", "cronjobs jobs", _WRITE),
    _on("policy", "poddisruptionbudgets", _WRITE),
    _on("networking.k8s.io", "ingresses networkpolicies", _WRITE),
    _on("coordination.k8s.io", "leases", _ALL_VERBS),
)
_VIEW = (
    _on("core", f"{_NAMESPACED_CORE} pods persistentvolumeclaims/status services/status", _READ),
    _on("core", "bindings events limitranges namespaces namespaces/status pods/log pods/status", _READ),
    _on("core", "replicationcontrollers/status resourcequotas resourcequotas/status", _READ),
    _on("discovery.k8s.io", "endpointslices", _READ),
    _on("apps", f"controllerrevisions {_WORKLOADS} daemonsets/status deployments/status replicasets/status "
        "statefulsets/status", _READ),
    _on("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", _READ),
    _on("batch", "cronjobs cronjobs/status jobs jobs/status", _READ),
    _on("policy", "poddisruptionbudgets poddisruptionbudgets/status", _READ),
    _on("networking.k8s.io", "ingresses ingresses/status networkpolicies", _READ),
)  # fmt: skip
_ADMIN = (
    _on("authorization.k8s.io", "localsubjectaccessreviews", "create"),
    _on(_API_GROUP, "rolebindings roles", _ALL_VERBS),
)

CLUSTER_ROLES: dict[str, Sequence[Object]] = {
    "cluster-admin": (_on("*", "*", "*"), _urls("*", "*")),
    "system:discovery": (_urls(_DISCOVERY),),
    "system:public-info-viewer": (_urls(f"{_HEALTH} /version /version/"),),
    "system:basic-user": (
        _on("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", "create"),
        _on("authentication.k8s.io", "selfsubjectreviews", "create"),
    ),
    "system:monitoring": (
        _urls("/metrics /metrics/slis /metrics/* /livez /readyz /healthz /livez/* /readyz/* /healthz/*"),
        _on("core", "nodes/metrics", "get"),
    ),
    "admin": (*_ADMIN, *_EDIT, *_VIEW),
    "edit": (*_EDIT, *_VIEW),
    "view": _VIEW,
    "system:kubelet-api-admin": (
        _on("core", "nodes", "get list watch proxy"),
        _on("core", "nodes/log nodes/metrics nodes/proxy nodes/stats", "*"),
    ),
    "system:auth-delegator": (
        _on("authentication.k8s.io", "tokenreviews", "create"),
        _on("authorization.k8s.io", "subjectaccessreviews", "create"),
    ),
    "system:node-proxier": (
        _on("core", "services endpoints", "list watch"),
        _on("core", "nodes", _READ),
        _EVENTS,
        _on("discovery.k8s.io", "endpointslices", "list watch"),
        _on("networking.k8s.io", "servicecidrs networkpolicies", "list watch"),
        _on("core", "namespaces pods", "list watch"),
        _on("authentication.k8s.io", "tokenreviews", "create"),
        _on("authorization.k8s.io", "subjectaccessreviews", "create"),
    ),
    "kubeglass:simulated-kubelets": (
        _EVENTS,
        _on("core", "nodes", "create get list watch"),
        _on("core", "nodes/status pods/status", "update patch"),
        _on("core", "pods", "get list watch delete"),
        _on("coordination.k8s.io", "leases", "create get update patch"),
        _on("authentication.k8s.io", "tokenreviews", "create"),
        _on("authorization.k8s.io", "subjectaccessreviews", "create"),
    ),
    **{
        f"system:certificates.k8s.io:{signer.partition('/')[2]}-approver": (
            _on("certificates.k8s.io", "signers", "approve", signer),
        )
        for signer in (KUBE_APISERVER_CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY_UNKNOWN)
    },
    **{
        f"system:certificates.k8s.io:certificatesigningrequests:{subresource}": (
            _on("certificates.k8s.io", f"certificatesigningrequests/{subresource}", "create"),
        )
        for subresource in ("nodeclient", "selfnodeclient")
    },
    "system:node-bootstrapper": (_on("certificates.k8s.io", "certificatesigningrequests", "create get list watch"),),
    "system:coredns": (
        _on("core", "endpoints services pods namespaces", "list watch"),
        _on("discovery.k8s.io", "endpointslices", "list watch create patch"),
        _on("core", "services", "create"),
        _on("authentication.k8s.io", "tokenreviews", "create"),
        _on("authorization.k8s.io", "subjectaccessreviews", "create"),
    ),
    "system:kube-dns": (_on("core", "endpoints services", "list watch"),),
    SCHEDULER: (
        _EVENTS,
        _on("coordination.k8s.io", "leases", "create list watch"),
        _on("coordination.k8s.io", "leases", "get update", "kube-scheduler"),
        _on("core", "nodes", _READ),
        _on("core", "pods", "delete get list watch"),
        _on("core", "bindings pods/binding", "create"),
        _on("core", "pods/status", "patch update"),
        _on("core", "replicationcontrollers services namespaces", _READ),
        _on("apps", "replicasets statefulsets", _READ),
        _on("policy", "poddisruptionbudgets", _READ),
        _on("core", "persistentvolumeclaims persistentvolumes", "get list watch patch update"),
        _on("storage.k8s.io", "csinodes csidrivers csistoragecapacities storageclasses volumeattachments", _READ),
        _on("scheduling.k8s.io", "priorityclasses", _READ),
        _on("authentication.k8s.io", "tokenreviews", "create"),
        _on("authorization.k8s.io", "subjectaccessreviews", "create"),
    ),
    MANAGER: (
        _EVENTS,
        _on("coordination.k8s.io", "leases", "create list watch"),
        _on("coordination.k8s.io", "leases", "get update", "kube-controller-manager"),
        _on("core", "secrets serviceaccounts", "create delete get update"),
        _on("core", "serviceaccounts/token", "create"),
        _on("core", "configmaps namespaces", "get"),
        _on("authentication.k8s.io", "tokenreviews", "create"),
        _on("authorization.k8s.io", "subjectaccessreviews", "create"),
        _on("*", "*", "list watch"),
        _on("*", "*", "get"),
    ),
}

CONTROLLERS: dict[str, Sequence[Object]] = {
    "cronjob-controller": (
        _on("batch", "cronjobs", "get list update watch"),
        _on("batch", "jobs", "create delete get list patch update watch"),
        _on("batch", "cronjobs/finalizers cronjobs/status", "update"),
        _on("core", "pods", "delete list"),
    ),
    "daemon-set-controller": (
        _on("apps", "daemonsets daemonsets/finalizers daemonsets/status", "get list update watch"),
        _on("core", "nodes", "list watch"),
        _on("core", "pods pods/binding", "create delete list patch watch"),
        _on("apps", "controllerrevisions", "create delete get list patch update watch"),
    ),
    "deployment-controller": (
        _on("apps", "deployments deployments/finalizers deployments/status", "get list update watch"),
        _on("apps", "replicasets", "create delete get list patch update watch"),
        _on("core", "pods", "get list update watch"),
    ),
    "replicaset-controller": (
        _on("apps", "replicasets replicasets/finalizers replicasets/status", "get list update watch"),
        _on("core", "pods", "create delete list patch watch"),
    ),
    "replication-controller": (
        _on("core", "replicationcontrollers replicationcontrollers/finalizers replicationcontrollers/status",
            "get list update watch"),
        _on("core", "pods", "create delete list patch watch"),
    ),
    "statefulset-controller": (
        _on("core", "pods", "create delete get list patch update watch"),
        _on("apps", "statefulsets statefulsets/finalizers statefulsets/status", "get list update watch"),
        _on("apps", "controllerrevisions", "create delete get list patch update watch"),
        _on("core", "persistentvolumeclaims", "create get list watch update delete"),
    ),
    "job-controller": (
        _on("batch", "jobs jobs/finalizers jobs/status", "get list patch update watch"),
        _on("core", "pods", "create delete list patch watch"),
    ),
    "endpoint-controller": (
        _on("core", "pods services", _READ),
        _on("core", "endpoints endpoints/restricted", "create delete get list update watch"),
    ),
    "endpointslice-controller": (
        _on("core", "nodes pods services services/finalizers", "get list update watch"),
        _on("discovery.k8s.io", "endpointslices endpointslices/restricted", "create delete get list update watch"),
    ),
    "namespace-controller": (
        _on("core", "namespaces namespaces/finalize namespaces/status", "delete get list update watch"),
        _on("*", "*", "delete deletecollection get list"),
    ),
    "service-account-controller": (
        _on("core", "serviceaccounts", "create get list watch"),
    ),
    "root-ca-cert-publisher": (
        _on("core", "configmaps", "create get list update watch"),
        _on("core", "namespaces", "list watch"),
    ),
    "node-controller": (
        _on("core", "nodes nodes/status", "delete get list patch update watch"),
        _on("core", "pods pods/status", "delete get list patch update watch"),
        _on("coordination.k8s.io", "leases", _READ),
    ),
    "pod-garbage-collector": (
        _on("core", "pods", "delete list watch"),
        _on("core", "nodes", "get list"),
        _on("core", "pods/status", "patch"),
    ),
    "generic-garbage-collector": (
        _on("*", "*", "delete get list patch update watch"),
    ),
    "disruption-controller": (
        _on("policy", "poddisruptionbudgets poddisruptionbudgets/status", "get list patch update watch"),
        _on("core", "pods pods/status", "get list patch update watch"),
        _on("*", "*/scale", "get"),
    ),
    "horizontal-pod-autoscaler": (
        _on("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", "get list update watch"),
        _on("*", "*/scale", "get update patch"),
        _on("core", "pods", "list watch"),
        _on("metrics.k8s.io", "pods", "list"),
        _on("core", "nodes/proxy nodes/metrics", "get"),
    ),
    "resourcequota-controller": (
        _on("*", "*", "list watch"),
        _on("core", "resourcequotas/status", "update patch"),
    ),
    "persistent-volume-binder": (
        _on("core", "persistentvolumes persistentvolumeclaims persistentvolumes/status persistentvolumeclaims/status",
            "create delete get list patch update watch"),
        _on("storage.k8s.io", "storageclasses", _READ),
        _on("core", "pods", "create delete get list watch"),
    ),
    "clusterrole-aggregation-controller": (
        _on("rbac.authorization.k8s.io", "clusterroles", "escalate get list patch update watch"),
    ),
    "pvc-protection-controller": (
        _on("core", "persistentvolumeclaims", "get list patch update watch"),
        _on("core", "pods", "get list watch"),
    ),
    "pv-protection-controller": (_on("core", "persistentvolumes", "get list patch update watch"),),
    "local-path-provisioner": (
        _on("core", "persistentvolumes persistentvolumeclaims", "create delete get list patch watch"),
        _on("storage.k8s.io", "storageclasses", "create get list watch"),
        _on("core", "nodes", "get list watch"),
    ),
    "ttl-after-finished-controller": (_on("batch", "jobs", "delete get list watch"),),
    "certificate-controller": (
        _on("certificates.k8s.io", "certificatesigningrequests", "delete get list watch"),
        _on("certificates.k8s.io", "certificatesigningrequests/approval certificatesigningrequests/status",
            "patch update"),
        _on("certificates.k8s.io", "signers", "approve", KUBELET_CLIENT),
        _on("certificates.k8s.io", "signers", "sign",
            f"{KUBE_APISERVER_CLIENT} {KUBELET_CLIENT} {KUBELET_SERVING} {LEGACY_UNKNOWN}"),
        _on("authorization.k8s.io", "subjectaccessreviews", "create"),
    ),
}  # fmt: skip
"""Upstream's system:controller:* roles, by the controller's service account."""

_GROUP_BINDINGS = {
    "cluster-admin": ("system:masters",),
    "system:monitoring": ("system:monitoring",),
    "system:discovery": ("system:authenticated",),
    "system:basic-user": ("system:authenticated",),
    "system:public-info-viewer": ("system:authenticated", "system:unauthenticated"),
}
_USER_BINDINGS = {
    "system:node-proxier": "system:kube-proxy",
    "system:coredns": "system:coredns",
    "kubeglass:simulated-kubelets": "kubeglass:simulated-kubelets",
    MANAGER: MANAGER,
    SCHEDULER: SCHEDULER,
}
_AUTHENTICATION_READER = "extension-apiserver-authentication-reader"


def objects() -> Iterator[tuple[Kind, Object]]:
    """Every role and binding, with its kind; roles first."""
    for name, rules in CLUSTER_ROLES.items():
        yield CLUSTER_ROLE, _role(CLUSTER_ROLE, name, rules)
    for name, rules in CONTROLLERS.items():
        yield CLUSTER_ROLE, _role(CLUSTER_ROLE, f"system:controller:{name}", [*rules, _EVENTS])
    yield from _bindings()
    yield from _kube_system()


_ROTATION = "kubeadm:node-autoapprove-certificate-rotation"
"""What kubeadm adds to upstream's bindings: a node's renewal of its own client certificate needs nobody's word."""


def _bindings() -> Iterator[tuple[Kind, Object]]:
    for role, groups in _GROUP_BINDINGS.items():
        yield CLUSTER_ROLE_BINDING, _binding(role, [_subject("Group", group) for group in groups])
    for role, user in _USER_BINDINGS.items():
        yield CLUSTER_ROLE_BINDING, _binding(role, [_subject("User", user)])
    rotation = _binding(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", [_subject("Group", NODES)]
    )
    yield CLUSTER_ROLE_BINDING, {**rotation, "metadata": {"name": _ROTATION}}
    for name in CONTROLLERS:
        account = {"kind": "ServiceAccount", "name": name, "namespace": "kube-system"}
        yield CLUSTER_ROLE_BINDING, _binding(f"system:controller:{name}", [account, _subject("User", MANAGER)])


def _kube_system() -> Iterator[tuple[Kind, Object]]:
    """Who may read the apiserver's trust settings, and lead."""
    reader = _role(
        ROLE, _AUTHENTICATION_READER, [_on("core", "configmaps", _READ, "extension-apiserver-authentication")]
    )
    reader["metadata"]["namespace"] = "kube-system"
    yield ROLE, reader
    binding = _binding(_AUTHENTICATION_READER, [_subject("User", MANAGER), _subject("User", SCHEDULER)], ROLE)
    binding["metadata"] |= {"name": f"system::{_AUTHENTICATION_READER}", "namespace": "kube-system"}
    yield ROLE_BINDING, binding


def _role(kind: Kind, name: str, rules: Sequence[Object]) -> Object:
    return {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": _metadata(name), "rules": list(rules)}


def _binding(role: str, subjects: Sequence[Object], role_kind: Kind = CLUSTER_ROLE) -> Object:
    kind = CLUSTER_ROLE_BINDING if role_kind == CLUSTER_ROLE else ROLE_BINDING
    return {
        "kind": kind.kind,
        "apiVersion": kind.api_version,
        "metadata": _metadata(role),
        "roleRef": {"apiGroup": _API_GROUP, "kind": role_kind.kind, "name": role},
        "subjects": list(subjects),
    }


def _metadata(name: str) -> Object:
    return {"name": name, "labels": dict(_LABELS), "annotations": dict(_AUTO_UPDATE)}


def _subject(kind: str, name: str) -> Object:
    return {"kind": kind, "apiGroup": _API_GROUP, "name": name}

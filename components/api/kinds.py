"""One row per kind: group, version, names, scope, subresources, verbs, categories.

The rows drive routes, discovery, storage keys, tables and clients. `served` marks versions that a default cluster
offers; a row without it (OLDER_KINDS) is turned on by --runtime-config. Versions of one resource share a storage
version. Custom resources are rows as well, made from their definitions at run time. Upstream: api/discovery of v1.36.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

STORED_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
CREATE_ONLY = ("create",)
READ_AND_CHANGE = ("get", "patch", "update")


@dataclass(frozen=True, slots=True)
class Subresource:
    """`pods/log` and its like. `kind` names the wire kind it speaks; empty means the parent's."""

    name: str
    verbs: tuple[str, ...] = READ_AND_CHANGE
    group: str = ""
    version: str = ""
    kind: str = ""


STATUS = Subresource("status")
SCALE = Subresource("scale", READ_AND_CHANGE, "autoscaling", "v1", "Scale")


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource in one version. Without stored verbs (`storable` False) it is a review: create only, never kept."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    verbs: tuple[str, ...] = STORED_VERBS
    served: bool = True
    storage_version: str = ""  # empty: this version
    storage_group: str = "-"  # "-": this group (events.k8s.io keeps its objects with the core Events)
    list_kind: str = ""
    custom: bool = False

    def __hash__(self) -> int:
        return hash((self.group, self.version, self.plural))

    @property
    def api_version(self) -> str:
        """`v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """`pods`, `deployments.apps`: the name used in messages and metrics."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def list_name(self) -> str:
        """The kind of a list of these: `PodList`."""
        return self.list_kind or f"{self.kind}List"

    @property
    def storable(self) -> bool:
        return "get" in self.verbs

    @property
    def stored_group(self) -> str:
        return self.group if self.storage_group == "-" else self.storage_group

    @property
    def stored_api_version(self) -> str:
        """The apiVersion of the bytes at rest."""
        version = self.storage_version or self.version
        return f"{self.stored_group}/{version}" if self.stored_group else version

    def subresource(self, name: str) -> Subresource | None:
        return next((sub for sub in self.subresources if sub.name == name), None)

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path: `/api/v1/namespaces/default/pods/x/log`."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)

    def storage_prefix(self) -> str:
        """`/registry/pods/`, `/registry/apps/deployments/`."""
        return f"/registry/{self.stored_group}/{self.plural}/" if self.stored_group else f"/registry/{self.plural}/"

    def storage_key(self, namespace: str, name: str) -> str:
        prefix = self.storage_prefix()
        return f"{prefix}{namespace}/{name}" if self.namespaced else prefix + name


_ALL = ("all",)
_API_EXTENSIONS = ("api-extensions",)
_WITH_STATUS = (STATUS,)
_SCALED = (SCALE, STATUS)
_CONNECT = ("create", "delete", "get", "patch", "update")  # what discovery lists for proxies

_POD_SUBRESOURCES = (
    Subresource("attach", ("create", "get"), "", "v1", "PodAttachOptions"),
    Subresource("binding", CREATE_ONLY, "", "v1", "Binding"),
    Subresource("ephemeralcontainers"),
    Subresource("eviction", CREATE_ONLY, "policy", "v1", "Eviction"),
    Subresource("exec", ("create", "get"), "", "v1", "PodExecOptions"),
    Subresource("log", ("get",)),
    Subresource("portforward", ("create", "get"), "", "v1", "PodPortForwardOptions"),
    Subresource("proxy", _CONNECT, "", "v1", "PodProxyOptions"),
    Subresource("resize"),
    STATUS,
)

# core ------------------------------------------------------------------------------------------------------------
BINDING = Kind("", "v1", "Binding", "bindings", "binding", verbs=CREATE_ONLY)
COMPONENT_STATUS = Kind(
    "", "v1", "ComponentStatus", "componentstatuses", "componentstatus",
    namespaced=False, short_names=("cs",), verbs=("get", "list"),
)  # fmt: skip
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps", "configmap", short_names=("cm",))
ENDPOINTS = Kind("", "v1", "Endpoints", "endpoints", "endpoints", short_names=("ep",), list_kind="EndpointsList")
EVENT = Kind("", "v1", "Event", "events", "event", short_names=("ev",))
LIMIT_RANGE = Kind("", "v1", "LimitRange", "limitranges", "limitrange", short_names=("limits",))
NAMESPACE = Kind(
    "", "v1", "Namespace", "namespaces", "namespace",
    namespaced=False, short_names=("ns",), subresources=(Subresource("finalize", ("update",)), STATUS),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
)  # fmt: skip
NODE = Kind(
    "", "v1", "Node", "nodes", "node",
    namespaced=False, short_names=("no",),
    subresources=(Subresource("proxy", _CONNECT, "", "v1", "NodeProxyOptions"), STATUS),
)  # fmt: skip
PERSISTENT_VOLUME_CLAIM = Kind(
    "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", "persistentvolumeclaim",
    short_names=("pvc",), subresources=_WITH_STATUS,
)  # fmt: skip
PERSISTENT_VOLUME = Kind(
    "", "v1", "PersistentVolume", "persistentvolumes", "persistentvolume",
    namespaced=False, short_names=("pv",), subresources=_WITH_STATUS,
)  # fmt: skip
POD = Kind(
    "", "v1", "Pod", "pods", "pod", short_names=("po",), categories=_ALL, subresources=_POD_SUBRESOURCES
)  # fmt: skip
POD_TEMPLATE = Kind("", "v1", "PodTemplate", "podtemplates", "podtemplate")
REPLICATION_CONTROLLER = Kind(
    "", "v1", "ReplicationController", "replicationcontrollers", "replicationcontroller",
    short_names=("rc",), categories=_ALL, subresources=_SCALED,
)  # fmt: skip
RESOURCE_QUOTA = Kind(
    "", "v1", "ResourceQuota", "resourcequotas", "resourcequota", short_names=("quota",), subresources=_WITH_STATUS
)
SECRET = Kind("", "v1", "Secret", "secrets", "secret")
SERVICE_ACCOUNT = Kind(
    "", "v1", "ServiceAccount", "serviceaccounts", "serviceaccount", short_names=("sa",),
    subresources=(Subresource("token", CREATE_ONLY, "authentication.k8s.io", "v1", "TokenRequest"),),
)  # fmt: skip
SERVICE = Kind(
    "", "v1", "Service", "services", "service", short_names=("svc",), categories=_ALL,
    subresources=(Subresource("proxy", _CONNECT, "", "v1", "ServiceProxyOptions"), STATUS),
)  # fmt: skip

# apps, batch, autoscaling, policy --------------------------------------------------------------------------------
CONTROLLER_REVISION = Kind("apps", "v1", "ControllerRevision", "controllerrevisions", "controllerrevision")
DAEMON_SET = Kind(
    "apps", "v1", "DaemonSet", "daemonsets", "daemonset",
    short_names=("ds",), categories=_ALL, subresources=_WITH_STATUS,
)  # fmt: skip
DEPLOYMENT = Kind(
    "apps", "v1", "Deployment", "deployments", "deployment",
    short_names=("deploy",), categories=_ALL, subresources=_SCALED,
)  # fmt: skip
REPLICA_SET = Kind(
    "apps", "v1", "ReplicaSet", "replicasets", "replicaset",
    short_names=("rs",), categories=_ALL, subresources=_SCALED,
)  # fmt: skip
STATEFUL_SET = Kind(
    "apps", "v1", "StatefulSet", "statefulsets", "statefulset",
    short_names=("sts",), categories=_ALL, subresources=_SCALED,
)  # fmt: skip
JOB = Kind("batch", "v1", "Job", "jobs", "job", categories=_ALL, subresources=_WITH_STATUS)
CRON_JOB = Kind(
    "batch", "v1", "CronJob", "cronjobs", "cronjob", short_names=("cj",), categories=_ALL, subresources=_WITH_STATUS
)
HORIZONTAL_POD_AUTOSCALER = Kind(
    "autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "horizontalpodautoscaler",
    short_names=("hpa",), categories=_ALL, subresources=_WITH_STATUS,
)  # fmt: skip
HORIZONTAL_POD_AUTOSCALER_V1 = Kind(
    "autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "horizontalpodautoscaler",
    short_names=("hpa",), categories=_ALL, subresources=_WITH_STATUS, storage_version="v2",
)  # fmt: skip
POD_DISRUPTION_BUDGET = Kind(
    "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget",
    short_names=("pdb",), subresources=_WITH_STATUS,
)  # fmt: skip

# authentication, authorization, certificates, rbac ---------------------------------------------------------------
TOKEN_REVIEW = Kind(
    "authentication.k8s.io", "v1", "TokenReview", "tokenreviews", "tokenreview", namespaced=False, verbs=CREATE_ONLY
)
SELF_SUBJECT_REVIEW = Kind(
    "authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview",
    namespaced=False, verbs=CREATE_ONLY,
)  # fmt: skip
LOCAL_SUBJECT_ACCESS_REVIEW = Kind(
    "authorization.k8s.io", "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews", "localsubjectaccessreview",
    verbs=CREATE_ONLY,
)  # fmt: skip
SELF_SUBJECT_ACCESS_REVIEW = Kind(
    "authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview",
    namespaced=False, verbs=CREATE_ONLY,
)  # fmt: skip
SELF_SUBJECT_RULES_REVIEW = Kind(
    "authorization.k8s.io", "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview",
    namespaced=False, verbs=CREATE_ONLY,
)  # fmt: skip
SUBJECT_ACCESS_REVIEW = Kind(
    "authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview",
    namespaced=False, verbs=CREATE_ONLY,
)  # fmt: skip
CERTIFICATE_SIGNING_REQUEST = Kind(
    "certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests",
    "certificatesigningrequest", namespaced=False, short_names=("csr",),
    subresources=(Subresource("approval"), STATUS),
)  # fmt: skip
CLUSTER_ROLE_BINDING = Kind(
    "rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding",
    namespaced=False,
)  # fmt: skip
CLUSTER_ROLE = Kind("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", "clusterrole", namespaced=False)
ROLE_BINDING = Kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", "rolebinding")
ROLE = Kind("rbac.authorization.k8s.io", "v1", "Role", "roles", "role")

# coordination, discovery, events, networking, node, scheduling ---------------------------------------------------
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases", "lease")
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "endpointslice")
EVENTS_EVENT = Kind(
    "events.k8s.io", "v1", "Event", "events", "event", short_names=("ev",), storage_group="", storage_version="v1"
)
INGRESS_CLASS = Kind("networking.k8s.io", "v1", "IngressClass", "ingressclasses", "ingressclass", namespaced=False)
INGRESS = Kind(
    "networking.k8s.io", "v1", "Ingress", "ingresses", "ingress", short_names=("ing",), subresources=_WITH_STATUS
)
IP_ADDRESS = Kind(
    "networking.k8s.io", "v1", "IPAddress", "ipaddresses", "ipaddress", namespaced=False, short_names=("ip",)
)
NETWORK_POLICY = Kind(
    "networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "networkpolicy", short_names=("netpol",)
)
SERVICE_CIDR = Kind(
    "networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs", "servicecidr",
    namespaced=False, subresources=_WITH_STATUS,
)  # fmt: skip
RUNTIME_CLASS = Kind("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", "runtimeclass", namespaced=False)
PRIORITY_CLASS = Kind(
    "scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", "priorityclass",
    namespaced=False, short_names=("pc",),
)  # fmt: skip

# flowcontrol: v1 is stored; the betas are conversions of it -------------------------------------------------------
FLOW_SCHEMA = Kind(
    "flowcontrol.apiserver.k8s.io", "v1", "FlowSchema", "flowschemas", "flowschema",
    namespaced=False, subresources=_WITH_STATUS, storage_version="v1",
)  # fmt: skip
PRIORITY_LEVEL_CONFIGURATION = Kind(
    "flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration", "prioritylevelconfigurations",
    "prioritylevelconfiguration", namespaced=False, subresources=_WITH_STATUS, storage_version="v1",
)  # fmt: skip
OLDER_KINDS: tuple[Kind, ...] = tuple(
    replace(kind, version=version, served=False)
    for version in ("v1beta3", "v1beta2", "v1beta1", "v1alpha1")
    for kind in (FLOW_SCHEMA, PRIORITY_LEVEL_CONFIGURATION)
)
"""What only --runtime-config turns on."""

# storage ---------------------------------------------------------------------------------------------------------
CSI_DRIVER = Kind("storage.k8s.io", "v1", "CSIDriver", "csidrivers", "csidriver", namespaced=False)
CSI_NODE = Kind("storage.k8s.io", "v1", "CSINode", "csinodes", "csinode", namespaced=False)
CSI_STORAGE_CAPACITY = Kind(
    "storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities", "csistoragecapacity",
    list_kind="CSIStorageCapacityList",
)  # fmt: skip
STORAGE_CLASS = Kind(
    "storage.k8s.io", "v1", "StorageClass", "storageclasses", "storageclass", namespaced=False, short_names=("sc",)
)
VOLUME_ATTACHMENT = Kind(
    "storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", "volumeattachment",
    namespaced=False, subresources=_WITH_STATUS,
)  # fmt: skip
VOLUME_ATTRIBUTES_CLASS = Kind(
    "storage.k8s.io", "v1", "VolumeAttributesClass", "volumeattributesclasses", "volumeattributesclass",
    namespaced=False, short_names=("vac",),
)  # fmt: skip

# extension of the API itself -------------------------------------------------------------------------------------
MUTATING_WEBHOOK_CONFIGURATION = Kind(
    "admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations",
    "mutatingwebhookconfiguration", namespaced=False, categories=_API_EXTENSIONS,
)  # fmt: skip
VALIDATING_WEBHOOK_CONFIGURATION = Kind(
    "admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations",
    "validatingwebhookconfiguration", namespaced=False, categories=_API_EXTENSIONS,
)  # fmt: skip
CUSTOM_RESOURCE_DEFINITION = Kind(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions",
    "customresourcedefinition", namespaced=False, short_names=("crd", "crds"), categories=_API_EXTENSIONS,
    subresources=_WITH_STATUS,
)  # fmt: skip
API_SERVICE = Kind(
    "apiregistration.k8s.io", "v1", "APIService", "apiservices", "apiservice",
    namespaced=False, categories=_API_EXTENSIONS, subresources=_WITH_STATUS,
)  # fmt: skip

KINDS: tuple[Kind, ...] = (
    BINDING, COMPONENT_STATUS, CONFIG_MAP, ENDPOINTS, EVENT, LIMIT_RANGE, NAMESPACE, NODE, PERSISTENT_VOLUME_CLAIM,
    PERSISTENT_VOLUME, POD, POD_TEMPLATE, REPLICATION_CONTROLLER, RESOURCE_QUOTA, SECRET, SERVICE_ACCOUNT, SERVICE,
    API_SERVICE,
    CONTROLLER_REVISION, DAEMON_SET, DEPLOYMENT, REPLICA_SET, STATEFUL_SET,
    EVENTS_EVENT,
    SELF_SUBJECT_REVIEW, TOKEN_REVIEW,
    LOCAL_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_RULES_REVIEW, SUBJECT_ACCESS_REVIEW,
    HORIZONTAL_POD_AUTOSCALER, HORIZONTAL_POD_AUTOSCALER_V1,
    CRON_JOB, JOB,
    CERTIFICATE_SIGNING_REQUEST,
    INGRESS_CLASS, INGRESS, IP_ADDRESS, NETWORK_POLICY, SERVICE_CIDR,
    POD_DISRUPTION_BUDGET,
    CLUSTER_ROLE_BINDING, CLUSTER_ROLE, ROLE_BINDING, ROLE,
    CSI_DRIVER, CSI_NODE, CSI_STORAGE_CAPACITY, STORAGE_CLASS, VOLUME_ATTACHMENT, VOLUME_ATTRIBUTES_CLASS,
    MUTATING_WEBHOOK_CONFIGURATION, VALIDATING_WEBHOOK_CONFIGURATION,
    CUSTOM_RESOURCE_DEFINITION,
    PRIORITY_CLASS,
    LEASE,
    RUNTIME_CLASS,
    ENDPOINT_SLICE,
    FLOW_SCHEMA, PRIORITY_LEVEL_CONFIGURATION,
)  # fmt: skip


class KindTable:
    """Look-up over rows; immutable. `with_kinds` adds custom resources and returns a new table."""

    def __init__(self, rows: Iterable[Kind]) -> None:
        self.rows = tuple(rows)
        self._by_plural = MappingProxyType({(row.group, row.version, row.plural): row for row in self.rows})
        self._by_kind = MappingProxyType({(row.group, row.version, row.kind): row for row in self.rows})

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        """The row of a URL."""
        return self._by_plural.get((group, version, plural))

    def by_kind(self, api_version: str, kind: str) -> Kind | None:
        """The row of an object's own apiVersion and kind."""
        group, _, version = api_version.rpartition("/")
        return self._by_kind.get((group, version, kind))

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Group → its versions in the order of the rows."""
        found: dict[str, dict[str, None]] = {}
        for row in self.rows:
            found.setdefault(row.group, {})[row.version] = None
        return {group: tuple(versions) for group, versions in found.items()}

    def of(self, group: str, version: str) -> tuple[Kind, ...]:
        return tuple(row for row in self.rows if row.group == group and row.version == version)

    def with_kinds(self, rows: Iterable[Kind]) -> KindTable:
        return KindTable((*self.rows, *rows))


BUILTIN = KindTable(KINDS)


def find(group: str, version: str, plural: str) -> Kind | None:
    """The built-in row of a URL."""
    return BUILTIN.find(group, version, plural)


def by_kind(api_version: str, kind: str) -> Kind | None:
    """The built-in row of an object's apiVersion and kind."""
    return BUILTIN.by_kind(api_version, kind)

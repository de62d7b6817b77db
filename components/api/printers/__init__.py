"""How each built-in kind looks in `kubectl get`: columns and cells, as upstream's printers. Pure.

`printer(kind)` finds the row; a kind without one prints its name and age. Cells are made from decoded JSON.
"""

from __future__ import annotations

from collections.abc import Mapping

from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.printers import cluster, networking, pods, storage, workloads
from kubeglass.components.api.printers.cells import NAME_AND_AGE
from kubeglass.components.api.table import Printer

_BY_RESOURCE: Mapping[tuple[str, str], Printer] = {
    ("", "pods"): pods.POD,
    ("", "podtemplates"): pods.POD_TEMPLATE,
    ("policy", "poddisruptionbudgets"): workloads.POD_DISRUPTION_BUDGET,
    ("", "replicationcontrollers"): workloads.REPLICATION_CONTROLLER,
    ("apps", "replicasets"): workloads.REPLICA_SET,
    ("apps", "daemonsets"): workloads.DAEMON_SET,
    ("apps", "deployments"): workloads.DEPLOYMENT,
    ("apps", "statefulsets"): workloads.STATEFUL_SET,
    ("apps", "controllerrevisions"): workloads.CONTROLLER_REVISION,
    ("batch", "jobs"): workloads.JOB,
    ("batch", "cronjobs"): workloads.CRON_JOB,
    ("autoscaling", "horizontalpodautoscalers"): workloads.HORIZONTAL_POD_AUTOSCALER,
    ("", "services"): networking.SERVICE,
    ("", "endpoints"): networking.ENDPOINTS,
    ("discovery.k8s.io", "endpointslices"): networking.ENDPOINT_SLICE,
    ("networking.k8s.io", "ingresses"): networking.INGRESS,
    ("networking.k8s.io", "ingressclasses"): networking.INGRESS_CLASS,
    ("networking.k8s.io", "networkpolicies"): networking.NETWORK_POLICY,
    ("networking.k8s.io", "ipaddresses"): networking.IP_ADDRESS,
    ("networking.k8s.io", "servicecidrs"): networking.SERVICE_CIDR,
    ("", "nodes"): cluster.NODE,
    ("", "namespaces"): cluster.NAMESPACE,
    ("", "events"): cluster.EVENT,
    ("events.k8s.io", "events"): cluster.EVENT,
    ("", "secrets"): cluster.SECRET,
    ("", "configmaps"): cluster.CONFIG_MAP,
    ("", "serviceaccounts"): cluster.SERVICE_ACCOUNT,
    ("", "resourcequotas"): cluster.RESOURCE_QUOTA,
    ("", "limitranges"): cluster.LIMIT_RANGE,
    ("", "componentstatuses"): cluster.COMPONENT_STATUS,
    ("rbac.authorization.k8s.io", "roles"): cluster.ROLE,
    ("rbac.authorization.k8s.io", "clusterroles"): cluster.ROLE,
    ("rbac.authorization.k8s.io", "rolebindings"): cluster.ROLE_BINDING,
    ("rbac.authorization.k8s.io", "clusterrolebindings"): cluster.ROLE_BINDING,
    ("certificates.k8s.io", "certificatesigningrequests"): cluster.CERTIFICATE_SIGNING_REQUEST,
    ("coordination.k8s.io", "leases"): cluster.LEASE,
    ("scheduling.k8s.io", "priorityclasses"): cluster.PRIORITY_CLASS,
    ("node.k8s.io", "runtimeclasses"): cluster.RUNTIME_CLASS,
    ("flowcontrol.apiserver.k8s.io", "flowschemas"): cluster.FLOW_SCHEMA,
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"): cluster.PRIORITY_LEVEL,
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"): cluster.WEBHOOKS,
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"): cluster.WEBHOOKS,
    ("apiextensions.k8s.io", "customresourcedefinitions"): cluster.CUSTOM_RESOURCE_DEFINITION,
    ("apiregistration.k8s.io", "apiservices"): cluster.API_SERVICE,
    ("", "persistentvolumes"): storage.PERSISTENT_VOLUME,
    ("", "persistentvolumeclaims"): storage.PERSISTENT_VOLUME_CLAIM,
    ("storage.k8s.io", "storageclasses"): storage.STORAGE_CLASS,
    ("storage.k8s.io", "volumeattachments"): storage.VOLUME_ATTACHMENT,
    ("storage.k8s.io", "csidrivers"): storage.CSI_DRIVER,
    ("storage.k8s.io", "csinodes"): storage.CSI_NODE,
}


def printer(kind: Kind) -> Printer:
    """The printer of a built-in kind."""
    return _BY_RESOURCE.get((kind.group, kind.plural), NAME_AND_AGE)

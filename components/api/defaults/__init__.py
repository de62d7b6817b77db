"""What the server fills in when a client leaves it out, per kind. Pure; the given object is changed in place.

Upstream: pkg/apis/*/v1/defaults.go. `apply(kind, obj)` is the entrance; the other modules hold one API area each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kubeglass.components.api.defaults import core, flowcontrol, pods, workloads
from kubeglass.components.api.kinds import Kind

Default = Callable[[dict[str, Any]], None]

_BY_RESOURCE: Mapping[tuple[str, str], Default] = {
    ("", "pods"): pods.pod,
    ("", "podtemplates"): pods.pod_template,
    ("", "replicationcontrollers"): workloads.replication_controller,
    ("", "services"): core.service,
    ("", "endpoints"): core.endpoints,
    ("", "namespaces"): core.namespace,
    ("", "nodes"): core.node,
    ("", "secrets"): core.secret,
    ("", "persistentvolumes"): core.persistent_volume,
    ("", "persistentvolumeclaims"): core.persistent_volume_claim,
    ("", "limitranges"): core.limit_range,
    ("apps", "deployments"): workloads.deployment,
    ("apps", "replicasets"): workloads.replica_set,
    ("apps", "statefulsets"): workloads.stateful_set,
    ("apps", "daemonsets"): workloads.daemon_set,
    ("batch", "jobs"): workloads.job,
    ("batch", "cronjobs"): workloads.cron_job,
    ("autoscaling", "horizontalpodautoscalers"): workloads.horizontal_pod_autoscaler,
    ("discovery.k8s.io", "endpointslices"): core.endpoint_slice,
    ("networking.k8s.io", "networkpolicies"): core.network_policy,
    ("rbac.authorization.k8s.io", "rolebindings"): core.role_binding,
    ("rbac.authorization.k8s.io", "clusterrolebindings"): core.role_binding,
    ("storage.k8s.io", "storageclasses"): core.storage_class,
    ("storage.k8s.io", "csidrivers"): core.csi_driver,
    ("scheduling.k8s.io", "priorityclasses"): core.priority_class,
    ("flowcontrol.apiserver.k8s.io", "flowschemas"): flowcontrol.flow_schema,
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"): flowcontrol.priority_level,
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"): core.mutating_webhooks,
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"): core.validating_webhooks,
    ("apiextensions.k8s.io", "customresourcedefinitions"): core.custom_resource_definition,
    ("apiregistration.k8s.io", "apiservices"): core.api_service,
}


def apply(kind: Kind, obj: dict[str, Any]) -> None:
    """Fill in the defaults of a built-in kind; a kind without any is left as it is."""
    default = _BY_RESOURCE.get((kind.group, kind.plural))
    if default is not None and not kind.custom:
        default(obj)

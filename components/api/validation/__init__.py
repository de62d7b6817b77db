"""Whether an object is valid, per kind: causes for an Invalid error, worded as upstream. Pure.

`RULES` has a row per kind; `created` and `updated` are the entrances. Every kind gets the metadata checks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubeglass.components.api import conversion, names, objects
from kubeglass.components.api.errors import Cause
from kubeglass.components.api.kinds import FLOW_SCHEMA, Kind
from kubeglass.components.api.validation import certificates, core, flowcontrol, metadata, podchanges, pods, workloads
from kubeglass.components.api.validation.metadata import NameCheck


@dataclass(frozen=True, slots=True)
class Rules:
    """How one kind is checked. The functions take views of type `view`."""

    view: type[Any]
    check: Callable[[Any], list[Cause]]
    check_update: Callable[[Any, Any], list[Cause]] | None = None
    check_subresource: Mapping[str, Callable[[Any, Any], list[Cause]]] = field(default_factory=dict)
    """What an update of a subresource may not do: (new, old) → causes, by the subresource's name."""


def _pod(pod: objects.Pod) -> list[Cause]:
    return pods.pod_spec(pod.spec, "spec")


def _pod_template(template: objects.PodTemplate) -> list[Cause]:
    return pods.template(template.template, "template") if template.template is not None else []


def _flow_status(new: Any, old: Any) -> list[Cause]:
    return flowcontrol.status(new)


_FLOW_STATUS = {"status": _flow_status}
RULES: Mapping[tuple[str, str], Rules] = {
    ("", "pods"): Rules(objects.Pod, _pod, podchanges.pod_update),
    ("", "podtemplates"): Rules(objects.PodTemplate, _pod_template),
    ("", "replicationcontrollers"): Rules(objects.ReplicationController, workloads.replication_controller),
    ("", "services"): Rules(objects.Service, core.service, core.service_update),
    ("", "endpoints"): Rules(objects.Endpoints, core.endpoints),
    ("", "nodes"): Rules(objects.Node, core.node, core.node_update),
    ("", "secrets"): Rules(objects.Secret, core.secret, core.secret_update),
    ("", "configmaps"): Rules(objects.ConfigMap, core.config_map, core.config_map_update),
    ("", "events"): Rules(objects.Event, core.event),
    ("", "limitranges"): Rules(objects.LimitRange, core.limit_range),
    ("", "resourcequotas"): Rules(objects.ResourceQuota, core.resource_quota),
    ("", "persistentvolumes"): Rules(objects.PersistentVolume, core.persistent_volume),
    ("", "persistentvolumeclaims"): Rules(objects.PersistentVolumeClaim, core.persistent_volume_claim),
    ("apps", "deployments"): Rules(objects.Deployment, workloads.deployment, workloads.deployment_update),
    ("apps", "replicasets"): Rules(objects.ReplicaSet, workloads.replica_set, workloads.replica_set_update),
    ("apps", "statefulsets"): Rules(objects.StatefulSet, workloads.stateful_set, workloads.stateful_set_update),
    ("apps", "daemonsets"): Rules(objects.DaemonSet, workloads.daemon_set, workloads.daemon_set_update),
    ("batch", "jobs"): Rules(objects.Job, workloads.job, workloads.job_update),
    ("batch", "cronjobs"): Rules(objects.CronJob, workloads.cron_job),
    ("autoscaling", "horizontalpodautoscalers"): Rules(
        objects.HorizontalPodAutoscaler, workloads.horizontal_pod_autoscaler
    ),
    ("policy", "poddisruptionbudgets"): Rules(objects.PodDisruptionBudget, workloads.pod_disruption_budget),
    ("discovery.k8s.io", "endpointslices"): Rules(
        objects.EndpointSlice, core.endpoint_slice, core.endpoint_slice_update
    ),
    ("coordination.k8s.io", "leases"): Rules(objects.Lease, core.lease),
    ("networking.k8s.io", "networkpolicies"): Rules(objects.NetworkPolicy, core.network_policy),
    ("networking.k8s.io", "ingresses"): Rules(objects.Ingress, core.ingress),
    ("scheduling.k8s.io", "priorityclasses"): Rules(
        objects.PriorityClass, core.priority_class, core.priority_class_update
    ),
    ("storage.k8s.io", "storageclasses"): Rules(objects.StorageClass, core.storage_class),
    ("rbac.authorization.k8s.io", "roles"): Rules(objects.Role, core.role),
    ("rbac.authorization.k8s.io", "clusterroles"): Rules(objects.ClusterRole, core.cluster_role),
    ("rbac.authorization.k8s.io", "rolebindings"): Rules(
        objects.RoleBinding, core.role_binding, core.role_binding_update
    ),
    ("rbac.authorization.k8s.io", "clusterrolebindings"): Rules(
        objects.ClusterRoleBinding, core.cluster_role_binding, core.cluster_role_binding_update
    ),
    ("certificates.k8s.io", "certificatesigningrequests"): Rules(
        objects.CertificateSigningRequest,
        certificates.signing_request,
        check_subresource={"approval": certificates.approval_update, "status": certificates.status_update},
    ),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"): Rules(
        objects.FlowSchema, flowcontrol.flow_schema, check_subresource=_FLOW_STATUS
    ),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"): Rules(
        objects.PriorityLevelConfiguration, flowcontrol.priority_level, check_subresource=_FLOW_STATUS
    ),
}

_GENERIC = Rules(objects.Resource, lambda _: [])
_LABEL_NAMES = frozenset({("", "namespaces")})


def name_check(kind: Kind) -> NameCheck:
    """How objects of this kind may be named."""
    if kind.group in ("rbac.authorization.k8s.io", "apiregistration.k8s.io", "certificates.k8s.io"):
        return names.path_segment
    if (kind.group, kind.plural) in _LABEL_NAMES:
        return names.dns1123_label
    if (kind.group, kind.plural) == ("", "services"):
        return names.dns1123_label
    return names.dns1123_subdomain


def created(kind: Kind, obj: Mapping[str, Any]) -> list[Cause]:
    """Causes against a new object."""
    rules = _rules(kind)
    view = _view(rules, kind, obj)
    causes = metadata.metadata(
        view.metadata, kind.namespaced, name_check(kind), loose_finalizers=_has_loose_finalizers(kind)
    )
    return _worded(kind, causes + rules.check(view))


def updated(kind: Kind, new: Mapping[str, Any], old: Mapping[str, Any]) -> list[Cause]:
    """Causes against the new state of an object that exists."""
    rules = _rules(kind)
    after, before = _view(rules, kind, new), _view(rules, kind, old)
    loose = _has_loose_finalizers(kind)
    causes = metadata.metadata(after.metadata, kind.namespaced, lambda _: [], loose_finalizers=loose)
    causes += metadata.metadata_update(after.metadata, before.metadata)
    if rules.check_update is not None:
        causes += rules.check_update(after, before)
    return _worded(kind, causes + rules.check(after))


def subresource_updated(kind: Kind, subresource: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> list[Cause]:
    """Causes against what an update through a subresource would make of an object."""
    rules = _rules(kind)
    check = rules.check_subresource.get(subresource)
    return [] if check is None else check(_view(rules, kind, new), _view(rules, kind, old))


def _view(rules: Rules, kind: Kind, obj: Mapping[str, Any]) -> Any:
    """An older version is judged as what it becomes at rest."""
    if conversion.needed(kind) and kind.stored_group == kind.group:
        obj = conversion.to_stored(kind, dict(obj))
    return objects.decode(rules.view, obj)


def _worded(kind: Kind, causes: list[Cause]) -> list[Cause]:
    return flowcontrol.in_version(kind.version, causes) if kind.group == FLOW_SCHEMA.group else causes


def _has_loose_finalizers(kind: Kind) -> bool:
    return kind.custom or kind.group in ("apiextensions.k8s.io", "apiregistration.k8s.io")


def _rules(kind: Kind) -> Rules:
    return _GENERIC if kind.custom else RULES.get((kind.group, kind.plural), _GENERIC)

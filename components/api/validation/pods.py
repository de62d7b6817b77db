"""What a Pod's spec must look like: volumes, scheduling, and its containers (containers.py).

Upstream: pkg/apis/core/validation. Each function returns causes; paths are those of the object that was sent.
"""

from __future__ import annotations

from collections import Counter

from kubeglass.components.api import names
from kubeglass.components.api.errors import Cause
from kubeglass.components.api.fielderrors import duplicate, forbidden, invalid, not_supported, required
from kubeglass.components.api.objects import (
    LabelSelector,
    PodSpec,
    PodTemplateSpec,
    Toleration,
    TopologySpreadConstraint,
    Volume,
)
from kubeglass.components.api.objects.struct import encode
from kubeglass.components.api.validation import metadata
from kubeglass.components.api.validation.containers import NON_NEGATIVE, POSITIVE, containers

_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")


def template_metadata(found: PodTemplateSpec, path: str) -> list[Cause]:
    meta = found.metadata
    causes = metadata.label_map(meta.labels, f"{path}.labels")
    return causes + metadata.annotation_map(meta.annotations, f"{path}.annotations")


def template(found: PodTemplateSpec, path: str) -> list[Cause]:
    causes = template_metadata(found, path)
    causes += pod_spec(found.spec, f"{path}.spec")
    if found.spec.ephemeral_containers:
        causes.append(forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"))
    return causes


def pod_spec(spec: PodSpec, path: str) -> list[Cause]:
    causes = _volumes(spec.volumes, f"{path}.volumes")
    volume_names = frozenset(volume.name for volume in spec.volumes)
    causes += containers(spec, volume_names, path)
    if spec.restart_policy and spec.restart_policy not in _RESTART_POLICIES:
        causes.append(not_supported(f"{path}.restartPolicy", spec.restart_policy, _RESTART_POLICIES))
    elif not spec.restart_policy:
        causes.append(required(f"{path}.restartPolicy"))
    if spec.dns_policy not in _DNS_POLICIES:
        causes.append(not_supported(f"{path}.dnsPolicy", spec.dns_policy, _DNS_POLICIES))
    if spec.dns_policy == "None" and not (spec.dns_config and spec.dns_config.nameservers):
        text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        causes.append(required(f"{path}.dnsConfig.nameservers", text))
    causes += metadata.label_map(spec.node_selector, f"{path}.nodeSelector")
    for field, value in (
        ("serviceAccountName", spec.service_account_name),
        ("nodeName", spec.node_name),
        ("priorityClassName", spec.priority_class_name),
        ("runtimeClassName", spec.runtime_class_name),
    ):
        if value:
            causes += [invalid(f"{path}.{field}", value, text) for text in names.dns1123_subdomain(value)]
    for field, value in (("hostname", spec.hostname), ("subdomain", spec.subdomain)):
        if value:
            causes += [invalid(f"{path}.{field}", value, text) for text in names.dns1123_label(value)]
    if spec.active_deadline_seconds is not None and not 1 <= spec.active_deadline_seconds <= 2**31 - 1:
        text = names.out_of_range(1, 2**31 - 1)
        causes.append(invalid(f"{path}.activeDeadlineSeconds", spec.active_deadline_seconds, text))
    if spec.termination_grace_period_seconds < 0:
        causes.append(
            invalid(f"{path}.terminationGracePeriodSeconds", spec.termination_grace_period_seconds, NON_NEGATIVE)
        )
    for index, toleration in enumerate(spec.tolerations):
        causes += _toleration(toleration, f"{path}.tolerations[{index}]")
    for index, constraint in enumerate(spec.topology_spread_constraints):
        causes += _spread(constraint, f"{path}.topologySpreadConstraints[{index}]")
    gates = Counter(gate.name for gate in spec.scheduling_gates)
    causes += [
        duplicate(f"{path}.schedulingGates[{index}].name", gate.name)
        for index, gate in enumerate(spec.scheduling_gates)
        if gates[gate.name] > 1 and gate.name in [other.name for other in spec.scheduling_gates[:index]]
    ]
    return causes + _affinity(spec, path)


def _volumes(volumes: tuple[Volume, ...], path: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        at = f"{path}[{index}]"
        if not volume.name:
            causes.append(required(f"{at}.name"))
        else:
            causes += [invalid(f"{at}.name", volume.name, text) for text in names.dns1123_label(volume.name)]
            if volume.name in seen:
                causes.append(duplicate(f"{at}.name", volume.name))
        seen.add(volume.name)
        if volume.host_path is not None and not volume.host_path.path:
            causes.append(required(f"{at}.hostPath.path"))
        if volume.secret is not None and not volume.secret.secret_name:
            causes.append(required(f"{at}.secret.secretName"))
        if volume.config_map is not None and not volume.config_map.name:
            causes.append(required(f"{at}.configMap.name"))
        if volume.persistent_volume_claim is not None and not volume.persistent_volume_claim.claim_name:
            causes.append(required(f"{at}.persistentVolumeClaim.claimName"))
        given = [field for field in volume.__struct_fields__ if field != "name" and getattr(volume, field) is not None]
        if len(given) > 1:
            second = next(iter(field for field in encode(volume) if field not in ("name", given[0])), given[1])
            causes.append(forbidden(f"{at}.{second}", "may not specify more than 1 volume type"))
    return causes


def _toleration(toleration: Toleration, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if toleration.key:
        causes += [invalid(f"{path}.key", toleration.key, text) for text in names.qualified_name(toleration.key)]
    elif toleration.operator not in ("Exists",):
        text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        causes.append(invalid(f"{path}.operator", toleration.operator, text))
    if toleration.toleration_seconds is not None and toleration.effect != "NoExecute":
        text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        causes.append(invalid(f"{path}.effect", toleration.effect, text))
    if toleration.operator == "Exists" and toleration.value:
        text = "value must be empty when `operator` is 'Exists'"
        causes.append(invalid(f"{path}.operator", toleration.value, text))
    elif toleration.operator not in ("", "Equal", "Exists", "Lt", "Gt"):
        causes.append(not_supported(f"{path}.operator", toleration.operator, ("Equal", "Exists")))
    if toleration.effect and toleration.effect not in _EFFECTS:
        causes.append(not_supported(f"{path}.effect", toleration.effect, _EFFECTS))
    return causes


def _spread(constraint: TopologySpreadConstraint, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if constraint.max_skew <= 0:
        causes.append(invalid(f"{path}.maxSkew", constraint.max_skew, POSITIVE))
    if not constraint.topology_key:
        causes.append(required(f"{path}.topologyKey", "can not be empty"))
    if constraint.when_unsatisfiable not in ("DoNotSchedule", "ScheduleAnyway"):
        supported = ("DoNotSchedule", "ScheduleAnyway")
        causes.append(not_supported(f"{path}.whenUnsatisfiable", constraint.when_unsatisfiable, supported))
    return causes


def _affinity(spec: PodSpec, path: str) -> list[Cause]:
    if spec.affinity is None:
        return []
    causes: list[Cause] = []
    for field, affinity in (
        ("podAffinity", spec.affinity.pod_affinity),
        ("podAntiAffinity", spec.affinity.pod_anti_affinity),
    ):
        terms = affinity.required_during_scheduling_ignored_during_execution if affinity else ()
        at = f"{path}.affinity.{field}.requiredDuringSchedulingIgnoredDuringExecution"
        causes += [
            required(f"{at}[{index}].topologyKey", "can not be empty")
            for index, term in enumerate(terms)
            if not term.topology_key
        ]
    node = spec.affinity.node_affinity
    if node is not None:
        needed = node.required_during_scheduling_ignored_during_execution
        at = f"{path}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
        if needed is not None and not needed.node_selector_terms:
            causes.append(required(f"{at}.nodeSelectorTerms", "must have at least one node selector term"))
    return causes


def label_selector(selector: LabelSelector, path: str) -> list[Cause]:
    causes = metadata.label_map(selector.match_labels, f"{path}.matchLabels")
    for index, expression in enumerate(selector.match_expressions):
        at = f"{path}.matchExpressions[{index}]"
        if expression.operator in ("In", "NotIn"):
            if not expression.values:
                text = "must be specified when `operator` is 'In' or 'NotIn'"
                causes.append(required(f"{at}.values", text))
        elif expression.operator in ("Exists", "DoesNotExist"):
            if expression.values:
                text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                causes.append(forbidden(f"{at}.values", text))
        else:
            causes.append(invalid(f"{at}.operator", expression.operator, "not a valid selector operator"))
        causes += [invalid(f"{at}.key", expression.key, text) for text in names.qualified_name(expression.key)]
        for position, value in enumerate(expression.values):
            causes += [invalid(f"{at}.values[{position}]", value, text) for text in names.label_value(value)]
    return causes

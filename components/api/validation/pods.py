"""What a Pod's spec must look like: containers, volumes, probes, resources, scheduling.

Upstream: pkg/apis/core/validation. Each function returns causes; paths are those of the object that was sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from kubeglass.components.api import names, quantity
from kubeglass.components.api.errors import Cause
from kubeglass.components.api.fielderrors import duplicate, forbidden, invalid, not_found, not_supported, required
from kubeglass.components.api.objects import (
    Container,
    ContainerPort,
    EnvVar,
    EphemeralContainer,
    LabelSelector,
    LifecycleHandler,
    PodSpec,
    PodTemplateSpec,
    Probe,
    ResourceRequirements,
    Toleration,
    TopologySpreadConstraint,
    Volume,
    VolumeMount,
)
from kubeglass.components.api.objects.struct import encode
from kubeglass.components.api.validation import metadata

PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_STANDARD_RESOURCES = frozenset({"cpu", "memory", "ephemeral-storage", "storage"})
_OVERCOMMITTED = frozenset({"cpu", "memory", "ephemeral-storage"})
NON_NEGATIVE = "must be greater than or equal to 0"
POSITIVE = "must be greater than 0"


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
    causes += _containers(spec, volume_names, path)
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


def _containers(spec: PodSpec, volumes: frozenset[str], path: str) -> list[Cause]:
    causes: list[Cause] = []
    if not spec.containers:
        causes.append(required(f"{path}.containers"))
    seen: set[str] = set()
    groups: tuple[tuple[str, Iterable[Container | EphemeralContainer]], ...] = (
        ("containers", spec.containers),
        ("initContainers", spec.init_containers),
        ("ephemeralContainers", spec.ephemeral_containers),
    )
    for group, containers in groups:
        for index, container in enumerate(containers):
            at = f"{path}.{group}[{index}]"
            causes += _container(container, volumes, at)
            if container.name in seen:
                causes.append(duplicate(f"{at}.name", container.name))
            seen.add(container.name)
            if group == "initContainers" and isinstance(container, Container):
                causes += _init_container(container, at)
            if group == "ephemeralContainers":
                causes += _ephemeral_container(container, at)
    return causes + _host_ports(spec, path)


def _container(container: Container | EphemeralContainer, volumes: frozenset[str], path: str) -> list[Cause]:
    causes: list[Cause] = []
    if not container.name:
        causes.append(required(f"{path}.name"))
    else:
        causes += [invalid(f"{path}.name", container.name, text) for text in names.dns1123_label(container.name)]
    if not container.image:
        causes.append(required(f"{path}.image"))
    elif container.image != container.image.strip():
        causes.append(invalid(f"{path}.image", container.image, "must not have leading or trailing whitespace"))
    if container.image_pull_policy and container.image_pull_policy not in _PULL_POLICIES:
        causes.append(not_supported(f"{path}.imagePullPolicy", container.image_pull_policy, _PULL_POLICIES))
    if container.termination_message_policy not in ("", "File", "FallbackToLogsOnError"):
        supported = ("FallbackToLogsOnError", "File")
        causes.append(
            not_supported(f"{path}.terminationMessagePolicy", container.termination_message_policy, supported)
        )
    causes += _ports(container.ports, f"{path}.ports")
    causes += _environment(container.env, f"{path}.env")
    causes += _mounts(container.volume_mounts, volumes, f"{path}.volumeMounts")
    causes += resources(container.resources, f"{path}.resources")
    for field, probe in (
        ("livenessProbe", container.liveness_probe),
        ("readinessProbe", container.readiness_probe),
        ("startupProbe", container.startup_probe),
    ):
        if probe is not None:
            causes += _probe(probe, field, f"{path}.{field}")
    if container.lifecycle is not None:
        for field, hook in (
            ("postStart", container.lifecycle.post_start),
            ("preStop", container.lifecycle.pre_stop),
        ):
            if hook is not None:
                causes += _handler(hook, f"{path}.lifecycle.{field}")
    return causes


def _init_container(container: Container, path: str) -> list[Cause]:
    if container.restart_policy == "Always":
        return []
    causes: list[Cause] = []
    if container.lifecycle is not None:
        causes.append(forbidden(f"{path}.lifecycle", "may not be set for init containers without restartPolicy=Always"))
    for field, probe in (
        ("livenessProbe", container.liveness_probe),
        ("readinessProbe", container.readiness_probe),
        ("startupProbe", container.startup_probe),
    ):
        if probe is not None:
            text = "may not be set for init containers without restartPolicy=Always"
            causes.append(forbidden(f"{path}.{field}", text))
    return causes


def _ephemeral_container(container: Container | EphemeralContainer, path: str) -> list[Cause]:
    fields = {
        "ports": container.ports,
        "livenessProbe": container.liveness_probe,
        "readinessProbe": container.readiness_probe,
        "startupProbe": container.startup_probe,
        "lifecycle": container.lifecycle,
    }
    return [
        forbidden(f"{path}.{field}", "cannot be set for an Ephemeral Container")
        for field, value in fields.items()
        if value
    ]


def _ports(ports: tuple[ContainerPort, ...], path: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        at = f"{path}[{index}]"
        if port.name:
            complaints = names.port_name(port.name)
            causes += [invalid(f"{at}.name", port.name, text) for text in complaints]
            if not complaints and port.name in seen:
                causes.append(duplicate(f"{at}.name", port.name))
            seen.add(port.name)
        if port.container_port == 0:
            causes.append(required(f"{at}.containerPort"))
        else:
            complaints = names.port_number(port.container_port)
            causes += [invalid(f"{at}.containerPort", port.container_port, text) for text in complaints]
        if port.host_port:
            causes += [invalid(f"{at}.hostPort", port.host_port, text) for text in names.port_number(port.host_port)]
        if not port.protocol:
            causes.append(required(f"{at}.protocol"))
        elif port.protocol not in PROTOCOLS:
            causes.append(not_supported(f"{at}.protocol", port.protocol, PROTOCOLS))
    return causes


def _host_ports(spec: PodSpec, path: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[tuple[str, str, int]] = set()
    for index, container in enumerate(spec.containers):
        for position, port in enumerate(container.ports):
            key = (port.protocol, port.host_ip, port.host_port)
            at = f"{path}.containers[{index}].ports[{position}]"
            if port.host_port and key in seen:
                causes.append(duplicate(f"{at}.hostPort", f"{port.protocol}/{port.host_ip}/{port.host_port}"))
            seen.add(key)
            if spec.host_network and port.host_port != port.container_port:
                text = "must match `hostPort` when `hostNetwork` is true"
                causes.append(invalid(f"{at}.containerPort", port.container_port, text))
    return causes


def _environment(variables: tuple[EnvVar, ...], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, variable in enumerate(variables):
        at = f"{path}[{index}]"
        if not variable.name:
            causes.append(required(f"{at}.name"))
        else:
            causes += [invalid(f"{at}.name", variable.name, text) for text in names.environment_name(variable.name)]
        source = variable.value_from
        if source is None:
            continue
        given = [
            reference
            for reference in (
                source.field_ref,
                source.resource_field_ref,
                source.config_map_key_ref,
                source.secret_key_ref,
                source.file_key_ref,
            )
            if reference is not None
        ]
        if not given:
            text = (
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
            )
            causes.append(invalid(f"{at}.valueFrom", "", text))
        elif variable.value:
            causes.append(invalid(f"{at}.valueFrom", "", "may not be specified when `value` is not empty"))
        elif len(given) > 1:
            causes.append(invalid(f"{at}.valueFrom", "", "may not have more than one field specified at a time"))
    return causes


def _mounts(mounts: tuple[VolumeMount, ...], volumes: frozenset[str], path: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        at = f"{path}[{index}]"
        if not mount.name:
            causes.append(required(f"{at}.name"))
        elif mount.name not in volumes:
            causes.append(not_found(f"{at}.name", mount.name))
        if not mount.mount_path:
            causes.append(required(f"{at}.mountPath"))
        elif mount.mount_path in seen:
            causes.append(invalid(f"{at}.mountPath", mount.mount_path, "must be unique"))
        seen.add(mount.mount_path)
        if mount.sub_path.startswith("/"):
            causes.append(invalid(f"{at}.subPath", mount.sub_path, "must be a relative path"))
        elif ".." in mount.sub_path.split("/"):
            causes.append(invalid(f"{at}.subPath", mount.sub_path, "must not contain '..'"))
    return causes


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


def resources(found: ResourceRequirements, path: str) -> list[Cause]:
    causes = resource_list(found.limits, f"{path}.limits") + resource_list(found.requests, f"{path}.requests")
    for name, text in found.requests.items():
        limit = found.limits.get(name)
        if limit is None:
            if name not in _OVERCOMMITTED and ("/" in name or name.startswith("hugepages-")):
                causes.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
            continue
        if quantity.parse(text) > quantity.parse(limit):
            causes.append(invalid(f"{path}.requests", text, f"must be less than or equal to {name} limit of {limit}"))
    return causes


def resource_list(found: Mapping[str, str], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for name, text in found.items():
        at = f"{path}[{name}]"
        complaints = names.qualified_name(name)
        causes += [invalid(at, name, complaint) for complaint in complaints]
        if not complaints and "/" not in name and name not in _STANDARD_RESOURCES and not name.startswith("hugepages-"):
            causes.append(invalid(at, name, "must be a standard resource for containers"))
        amount = quantity.parse(text)
        if amount.nanos < 0:
            causes.append(invalid(at, text, NON_NEGATIVE))
        elif "/" in name and amount.nanos % 10**9:
            causes.append(invalid(at, text, "must be an integer"))
    return causes


def _probe(probe: Probe, field: str, path: str) -> list[Cause]:
    handler = LifecycleHandler(exec=probe.exec, http_get=probe.http_get, tcp_socket=probe.tcp_socket)
    causes = [] if probe.grpc is not None else _handler(handler, path)
    if probe.grpc is not None:
        causes += [invalid(f"{path}.grpc.port", probe.grpc.port, text) for text in names.port_number(probe.grpc.port)]
    for name, value in (
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ):
        if value < 0:
            causes.append(invalid(f"{path}.{name}", value, NON_NEGATIVE))
    if field != "readinessProbe" and probe.success_threshold not in (0, 1):
        causes.append(invalid(f"{path}.successThreshold", probe.success_threshold, "must be 1"))
    if probe.termination_grace_period_seconds is not None:
        if field == "readinessProbe":
            text = "must not be set for readinessProbes"
            causes.append(
                invalid(f"{path}.terminationGracePeriodSeconds", probe.termination_grace_period_seconds, text)
            )
        elif probe.termination_grace_period_seconds <= 0:
            causes.append(
                invalid(f"{path}.terminationGracePeriodSeconds", probe.termination_grace_period_seconds, POSITIVE)
            )
    return causes


def _handler(handler: LifecycleHandler, path: str) -> list[Cause]:
    causes: list[Cause] = []
    given = [
        (field, value)
        for field, value in (
            ("exec", handler.exec),
            ("httpGet", handler.http_get),
            ("tcpSocket", handler.tcp_socket),
            ("sleep", handler.sleep),
        )
        if value is not None
    ]
    if not given:
        return [required(path, "must specify a handler type")]
    causes += [forbidden(f"{path}.{field}", "may not specify more than 1 handler type") for field, _ in given[1:]]
    if handler.exec is not None and not handler.exec.command:
        causes.append(required(f"{path}.exec.command"))
    if handler.http_get is not None:
        if not handler.http_get.path:
            causes.append(required(f"{path}.httpGet.path"))
        causes += _handler_port(handler.http_get.port, f"{path}.httpGet.port")
        if handler.http_get.scheme not in ("HTTP", "HTTPS"):
            causes.append(not_supported(f"{path}.httpGet.scheme", handler.http_get.scheme, ("HTTP", "HTTPS")))
    if handler.tcp_socket is not None:
        causes += _handler_port(handler.tcp_socket.port, f"{path}.tcpSocket.port")
    return causes


def _handler_port(port: int | str | None, path: str) -> list[Cause]:
    if isinstance(port, str):
        return [invalid(path, port, text) for text in names.port_name(port)]
    return [invalid(path, port or 0, text) for text in names.port_number(port or 0)]


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

"""What the containers of a Pod must look like: names, ports, variables, mounts, probes, hooks, resources.

Upstream: pkg/apis/core/validation. Each function returns causes; paths are those of the object that was sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kubeglass.components.api import names, quantity
from kubeglass.components.api.errors import Cause
from kubeglass.components.api.fielderrors import duplicate, forbidden, invalid, not_found, not_supported, required
from kubeglass.components.api.objects import (
    Container,
    ContainerPort,
    EnvVar,
    EphemeralContainer,
    LifecycleHandler,
    PodSpec,
    Probe,
    ResourceRequirements,
    VolumeMount,
)

PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_STANDARD_RESOURCES = frozenset({"cpu", "memory", "ephemeral-storage", "storage"})
_OVERCOMMITTED = frozenset({"cpu", "memory", "ephemeral-storage"})
NON_NEGATIVE = "must be greater than or equal to 0"
POSITIVE = "must be greater than 0"


def containers(spec: PodSpec, volumes: frozenset[str], path: str) -> list[Cause]:
    causes: list[Cause] = []
    if not spec.containers:
        causes.append(required(f"{path}.containers"))
    seen: set[str] = set()
    groups: tuple[tuple[str, Iterable[Container | EphemeralContainer]], ...] = (
        ("containers", spec.containers),
        ("initContainers", spec.init_containers),
        ("ephemeralContainers", spec.ephemeral_containers),
    )
    for group, members in groups:
        for index, container in enumerate(members):
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
    causes += _resources(container.resources, f"{path}.resources")
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


def _resources(found: ResourceRequirements, path: str) -> list[Cause]:
    causes = _resource_list(found.limits, f"{path}.limits") + _resource_list(found.requests, f"{path}.requests")
    for name, text in found.requests.items():
        limit = found.limits.get(name)
        if limit is None:
            if name not in _OVERCOMMITTED and ("/" in name or name.startswith("hugepages-")):
                causes.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
            continue
        if quantity.parse(text) > quantity.parse(limit):
            causes.append(invalid(f"{path}.requests", text, f"must be less than or equal to {name} limit of {limit}"))
    return causes


def _resource_list(found: Mapping[str, str], path: str) -> list[Cause]:
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

"""From a container's spec to its environment, command and identity. Mounts come from volumes.py.

Upstream: kubelet_pods.go (makeEnvironmentVariables), envvars.FromServices, third_party/forked/golang/expansion.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from kubeglass.components.api import quantity
from kubeglass.components.api.objects import Container, EnvVar, Pod, Service
from kubeglass.components.kubelet.observed import spec_of
from kubeglass.components.kubelet.references import MissingReferenceError, References
from kubeglass.components.machinery.loopback import host_port

_REFERENCE = re.compile(r"\$(\$|\(([^()$]+)\))")
_KEYED_PATH = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")

Allocatable = Mapping[str, str]


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by its value; unknown names stay, `$$` gives `$`."""

    def replace(found: re.Match[str]) -> str:
        if found.group(1) == "$":
            return "$"
        return values.get(found.group(2), found.group(0))

    return _REFERENCE.sub(replace, text)


def service_variables(services: Iterable[Service], namespace: str) -> dict[str, str]:
    """The variables that name the Services of a namespace, and the `kubernetes` Service of `default`."""
    result: dict[str, str] = {}
    for service in services:
        meta, spec = service.metadata, service.spec
        is_master = meta.namespace == "default" and meta.name == "kubernetes"
        if spec.cluster_ip in ("", "None") or not spec.ports or not (meta.namespace == namespace or is_master):
            continue
        result |= _variables_of(service)
    return result


def _variables_of(service: Service) -> dict[str, str]:
    ip, ports = service.spec.cluster_ip, service.spec.ports
    prefix = service.metadata.name.upper().replace("-", "_")
    first = ports[0]
    host = f"[{ip}]" if ":" in ip else ip
    result = {f"{prefix}_SERVICE_HOST": ip, f"{prefix}_SERVICE_PORT": str(host_port(first.port))}
    for port in ports:
        if port.name:
            result[f"{prefix}_SERVICE_PORT_{port.name.upper().replace('-', '_')}"] = str(host_port(port.port))
    protocol = (first.protocol or "TCP").lower()
    result[f"{prefix}_PORT"] = f"{protocol}://{host}:{host_port(first.port)}"
    for port in ports:
        protocol = port.protocol or "TCP"
        name = f"{prefix}_PORT_{port.port}_{protocol}"
        result |= {
            name: f"{protocol.lower()}://{host}:{host_port(port.port)}",
            f"{name}_PROTO": protocol.lower(),
            f"{name}_PORT": str(host_port(port.port)),
            f"{name}_ADDR": ip,
        }
    return result


def field_value(pod: Pod, path: str, *, pod_ip: str, host_ip: str) -> str:
    """What a fieldRef reads. Raises MissingReferenceError for a path that is not supported."""
    keyed = _KEYED_PATH.fullmatch(path)
    if keyed:
        source = pod.metadata.labels if keyed.group(1) == "labels" else pod.metadata.annotations
        return source.get(keyed.group(2), "")
    values: Mapping[str, Callable[[], str]] = {
        "metadata.name": lambda: pod.metadata.name,
        "metadata.namespace": lambda: pod.metadata.namespace,
        "metadata.uid": lambda: pod.metadata.uid,
        "metadata.labels": lambda: _map_lines(pod.metadata.labels),
        "metadata.annotations": lambda: _map_lines(pod.metadata.annotations),
        "spec.nodeName": lambda: pod.spec.node_name,
        "spec.serviceAccountName": lambda: pod.spec.service_account_name,
        "status.hostIP": lambda: host_ip,
        "status.hostIPs": lambda: host_ip,
        "status.podIP": lambda: pod_ip,
        "status.podIPs": lambda: pod_ip,
    }
    if path not in values:
        raise MissingReferenceError(f"unsupported fieldPath: {path}")
    return values[path]()


def _map_lines(values: Mapping[str, str]) -> str:
    return "\n".join(f'{key}="{_escaped(value)}"' for key, value in sorted(values.items()))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def resource_value(pod: Pod, container: str, resource: str, divisor: str, allocatable: Allocatable) -> str:
    """What a resourceFieldRef reads: limits fall back to what the node has, requests to limits."""
    spec = spec_of(pod, container)
    if spec is None:
        raise MissingReferenceError(f"container {container} not found")
    which, _, name = resource.partition(".")
    limit = spec.resources.limits.get(name) or allocatable.get(name, "0")
    amount = quantity.parse(limit if which == "limits" else spec.resources.requests.get(name, "0"))
    unit = quantity.parse(divisor) if divisor not in ("", "0") else quantity.parse("1")
    return str(-(-amount.nanos // unit.nanos))


class Environment:
    """Builds the environment of containers on one node."""

    def __init__(
        self,
        references: References,
        services: Callable[[], Sequence[Service]],
        allocatable: Callable[[], Allocatable],
        host_ip: str,
    ) -> None:
        self._references = references
        self._services = services
        self._allocatable = allocatable
        self._host_ip = host_ip

    async def variables(self, pod: Pod, container: Container, pod_ip: str) -> dict[str, str]:
        """Service variables, then envFrom, then env in order. Raises MissingReferenceError."""
        namespace = pod.metadata.namespace
        services = self._services()
        links = service_variables(services, namespace)
        if not pod.spec.enable_service_links:
            links = {key: value for key, value in links.items() if key.startswith("KUBERNETES_")}
        result = await self._from_sources(pod, container)
        for variable in container.env:
            known = {**links, **result}
            value = await self._value(pod, container, variable, pod_ip, known)
            if value is not None:
                result[variable.name] = value
        return {"HOSTNAME": pod_hostname(pod), **links, **result}

    async def _from_sources(self, pod: Pod, container: Container) -> dict[str, str]:
        result: dict[str, str] = {}
        namespace = pod.metadata.namespace
        for source in container.env_from:
            if source.config_map_ref is not None:
                reference = source.config_map_ref
                data = await self._config_map_data(namespace, reference.name, bool(reference.optional))
            elif source.secret_ref is not None:
                secret = source.secret_ref
                data = await self._secret_data(namespace, secret.name, bool(secret.optional))
            else:
                continue
            result |= {source.prefix + key: value for key, value in data.items()}
        return result

    async def _value(
        self, pod: Pod, container: Container, variable: EnvVar, pod_ip: str, known: Mapping[str, str]
    ) -> str | None:
        source, namespace = variable.value_from, pod.metadata.namespace
        if source is None:
            return expand(variable.value, known)
        if source.field_ref is not None:
            return field_value(pod, source.field_ref.field_path, pod_ip=pod_ip, host_ip=self._host_ip)
        if source.resource_field_ref is not None:
            ref = source.resource_field_ref
            name = ref.container_name or container.name
            return resource_value(pod, name, ref.resource, ref.divisor, self._allocatable())
        if source.config_map_key_ref is not None:
            key = source.config_map_key_ref
            data = await self._config_map_data(namespace, key.name, bool(key.optional))
            return _key(data, key.key, f"ConfigMap {namespace}/{key.name}", bool(key.optional))
        if source.secret_key_ref is not None:
            secret = source.secret_key_ref
            data = await self._secret_data(namespace, secret.name, bool(secret.optional))
            return _key(data, secret.key, f"Secret {namespace}/{secret.name}", bool(secret.optional))
        return ""

    async def _config_map_data(self, namespace: str, name: str, optional: bool) -> Mapping[str, str]:
        found = await self._references.config_map(namespace, name)
        if found is None and not optional:
            raise MissingReferenceError(f'configmap "{name}" not found')
        return found.data if found else {}

    async def _secret_data(self, namespace: str, name: str, optional: bool) -> Mapping[str, str]:
        found = await self._references.secret(namespace, name)
        if found is None and not optional:
            raise MissingReferenceError(f'secret "{name}" not found')
        data = found.data if found else {}
        return {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}


def _key(data: Mapping[str, str], key: str, owner: str, optional: bool) -> str | None:
    if key in data:
        return data[key]
    if optional:
        return None
    raise MissingReferenceError(f"couldn't find key {key} in {owner}")


def pod_hostname(pod: Pod) -> str:
    """What `hostname` says in the pod."""
    return (pod.spec.hostname or pod.metadata.name)[:63].rstrip("-.")


def identity(pod: Pod, container: Container) -> tuple[int | None, int | None]:
    """(uid, gid) to run as. Raises MissingReferenceError when runAsNonRoot forbids what that comes to."""
    own, shared = container.security_context, pod.spec.security_context
    uid = own.run_as_user if own and own.run_as_user is not None else shared.run_as_user if shared else None
    gid = own.run_as_group if own and own.run_as_group is not None else shared.run_as_group if shared else None
    non_root = own.run_as_non_root if own and own.run_as_non_root is not None else shared and shared.run_as_non_root
    if non_root and not uid:
        where = (
            f'(pod: "{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})", container: {container.name})'
        )
        if uid is None:
            raise MissingReferenceError(f"container has runAsNonRoot and image will run as root {where}")
        raise MissingReferenceError(f"container's runAsUser breaks non-root policy {where}")
    return uid, gid

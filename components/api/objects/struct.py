"""The base of every view, its naming rule, and decode/encode.

A view is a frozen msgspec Struct whose fields are the wire names in snake_case. Every field has a default, so a sparse
object decodes; JSON null means absent, as in Go.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, dataclass_transform

import msgspec

# Wire names that camelCase cannot give.
_WIRE_NAMES = {
    "boot_id": "bootID",
    "client_ip": "clientIP",
    "cluster_ip": "clusterIP",
    "cluster_ips": "clusterIPs",
    "container_id": "containerID",
    "downward_api": "downwardAPI",
    "external_id": "externalID",
    "external_ips": "externalIPs",
    "host_ip": "hostIP",
    "host_ipc": "hostIPC",
    "host_ips": "hostIPs",
    "host_pid": "hostPID",
    "image_id": "imageID",
    "insecure_skip_tls_verify": "insecureSkipTLSVerify",
    "load_balancer_ip": "loadBalancerIP",
    "machine_id": "machineID",
    "node_id": "nodeID",
    "non_resource_urls": "nonResourceURLs",
    "open_apiv3_schema": "openAPIV3Schema",
    "pod_cidr": "podCIDR",
    "pod_cidrs": "podCIDRs",
    "pod_ip": "podIP",
    "pod_ips": "podIPs",
    "provider_id": "providerID",
    "resource_id": "resourceID",
    "set_hostname_as_fqdn": "setHostnameAsFQDN",
    "system_uuid": "systemUUID",
}


def wire_name(field: str) -> str:
    """`pod_ip` → `podIP`, `continue_` → `continue`, `restart_count` → `restartCount`."""
    if field in _WIRE_NAMES:
        return _WIRE_NAMES[field]
    first, *rest = field.rstrip("_").split("_")
    return first + "".join(word.capitalize() for word in rest)


@dataclass_transform(frozen_default=True, kw_only_default=True)
class _ViewMeta(msgspec.StructMeta):
    """Tells type checkers that every view is frozen and keyword-only."""


class Object(msgspec.Struct, metaclass=_ViewMeta, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    """A part of a Kubernetes object."""


T = TypeVar("T")


@cache
def _decoder(view: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(view)


def decode(view: type[T], data: bytes | bytearray | memoryview | str | Mapping[str, Any]) -> T:
    """The view of JSON bytes or of decoded JSON. Raises msgspec.ValidationError where a field has the wrong type."""
    if isinstance(data, Mapping):
        try:
            return msgspec.convert(data, view)
        except msgspec.ValidationError:
            return msgspec.convert(without_nulls(data), view)
    try:
        wanted: Any = view
        found: T = _decoder(wanted).decode(data)
        return found
    except msgspec.ValidationError:
        return msgspec.convert(without_nulls(msgspec.json.decode(data)), view)


def encode(value: Object) -> dict[str, Any]:
    """Plain JSON values with wire names; fields at their defaults are left out."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return plain


def without_nulls(value: Any) -> Any:
    """The same JSON without null members: Go treats them as absent."""
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value

"""What every cluster begins with, ensured at each start: namespaces, RBAC policy, priority classes, the apiserver's
own Service, and its trust settings. What exists and was changed by hand is left alone, but for missing permissions.

Upstream does the same in post-start hooks; the readiness checks here carry their names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from kubeglass.components.api import kinds
from kubeglass.components.api.errors import AlreadyExists
from kubeglass.components.api.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, Kind
from kubeglass.components.apiserver.apiservices import local_api_services
from kubeglass.components.apiserver.auth import policy
from kubeglass.components.apiserver.inprocess import LOOPBACK
from kubeglass.components.apiserver.registry.context import WriteContext
from kubeglass.components.apiserver.registry.store import Store
from kubeglass.components.apiserver.storage.reads import Reads
from kubeglass.components.machinery import clock

Object = dict[str, Any]
_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_PARALLEL = 64


@dataclass(frozen=True, slots=True)
class Address:
    """Where clients inside the cluster find this server."""

    service_ip: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Writes what is missing."""

    store: Store
    reads: Reads
    address: Address
    client_ca_file: str = ""
    requestheader_ca_file: str = ""
    kinds: Sequence[Kind] = kinds.KINDS
    """The built-in kinds that are served."""

    async def run(self) -> None:
        """Raises ApiError when the store refuses."""
        await self._at_once([partial(self._ensure, kinds.NAMESPACE, _namespace(name)) for name in _NAMESPACES])
        wanted = [*policy.objects(), *_priority_classes(), *self._trust()]
        served = local_api_services(self.kinds, clock.now_rfc3339())
        await self._at_once(
            [
                *(partial(self._ensure, kind, obj) for kind, obj in wanted),
                *(partial(self._register, obj) for obj in served),
                self._publish_service,
                self._publish_endpoints,
            ]
        )

    async def _register(self, obj: Object) -> None:
        """The APIService of something that is served here, Available from the start."""
        name = obj["metadata"]["name"]
        if await self.reads.get(kinds.API_SERVICE, "", name) is None:
            await self._ensure(kinds.API_SERVICE, obj)
            available = lambda current: {**(current or {}), "status": obj["status"]}  # noqa: E731
            await self.store.update(_context(), kinds.API_SERVICE, "", name, available, "status")

    async def _at_once(self, writes: Sequence[Callable[[], Awaitable[None]]]) -> None:
        """Many writes side by side: the store commits them together."""
        limit = asyncio.Semaphore(_PARALLEL)

        async def one(write: Callable[[], Awaitable[None]]) -> None:
            async with limit:
                await write()

        async with asyncio.TaskGroup() as group:
            for write in writes:
                group.create_task(one(write))

    async def _ensure(self, kind: Kind, obj: Object) -> None:
        namespace, name = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
        record = await self.reads.get(kind, namespace, name)
        if record is None:
            try:
                await self.store.create(_context(), kind, namespace, obj)
            except AlreadyExists:
                return  # another server of the same store was faster
        elif kind in (CLUSTER_ROLE, CLUSTER_ROLE_BINDING) and _lacks(record.decode(), obj):
            await self.store.update(_context(), kind, namespace, name, lambda current: _completed(current or {}, obj))

    async def _publish_service(self) -> None:
        """The `kubernetes` Service, with the port of this server whatever an earlier one had."""
        service = _kubernetes_service(self.address)
        record = await self.reads.get(kinds.SERVICE, "default", "kubernetes")
        if record is None:
            await self._ensure(kinds.SERVICE, service)
        elif record.decode()["spec"].get("ports") != (ports := service["spec"]["ports"]):
            change = lambda current: {**current, "spec": {**current["spec"], "ports": ports}}  # noqa: E731
            await self.store.update(_context(), kinds.SERVICE, "default", "kubernetes", change)

    async def _publish_endpoints(self) -> None:
        """The endpoints of the `kubernetes` Service always say where this server is."""
        endpoints, endpoint_slice = _kubernetes_endpoints(self.address)
        for kind, obj in ((kinds.ENDPOINTS, endpoints), (kinds.ENDPOINT_SLICE, endpoint_slice)):
            record = await self.reads.get(kind, "default", "kubernetes")
            if record is None:
                await self._ensure(kind, obj)
                continue
            current = record.decode()
            said = {name: obj[name] for name in ("subsets", "endpoints", "ports") if name in obj}
            if any(current.get(name) != value for name, value in said.items()):
                change = lambda current, said=said: {**(current or {}), **said}  # noqa: E731
                await self.store.update(_context(), kind, "default", "kubernetes", change)

    def _trust(self) -> list[tuple[Kind, Object]]:
        """The ConfigMap from which extension servers learn whose certificates to trust."""
        data: dict[str, str] = {}
        if self.client_ca_file:
            data["client-ca-file"] = Path(self.client_ca_file).read_text()
        if self.requestheader_ca_file:
            data |= {
                "requestheader-client-ca-file": Path(self.requestheader_ca_file).read_text(),
                "requestheader-allowed-names": '["front-proxy-client"]',
                "requestheader-username-headers": '["X-Remote-User"]',
                "requestheader-group-headers": '["X-Remote-Group"]',
                "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
                "requestheader-uid-headers": '["X-Remote-Uid"]',
            }
        if not data:
            return []
        metadata = {"name": "extension-apiserver-authentication", "namespace": "kube-system"}
        return [(kinds.CONFIG_MAP, {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": data})]


def _context() -> WriteContext:
    return WriteContext(user=LOOPBACK, field_manager="kube-apiserver")


def _namespace(name: str) -> Object:
    return {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}}


def _priority_classes() -> list[tuple[Kind, Object]]:
    rows = (
        ("system-node-critical", 2000001000,
         "Used for system critical pods that must not be moved from their current node."),
        ("system-cluster-critical", 2000000000,
         "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
    )  # fmt: skip
    return [
        (
            kinds.PRIORITY_CLASS,
            {
                "kind": "PriorityClass",
                "apiVersion": "scheduling.k8s.io/v1",
                "metadata": {"name": name},
                "value": value,
                "description": text,
                "preemptionPolicy": "PreemptLowerPriority",
            },
        )
        for name, value, text in rows
    ]


def _kubernetes_service(address: Address) -> Object:
    return {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address.service_ip,
            "clusterIPs": [address.service_ip],
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": address.port}],
            "sessionAffinity": "None",
        },
    }


def _kubernetes_endpoints(address: Address) -> tuple[Object, Object]:
    mirrored = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    metadata = {"name": "kubernetes", "namespace": "default"}
    port = {"name": "https", "port": address.port, "protocol": "TCP"}
    endpoints = {
        "kind": "Endpoints",
        "apiVersion": "v1",
        "metadata": {**metadata, "labels": mirrored},
        "subsets": [{"addresses": [{"ip": address.host}], "ports": [port]}],
    }
    endpoint_slice = {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {**metadata, "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address.host], "conditions": {"ready": True}}],
        "ports": [port],
    }
    return endpoints, endpoint_slice


def _lacks(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a policy object that may be updated misses rules or subjects."""
    annotations = (current.get("metadata") or {}).get("annotations") or {}
    if annotations.get("rbac.authorization.kubernetes.io/autoupdate") != "true":
        return False
    return any(
        _canonical(item) not in {_canonical(known) for known in current.get(field) or ()}
        for field in ("rules", "subjects")
        for item in wanted.get(field) or ()
    )


def _completed(current: Object, wanted: Mapping[str, Any]) -> Object:
    for field in ("rules", "subjects"):
        if field not in wanted:
            continue
        known = {_canonical(item) for item in current.get(field) or ()}
        current[field] = [*(current.get(field) or ()), *(i for i in wanted[field] if _canonical(i) not in known)]
    return current


def _canonical(item: Object) -> bytes:
    return msgspec.json.encode(item, order="deterministic")

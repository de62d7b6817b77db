"""Read-only views: EndpointSlices (discovery.k8s.io/v1)."""

from __future__ import annotations

from kubeglass.components.api.objects.meta import Resource
from kubeglass.components.api.objects.pod import ObjectReference
from kubeglass.components.api.objects.struct import Object


class EndpointConditions(Object):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForNode(Object):
    name: str = ""


class ForZone(Object):
    name: str = ""


class EndpointHints(Object):
    for_nodes: tuple[ForNode, ...] = ()
    for_zones: tuple[ForZone, ...] = ()


class Endpoint(Object):
    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    deprecated_topology: dict[str, str] = {}
    hints: EndpointHints | None = None
    hostname: str = ""
    node_name: str = ""
    target_ref: ObjectReference | None = None
    zone: str = ""


class EndpointPort(Object):
    app_protocol: str = ""
    name: str = ""
    port: int = 0
    protocol: str = ""


class EndpointSlice(Resource):
    address_type: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()

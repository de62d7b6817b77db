"""Services, endpoints, ingresses, policies."""

from __future__ import annotations

from collections.abc import Iterable

from kubeglass.components.api.printers.cells import (
    AGE,
    NAME,
    SELECTOR,
    Json,
    age,
    joined,
    labels,
    member,
    name_of,
    selector,
)
from kubeglass.components.api.table import Cell, Column, Printer

_MAX_SHOWN = 3


def _service(obj: Json, now: float) -> list[Cell]:
    spec = obj.get("spec") or {}
    return [
        name_of(obj),
        spec.get("type") or "<none>",
        next(iter(spec.get("clusterIPs") or ()), "") or spec.get("clusterIP") or "<none>",
        _external(obj),
        joined(_port(port) for port in spec.get("ports") or ()),
        age(obj, now),
        labels(spec.get("selector")),
    ]


def _port(port: Json) -> str:
    node = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port')}{node}/{port.get('protocol', '')}"


def _external(obj: Json) -> str:
    spec = obj.get("spec") or {}
    external = list(spec.get("externalIPs") or ())
    match spec.get("type"):
        case "LoadBalancer":
            given = [
                item.get("ip") or item.get("hostname", "")
                for item in member(obj, "status", "loadBalancer", "ingress") or ()
            ]
            return ",".join([*given, *external]) or "<pending>"
        case "ExternalName":
            name: str = spec.get("externalName", "")
            return name
    return joined(external)


def _endpoints(obj: Json, now: float) -> list[Cell]:
    pairs: list[str] = []
    for subset in obj.get("subsets") or ():
        addresses = [address["ip"] for address in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        pairs += [f"{address}:{port['port']}" for port in ports for address in addresses] if ports else addresses
    return [name_of(obj), _some(pairs), age(obj, now)]


def _some(values: Iterable[str]) -> str:
    listed = list(values)
    if not listed:
        return "<none>"
    more = f" + {len(listed) - _MAX_SHOWN} more..." if len(listed) > _MAX_SHOWN else ""
    return ",".join(listed[:_MAX_SHOWN]) + more


def _endpoint_slice(obj: Json, now: float) -> list[Cell]:
    ports = [str(port["port"]) if port.get("port") is not None else "*" for port in obj.get("ports") or ()]
    addresses = [address for endpoint in obj.get("endpoints") or () for address in endpoint.get("addresses") or ()]
    return [
        name_of(obj),
        obj.get("addressType", ""),
        _some(ports) if ports else "<unset>",
        _some(addresses) if addresses else "<unset>",
        age(obj, now),
    ]


def _ingress(obj: Json, now: float) -> list[Cell]:
    spec = obj.get("spec") or {}
    hosts = [rule["host"] for rule in spec.get("rules") or () if rule.get("host")]
    addresses = [
        item.get("ip") or item.get("hostname", "") for item in member(obj, "status", "loadBalancer", "ingress") or ()
    ]
    shown = ",".join(hosts[:_MAX_SHOWN]) + (f" + {len(hosts) - _MAX_SHOWN} more..." if len(hosts) > _MAX_SHOWN else "")
    return [
        name_of(obj),
        spec.get("ingressClassName") or "<none>",
        shown or "*",
        ",".join(addresses),
        "80, 443" if spec.get("tls") else "80",
        age(obj, now),
    ]


def _ingress_class(obj: Json, now: float) -> list[Cell]:
    parameters = member(obj, "spec", "parameters")
    shown = "<none>"
    if parameters:
        group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") else ""
        shown = f"{parameters.get('kind', '')}{group}/{parameters.get('name', '')}"
    return [name_of(obj), member(obj, "spec", "controller") or "", shown, age(obj, now)]


def _network_policy(obj: Json, now: float) -> list[Cell]:
    return [name_of(obj), selector(member(obj, "spec", "podSelector")), age(obj, now)]


def _ip_address(obj: Json, now: float) -> list[Cell]:
    parent = member(obj, "spec", "parentRef") or {}
    group = f".{parent['group']}" if parent.get("group") else ""
    names = "/".join(part for part in (parent.get("namespace"), parent.get("name")) if part)
    return [name_of(obj), f"{parent.get('resource', '')}{group}/{names}", age(obj, now)]


def _service_cidr(obj: Json, now: float) -> list[Cell]:
    return [name_of(obj), ",".join(member(obj, "spec", "cidrs") or ()), age(obj, now)]


SERVICE = Printer(
    (
        NAME,
        Column("Type", "string", "", "How the Service is exposed."),
        Column("Cluster-IP", "string", "", "Its address inside the cluster."),
        Column("External-IP", "string", "", "Its addresses outside the cluster."),
        Column("Port(s)", "string", "", "Its ports."),
        AGE,
        SELECTOR,
    ),
    _service,
)
ENDPOINTS = Printer((NAME, Column("Endpoints", "string", "", "Addresses and ports that are ready."), AGE), _endpoints)
ENDPOINT_SLICE = Printer((NAME, Column("AddressType"), Column("Ports"), Column("Endpoints"), AGE), _endpoint_slice)
INGRESS = Printer(
    (
        NAME,
        Column("Class", "string", "", "The class that implements it."),
        Column("Hosts", "string", "", "Hosts that incoming requests are matched against before the ingress rule"),
        Column("Address", "string", "", "Address is a list containing ingress points for the load-balancer"),
        Column("Ports", "string", "", "Ports of TLS configurations that open"),
        AGE,
    ),
    _ingress,
)
INGRESS_CLASS = Printer(
    (
        NAME,
        Column("Controller", "string", "", "Controller that is responsible for handling this class"),
        Column("Parameters", "string", "", "A reference to a resource with additional parameters"),
        AGE,
    ),
    _ingress_class,
)
NETWORK_POLICY = Printer(
    (NAME, Column("Pod-Selector", "string", "", "Which Pods it applies to."), AGE), _network_policy
)
IP_ADDRESS = Printer((NAME, Column("ParentRef", "string", "", "What the address belongs to."), AGE), _ip_address)
SERVICE_CIDR = Printer((NAME, Column("CIDRs", "string", "", "The ranges of addresses."), AGE), _service_cidr)

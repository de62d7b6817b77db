"""Services, their endpoints and Pods as records, by the Kubernetes DNS specification 1.1.0. Pure.

Answers to github.com/kubernetes/dns/docs/specification.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from kubeglass.components.api.objects import EndpointSlice, Service

SPECIFICATION = "1.1.0"
A, CNAME, SOA, PTR, TXT, AAAA, SRV, ANY = 1, 5, 6, 12, 16, 28, 33, 255
NO_ERROR, FORMAT_ERROR, SERVER_FAILURE, NAME_ERROR, NOT_IMPLEMENTED = range(5)
_SERVICE_NAME = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `value` is an address, a name, a text, or for SRV `(priority, weight, port, target)`."""

    name: str
    type: int
    value: str | tuple[int, int, int, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question gets: a response code and records; `ours` is False for names outside the cluster."""

    ours: bool
    code: int = NO_ERROR
    records: tuple[Record, ...] = ()


class Zone:
    """All records of a cluster, by name."""

    def __init__(self, domain: str, records: Iterable[Record]) -> None:
        self.domain = domain
        self._records: dict[str, list[Record]] = defaultdict(list)
        self._names = {domain}
        for record in records:
            self._records[record.name].append(record)
            self._names.update(_ancestors(record.name, domain))

    def answer(self, name: str, type: int) -> Answer:
        """The records of a name. A name that only has others below it exists, without records."""
        wanted = name.lower().rstrip(".")
        if (address := _pod_address(wanted, self.domain)) and type in (A, ANY):
            return Answer(True, records=(Record(wanted, A, address),))
        if wanted not in self._records and not self._owns(wanted):
            return Answer(False)
        found = self._records.get(wanted, [])
        matching = tuple(record for record in found if type in (record.type, ANY))
        if not matching and (alias := next((r for r in found if r.type == CNAME), None)):
            return Answer(True, records=(alias,))
        known = bool(found) or wanted in self._names
        return Answer(True, NO_ERROR if known else NAME_ERROR, matching)

    def _owns(self, name: str) -> bool:
        return name == self.domain or name.endswith(f".{self.domain}")


def _ancestors(name: str, domain: str) -> Iterator[str]:
    while name != domain and "." in name:
        yield name
        name = name.partition(".")[2]


def _pod_address(name: str, domain: str) -> str:
    """`10-0-0-1.default.pod.cluster.local` is the address it spells."""
    labels = name.removesuffix(f".pod.{domain}").split(".")
    if not name.endswith(f".pod.{domain}") or len(labels) != 2:
        return ""
    try:
        return str(ip_address(labels[0].replace("-", ".")))
    except ValueError:
        return ""


def records(services: Iterable[Service], slices: Iterable[EndpointSlice], domain: str) -> Iterator[Record]:
    """Every record that Services give."""
    yield Record(f"dns-version.{domain}", TXT, SPECIFICATION)
    by_service: dict[str, list[EndpointSlice]] = defaultdict(list)
    for found in slices:
        by_service[f"{found.metadata.namespace}/{found.metadata.labels.get(_SERVICE_NAME, '')}"].append(found)
    for service in services:
        base = f"{service.metadata.name}.{service.metadata.namespace}.svc.{domain}"
        if service.spec.type == "ExternalName":
            yield Record(base, CNAME, service.spec.external_name)
        elif service.spec.cluster_ip == "None":
            yield from _headless(service, by_service[service.key], base)
        elif service.spec.cluster_ip:
            yield from _cluster_ip(service, base)


def _cluster_ip(service: Service, base: str) -> Iterator[Record]:
    for address in service.spec.cluster_ips or (service.spec.cluster_ip,):
        yield Record(base, _type_of(address), address)
        yield Record(reverse_name(address), PTR, base)
    for port in service.spec.ports:
        if port.name:
            yield Record(f"_{port.name}._{(port.protocol or 'TCP').lower()}.{base}", SRV, (0, 100, port.port, base))


def _headless(service: Service, slices: Sequence[EndpointSlice], base: str) -> Iterator[Record]:
    for found in slices:
        for endpoint in found.endpoints:
            if endpoint.conditions.ready is False and not service.spec.publish_not_ready_addresses:
                continue
            for address in endpoint.addresses:
                host = f"{endpoint.hostname or address.replace('.', '-').replace(':', '-')}.{base}"
                yield Record(base, _type_of(address), address)
                yield Record(host, _type_of(address), address)
                yield Record(reverse_name(address), PTR, host)
                for port in found.ports:
                    if port.name:
                        name = f"_{port.name}._{(port.protocol or 'TCP').lower()}.{base}"
                        yield Record(name, SRV, (0, 100, port.port, host))


def _type_of(address: str) -> int:
    return AAAA if ":" in address else A


def reverse_name(address: str) -> str:
    """`1.0.0.127.in-addr.arpa`."""
    return ip_address(address).reverse_pointer

"""Cluster IPs and node ports of Services, given out of what the cluster was configured with.

What is taken is read from the Services themselves, so nothing can drift; one lock holds from the choice of a value to
the write that takes it. Upstream: registry/core/service/storage/alloc.go, with its texts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any

from kubeglass.components.api import kinds
from kubeglass.components.api.errors import Cause
from kubeglass.components.api.fielderrors import invalid
from kubeglass.components.api.kinds import Kind
from kubeglass.components.apiserver.admission.reader import Reader
from kubeglass.components.apiserver.metrics import (
    ALLOCATION_ROWS,
    CLUSTERIP_ALLOCATOR_ALLOCATED_IPS,
    CLUSTERIP_ALLOCATOR_AVAILABLE_IPS,
    NODEPORT_ALLOCATOR_ALLOCATED_PORTS,
    NODEPORT_ALLOCATOR_AVAILABLE_PORTS,
    AllocatorMetrics,
)
from kubeglass.components.apiserver.storage.records import Record
from kubeglass.telemetry.metrics.families import Sample
from kubeglass.telemetry.metrics.registry import Registry

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ServiceRanges:
    """`--service-cluster-ip-range` and `--service-node-port-range`."""

    cluster_ips: IPv4Network
    node_ports: tuple[int, int] = (30000, 32767)

    @classmethod
    def of(cls, cidr: str, node_ports: tuple[int, int] = (30000, 32767)) -> ServiceRanges:
        network = ip_network(cidr)
        if not isinstance(network, IPv4Network):
            raise ValueError(f"not an IPv4 range: {cidr}")
        return cls(network, node_ports)

    def kubernetes_ip(self) -> str:
        """The address of the `kubernetes` Service: the first of the range."""
        return str(self.cluster_ips[1])


class Allocator:
    """Gives a Service what it lacks, and refuses what it may not have."""

    def __init__(self, ranges: ServiceRanges, reader: Reader, metrics: AllocatorMetrics) -> None:
        self._ranges = ranges
        self._reader = reader
        self._metrics = metrics
        self._cidr = str(ranges.cluster_ips)
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def claim(self, kind: Kind, new: Object, old: Object | None) -> AsyncIterator[list[Cause]]:
        """Fill in addresses and ports for the time of one write; yields why the wished ones are refused."""
        if kind != kinds.SERVICE or (old is not None and not _wants_more(new, old)):
            yield []
            return
        async with self._lock:
            others = [service for service in await self._reader.list(kinds.SERVICE) if not _same(service, new)]
            started = time.perf_counter()
            causes = self._address(new, others, (old or {}).get("spec") or {})
            seconds = time.perf_counter() - started
            self._metrics.clusterip_allocator_allocation_duration_seconds.labels(self._cidr).observe(seconds)
            yield causes + self._ports(new, others, (old or {}).get("spec") or {})

    def _address(self, service: Object, others: Iterable[Object], before: Object) -> list[Cause]:
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                spec.pop(name, None)
            return []
        wanted = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), "")
        causes: list[Cause] = []
        if wanted != "None":
            taken = {other["spec"].get("clusterIP") for other in others}
            scope = "static" if wanted else "dynamic"
            if wanted:
                causes = self._refuse_address(wanted, taken)
            else:
                wanted = self._free_address(taken)
            self._count_address(scope, causes, kept=wanted == before.get("clusterIP"))
        spec["clusterIP"], spec["clusterIPs"] = wanted, [wanted]
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        return causes

    def _count_address(self, scope: str, causes: list[Cause], *, kept: bool) -> None:
        if causes:
            self._metrics.clusterip_allocator_allocation_errors_total.labels(self._cidr, scope).inc()
        elif not kept:
            self._metrics.clusterip_allocator_allocation_total.labels(self._cidr, scope).inc()

    def _refuse_address(self, wanted: str, taken: set[str | None]) -> list[Cause]:
        why = ""
        try:
            inside = ip_address(wanted) in self._ranges.cluster_ips
        except ValueError:
            return []  # validation says what is wrong with it
        if not inside:
            network = self._ranges.cluster_ips
            why = f"the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {network}"
        elif wanted in taken:
            why = "provided IP is already allocated"
        return [invalid("spec.clusterIPs", [wanted], f"failed to allocate IP {wanted}: {why}")] if why else []

    def _free_address(self, taken: set[str | None]) -> str:
        """The next free address; the lower band is left to those who choose their own."""
        network = self._ranges.cluster_ips
        band = min(max(16, network.num_addresses // 16), 256)
        last = network.num_addresses - 1
        for offset in [*range(band + 1, last), *range(2, min(band + 1, last))]:
            address = str(network[offset])
            if address not in taken:
                return address
        self._metrics.clusterip_allocator_allocation_errors_total.labels(self._cidr, "dynamic").inc()
        raise RuntimeError(f"range is full: {network}")

    def _ports(self, service: Object, others: Iterable[Object], before: Object) -> list[Cause]:
        spec = service["spec"]
        if spec.get("type") not in ("NodePort", "LoadBalancer"):
            return []
        taken = {port for other in others for port in _node_ports(other["spec"])}
        kept = set(_node_ports(before))
        causes: list[Cause] = []
        low, high = self._ranges.node_ports
        for index, port in enumerate(spec.get("ports") or ()):
            wanted, protocol = port.get("nodePort"), port.get("protocol")
            at = f"spec.ports[{index}].nodePort"
            scope, refused = "static" if wanted else "dynamic", len(causes)
            if not wanted:
                port["nodePort"] = wanted = next(
                    number for number in range(low, high + 1) if (protocol, number) not in taken
                )
            elif not low <= wanted <= high:
                text = f"provided port is not in the valid range. The range of valid ports is {low}-{high}"
                causes.append(invalid(at, wanted, text))
            elif (protocol, wanted) in taken:
                causes.append(invalid(at, wanted, "provided port is already allocated"))
            if len(causes) > refused:
                self._metrics.nodeport_allocator_allocation_errors_total.labels(scope).inc()
            elif (protocol, wanted) not in kept:
                self._metrics.nodeport_allocator_allocation_total.labels(scope).inc()
            taken.add((protocol, wanted))
        return causes


def show_allocations(registry: Registry, ranges: ServiceRanges, services: Callable[[], Iterable[Record]]) -> None:
    """Show at every scrape what the Services hold of the ranges."""
    low, high = ranges.node_ports
    usable = ranges.cluster_ips.num_addresses - 2  # all but the network's own address and its broadcast
    cidr = str(ranges.cluster_ips)

    def samples() -> Iterator[Sample]:
        specs = [record.decode().get("spec") or {} for record in services()]
        addresses = len({spec["clusterIP"] for spec in specs if spec.get("clusterIP") not in (None, "", "None")})
        ports = len({port for spec in specs for _, port in _node_ports(spec)})
        yield CLUSTERIP_ALLOCATOR_ALLOCATED_IPS, (cidr,), addresses
        yield CLUSTERIP_ALLOCATOR_AVAILABLE_IPS, (cidr,), usable - addresses
        yield NODEPORT_ALLOCATOR_ALLOCATED_PORTS, (), ports
        yield NODEPORT_ALLOCATOR_AVAILABLE_PORTS, (), high - low + 1 - ports

    registry.collect(ALLOCATION_ROWS, samples)


def _node_ports(spec: Object) -> Iterator[tuple[str | None, int]]:
    """(protocol, port) of each node port of a Service."""
    for port in spec.get("ports") or ():
        if port.get("nodePort"):
            yield port.get("protocol"), port["nodePort"]


def _wants_more(new: Object, old: Object) -> bool:
    """Whether an update touches what is allocated."""
    names = ("type", "clusterIP", "clusterIPs", "ports")
    return any(new["spec"].get(name) != (old.get("spec") or {}).get(name) for name in names)


def _same(service: Object, new: Object) -> bool:
    ours, theirs = service["metadata"], new["metadata"]
    return bool(ours["name"] == theirs.get("name") and ours.get("namespace") == theirs.get("namespace"))

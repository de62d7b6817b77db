"""Cluster DNS: Services, their endpoints and Pods as records, by the Kubernetes DNS specification 1.1.0.

`Zone` is pure: from views to records, and from a question to an answer. `DnsServer` speaks the wire on UDP and TCP and
passes names outside the cluster on to the host's resolvers. Answers to github.com/kubernetes/dns/docs/specification.md.
"""

from __future__ import annotations

import argparse
import asyncio
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import cast

from kubeglass.components.api.kinds import ENDPOINT_SLICE, SERVICE
from kubeglass.components.api.objects import EndpointSlice, Service
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.informer import Informer
from kubeglass.components.machinery.loopback import host_port
from kubeglass.components.machinery.process import ComponentSpec, Context
from kubeglass.telemetry import Telemetry

SPECIFICATION = "1.1.0"
TTL_SECONDS = 30
A, CNAME, SOA, PTR, TXT, AAAA, SRV, ANY = 1, 5, 6, 12, 16, 28, 33, 255
_IN = 1
_NO_ERROR, _FORMAT_ERROR, _SERVER_FAILURE, _NAME_ERROR, _NOT_IMPLEMENTED = range(5)
_SERVICE_NAME = "kubernetes.io/service-name"
_UDP_LIMIT = 512
_FORWARD_SECONDS = 2.0


# -- records ----------------------------------------------------------------------------------------------------------


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
    code: int = _NO_ERROR
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
        return Answer(True, _NO_ERROR if known else _NAME_ERROR, matching)

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


# -- wire -------------------------------------------------------------------------------------------------------------


class MalformedQuery(ValueError):
    """The message is no DNS query."""


@dataclass(frozen=True, slots=True)
class Query:
    """The first question of a message."""

    id: int
    opcode: int
    recursion_desired: bool
    name: str
    type: int
    question: bytes  # as it came, to be repeated in the answer
    udp_limit: int = _UDP_LIMIT


def read_query(message: bytes) -> Query:
    """The question of a message. Raises MalformedQuery."""
    try:
        identity, flags, questions, _, _, additional = struct.unpack_from(">6H", message)
        if flags & 0x8000 or questions != 1:
            raise MalformedQuery("not a single question")
        labels, at = [], 12
        while (length := message[at]) != 0:
            if length > 63:
                raise MalformedQuery("compressed name in a question")
            labels.append(message[at + 1 : at + 1 + length].decode("ascii"))
            at += 1 + length
        kind, _ = struct.unpack_from(">2H", message, at + 1)
        end = at + 5
        limit = _UDP_LIMIT
        if additional and message[end : end + 3] == b"\x00\x00\x29":  # EDNS: the size the asker can take
            limit = max(_UDP_LIMIT, struct.unpack_from(">H", message, end + 3)[0])
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise MalformedQuery(str(error)) from error
    return Query(identity, (flags >> 11) & 0xF, bool(flags & 0x100), ".".join(labels), kind, message[12:end], limit)


def write_answer(query: Query, answer: Answer, domain: str, limit: int | None) -> bytes:
    """The response message; what does not fit `limit` bytes is cut and marked as truncated."""
    body = b"".join(_encode(record) for record in answer.records)
    authority = b"" if answer.records else _start_of_authority(domain)
    truncated = limit is not None and 12 + len(query.question) + len(body) + len(authority) > limit
    if truncated:
        body = authority = b""
    flags = 0x8400 | (0x200 if truncated else 0) | (0x100 if query.recursion_desired else 0) | 0x80 | answer.code
    answers = 0 if truncated else len(answer.records)
    header = struct.pack(">6H", query.id, flags, 1, answers, 1 if authority else 0, 0)
    return header + query.question + body + authority


def _name(name: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode("ascii") for label in name.split(".") if label) + b"\x00"


def _encode(record: Record) -> bytes:
    match record.value:
        case (int(priority), int(weight), int(port), str(target)):
            data = struct.pack(">3H", priority, weight, port) + _name(target)
        case str(text) if record.type in (A, AAAA):
            data = ip_address(text).packed
        case str(text) if record.type == TXT:
            data = bytes((len(text),)) + text.encode("ascii")
        case text:
            data = _name(str(text))
    return _name(record.name) + struct.pack(">2HIH", record.type, _IN, TTL_SECONDS, len(data)) + data


def _start_of_authority(domain: str) -> bytes:
    data = _name(f"ns.dns.{domain}") + _name(f"hostmaster.{domain}") + struct.pack(">5I", 1, 7200, 1800, 86400, 30)
    return _name(domain) + struct.pack(">2HIH", SOA, _IN, TTL_SECONDS, len(data)) + data


# -- server -----------------------------------------------------------------------------------------------------------


class DnsServer:
    """Answers on one address, from informers, on UDP and TCP."""

    def __init__(
        self, client: Client, telemetry: Telemetry, address: tuple[str, int], domain: str, forwarders: Sequence[str]
    ) -> None:
        self._telemetry = telemetry
        self._address = address
        self._domain = domain
        self._forwarders = tuple(forwarders)
        self._services = Informer(client, SERVICE, Service, telemetry)
        self._slices = Informer(client, ENDPOINT_SLICE, EndpointSlice, telemetry)
        self._zone: Zone | None = None
        self._services.subscribe(lambda change: self._forget())
        self._slices.subscribe(lambda change: self._forget())

    async def run(self, started: Callable[[], None]) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            for run in (self._services.run, self._slices.run):
                group.create_task(run())
            await self._services.synced.wait()
            await self._slices.synced.wait()
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self, group), local_addr=self._address
            )
            server = await asyncio.start_server(self._stream, *self._address)
            self._telemetry.log.info("Serving DNS", address=f"{self._address[0]}:{self._address[1]}")
            started()
            try:
                async with server:
                    await server.serve_forever()
            finally:
                transport.close()

    def _forget(self) -> None:
        self._zone = None

    @property
    def zone(self) -> Zone:
        """The records as they are now; rebuilt when somebody asks after a change."""
        if self._zone is None:
            self._zone = Zone(self._domain, records(self._services.list(), self._slices.list(), self._domain))
        return self._zone

    async def respond(self, message: bytes, *, datagram: bool) -> bytes | None:
        """The response to a message, or None for what is no query."""
        try:
            query = read_query(message)
        except MalformedQuery:
            return message[:2] + struct.pack(">5H", 0x8000 | _FORMAT_ERROR, 0, 0, 0, 0) if len(message) >= 12 else None
        limit = query.udp_limit if datagram else None
        if query.opcode != 0:
            return write_answer(query, Answer(True, _NOT_IMPLEMENTED), self._domain, limit)
        answer = self.zone.answer(query.name, query.type)
        if answer.ours:
            return write_answer(query, answer, self._domain, limit)
        forwarded = await self._forward(message)
        return forwarded or write_answer(query, Answer(True, _SERVER_FAILURE), self._domain, limit)

    async def _forward(self, message: bytes) -> bytes | None:
        """Ask the host's resolvers, one after the other."""
        loop = asyncio.get_running_loop()
        for resolver in self._forwarders:
            arrived: asyncio.Future[bytes] = loop.create_future()
            try:
                transport, _ = await loop.create_datagram_endpoint(
                    lambda arrived=arrived: _OneAnswer(arrived),  # type: ignore[misc]
                    remote_addr=(resolver, 53),
                )
            except OSError:
                continue
            try:
                transport.sendto(message)
                async with asyncio.timeout(_FORWARD_SECONDS):
                    return await arrived
            except (TimeoutError, OSError):
                continue
            finally:
                transport.close()
        return None

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while header := await reader.readexactly(2):
                message = await reader.readexactly(int.from_bytes(header, "big"))
                response = await self.respond(message, datagram=False)
                if response is None:
                    return
                writer.write(len(response).to_bytes(2, "big") + response)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer, group: asyncio.TaskGroup) -> None:
        self._server = server
        self._group = group
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._group.create_task(self._answer(data, addr))

    async def _answer(self, data: bytes, addr: tuple[str, int]) -> None:
        response = await self._server.respond(data, datagram=True)
        if response is not None and self._transport is not None:
            self._transport.sendto(response, addr)


class _OneAnswer(asyncio.DatagramProtocol):
    def __init__(self, arrived: asyncio.Future[bytes]) -> None:
        self._arrived = arrived

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self._arrived.done():
            self._arrived.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._arrived.done():
            self._arrived.set_exception(exc)


def host_resolvers(file: Path = Path("/etc/resolv.conf")) -> list[str]:
    """The nameservers of the host."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines]
    return [found[1] for found in words if len(found) > 1 and found[0] == "nameserver"]


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dns-address", required=True, metavar="IP", help="address to answer on, the cluster DNS IP")
    parser.add_argument("--dns-port", type=int, default=53, metavar="PORT", help="(%(default)s)")
    parser.add_argument("--cluster-domain", default="cluster.local", metavar="DOMAIN", help="(%(default)s)")


def _build(context: Context) -> DnsServer:
    flags = context.flags
    address = (flags.dns_address, host_port(flags.dns_port))
    resolvers = [found for found in host_resolvers() if found != flags.dns_address]
    return DnsServer(context.client(), context.telemetry, address, flags.cluster_domain, resolvers)


COMPONENT = ComponentSpec(
    name="dns",
    binary="coredns",
    summary="Answers for the names of Services and Pods.",
    add_flags=_add_flags,
    build=_build,
    secure_port=9153,
)

"""Cluster DNS: answers for the names of Services and Pods, and passes other names on to the host's resolvers.

It listens on the cluster DNS address itself, UDP and TCP, and shows that as the Service kube-dns: one without selector,
left alone by the proxies, whose only endpoint is its own address.
"""

from __future__ import annotations

import argparse
import asyncio
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from kubeglass import __version__
from kubeglass.components.api.errors import AlreadyExists, ApiError
from kubeglass.components.api.kinds import ENDPOINT_SLICE, SERVICE
from kubeglass.components.api.objects import EndpointSlice, Service
from kubeglass.components.dns.metrics import DnsMetrics
from kubeglass.components.dns.presence import endpoint_slice, service
from kubeglass.components.dns.records import FORMAT_ERROR, NOT_IMPLEMENTED, SERVER_FAILURE, Answer, Zone, records
from kubeglass.components.dns.wire import MalformedQuery, Query, read_query, write_answer
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.informer import Informer
from kubeglass.components.machinery.loopback import host_port
from kubeglass.components.machinery.process import ComponentSpec, Context
from kubeglass.telemetry import Telemetry

_FORWARD_SECONDS = 2.0


class DnsServer:
    """Answers on one address, from informers, on UDP and TCP."""

    def __init__(
        self, client: Client, telemetry: Telemetry, address: tuple[str, int], domain: str, forwarders: Sequence[str]
    ) -> None:
        self._client = client
        self._telemetry = telemetry
        self._metrics = DnsMetrics(telemetry.metrics, __version__, f"dns://{address[0]}:{address[1]}", domain)
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
            await self._show()
            self._telemetry.log.info("Serving DNS", address=f"{self._address[0]}:{self._address[1]}")
            started()
            try:
                async with server:
                    await server.serve_forever()
            finally:
                transport.close()

    async def _show(self) -> None:
        """Make sure that the Service and its endpoint say where names are resolved."""
        try:
            await self._ensure(*self._address)
        except ApiError as error:
            self._telemetry.log.error(error, "Failed to show the cluster DNS as a Service")

    async def _ensure(self, address: str, port: int) -> None:
        found = endpoint_slice(address, port)
        try:
            await self._client.create(SERVICE, service(address), "kube-system")
        except AlreadyExists:
            pass
        try:
            await self._client.create(ENDPOINT_SLICE, found, "kube-system")
        except AlreadyExists:
            patch = {key: found[key] for key in ("endpoints", "ports")}
            await self._client.patch(ENDPOINT_SLICE, found["metadata"]["name"], patch, "kube-system")

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
        began = time.perf_counter()
        try:
            query = read_query(message)
        except MalformedQuery:
            return message[:2] + struct.pack(">5H", 0x8000 | FORMAT_ERROR, 0, 0, 0, 0) if len(message) >= 12 else None
        limit = query.udp_limit if datagram else None
        ours = True
        if query.opcode != 0:
            response = write_answer(query, Answer(True, NOT_IMPLEMENTED), self._domain, limit)
        else:
            answer = self.zone.answer(query.name, query.type)
            ours = answer.ours
            response = await self._answer(message, query, answer, limit)
        protocol = "udp" if datagram else "tcp"
        self._metrics.answered(protocol, query.type, response[3] & 0xF, ours, time.perf_counter() - began)
        return response

    async def _answer(self, message: bytes, query: Query, answer: Answer, limit: int | None) -> bytes:
        if answer.ours:
            return write_answer(query, answer, self._domain, limit)
        forwarded = await self._forward(message)
        return forwarded or write_answer(query, Answer(True, SERVER_FAILURE), self._domain, limit)

    async def _forward(self, message: bytes) -> bytes | None:
        """Ask the host's resolvers, one after the other."""
        loop = asyncio.get_running_loop()
        for resolver in self._forwarders:
            arrived: asyncio.Future[bytes] = loop.create_future()
            try:
                transport, _ = await loop.create_datagram_endpoint(
                    lambda arrived=arrived: _OneAnswer(arrived),  # type: ignore[misc]  # a default binds the loop variable
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

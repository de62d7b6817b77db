"""The contract of proxy modes: the same Services give the same answers, whoever carries them.

Each test has a network namespace of its own, with a backend per Pod address that says its name. What a mode answers
otherwise, as upstream's does, it says in DIFFERENCES.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from tests.namespaces import own_network, skip_without_iptables

from kubeglass.components.api.objects import EndpointSlice, Service, decode
from kubeglass.components.proxy.metrics import IptablesMetrics
from kubeglass.components.proxy.modes.iptables import iptables_mode
from kubeglass.components.proxy.modes.iptables_text import Config
from kubeglass.components.proxy.modes.mode import Proxier
from kubeglass.components.proxy.modes.userspace import userspace_mode
from kubeglass.components.proxy.rules import Here, rules
from kubeglass.logging.setup import LoggingOptions, build
from kubeglass.telemetry.metrics.registry import Registry

NODE, CLUSTER_IP, PORT, NODE_PORT = "127.64.0.1", "127.96.0.5", 80, 30080
PODS = ("127.128.1.5", "127.128.1.6", "127.128.2.7")
HERE = Here("node-1", (NODE,))
DIFFERENCES = {"userspace": set(), "iptables": {"drops without local endpoints", "shows the client"}}


@pytest.fixture(params=["userspace", "iptables"])
def mode(request: pytest.FixtureRequest) -> Iterator[str]:
    name: str = request.param
    skip_without_iptables()
    with own_network():
        yield name


@pytest.fixture
async def proxier(mode: str) -> AsyncIterator[Proxier]:
    log = build(LoggingOptions())
    config = Config((NODE,), "127.128.0.0/16")
    iptables = iptables_mode(config, log, IptablesMetrics(Registry()), sync_seconds=30, min_sync_seconds=0)
    chosen = iptables if mode == "iptables" else userspace_mode(log)
    async with chosen.open(lambda: None) as made:
        yield made


class Pod(asyncio.DatagramProtocol):
    """A server of both protocols, which tells its address and who asked."""

    def __init__(self, ip: str) -> None:
        self.ip = ip

    def itself(self) -> Pod:
        return self

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{self.ip} {writer.get_extra_info('peername')[0]}".encode())
        writer.close()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(f"{self.ip} {addr[0]}".encode(), addr)


@pytest.fixture(autouse=True)
async def pods(mode: str) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        for ip in PODS:
            pod = Pod(ip)
            await stack.enter_async_context(await asyncio.start_server(pod.serve, ip, 8080))
            transport, _ = await loop.create_datagram_endpoint(pod.itself, (ip, 8080))
            stack.callback(transport.close)
        yield


def service(protocol: str = "TCP", **spec: Any) -> Service:
    ports = [{"port": PORT, "protocol": protocol, "nodePort": NODE_PORT}]
    whole = {"type": "NodePort", "clusterIP": CLUSTER_IP, "ports": ports, **spec}
    return decode(Service, {"metadata": {"name": "web", "namespace": "default"}, "spec": whole})


def endpoints(*ips: str, protocol: str = "TCP") -> EndpointSlice:
    """127.128.N.x is of node N."""
    labels = {"kubernetes.io/service-name": "web"}
    return decode(
        EndpointSlice,
        {
            "metadata": {"name": "web-1", "namespace": "default", "labels": labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [ip], "nodeName": f"node-{ip.split('.')[2]}"} for ip in ips],
            "ports": [{"name": "", "port": 8080, "protocol": protocol}],
        },
    )


async def carry(proxier: Proxier, *ips: str, protocol: str = "TCP", **spec: Any) -> None:
    """The Service with these endpoints, as rules."""
    found = rules([service(protocol, **spec)], [endpoints(*ips, protocol=protocol)], HERE)
    outcome = await proxier.sync(found)
    assert (outcome.success, outcome.failed) == (True, {})


async def ask(ip: str = CLUSTER_IP, port: int = PORT, client: str = "127.0.0.1") -> tuple[str, str]:
    """(which Pod answered over TCP, whom it saw)."""
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(ip, port, local_addr=(client, 0))
        pod, seen = (await reader.read()).decode().split()
        writer.close()
        return pod, seen


@asynccontextmanager
async def datagrams(ip: str = CLUSTER_IP, port: int = PORT) -> AsyncIterator[Any]:
    """A client that keeps its port: a function that asks over UDP which Pod answers."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect((ip, port))

        async def asked() -> str:
            async with asyncio.timeout(2):
                await loop.sock_sendall(client, b"?")
                return (await loop.sock_recv(client, 100)).decode().split()[0]

        yield asked


ADDRESSES = [(CLUSTER_IP, PORT), (NODE, NODE_PORT)]


@pytest.mark.parametrize("address", ADDRESSES)
async def test_every_endpoint_gets_connections(proxier: Proxier, address: tuple[str, int]) -> None:
    """Of 60 connections each of three endpoints gets some."""
    await carry(proxier, *PODS)
    assert {(await ask(*address))[0] for _ in range(60)} == set(PODS)


@pytest.mark.parametrize("address", ADDRESSES)
async def test_datagrams_are_answered(proxier: Proxier, address: tuple[str, int]) -> None:
    """From the Service's address, or the client's connected socket would not take them; a client keeps its Pod."""
    await carry(proxier, *PODS, protocol="UDP")
    seen = set()
    for _ in range(40):
        async with datagrams(*address) as asked:
            pod = await asked()
            assert await asked() == pod
            seen.add(pod)
    assert seen == set(PODS)


@pytest.mark.parametrize("address", ADDRESSES)
async def test_no_endpoints_is_a_refusal_at_once(proxier: Proxier, address: tuple[str, int]) -> None:
    """Before there were endpoints, and after the last one went; over both protocols, blocking or not."""
    for _ in range(2):
        await carry(proxier)
        with pytest.raises(ConnectionRefusedError):
            await ask(*address)
        started = asyncio.get_running_loop().time()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(blocking_connect, address)
        assert asyncio.get_running_loop().time() - started < 0.5
        await carry(proxier, protocol="UDP")
        async with datagrams(*address) as asked:
            with pytest.raises(ConnectionRefusedError):
                await asked()
        await carry(proxier, PODS[0])
        assert (await ask(*address))[0] == PODS[0]


def blocking_connect(address: tuple[str, int]) -> None:
    with socket.socket() as client:
        client.connect(address)


async def test_an_endpoint_that_goes_gets_nothing_more(proxier: Proxier) -> None:
    """New connections reach those that are left; a Service that goes is no longer carried."""
    await carry(proxier, *PODS[:2])
    assert {(await ask())[0] for _ in range(40)} == set(PODS[:2])
    await carry(proxier, PODS[1])
    assert {(await ask())[0] for _ in range(20)} == {PODS[1]}
    await proxier.sync(rules([], [], HERE))
    with pytest.raises(ConnectionRefusedError):
        await ask()


async def test_a_client_that_keeps_its_port_moves_on_when_its_endpoint_goes(proxier: Proxier) -> None:
    """Over UDP there is nothing else that would tell it; one whose endpoint stays, stays."""
    await carry(proxier, *PODS[:2], protocol="UDP")
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(datagrams()) for _ in range(20)]
        assert {await asked() for asked in clients} == set(PODS[:2])
        await carry(proxier, *PODS[1:], protocol="UDP")
        moved = [await asked() for asked in clients]
        assert set(moved) == set(PODS[1:])
        assert [await asked() for asked in clients] == moved
        await carry(proxier, protocol="UDP")
        for asked in clients:
            with pytest.raises((TimeoutError, ConnectionRefusedError)):
                async with asyncio.timeout(0.1):
                    await asked()


async def test_an_open_connection_outlives_its_rule(proxier: Proxier) -> None:
    """As everywhere: rules decide about new connections."""
    loop = asyncio.get_running_loop()
    talking = await asyncio.start_server(_echo, "127.128.1.9", 8080)
    async with talking:
        await carry(proxier, "127.128.1.9")
        reader, writer = await asyncio.open_connection(CLUSTER_IP, PORT)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        await carry(proxier, PODS[0])
        async with asyncio.timeout_at(loop.time() + 5):
            writer.write(b"b")
            assert await reader.readexactly(1) == b"b"
        writer.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


async def test_clients_stay_with_their_endpoint(proxier: Proxier) -> None:
    """With ClientIP affinity, each of several clients; when its endpoint goes it moves, and stays there."""
    affinity: Any = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}
    await carry(proxier, *PODS, **affinity)
    clients = [f"127.0.0.{number}" for number in range(1, 21)]
    first = {client: (await ask(client=client))[0] for client in clients}
    assert set(first.values()) == set(PODS)
    for client in clients * 3:
        assert (await ask(client=client))[0] == first[client]
    await carry(proxier, *PODS[:2], **affinity)
    moved = {client: (await ask(client=client))[0] for client in clients}
    assert {c: pod for c, pod in moved.items() if first[c] != PODS[2]} == {
        c: pod for c, pod in first.items() if pod != PODS[2]
    }
    for client in clients:
        assert (await ask(client=client))[0] == moved[client]


@pytest.mark.parametrize(
    ("policy", "local"), [("internalTrafficPolicy", (CLUSTER_IP, PORT)), ("externalTrafficPolicy", (NODE, NODE_PORT))]
)
async def test_local_policies(proxier: Proxier, mode: str, policy: str, local: tuple[str, int]) -> None:
    """Local reaches this node's endpoints only, and nobody when there are none; the other addresses reach all."""
    await carry(proxier, *PODS, **{policy: "Local"})
    assert {(await ask(*local))[0] for _ in range(40)} == set(PODS[:2])
    [other] = [address for address in ADDRESSES if address != local]
    assert {(await ask(*other))[0] for _ in range(60)} == set(PODS)
    await carry(proxier, PODS[2], **{policy: "Local"})
    assert (await ask(*other))[0] == PODS[2]
    nobody = TimeoutError if "drops without local endpoints" in DIFFERENCES[mode] else ConnectionRefusedError
    with pytest.raises(nobody):
        async with asyncio.timeout(1):
            await ask(*local)


async def test_who_is_seen(proxier: Proxier, mode: str) -> None:
    """A Pod that asks is seen as itself, others and a Pod that asks itself as the node; userspace shows itself."""
    await carry(proxier, PODS[0])
    seen = {client: (await ask(client=client))[1] for client in (PODS[1], PODS[0], "127.0.0.1")}
    if "shows the client" in DIFFERENCES[mode]:
        assert seen == {PODS[1]: PODS[1], PODS[0]: NODE, "127.0.0.1": NODE}
        assert (await ask(NODE, NODE_PORT, client=PODS[1]))[1] == NODE
    else:
        assert set(seen.values()) == {"127.0.0.1"}


async def test_a_node_port_is_no_pods_port(proxier: Proxier) -> None:
    """Only the node's address has node ports: a Pod that listens on the same number is reached itself."""
    await carry(proxier, PODS[0])
    pod = await asyncio.start_server(Pod(PODS[1]).serve, PODS[1], NODE_PORT)
    async with pod:
        assert (await ask(PODS[1], NODE_PORT))[0] == PODS[1]
        await carry(proxier)
        assert (await ask(PODS[1], NODE_PORT))[0] == PODS[1]

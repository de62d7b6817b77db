"""The userspace mode with real sockets on loopback addresses."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from kubeglass.components.proxy.modes.userspace import UserspaceProxier
from kubeglass.components.proxy.rules import Backend, Frontend, Rule
from kubeglass.logging.klog import Logger

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.96.7.7", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def backend(name: str) -> AsyncIterator[Backend]:
    """A server that says its name, then echoes until the end of input."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{name}:".encode())
        writer.write(await reader.read())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.128.7.1", 0)
    async with server:
        yield Backend("127.128.7.1", server.sockets[0].getsockname()[1])


@asynccontextmanager
async def proxier(log: Logger) -> AsyncIterator[UserspaceProxier]:
    async with asyncio.TaskGroup() as group:
        made = UserspaceProxier(group, log)
        try:
            yield made
        finally:
            made.close()


async def ask(frontend: Frontend, text: bytes = b"hello") -> bytes:
    reader, writer = await asyncio.open_connection(frontend.ip, frontend.port)
    writer.write(text)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


@pytest.fixture
def log() -> Logger:
    from kubeglass.logging.setup import LoggingOptions, build

    return build(LoggingOptions())


async def test_forwards_in_turn_and_both_ways(log: Logger) -> None:
    """Each connection reaches the next backend; large bodies and half-closed connections pass whole."""
    frontend = Frontend("127.96.7.7", free_port())
    async with backend("a") as a, backend("b") as b, proxier(log) as proxy:
        outcome = await proxy.forward([Rule(frontend, "default/web", (a, b))])
        assert (outcome.opened, outcome.failed) == (1, {})
        assert {await ask(frontend), await ask(frontend)} == {b"a:hello", b"b:hello"}
        big = b"x" * 3_000_000
        assert (await ask(frontend, big))[2:] == big


async def test_refuses_without_backends(log: Logger) -> None:
    """A Service that loses its last endpoint refuses connections at once."""
    frontend = Frontend("127.96.7.7", free_port())
    async with backend("a") as a, proxier(log) as proxy:
        await proxy.forward([Rule(frontend, "default/web", (a,))])
        assert await ask(frontend) == b"a:hello"
        outcome = await proxy.forward([Rule(frontend, "default/web", ())])
        assert outcome.closed == 1
        with pytest.raises(ConnectionRefusedError):
            await ask(frontend)


async def test_a_dead_backend_is_passed_over(log: Logger) -> None:
    """When the chosen backend refuses, the next one is tried; when all refuse, the client is reset."""
    frontend = Frontend("127.96.7.7", free_port())
    dead = Backend("127.128.7.1", free_port())
    async with backend("a") as a, proxier(log) as proxy:
        await proxy.forward([Rule(frontend, "default/web", (dead, a))])
        assert [await ask(frontend) for _ in range(2)] == [b"a:hello", b"a:hello"]
        await proxy.forward([Rule(frontend, "default/web", (dead,))])
        with pytest.raises(ConnectionError):
            await ask(frontend)


async def test_several_proxies_share_an_address(log: Logger) -> None:
    """Proxies of several nodes listen on the same ClusterIP; when one goes, the other serves."""
    frontend = Frontend("127.96.7.7", free_port())
    async with backend("a") as a, proxier(log) as one, proxier(log) as two:
        rule = Rule(frontend, "default/web", (a,))
        assert (await one.forward([rule])).opened == 1
        assert (await two.forward([rule])).opened == 1
        one.close()
        for _ in range(5):
            assert await ask(frontend) == b"a:hello"


async def test_a_taken_port_is_reported(log: Logger) -> None:
    """A frontend that cannot be bound is named with the cause, and bound later when it is free."""
    with socket.socket() as other:
        other.bind(("127.96.7.7", 0))
        other.listen()
        frontend = Frontend("127.96.7.7", other.getsockname()[1])
        async with backend("a") as a, proxier(log) as proxy:
            rule = Rule(frontend, "default/web", (a,))
            assert (await proxy.forward([rule])).failed == {frontend: "Address already in use"}
            other.close()
            assert (await proxy.forward([rule])).opened == 1


async def test_udp_answers_find_their_client(log: Logger) -> None:
    """Datagrams are forwarded and answers come back from the Service's address."""
    loop = asyncio.get_running_loop()

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            self.transport.sendto(b"echo " + data, addr)  # type: ignore[attr-defined]

    server, _ = await loop.create_datagram_endpoint(Echo, ("127.128.7.1", 0))
    target = Backend("127.128.7.1", server.get_extra_info("sockname")[1])
    frontend = Frontend("127.96.7.7", free_port(socket.SOCK_DGRAM), "UDP")
    async with proxier(log) as proxy:
        await proxy.forward([Rule(frontend, "kube-system/dns", (target,))])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect((frontend.ip, frontend.port))
            await loop.sock_sendall(client, b"hi")
            async with asyncio.timeout(2):
                assert await loop.sock_recv(client, 100) == b"echo hi"
    server.close()


async def test_nothing_is_lost_of_many_quick_connections(log: Logger) -> None:
    """Whoever writes and ends before the backend is reached is answered all the same, 300 at once."""
    async with backend("a") as server, proxier(log) as made:
        frontend = Frontend("127.96.7.7", free_port())
        await made.forward([Rule(frontend, "default/web", (server,))])
        texts = [b"%d " % number * 50 for number in range(300)]
        async with asyncio.timeout(60):
            answers = await asyncio.gather(*(ask(frontend, text) for text in texts))
        assert answers == [b"a:" + text for text in texts]

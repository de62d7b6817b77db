"""What the userspace proxy costs: round trips on new and on kept connections, through it and without it."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterable

import uvloop
from tests.benchmarks.report import Row

from kubeglass.components.apiserver.testing import quiet_telemetry
from kubeglass.components.proxy.modes.userspace import UserspaceProxier
from kubeglass.components.proxy.rules import Backend, Frontend, Rule

_CONNECTIONS, _REQUESTS = 300, 2000
_CONNECTION_BOUND, _REQUEST_BOUND = 4.0, 3.0
_SERVER = """
import asyncio, uvloop
class Echo(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data): self.transport.write(data)
async def main():
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
uvloop.run(main())
"""


def run(rounds: int) -> Iterable[Row]:
    """Of each the best round counts: noise only ever adds."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        new, kept = runner.run(_measure(rounds))
    yield _row("new connection and one round trip", new, _CONNECTION_BOUND)
    yield _row("round trip on a kept connection", kept, _REQUEST_BOUND)


def _row(what: str, seconds: tuple[float, float], bound: float) -> Row:
    ours, theirs = seconds
    ratio = ours / theirs
    return Row(what, f"{ours * 1e6:.0f} us", f"direct {theirs * 1e6:.0f} us", ratio, f"<= {bound:g}", ratio <= bound)


async def _measure(rounds: int) -> tuple[tuple[float, float], tuple[float, float]]:
    server = await asyncio.create_subprocess_exec(sys.executable, "-c", _SERVER, stdout=asyncio.subprocess.PIPE)
    assert server.stdout is not None
    backend = ("127.0.0.1", int(await server.stdout.readline()))
    try:
        async with asyncio.TaskGroup() as group:
            proxier = UserspaceProxier(group, quiet_telemetry().log)
            frontend = Frontend("127.96.7.8", _free_port())
            await proxier.forward([Rule(frontend, "default/web", (Backend(*backend),))])
            through = (frontend.ip, frontend.port)
            new = await _best(rounds, _new_connections, through, backend)
            kept = await _best(rounds, _kept_connection, through, backend)
            proxier.close()
    finally:
        server.kill()
        await server.wait()
    return new, kept


async def _best(
    rounds: int,
    measure: Callable[[tuple[str, int]], Awaitable[float]],
    through: tuple[str, int],
    direct: tuple[str, int],
) -> tuple[float, float]:
    pairs = [(await measure(through), await measure(direct)) for _ in range(rounds)]
    return min(ours for ours, _ in pairs), min(theirs for _, theirs in pairs)


async def _new_connections(address: tuple[str, int]) -> float:
    started = time.perf_counter()
    for _ in range(_CONNECTIONS):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"x")
        await reader.readexactly(1)
        writer.close()
    return (time.perf_counter() - started) / _CONNECTIONS


async def _kept_connection(address: tuple[str, int]) -> float:
    reader, writer = await asyncio.open_connection(*address)
    started = time.perf_counter()
    for _ in range(_REQUESTS):
        writer.write(b"x" * 200)
        await reader.readexactly(200)
    seconds = (time.perf_counter() - started) / _REQUESTS
    writer.close()
    return seconds


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.96.7.8", 0))
        port: int = probe.getsockname()[1]
        return port

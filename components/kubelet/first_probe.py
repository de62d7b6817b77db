"""When a started container is probed for the first time.

Upstream's kubelet sees a started container when it next looks, up to a second later, and then probes at once. Ours sees
it at once, when no program has opened its port yet, and a first probe that fails costs a whole period. So the first
probe comes as soon as the port is open, and without regard to it a second after the start. A command that is run in the
container has no port to wait for; it waits a fixed while.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from kubeglass.components.api.objects import Container, Probe
from kubeglass.components.kubelet.handlers import resolve_port
from kubeglass.components.machinery.loopback import host_port

_LOOK_SECONDS = 1.0
_COMMAND_SECONDS = 0.3
_FIRST_LOOK_SECONDS = 0.03
_LISTEN = "0A"


async def await_first_probe(probe: Probe, container: Container, pod_ip: str, started_at: float) -> None:
    """Return when the first probe of a container that started at `started_at` (the loop's clock) is due."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(max(0.0, started_at + probe.initial_delay_seconds - loop.time()))
    where = _target(probe, container, pod_ip)
    if where is None:
        await asyncio.sleep(max(0.0, started_at + _COMMAND_SECONDS - loop.time()))
        return
    last, pause = started_at + _LOOK_SECONDS, _FIRST_LOOK_SECONDS
    while (left := last - loop.time()) > 0 and not listens(*where):
        await asyncio.sleep(min(pause, left))
        pause *= 1.5


def _target(probe: Probe, container: Container, pod_ip: str) -> tuple[str, int] | None:
    """Address and port that the probe connects to, None for a command or a port that nobody knows."""
    action = probe.http_get or probe.tcp_socket
    port = resolve_port(action.port, container) if action else probe.grpc.port if probe.grpc else None
    return None if port is None else ((action and action.host) or pod_ip, host_port(port))


def listens(address: str, port: int) -> bool:
    """Whether a program of this host listens on a TCP port of an IPv4 address, or of all addresses.

    Read from the kernel's tables, so that the program does not see anybody knocking.
    """
    wanted = {f"{_hexadecimal(host)}:{port:04X}" for host in (address, "0.0.0.0")} | {f"{'0' * 32}:{port:04X}"}
    return any(_has_listener(Path(table), wanted) for table in ("/proc/net/tcp", "/proc/net/tcp6"))


def _has_listener(table: Path, wanted: set[str]) -> bool:
    try:
        with table.open() as rows:
            next(rows)  # the heading
            for row in rows:
                _, local, _, state, _ = row.split(None, 4)
                if state != _LISTEN:
                    return False  # listeners come first, and the others are many
                if local in wanted:
                    return True
    except OSError:
        return False
    return False


def _hexadecimal(address: str) -> str:
    """As the tables print it: the four bytes in the host's order. "" for what is no IPv4 address."""
    try:
        return socket.inet_aton(address)[::-1].hex().upper()
    except OSError:
        return ""

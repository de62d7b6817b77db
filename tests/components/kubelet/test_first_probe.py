"""The first probe comes when the port is open, and does not wait for it long."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import msgspec

from kubeglass.components.api.objects import Container, Probe
from kubeglass.components.kubelet.first_probe import await_first_probe, listens

_ADDRESS = "127.254.3.9"
_TIMER_SECONDS = 0.002
"""A timer of the loop counts whole milliseconds, and may come that much early."""


def probe_of(fields: dict[str, Any]) -> Probe:
    return msgspec.convert(fields, Probe)


def container() -> Container:
    return msgspec.convert({"name": "main", "ports": [{"name": "http", "containerPort": 8080}]}, Container)


def listener(address: str = _ADDRESS, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    held = socket.socket(family)
    held.bind((address, port))
    held.listen()
    return held


def test_a_listener_is_seen_on_its_address_and_on_all() -> None:
    """One of another address of the host, or one that only is connected, does not count."""
    with listener() as own:
        port = own.getsockname()[1]
        assert listens(_ADDRESS, port)
        assert not listens("127.254.3.10", port)
        with socket.create_connection((_ADDRESS, port)) as client:
            assert not listens("127.0.0.1", client.getsockname()[1])
    assert not listens(_ADDRESS, port)
    for family, every in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        with listener(every, 0, family) as wide:
            assert listens(_ADDRESS, wide.getsockname()[1])
    assert not listens("not-an-address", port)


async def test_it_comes_when_the_port_opens() -> None:
    """Not before, and well before the second is over."""
    with listener() as found:
        port = found.getsockname()[1]
    started_at = asyncio.get_running_loop().time()
    probe = probe_of({"tcpSocket": {"port": port}})
    async with asyncio.timeout_at(started_at + 0.6), asyncio.TaskGroup() as group:
        waiting = group.create_task(await_first_probe(probe, container(), _ADDRESS, started_at))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        with listener(port=port):
            await waiting


async def test_it_does_not_wait_for_ever() -> None:
    """A port that stays closed is probed a second after the start: that it is closed is an answer."""
    loop = asyncio.get_running_loop()
    started_at = loop.time() - 0.8
    await await_first_probe(probe_of({"httpGet": {"port": "http"}}), container(), _ADDRESS, started_at)
    assert loop.time() >= started_at + 1.0 - _TIMER_SECONDS


async def test_the_initial_delay_comes_first() -> None:
    """An open port, or a command, is not asked before initialDelaySeconds."""
    loop = asyncio.get_running_loop()
    with listener() as own:
        for action in ({"tcpSocket": {"port": own.getsockname()[1]}}, {"exec": {"command": ["true"]}}):
            started_at = loop.time() - 0.9
            await await_first_probe(probe_of({"initialDelaySeconds": 1, **action}), container(), _ADDRESS, started_at)
            assert loop.time() >= started_at + 1.0 - _TIMER_SECONDS

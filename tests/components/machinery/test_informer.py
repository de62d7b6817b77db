"""Informers against a real API server."""

from __future__ import annotations

import asyncio

from kubeglass.components.api.kinds import CONFIG_MAP
from kubeglass.components.api.objects import ConfigMap
from kubeglass.components.apiserver.testing import running
from kubeglass.components.machinery.informer import Informer
from kubeglass.telemetry import Telemetry


async def test_each_list_and_watch_is_observed(telemetry: Telemetry) -> None:
    """The first LIST and the WATCH after it are told when the server has taken them, the WATCH before any event."""
    calls: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
    async with running() as server, asyncio.timeout(10), asyncio.TaskGroup() as group:
        informer = Informer(
            server.client(),
            CONFIG_MAP,
            ConfigMap,
            telemetry,
            observer=lambda verb, taken: calls.put_nowait((verb, taken)),
        )
        task = group.create_task(informer.run())
        assert [await calls.get(), await calls.get()] == [("list", True), ("watch", True)]
        task.cancel()


async def test_a_refused_list_is_observed(telemetry: Telemetry) -> None:
    """A LIST that the server refuses is told as refused."""
    calls: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
    async with running() as server, asyncio.timeout(10), asyncio.TaskGroup() as group:
        informer = Informer(
            server.client(),
            CONFIG_MAP,
            ConfigMap,
            telemetry,
            label_selector="a in",
            observer=lambda verb, taken: calls.put_nowait((verb, taken)),
        )
        task = group.create_task(informer.run())
        assert await calls.get() == ("list", False)
        task.cancel()


async def test_a_subscription_ends(telemetry: Telemetry) -> None:
    """After unsubscribing a handler hears nothing more, while others do."""
    ended: list[str] = []
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with running() as server, asyncio.timeout(10), asyncio.TaskGroup() as group:
        client = server.client()
        informer = Informer(client, CONFIG_MAP, ConfigMap, telemetry, namespace="default")
        unsubscribe = informer.subscribe(lambda change: ended.append(change.key))
        task = group.create_task(informer.run())
        await informer.synced.wait()
        unsubscribe()
        informer.subscribe(lambda change: heard.put_nowait(change.key))
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}}
        await client.create(CONFIG_MAP, body, "default")
        while await heard.get() != "default/late":
            pass
        assert "default/late" not in ended
        task.cancel()

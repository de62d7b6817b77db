"""Requests that end at a kubelet: logs, exec and port-forward pass through as bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from kubeglass.components.api import kinds
from kubeglass.components.apiserver.options import Options
from kubeglass.components.apiserver.testing import RunningServer, running

PODS = "/api/v1/namespaces/default/pods"


class FakeKubelet:
    """A plain-text kubelet: says what it was asked for, echoes on WebSockets."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = 0

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.raw_path}")
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._echo(request)
        if "previous" in request.query:
            return web.Response(status=400, text='previous terminated container "main" in pod "web" not found\n')
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for number in range(3):
            await response.write(b"line %d\n" % number)
        await response.write_eof()
        return response

    async def _echo(self, request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("v5.channel.k8s.io", "SPDY/3.1+portforward.k8s.io"))
        await socket.prepare(request)
        async for message in socket:
            await socket.send_bytes(message.data)
        return socket


class World:
    def __init__(self, server: RunningServer, kubelet: FakeKubelet, session: aiohttp.ClientSession) -> None:
        self.server, self.kubelet, self.session = server, kubelet, session
        self.ssl = server.access().ssl_context()

    def url(self, path: str) -> str:
        return self.server.url + path


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A server with one node, whose kubelet is a fake, and one Pod on it."""
    kubelet = FakeKubelet()
    runner = web.ServerRunner(web.Server(kubelet))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    kubelet.port = runner.addresses[0][1]
    async with running(Options(disable_admission_plugins=("ServiceAccount",))) as server:
        client = server.client()
        await client.create(kinds.NODE, {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n1"}, "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port}}}})  # fmt: skip
        containers = [{"name": "main", "image": "x"}, {"name": "side", "image": "x"}]
        for name, spec in (("web", {"nodeName": "n1", "containers": containers[:1]}),
                           ("two", {"nodeName": "n1", "containers": containers}),
                           ("waiting", {"containers": containers[:1]})):  # fmt: skip
            pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec}
            await client.create(kinds.POD, pod, "default")
        async with aiohttp.ClientSession() as session:
            yield World(server, kubelet, session)
    await runner.cleanup()


async def test_logs_are_streamed_from_the_kubelet(world: World) -> None:
    """The options travel on, the lines come back."""
    async with world.session.get(world.url(f"{PODS}/web/log?tailLines=3&follow=true"), ssl=world.ssl) as response:
        assert (response.status, await response.text()) == (200, "line 0\nline 1\nline 2\n")
    assert world.kubelet.asked == ["GET /containerLogs/default/web/main?follow=true&tailLines=3"]


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        (f"{PODS}/none/log", 404, "not found"),
        (f"{PODS}/two/log", 400, "a container name must be specified for pod two, choose one of: [main side]"),
        (f"{PODS}/web/log?container=x", 400, "container x is not valid for pod web"),
        (f"{PODS}/waiting/log", 204, ""),
        (
            f"{PODS}/web/log?previous=true",
            400,
            r'"message":"previous terminated container \"main\" in pod \"web\" not found","reason":"BadRequest"',
        ),
    ],
)
async def test_what_has_no_log_says_why(world: World, path: str, status: int, text: str) -> None:
    """Upstream's questions and refusals."""
    async with world.session.get(world.url(path), ssl=world.ssl) as response:
        body = await response.text()
        assert (response.status, text in body) == (status, True), body


async def test_exec_passes_through_a_websocket(world: World) -> None:
    """The upgrade reaches the kubelet with its subprotocol; frames travel both ways."""
    url = world.url(f"{PODS}/web/exec?command=sh&command=-c&stdin=true&stdout=true&tty=true")
    async with world.session.ws_connect(url, protocols=("v5.channel.k8s.io",), ssl=world.ssl) as socket:
        assert socket.protocol == "v5.channel.k8s.io"
        for size in (1, 1000, 300_000):
            await socket.send_bytes(b"x" * size)
            assert await socket.receive_bytes(timeout=10) == b"x" * size
    assert world.kubelet.asked == ["GET /exec/default/web/main?input=1&output=1&tty=1&command=sh&command=-c"]


async def test_port_forward_passes_through_too(world: World) -> None:
    """What kubectl tunnels in the WebSocket is none of our business."""
    url = world.url(f"{PODS}/web/portforward")
    async with world.session.ws_connect(url, protocols=("SPDY/3.1+portforward.k8s.io",), ssl=world.ssl) as socket:
        await socket.send_bytes(b"SPDY")
        assert await socket.receive_bytes(timeout=10) == b"SPDY"
    assert world.kubelet.asked == ["GET /portForward/default/web"]


async def test_an_exec_needs_a_command_and_a_host(world: World) -> None:
    """Both refusals come before any connection is made."""
    for path, text in (
        (f"{PODS}/web/exec", "you must specify at least one command for the container"),
        (f"{PODS}/waiting/exec?command=x", "pod waiting does not have a host assigned"),
    ):
        async with world.session.post(world.url(path), ssl=world.ssl) as response:
            assert (response.status, text in await response.text()) == (400, True)
    assert world.kubelet.asked == []


async def test_a_node_is_proxied_and_a_missing_kubelet_is_named(world: World) -> None:
    """nodes/proxy keeps path and query; a refused connection is a 503 that says where."""
    async with world.session.get(world.url("/api/v1/nodes/n1/proxy/stats/summary?x=1"), ssl=world.ssl) as response:
        assert response.status == 200
    assert world.kubelet.asked == ["GET /stats/summary?x=1"]
    patch: dict[str, Any] = {"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}}
    await world.server.client().patch(kinds.NODE, "n1", patch, subresource="status")
    async with world.session.get(world.url("/api/v1/nodes/n1/proxy/"), ssl=world.ssl) as response:
        body = await response.json()
        assert (response.status, "dial tcp 127.0.0.1:1: connect:" in body["message"]) == (503, True)


async def test_a_client_that_leaves_frees_the_tunnel(world: World) -> None:
    """The long-running gauge goes back to zero."""
    labels = {"verb": "CONNECT", "group": "", "version": "v1", "resource": "pods", "subresource": "exec",
              "scope": "resource", "component": "apiserver"}  # fmt: skip
    metrics = world.server.telemetry.metrics
    socket = await world.session.ws_connect(world.url(f"{PODS}/web/exec?command=x"), ssl=world.ssl)
    assert metrics.value("apiserver_longrunning_requests", **labels) == 1
    await socket.close()
    async with asyncio.timeout(5):
        while metrics.value("apiserver_longrunning_requests", **labels):
            await asyncio.sleep(0.01)

"""The apiserver against the least a Python server could do: a bare aiohttp handler that sends the same bytes over TLS.

What is compared is CPU time of the server process per request (or per delivered event), which noise hardly touches.
The whole path is measured: TLS, authentication, flow control, RBAC, metrics, caches, and for writes admission,
validation and a SQLite commit.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import multiprocessing.connection
import ssl
import statistics
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import psutil
import uvloop
from aiohttp import web
from tests.benchmarks.report import Row

from kubeglass.components.apiserver.options import Options
from kubeglass.components.apiserver.storage.sqlite import SqliteBackend
from kubeglass.components.apiserver.testing import running

_PODS = 500
_CONNECTIONS = 8
_WATCHERS = 200
_WRITES = 20
_MAPS = "/api/v1/namespaces/default/configmaps"
_PODS_PATH = "/api/v1/namespaces/default/pods"


def run(rounds: int) -> Iterable[Row]:
    """GET, LIST, POST and watch fan-out."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(Path(folder), max(3, rounds // 3)))


def pod(name: str) -> dict[str, Any]:
    """A Pod of the size a Deployment makes: about 3 KB with what the server adds."""
    containers = [
        {"name": f"c{number}", "image": "registry.example.com/team/app:1.2.3",
         "env": [{"name": f"VARIABLE_{index}", "value": "x" * 30} for index in range(8)],
         "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}
        for number in range(2)
    ]  # fmt: skip
    labels = {"app": "web", "tier": "front", "pod-template-hash": "6d4f7c9b5"}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": containers},
    }


def config_map(name: str) -> dict[str, Any]:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"text": "x" * 1200}}


class Server:
    """A server in its own process."""

    def __init__(self, target: Callable[..., None], *arguments: object) -> None:
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()  # so that a server that dies is noticed
        self._pipe = ours
        self.url, self._folder = ours.recv()
        self._watched = psutil.Process(self._process.pid)

    def ssl(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=f"{self._folder}/ca.crt")
        context.load_cert_chain(f"{self._folder}/admin.crt", f"{self._folder}/admin.key")
        return context

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        times = self._watched.cpu_times()
        return float(times.user + times.system)

    def stop(self) -> None:
        self._pipe.send(None)
        self._process.join(10)


def serve_api(pipe: multiprocessing.connection.Connection, folder: str) -> None:
    """The real server, on SQLite."""

    async def main() -> None:
        options = Options(disable_admission_plugins=("ServiceAccount",))
        backend = SqliteBackend(f"{folder}/store.db")
        async with running(options, backend=backend, folder=Path(folder)) as server:
            server.access("admin")
            pipe.send((server.url, folder))
            await asyncio.to_thread(pipe.recv)

    uvloop.run(main())


def serve_bytes(pipe: multiprocessing.connection.Connection, folder: str, bodies: dict[str, bytes]) -> None:
    """A bare aiohttp server: stored answers for GET, decode and encode for POST."""

    watching: list[web.StreamResponse] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.query_string:
            stream = web.StreamResponse()
            stream.enable_chunked_encoding()
            await stream.prepare(request)
            watching.append(stream)
            await asyncio.Event().wait()
        if request.method == "PUT":
            line = await request.read() + b"\n"
            await asyncio.gather(*(stream.write(line) for stream in watching))
            return web.Response()
        if request.method == "POST":
            body = msgspec.json.encode(msgspec.json.decode(await request.read()))
            return web.Response(status=201, body=body, content_type="application/json")
        return web.Response(body=bodies[request.path], content_type="application/json")

    async def main() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{folder}/apiserver.crt", f"{folder}/apiserver.key")
        runner = web.ServerRunner(web.Server(handle, access_log=None))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        pipe.send((f"https://127.0.0.1:{runner.addresses[0][1]}", folder))
        await asyncio.to_thread(pipe.recv)

    uvloop.run(main())


async def _measure(folder: Path, rounds: int) -> list[Row]:
    api = Server(serve_api, str(folder))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=api.ssl())) as session:
        for number in range(_PODS):
            await _send(session, "POST", api.url + _PODS_PATH, pod(f"p{number}"))
        one = await _send(session, "GET", f"{api.url}{_PODS_PATH}/p7")
        many = await _send(session, "GET", api.url + _PODS_PATH)
        bare = Server(serve_bytes, str(folder), {f"{_PODS_PATH}/p7": one, _PODS_PATH: many})
        try:
            one_pod = ("GET", f"{_PODS_PATH}/p7")
            return [
                await _against(session, api, bare, rounds, f"GET a Pod ({len(one)} B)", 400, *one_pod, 6),
                await _against(session, api, bare, rounds, f"LIST {_PODS} Pods", 20, "GET", _PODS_PATH, 2),
                await _against(session, api, bare, rounds, "POST a ConfigMap (1.3 KB)", 200, "POST", _MAPS, 20),
                await _fan_out(session, api, bare, rounds),
            ]
        finally:
            bare.stop()
            api.stop()


async def _send(session: aiohttp.ClientSession, method: str, url: str, obj: Any = None) -> bytes:
    data = None if obj is None else msgspec.json.encode(obj)
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    async with session.request(method, url, data=data, headers=headers) as response:
        body = await response.read()
        if response.status >= 400:
            raise RuntimeError(body.decode())
        return body


_names = iter(range(10**9))


async def _against(
    session: aiohttp.ClientSession,
    api: Server,
    bare: Server,
    rounds: int,
    what: str,
    count: int,
    method: str,
    path: str,
    bound: float,
) -> Row:
    """CPU per request of both servers, in turn."""

    async def load(server: Server) -> None:
        async def one() -> None:
            for _ in range(count // _CONNECTIONS):
                obj = config_map(f"c{next(_names)}") if method == "POST" else None
                await _send(session, method, server.url + path, obj)

        await asyncio.gather(*(one() for _ in range(_CONNECTIONS)))

    ours, theirs = await _cpu_of(api, lambda: load(api), rounds), await _cpu_of(bare, lambda: load(bare), rounds)
    ours, theirs = (seconds / count for seconds in (ours, theirs))
    ratio = ours / theirs if theirs else 0.0
    return Row(what, f"{ours * 1e6:.0f} µs CPU", f"{theirs * 1e6:.0f} µs CPU", ratio, f"<= {bound:g}", ratio <= bound)


async def _cpu_of(server: Server, load: Callable[[], Awaitable[None]], rounds: int) -> float:
    await load()
    spent = []
    for _ in range(rounds):
        before = server.cpu()
        await load()
        spent.append(server.cpu() - before)
    return statistics.median(spent)


async def _fan_out(session: aiohttp.ClientSession, api: Server, bare: Server, rounds: int) -> Row:
    """One writer, many watchers: CPU per delivered event; the bare server writes the same bytes to each."""
    body = config_map("fan")
    await _send(session, "POST", api.url + _MAPS, body)
    ours, theirs = [await _delivered(session, server, rounds, body) / (_WRITES * _WATCHERS) for server in (api, bare)]
    ratio = ours / theirs
    what = f"watch: one event to {_WATCHERS} watchers"
    return Row(what, f"{ours * 1e6:.0f} µs CPU", f"{theirs * 1e6:.0f} µs CPU", ratio, "<= 2", ratio <= 2)


async def _delivered(session: aiohttp.ClientSession, server: Server, rounds: int, body: dict[str, Any]) -> float:
    connector = aiohttp.TCPConnector(limit=0, ssl=server.ssl())
    async with aiohttp.ClientSession(connector=connector) as watching:
        url = f"{server.url}{_MAPS}?watch=1&resourceVersion=0&sendInitialEvents=false&resourceVersionMatch=NotOlderThan"
        streams = await asyncio.gather(*(watching.get(url) for _ in range(_WATCHERS)))

        async def drain(stream: aiohttp.ClientResponse) -> None:
            for _ in range(_WRITES):
                await stream.content.readline()

        spent = []
        for number in range(rounds):
            before = server.cpu()
            async with asyncio.TaskGroup() as group:
                for stream in streams:
                    group.create_task(drain(stream))
                for write in range(_WRITES):
                    data = {"text": f"{number}.{write}" * 100}
                    await _send(session, "PUT", f"{server.url}{_MAPS}/fan", {**body, "data": data})
            spent.append(server.cpu() - before)
        for stream in streams:
            stream.close()
    return statistics.median(spent)

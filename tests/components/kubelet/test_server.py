"""The kubelet's server: logs, exec, attach, port forwarding and metrics of Pods that really run."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from kubeglass.components.kubelet.spdy import DICTIONARY


def shell(script: str, **more: Any) -> dict[str, Any]:
    container = {"name": "x", "image": "busybox:1", "command": ["sh", "-c", script], **more}
    return {
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }


@asynccontextmanager
async def serving(node: Any, api: Any, pod: dict[str, Any], seconds: float = 15) -> AsyncIterator[tuple[Any, str]]:
    """A running pod, an HTTP session, the kubelet's URL."""
    api.apply(pod)
    async with node.running() as kubelet, aiohttp.ClientSession() as session:

        def running() -> bool:
            statuses = api.pod("p")["status"].get("containerStatuses") or [{}]
            state = statuses[0].get("state", {})
            return "running" in state or "terminated" in state or "terminated" in statuses[0].get("lastState", {})

        await api.until(running, seconds)
        yield session, f"http://127.0.0.1:{kubelet.server.port}"


async def text(session: Any, url: str) -> str:
    async with session.get(url) as response:
        body: str = await response.text()
        return body


async def test_logs_can_be_cut_and_stamped(node: Any, api: Any) -> None:
    """tailLines, limitBytes, timestamps and stream cut a log as kubectl's flags do."""
    async with serving(node, api, shell("seq 1 5; echo oops >&2; sleep 100")) as (session, url):
        logs = f"{url}/containerLogs/default/p/x"
        await asyncio.sleep(0.3)
        assert await text(session, f"{logs}?stream=stdout") == "1\n2\n3\n4\n5\n"
        assert await text(session, f"{logs}?stream=stdout&tailLines=2") == "4\n5\n"
        assert await text(session, f"{logs}?stream=stdout&limitBytes=3") == "1\n2"
        assert await text(session, f"{logs}?stream=stderr") == "oops\n"
        stamped = (await text(session, f"{logs}?stream=stderr&timestamps=true")).split(" ")
        assert stamped[0].endswith("Z")
        assert stamped[1] == "oops\n"
        assert await text(session, f"{logs}?tailLines=0") == ""
        async with session.get(f"{logs}?tailLines=-1") as response:
            assert response.status == 422


async def test_following_a_log_ends_with_the_container(node: Any, api: Any) -> None:
    """follow streams lines as they are written and ends when the container does."""
    pod = shell("for i in 1 2 3; do echo $i; sleep 0.3; done")
    pod["spec"]["restartPolicy"] = "Never"
    async with serving(node, api, pod) as (session, url):
        async with asyncio.timeout(10):
            assert await text(session, f"{url}/containerLogs/default/p/x?follow=true") == "1\n2\n3\n"


async def test_previous_log(node: Any, api: Any) -> None:
    """previous=true shows the container before the restart."""
    async with serving(node, api, shell("echo run; exit 1")) as (session, url):
        await api.until(lambda: api.pod("p")["status"]["containerStatuses"][0]["restartCount"] == 1)
        assert await text(session, f"{url}/containerLogs/default/p/x?previous=true") == "run\n"


async def test_logs_of_unknown_pods_are_refused(node: Any, api: Any) -> None:
    """A pod or container that is not there is named in the answer."""
    async with serving(node, api, shell("sleep 100")) as (session, url):
        assert await text(session, f"{url}/containerLogs/default/nope/x") == 'pod "nope" does not exist\n'
        assert await text(session, f"{url}/containerLogs/default/p/y") == "container y is not valid for pod p\n"


async def messages(socket: Any) -> tuple[dict[int, bytes], dict[str, Any]]:
    """All bytes by channel, and the final Status."""
    channels: dict[int, bytes] = {}
    async for message in socket:
        channels[message.data[0]] = channels.get(message.data[0], b"") + message.data[1:]
    return channels, json.loads(channels.pop(3, b"{}"))


async def test_exec_carries_streams_and_exit_code(node: Any, api: Any) -> None:
    """exec over v5.channel.k8s.io: stdin in and closed, stdout and stderr apart, the exit code in the Status."""
    async with serving(node, api, shell("sleep 100")) as (session, url):
        query = "input=1&output=1&error=1&command=sh&command=-c&command=cat;+echo+err+>%262;+exit+3"
        async with session.ws_connect(f"{url}/exec/default/p/x?{query}", protocols=("v5.channel.k8s.io",)) as socket:
            assert socket.protocol == "v5.channel.k8s.io"
            await socket.send_bytes(b"\x00hello")
            await socket.send_bytes(b"\xff\x00")
            channels, status = await messages(socket)
        assert channels == {1: b"hello", 2: b"err\n"}
        assert status["reason"] == "NonZeroExitCode"
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


async def test_exec_with_a_terminal_has_its_size(node: Any, api: Any) -> None:
    """A terminal takes its size from channel 4 and ends with success."""
    async with serving(node, api, shell("sleep 100")) as (session, url):
        query = "input=1&output=1&tty=1&command=sh"
        async with session.ws_connect(f"{url}/exec/default/p/x?{query}", protocols=("v4.channel.k8s.io",)) as socket:
            await socket.send_bytes(b'\x04{"Width":91,"Height":37}')
            await socket.send_bytes(b"\x00stty size; exit\n")
            channels, status = await messages(socket)
        assert b"37 91" in channels[1]
        assert status["status"] == "Success"


async def test_exec_of_a_missing_command(node: Any, api: Any) -> None:
    """A command that is not there is told in the Status."""
    async with serving(node, api, shell("sleep 100")) as (session, url):
        async with session.ws_connect(
            f"{url}/exec/default/p/x?output=1&command=nosuch", protocols=("v4.channel.k8s.io",)
        ) as socket:
            _, status = await messages(socket)
        assert 'exec: "nosuch": executable file not found in $PATH' in status["message"]


async def test_attach_sees_output_and_feeds_input(node: Any, api: Any) -> None:
    """attach joins a running container's streams and ends with it."""
    pod = shell("while read line; do echo got $line; done", stdin=True, stdinOnce=True)
    async with serving(node, api, pod) as (session, url):
        async with session.ws_connect(
            f"{url}/attach/default/p/x?input=1&output=1", protocols=("v4.channel.k8s.io",)
        ) as socket:
            await socket.receive()
            await socket.send_bytes(b"\x00one\n")
            message = await socket.receive(timeout=5)
            assert message.data == b"\x01got one\n"


def web() -> dict[str, Any]:
    container = {
        "name": "x",
        "image": "nginx",
        "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1},
    }
    return {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}}


async def ready(api: Any) -> None:
    await api.until(lambda: api.pod("p")["status"]["containerStatuses"][0]["ready"])


async def test_port_forward_by_channels(node: Any, api: Any) -> None:
    """Two channels per port; the first two bytes of each name the port."""
    async with serving(node, api, web()) as (session, url):
        await ready(api)
        async with session.ws_connect(
            f"{url}/portForward/default/p?port=80", protocols=("v4.channel.k8s.io",)
        ) as socket:
            assert (await socket.receive()).data == b"\x00\x50\x00"
            assert (await socket.receive()).data == b"\x01\x50\x00"
            await socket.send_bytes(b"\x00GET / HTTP/1.0\r\n\r\n")
            answer = (await socket.receive(timeout=5)).data
        assert answer.startswith(b"\x00HTTP/1.1 200 OK\r\nServer: nginx\r\n")


class SpdyClient:
    """As much of kubectl's side as a test needs."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    async def open(self, number: int, headers: dict[str, str]) -> None:
        block = len(headers).to_bytes(4, "big")
        for pair in headers.items():
            for word in pair:
                block += len(word).to_bytes(4, "big") + word.encode()
        packed = self._deflate.compress(block) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        body = number.to_bytes(4, "big") + bytes(6) + packed
        await self._socket.send_bytes(b"\x80\x03\x00\x01\x00" + len(body).to_bytes(3, "big") + body)

    async def send(self, number: int, data: bytes) -> None:
        await self._socket.send_bytes(number.to_bytes(4, "big") + b"\x00" + len(data).to_bytes(3, "big") + data)

    async def data_of(self, number: int) -> bytes:
        while True:
            data = (await self._socket.receive(timeout=5)).data
            if data[:4] == number.to_bytes(4, "big") and len(data) > 8:
                return bytes(data[8:])


async def test_port_forward_by_spdy_tunnel(node: Any, api: Any) -> None:
    """kubectl's tunnel: SPDY streams inside the WebSocket, a pair per connection; a dead port is told on one."""
    async with serving(node, api, web()) as (session, url):
        await ready(api)
        protocol = "SPDY/3.1+portforward.k8s.io"
        async with session.ws_connect(f"{url}/portForward/default/p", protocols=(protocol,)) as socket:
            assert socket.protocol == protocol
            spdy = SpdyClient(socket)
            await spdy.open(1, {"streamtype": "error", "port": "80", "requestid": "0"})
            await spdy.open(3, {"streamtype": "data", "port": "80", "requestid": "0"})
            await spdy.send(3, b"GET / HTTP/1.0\r\n\r\n")
            assert (await spdy.data_of(3)).startswith(b"HTTP/1.1 200 OK")
            await spdy.open(5, {"streamtype": "error", "port": "81", "requestid": "1"})
            await spdy.open(7, {"streamtype": "data", "port": "81", "requestid": "1"})
            assert b"error forwarding port 81 to pod p" in await spdy.data_of(5)


async def test_metrics_tell_what_containers_use(node: Any, api: Any) -> None:
    """cAdvisor, resource, probe and kubelet metrics carry the pod's labels; the summary has the pod."""
    async with serving(node, api, web()) as (session, url):
        await ready(api)
        cadvisor = await text(session, f"{url}/metrics/cadvisor")
        assert 'container="x"' in cadvisor
        assert 'image="docker.io/library/nginx:latest"' in cadvisor
        assert "container_memory_working_set_bytes{" in cadvisor
        assert "machine_cpu_cores{" in cadvisor
        resource = await text(session, f"{url}/metrics/resource")
        assert 'container_cpu_usage_seconds_total{container="x",namespace="default",pod="p"}' in resource
        assert 'prober_probe_total{container="x",namespace="default",pod="p"' in await text(
            session, f"{url}/metrics/probes"
        )
        own = await text(session, f"{url}/metrics")
        assert 'kubelet_node_name{node="node-1"} 1' in own
        assert 'kubelet_runtime_operations_total{operation_type="create_container"} 1' in own
        assert "kubelet_pod_start_duration_seconds_count 1" in own
        summary = json.loads(await text(session, f"{url}/stats/summary"))
        assert summary["pods"][0]["podRef"]["name"] == "p"
        assert summary["pods"][0]["containers"][0]["memory"]["workingSetBytes"] > 0
        assert await text(session, f"{url}/healthz") == "ok"
        assert json.loads(await text(session, f"{url}/pods"))["items"][0]["metadata"]["name"] == "p"


async def test_a_container_killed_for_its_memory_is_counted(node: Any, api: Any) -> None:
    """Exit code 137, reason OOMKilled; its Pod's counter rises though the container is gone, a neighbour's does not."""
    eat = 'while :; do eaten="$eaten$(head -c 4000000 /dev/zero | tr "\\0" x)"; sleep 0.05; done'
    pod = shell(eat)
    pod["spec"]["containers"][0]["resources"] = {"limits": {"memory": "32Mi"}}
    pod["spec"]["containers"].append({**shell("sleep 100")["spec"]["containers"][0], "name": "modest"})

    def ended() -> dict[str, Any]:
        statuses = (api.pod("p") or {"status": {}})["status"].get("containerStatuses", ())
        status = next((one for one in statuses if one["name"] == "x"), {})
        found: dict[str, Any] = status.get("lastState", {}).get("terminated") or {}
        return found

    async with serving(node, api, pod) as (session, url):
        ending = await api.until(ended, 30)
        assert (ending["exitCode"], ending["reason"]) == (137, "OOMKilled")
        exposition = await text(session, f"{url}/metrics/cadvisor")
        found = re.findall(r'^container_oom_events_total\{container="([^"]*)",.* (\d+) \d+$', exposition, re.M)
        events = {container: int(count) for container, count in found}
        assert events[""] >= 1
        assert events["modest"] == 0

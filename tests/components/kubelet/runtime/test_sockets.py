"""Programs that listen on every address get their Pod's instead, so that Pods do not exclude each other."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from kubeglass.components.kubelet.runtime.images import Catalog
from kubeglass.components.kubelet.runtime.process import ProcessRuntime
from kubeglass.components.kubelet.runtime.runtime import ContainerConfig, SandboxConfig
from kubeglass.components.kubelet.runtime.shims import stop_all

pytestmark = pytest.mark.skipif(
    os.uname().machine not in ("x86_64", "aarch64"), reason="system call numbers are known for x86-64 and arm64"
)
SERVE = """
import socket, sys, threading
family, text, port = (socket.AF_INET6, '::', {port}) if {v6} else (socket.AF_INET, '0.0.0.0', {port})
s = socket.socket(family); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((text, port)); s.listen()
while True:
    c, _ = s.accept(); c.sendall(b'{name}'); c.close()
"""


@pytest.fixture
async def node(tmp_path):
    folder = tmp_path / "nodes" / "n"
    folder.mkdir(parents=True)
    runtime = ProcessRuntime(folder, Catalog.load())
    await runtime.start()
    yield runtime
    await runtime.close()
    stop_all(tmp_path)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def run(
    node: ProcessRuntime, ip: str, script: str, sandbox: str = "", log: Path | None = None
) -> tuple[str, str]:
    sandbox = sandbox or await node.run_pod_sandbox(SandboxConfig(ip, "default", "p"), ip)
    await node.pull_image("python")
    config = ContainerConfig(
        "c", "python", command=("python3", "-c", script), pod_ip=ip, log_path=str(log) if log else ""
    )
    container = await node.create_container(sandbox, config)
    await node.start_container(container)
    return sandbox, container


async def answer(ip: str, port: int) -> str:
    async with asyncio.timeout(10):
        while True:
            try:
                reader, writer = await asyncio.open_connection(ip, port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
                continue
            text = await reader.read()
            writer.close()
            return text.decode()


@pytest.mark.parametrize("v6", [False, True])
async def test_same_port_in_two_pods(node, port, v6):
    """Two Pods listen on the same port of every address; each answers on its own, nobody on the host's."""
    for name, ip in (("one", "127.143.8.2"), ("two", "127.143.8.3")):
        await run(node, ip, SERVE.format(port=port, name=name, v6=v6))
    assert await answer("127.143.8.2", port) == "one"
    assert await answer("127.143.8.3", port) == "two"
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_localhost_within_the_pod(node, port, tmp_path):
    """Containers of the Pod, and commands in them, reach such a server by localhost; from threads as well."""
    sandbox, _ = await run(node, "127.143.8.4", SERVE.format(port=port, name="mine", v6=False))
    await answer("127.143.8.4", port)
    fetch = (
        "import socket, threading, time\n"
        f"get = lambda: print(socket.create_connection(('127.0.0.1', {port})).recv(9).decode(), flush=True)\n"
        "t = threading.Thread(target=get); t.start(); t.join(); time.sleep(60)"
    )
    _, beside = await run(node, "127.143.8.4", fetch, sandbox, log=tmp_path / "log")
    async with asyncio.timeout(10):
        while "stdout F mine" not in (tmp_path / "log").read_text():
            await asyncio.sleep(0.02)
    command = ["python3", "-c", f"import socket; print(socket.create_connection(('127.0.0.1', {port})).recv(9))"]
    result = await node.exec_sync(beside, command, 10)
    assert result.stdout == b"b'mine'\n"


async def test_an_address_in_use_is_said(node, port):
    """A second server on the same port of the same Pod fails as it would on a host of its own."""
    sandbox, _ = await run(node, "127.143.8.5", SERVE.format(port=port, name="first", v6=False))
    await answer("127.143.8.5", port)
    _, second = await run(node, "127.143.8.5", SERVE.format(port=port, name="second", v6=False), sandbox)
    async with asyncio.timeout(10):
        while (await node.container_status(second)).exit_code != 1:
            await asyncio.sleep(0.02)

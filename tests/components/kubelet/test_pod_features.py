"""Rarer wishes of Pods, with real processes: gRPC probes, host aliases, deadlines, rotated logs."""

import gzip
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVER = """
import sys
from concurrent import futures
import grpc
serving = lambda request, context: b"\\x08\\x01" if request in (b"", b"\\x0a\\x05ready") else b"\\x08\\x03"
health = grpc.method_handlers_generic_handler(
    "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(serving)})
server = grpc.server(futures.ThreadPoolExecutor())
server.add_generic_rpc_handlers((health,))
assert server.add_insecure_port(sys.argv[1]), "cannot listen"
server.start()
server.wait_for_termination()
"""


@pytest.fixture
def grpc_server() -> Iterator[int]:
    """A real gRPC health service; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", SERVER, f"127.0.0.1:{port}"])
    yield port
    process.kill()
    process.wait()


def condition(pod: dict, name: str) -> dict:
    return next((c for c in (pod or {}).get("status", {}).get("conditions", ()) if c["type"] == name), {})


def logged(node, pod: dict, name: str) -> list[str]:
    meta = pod["metadata"]
    folder = node.config.root_dir / f"log/pods/{meta['namespace']}_{meta['name']}_{meta['uid']}" / name
    files = sorted(folder.glob("0.log*"), key=lambda file: (file.name == "0.log", file.name))
    contents = [gzip.decompress(f.read_bytes()) if f.suffix == ".gz" else f.read_bytes() for f in files]
    return [line for content in contents for line in content.decode().splitlines()]


async def test_grpc_probe(node, api, grpc_server) -> None:
    """A service that says SERVING makes its Pod ready; another one is answered as Kubernetes words it."""
    probe = {"port": grpc_server, "service": "ready"}
    for name, service in (("good", "ready"), ("bad", "other")):
        api.apply(
            {
                "kind": "Pod",
                "metadata": {"name": name},
                "spec": {
                    "hostNetwork": True,
                    "terminationGracePeriodSeconds": 1,
                    "containers": [
                        {
                            "name": "c",
                            "image": "busybox",
                            "command": ["sleep", "100"],
                            "readinessProbe": {
                                "grpc": {**probe, "service": service}, "periodSeconds": 1, "timeoutSeconds": 1,
                                "failureThreshold": 1, "successThreshold": 1,
                            },
                        }
                    ],
                },
            }
        )  # fmt: skip
    async with node.running(node_ip="127.0.0.1"):
        await api.until(lambda: condition(api.pod("good"), "Ready").get("status") == "True")
        await api.until(lambda: api.events("Unhealthy"))
        assert api.events("Unhealthy")[0]["message"] == (
            'Readiness probe failed: service unhealthy (responded with "SERVICE_UNKNOWN")'
        )
        assert condition(api.pod("bad"), "Ready")["status"] == "False"


async def test_host_aliases(node, api) -> None:
    """The container's /etc/hosts has the aliases, after its own address and name."""
    pod = api.apply(
        "{kind: Pod, metadata: {name: a}, spec: {restartPolicy: Never,"
        " hostAliases: [{ip: 10.1.2.3, hostnames: [foo.local, bar.local]}],"
        " containers: [{name: c, image: busybox, command: [cat, /etc/hosts]}]}}"
    )
    async with node.running():
        await api.until(lambda: (api.pod("a") or {}).get("status", {}).get("phase") == "Succeeded")
    text = "\n".join(line.split(" ", 3)[3] for line in logged(node, pod, "c"))
    assert text.startswith("# Kubernetes-managed hosts file.")
    assert re.search(rf"^{re.escape(api.pod('a')['status']['podIP'])}\ta$", text, re.M)
    assert "# Entries added by HostAliases.\n10.1.2.3\tfoo.local\tbar.local" in text


async def test_active_deadline(node, api) -> None:
    """A Pod that runs longer than it may fails with DeadlineExceeded, and its process ends."""
    api.apply(
        "{kind: Pod, metadata: {name: late}, spec: {activeDeadlineSeconds: 1, terminationGracePeriodSeconds: 1,"
        " containers: [{name: c, image: busybox, command: [sleep, '100']}]}}"
    )
    async with node.running() as kubelet:
        await api.until(lambda: (api.pod("late") or {}).get("status", {}).get("reason") == "DeadlineExceeded")
        status = api.pod("late")["status"]
        assert status["phase"] == "Failed"
        assert status["message"] == "Pod was active on the node longer than the specified deadline"
        await api.until(lambda: not any(c.pid for c in kubelet.runtime._inner._containers.values()))


async def test_rotation_loses_no_line(node, api) -> None:
    """Every line of a container that writes past several rotations is in its files, in order, once."""
    count = 3000
    script = f"import time\nfor n in range({count}): print(n, 'x' * 100, flush=True); n % 1000 or time.sleep(1.1)"
    pod = api.apply(
        {
            "kind": "Pod",
            "metadata": {"name": "chatty"},
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "c", "image": "busybox", "command": ["python3", "-c", script]}],
            },
        }
    )
    async with node.running(container_log_max_size=64 * 1024, container_log_max_files=100):
        await api.until(lambda: (api.pod("chatty") or {}).get("status", {}).get("phase") == "Succeeded")
    numbers = [int(line.split(" ")[3]) for line in logged(node, pod, "c")]
    assert numbers == list(range(count))
    assert len(list(Path(node.config.root_dir).glob("log/pods/*/c/0.log*"))) >= 3

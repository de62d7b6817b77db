"""A cluster's logs as its operator meets them: `kubectl logs` across rotations, log queries, verbosity, files."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.cluster import Cluster, cluster, eventually

HEADER = re.compile(r"[IWEF]\d{4} \d{2}:\d{2}:\d{2}\.\d{6} +\d+ [^:]+:\d+\] ")
LINES = 3000
CHATTY = f"""
i=0
while [ $i -lt {LINES} ]; do
  i=$((i+1)); echo "line $i of a log that is rotated again and again, once in a second at most"
  [ $((i % 750)) -eq 0 ] && sleep 1.1
done
sleep 1000
"""


@pytest.fixture(scope="module")
def small_logs() -> Iterator[Cluster]:
    """A cluster whose container logs are rotated at 64 KiB and whose component logs at 32 KiB."""
    flags = (
        "kubelet=--container-log-max-size=64Ki",
        "kubelet=--container-log-max-files=10",
        "apiserver=--log-file-max-size=32Ki",
        "apiserver=--log-file-max-files=3",
    )
    with cluster("-v", "4", *(part for flag in flags for part in ("--component-flag", flag))) as running:
        yield running


def run(cluster: Cluster, name: str, script: str, **spec: Any) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "busybox:1.36", "command": ["sh", "-c", script]}],
            **spec,
        },
    }
    cluster.kubectl("apply", "-f", "-", input=json.dumps(pod))
    eventually(lambda: phase(cluster, name) in ("Running", "Succeeded"), f"{name} runs")


def phase(cluster: Cluster, name: str) -> str:
    return str(cluster.get("pod", name)["status"].get("phase", ""))


def numbers(text: str) -> list[int]:
    return [int(found) for found in re.findall(r"^line (\d+) of", text, re.MULTILINE)]


def test_kubectl_logs_across_rotations(small_logs: Cluster) -> None:
    """Every line comes once and in order, from files of every age; --tail, --since and --timestamps cut."""
    run(small_logs, "chatty", CHATTY)
    logs = lambda *argv: small_logs.kubectl("logs", "chatty", *argv)  # noqa: E731
    eventually(lambda: numbers(logs("--tail=1")) == [LINES], "everything is written")
    assert numbers(logs()) == list(range(1, LINES + 1))
    assert numbers(logs("--tail=2500")) == list(range(LINES - 2499, LINES + 1))
    assert numbers(logs("--since=10m")) == list(range(1, LINES + 1))
    assert logs("--since-time=2099-01-01T00:00:00Z") == ""
    stamped = logs("--timestamps", "--tail=1")
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{9}}Z line {LINES} of [^\n]*\n", stamped)
    files = [path.name for path in small_logs.data.glob("nodes/node-1/log/pods/default_chatty_*/main/*")]
    assert len(files) >= 3
    assert any(name.endswith(".gz") for name in files)


def test_following_survives_rotations(small_logs: Cluster) -> None:
    """`kubectl logs -f` hands on every line once while files are rotated away under it, and ends with the container."""
    script = f'i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo "line $i of a log that is followed"; done'
    run(small_logs, "followed", f"sleep 1; {script}", restartPolicy="Never")
    assert numbers(small_logs.kubectl("logs", "-f", "followed")) == list(range(1, LINES + 1))


def test_previous(small_logs: Cluster) -> None:
    """`--previous` shows the container that ended; without one, upstream's refusal."""
    run(small_logs, "restarted", 'echo "line 7 of a life"; exit 1')

    def restarted() -> bool:
        statuses = small_logs.get("pod", "restarted")["status"].get("containerStatuses") or [{}]
        return int(statuses[0].get("restartCount", 0)) > 0

    eventually(restarted, "the container was restarted")
    assert small_logs.kubectl("logs", "--previous", "restarted") == "line 7 of a life\n"
    refused = small_logs.command("kubectl", "logs", "--previous", "chatty")
    assert 'previous terminated container "main" in pod "chatty" not found' in refused.stderr


def test_log_queries(small_logs: Cluster) -> None:
    """The kubelet answers for itself and kube-proxy, by count, time and pattern, and lets its log folder be browsed."""

    def raw(path: str) -> str:
        return small_logs.kubectl("get", "--raw", f"/api/v1/nodes/node-1/proxy/logs/{path}")

    line = re.compile(r"\w{3} \d\d \d\d:\d\d:\d\d\.\d{6} node-1 kubelet\[\d+\]: ")
    everything = raw("?query=kubelet").splitlines()
    assert all(line.match(text) for text in everything)
    assert '"Starting" component="kubelet"' in everything[0]
    assert len(raw("?query=kubelet&tailLines=3").splitlines()) == 3
    found = raw("?query=kubelet&pattern=successfully+registered").splitlines()
    assert [text for text in found if "Successfully registered node" not in text] == []
    assert len(found) == 1
    assert raw("?query=kubelet&sinceTime=2099-01-01T00:00:00Z") == "-- No entries --\n"
    assert "kube-proxy[" in raw("?query=kube-proxy&tailLines=1")
    assert raw("?query=nothing") == "\nlog not found for nothing\n"
    assert '<a href="pods/">pods/</a>' in raw("")
    refused = small_logs.command("kubectl", "get", "--raw", "/api/v1/nodes/node-1/proxy/logs/?query=kubelet&boot=1")
    assert "boot: Invalid value: 1: must be less than 1" in refused.stderr


def test_component_logs_rotate(small_logs: Cluster) -> None:
    """The apiserver's log stays within its limits, and every file in it begins with a whole record."""
    logs = small_logs.data / "logs"
    for _ in range(200):
        small_logs.curl("/version")
        if len(list(logs.glob("apiserver.log.*"))) >= 2:
            break
    files = sorted(logs.glob("apiserver.log*"))
    assert 2 <= len(files) <= 3
    for path in files:
        content = path.read_text()
        assert len(content) <= 32 * 1024 or content.count("] ") <= 2
        assert HEADER.match(content)


def test_verbosity_changes_while_running(small_logs: Cluster) -> None:
    """`PUT /debug/flags/v` takes effect at once on every component that serves HTTPS, with upstream's answers."""
    components = small_logs.status()["components"]
    for name in ("apiserver", "controller-manager", "scheduler", "kubelet/node-1"):
        url = f"{components[name]['url']}/debug/flags/v"
        told = small_logs.curl(url, "-X", "PUT", "-d", "7").decode()
        assert told == "successfully set klog.logging.verbosity to 7"
    log = small_logs.data / "logs" / "scheduler.log"
    eventually(lambda: '"Request" ' in log.read_text(), "the scheduler says more", 30)
    url = f"{components['scheduler']['url']}/debug/flags/v"
    assert small_logs.curl(url, "-X", "PUT", "-d", "2").decode() == "successfully set klog.logging.verbosity to 2"
    time.sleep(0.5)
    size = log.stat().st_size
    time.sleep(4)  # longer than its lease is renewed
    assert "Request" not in log.read_bytes()[size:].decode()
    refused = small_logs.curl(url, "-X", "PUT", "-d", "x", "-o", "-", "-w", "%{http_code}").decode()
    assert refused.startswith("failed set klog.logging.verbosity x: strconv.ParseUint: parsing")
    assert refused.endswith("400")
    assert small_logs.curl(url, "-o", "/dev/null", "-w", "%{http_code}") == b"406"

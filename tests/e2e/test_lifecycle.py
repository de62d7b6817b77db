"""A cluster's own life: foreground, twice, beside another, on etcd."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.e2e.cluster import ROOT, Cluster, cluster, eventually, leftovers, ready_pods


@pytest.fixture
def apart(tmp_path) -> Iterator[Cluster]:
    """A data dir without a cluster yet; whatever a test leaves there is ended."""
    data = tmp_path / "data"
    data.mkdir()
    running = Cluster(data)
    yield running
    running.kubeglass("down", check=False)


def test_ctrl_c_leaves_nothing(apart):
    """`up` in the foreground says where to look, and Ctrl-C ends every process of the cluster."""
    up = apart.start(sys.executable, "-m", "kubeglass", "up", "--ports", "auto")
    lines = []
    for line in up.stdout:
        lines.append(line)
        if "Ctrl-C stops the cluster" in line:
            break
    apart.kubectl("run", "p", "--image=registry.k8s.io/pause:3.10")
    eventually(lambda: ready_pods(apart.pods()), "the pod runs")
    up.send_signal(signal.SIGINT)
    assert up.wait(60) == 0
    assert any("apiserver" in line and "up after" in line for line in lines)
    eventually(lambda: leftovers(apart.data) == [], "nothing is left")


def test_interrupted_boot_leaves_nothing(apart):
    """Ctrl-C while components are starting ends those that were started."""
    up = apart.start(sys.executable, "-m", "kubeglass", "up", "--ports", "auto", "--detach")
    eventually(lambda: list((apart.data / "run").glob("*.pid")), "a component was started")
    up.send_signal(signal.SIGINT)
    up.wait(60)
    if up.returncode:  # else it was ready before the signal came
        assert up.returncode == 130
        eventually(lambda: leftovers(apart.data) == [], "nothing is left")


def test_up_twice_changes_nothing(one_node):
    """`up` on a running cluster starts nothing and says it is ready."""
    before = one_node.status()["components"]
    assert "ready in" in one_node.kubeglass("up", "--detach").stdout
    assert one_node.status()["components"] == before


def test_the_status_contract(one_node):
    """`status -o json` has the keys that scripts rely on, and every file and process it names exists."""
    status = one_node.status()
    assert status["ready"] is True
    assert status["version"] == "v1.36.2+kubeglass"
    assert status["dataDir"] == str(one_node.data)
    assert json.loads(one_node.kubectl("config", "view", "-o", "json", "--kubeconfig", status["kubeconfig"]))[
        "contexts"
    ]
    names = {
        "apiserver",
        "scheduler",
        "controller-manager",
        "collector",
        "state-metrics",
        "kubelet/node-1",
        "proxy/node-1",
    }
    assert names <= set(status["components"])
    for component in status["components"].values():
        os.kill(component["pid"], 0)
        assert os.path.exists(component["log"])
        assert component["metrics"] and component["healthz"] and component["url"]
    assert set(status["collector"]) == {"otlpGrpc", "otlpHttp", "query"}


def test_two_clusters_side_by_side(one_node):
    """A second data dir is a second cluster: same object names, other ports and addresses, no interference."""
    with cluster() as other:
        for each in (one_node, other):
            each.kubectl("create", "deployment", "web", "--image=nginx:1.27")
            each.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        ours = one_node.pods("app=web")[0]["status"]["podIP"]
        theirs = other.pods("app=web")[0]["status"]["podIP"]
        assert ours != theirs
    assert ready_pods(one_node.pods("app=web"))
    one_node.kubectl("delete", "deployment", "web")


def test_a_stopped_cluster_moves_to_other_ports(apart):
    """Whose port was taken meanwhile is told so, and comes back elsewhere with --ports auto: all clients follow."""
    apart.kubeglass("up", "--detach", "--ports", "auto")
    apart.kubectl("create", "deployment", "web", "--image=nginx:1.27")
    apart.kubeglass("down")
    port = json.loads((apart.data / "cluster.json").read_text())["ports"]["apiserver"]
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        refused = apart.kubeglass("up", "--detach", check=False)
        assert refused.returncode == 1
        assert f"127.0.0.1:{port}: the port is in use" in refused.stderr
        apart.kubeglass("up", "--detach", "--ports", "auto")
    apart.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    pod = apart.pods("app=web")[0]["metadata"]["name"]
    assert apart.kubectl("exec", pod, "--", "echo", "here").strip() == "here"
    service = json.loads(apart.kubectl("get", "service", "kubernetes", "-o", "json"))
    assert f"127.0.0.1:{service['spec']['ports'][0]['targetPort']}" in apart.kubectl("get", "endpoints", "kubernetes")


@pytest.fixture
def etcd(tmp_path):
    """A real etcd on loopback; its URL."""
    if shutil.which("etcd") is None:
        pytest.skip("needs a real etcd: apt-get install etcd-server")
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    client, peer = (f"http://127.0.0.1:{port}" for port in ports)
    server = subprocess.Popen(
        [
            "etcd", "--data-dir", str(tmp_path / "etcd"), "--listen-client-urls", client,
            "--advertise-client-urls", client, "--listen-peer-urls", peer,
            "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    yield client
    server.terminate()
    server.wait(30)


def test_on_a_real_etcd(etcd):
    """With --etcd-servers objects live in etcd, and survive the loss of every kubeglass process."""
    with cluster("--etcd-servers", etcd) as running:
        running.kubectl("apply", "-f", str(ROOT / "examples" / "nginx-app.yaml"))
        running.kubectl("rollout", "status", "deployment/my-nginx", "--timeout=60s")
        assert not (running.data / "store").exists()
        for component in running.status()["components"].values():
            os.kill(component["pid"], signal.SIGKILL)
        running.kubeglass("up", "--detach")
        running.kubectl("rollout", "status", "deployment/my-nginx", "--timeout=60s")
        eventually(lambda: len(ready_pods(running.pods("app=nginx"))) == 3, "all pods are ready")

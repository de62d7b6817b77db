"""What breaks comes back: kubelets, single components, everything at once; nothing acknowledged is lost."""

import os
import signal

import pytest
from tests.e2e.cluster import ROOT, cluster, eventually, ready_pods

NGINX = (ROOT / "examples" / "nginx-app.yaml").read_text()
# Just longer than the ten seconds between two renewals of a node's lease.
QUICK_NODE_FAILURE = (
    "--component-flag=controller-manager=--node-monitor-grace-period=13s",
    "--component-flag=controller-manager=--node-monitor-period=1s",
    "--component-flag=apiserver=--default-not-ready-toleration-seconds=2",
    "--component-flag=apiserver=--default-unreachable-toleration-seconds=2",
)


def all_ready(running, count=3):
    return eventually(
        lambda: pods if len(pods := ready_pods(running.pods("app=nginx"))) == count else None,
        f"{count} pods are ready",
        90,
    )


def test_pods_of_a_dead_node_come_back_elsewhere():
    """Killing a kubelet makes its node NotReady, and its Pods run again on the other node."""
    with cluster("--nodes", "2", *QUICK_NODE_FAILURE) as running:
        running.kubectl("apply", "-f", "-", input=NGINX)
        all_ready(running)
        os.kill(running.pid("kubelet/node-1"), signal.SIGKILL)
        eventually(lambda: "NotReady" in running.kubectl("get", "node", "node-1"), "node-1 is NotReady", 60)
        taints = {taint["key"] for taint in running.get("node", "node-1")["spec"]["taints"]}
        assert "node.kubernetes.io/unreachable" in taints
        eventually(
            lambda: [pod["spec"]["nodeName"] for pod in ready_pods(running.pods("app=nginx"))] == 3 * ["node-2"],
            "three pods run on node-2",
            90,
        )
        running.kubeglass("up", "--detach")
        eventually(lambda: running.status()["ready"], "the cluster is whole again")


@pytest.fixture(scope="module")
def running():
    with cluster("--nodes", "2") as two_nodes:
        two_nodes.kubectl("apply", "-f", "-", input=NGINX)
        all_ready(two_nodes)
        yield two_nodes


COMPONENTS = (
    "apiserver", "scheduler", "controller-manager", "collector", "state-metrics", "kubelet/node-1", "proxy/node-2",
)  # fmt: skip


@pytest.mark.parametrize("component", COMPONENTS)
def test_one_component_killed(running, component):
    """After kill -9 of one component, `up` brings back just that one, and the cluster goes on where it was."""
    name = f"kept-{component.replace('/', '-')}"
    running.kubectl("create", "configmap", name, "--from-literal=a=1")
    before = running.status()["components"]
    os.kill(before[component]["pid"], signal.SIGKILL)
    running.kubeglass("up", "--detach")
    after = running.status()["components"]
    changed = {name for name in after if after[name]["pid"] != before[name]["pid"]}
    assert changed == {component}
    assert running.get("configmap", name)["data"] == {"a": "1"}
    running.kubectl("rollout", "restart", "deployment/my-nginx")
    running.kubectl("rollout", "status", "deployment/my-nginx", "--timeout=90s")
    all_ready(running)


def test_a_new_kubelet_adopts_what_runs(running):
    """Containers do not notice that their kubelet was killed: same processes, same ids, no restart."""
    name = lambda pod: pod["metadata"]["name"]  # noqa: E731
    before = {name(pod): pod["status"]["containerStatuses"][0] for pod in all_ready(running)}
    for node in ("node-1", "node-2"):
        os.kill(running.pid(f"kubelet/{node}"), signal.SIGKILL)
    running.kubeglass("up", "--detach")
    after = {name(pod): pod["status"]["containerStatuses"][0] for pod in all_ready(running)}
    assert {key: status["containerID"] for key, status in after.items()} == {
        key: status["containerID"] for key, status in before.items()
    }
    assert {status["restartCount"] for status in after.values()} == {
        status["restartCount"] for status in before.values()
    }


def test_everything_killed(running):
    """After kill -9 of every component at once, `up` loses nothing that was acknowledged."""
    written = [f"burst-{number}" for number in range(20)]
    for name in written:
        running.kubectl("create", "configmap", name, "--from-literal=a=1")
    for component in running.status()["components"].values():
        os.kill(component["pid"], signal.SIGKILL)
    running.kubeglass("up", "--detach")
    kept = {item["metadata"]["name"] for item in running.items("configmaps")}
    assert kept >= set(written)
    all_ready(running)


def test_down_and_up_again(running):
    """down ends everything, Pods too; up on the same data dir has the same objects and runs them again."""
    running.kubeglass("down")
    assert not [component for component in running.status()["components"].values() if component["pid"]]
    running.kubeglass("up", "--detach")
    all_ready(running)

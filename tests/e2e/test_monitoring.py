"""`up --prometheus`: real servers as parts of the cluster; and what the community's and our own content finds there."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator

import pytest
from grafana import dashboards  # noqa: TID251  # the content under test
from tests.e2e import community
from tests.e2e.cluster import Cluster, cluster, eventually
from tests.e2e.prometheus import Prometheus

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="needs a real Prometheus: apt-get install prometheus"
)

NOT_HERE = {
    "container_network_receive_bytes_total": "Pods of the loopback network have no interface of their own",
    "container_network_receive_packets_dropped_total": "as above",
    "container_network_receive_packets_total": "as above",
    "container_network_transmit_bytes_total": "as above",
    "container_network_transmit_packets_dropped_total": "as above",
    "container_network_transmit_packets_total": "as above",
    "kubelet_cgroup_manager_duration_seconds_bucket": "needs control groups that the kubelet may make",
    "kubelet_cgroup_manager_duration_seconds_count": "as above",
}
"""Rows of class always that a loopback cluster may miss, and why."""


@pytest.fixture(scope="module")
def watched() -> Iterator[Cluster]:
    """A cluster with Prometheus, and the objects that the community's content selects."""
    with cluster("--prometheus") as running:
        began = time.monotonic()
        prometheus = Prometheus(running.status()["monitoring"]["prometheus"]["url"])
        eventually(prometheus.targets_are_up, "all targets are up", 30)
        running.seconds_until_watched = time.monotonic() - began
        running.kubectl("apply", "-f", str(community.ROWS.with_name("workload.yaml")))
        running.kubectl("label", "node", "node-1", "node-role.kubernetes.io/control-plane=")
        running.kubectl("get", "pods,secrets", "-n", "shop")  # requests of namespace scope
        yield running


@pytest.fixture(scope="module")
def prometheus(watched: Cluster) -> Prometheus:
    return Prometheus(watched.status()["monitoring"]["prometheus"]["url"])


def test_every_target_is_up_in_fifteen_seconds(watched):
    """From the end of `kubeglass up --prometheus` to the last target scraped."""
    assert watched.seconds_until_watched < 15


def test_targets_are_labelled_as_the_community_expects(prometheus):
    """Jobs, paths and joins of kube-prometheus."""
    jobs = {sample["metric"]["job"] for sample in prometheus.query("up")}
    assert jobs >= {
        "apiserver", "kubelet", "kube-scheduler", "kube-controller-manager", "kube-proxy", "kube-state-metrics",
        "prometheus-k8s",
    }  # fmt: skip
    assert prometheus.value('count(up{job="kubelet", metrics_path="/metrics/cadvisor"})') == 1
    assert prometheus.value("count(count by (instance) (up{job='kube-scheduler'}))") == 1
    assert prometheus.query('kube_pod_info{exported_namespace!=""} or kube_pod_info{service!=""}') == []
    joined = (
        'sum by (node) (up{job="kubelet", metrics_path="/metrics"} * on (instance) group_left(node) kubelet_node_name)'
    )
    assert [sample["metric"] for sample in prometheus.query(joined)] == [{"node": "node-1"}]


@pytest.mark.skipif(shutil.which("prometheus-node-exporter") is None, reason="apt-get install prometheus-node-exporter")
def test_node_exporter_joins_its_pod(prometheus):
    """Its target's namespace and pod are those of a Pod, its instance is the node."""
    joined = (
        'count by (node) (node_uname_info{instance="node-1"} * on (namespace, pod) group_left (node) kube_pod_info)'
    )
    eventually(lambda: prometheus.value(joined) == 1, "the exporter's Pod is known")


def test_rules_are_loaded_and_only_the_watchdog_fires(watched, prometheus):
    """On a healthy cluster every rule evaluates, and nothing but the Watchdog is even pending for long."""
    eventually(
        lambda: all(rule["health"] == "ok" for group in prometheus.get("rules")["groups"] for rule in group["rules"]),
        "every rule has been evaluated",
    )
    assert "Watchdog" in prometheus.alerts()
    firing = {name for name, states in prometheus.alerts().items() if "firing" in states}
    assert firing == {"Watchdog"}


@pytest.mark.skipif(shutil.which("prometheus-alertmanager") is None, reason="apt-get install prometheus-alertmanager")
def test_alertmanager_hears_of_it(prometheus):
    """The Watchdog arrives."""
    eventually(lambda: prometheus.value("sum(alertmanager_alerts{state='active'})") >= 1, "Alertmanager has an alert")


def test_exemplars_lead_to_traces(watched, prometheus):
    """A latency bucket carries the id of a trace that the collector has."""

    def trace() -> bytes:
        now = time.time()
        series = prometheus.get(
            "query_exemplars",
            query="apiserver_request_duration_seconds_bucket",
            start=str(now - 600),
            end=str(now),
        )
        ids = [exemplar["labels"]["trace_id"] for one in series for exemplar in one["exemplars"]]
        return watched.curl(f"{watched.status()['collector']['query']}/api/traces/{ids[-1]}", "--fail")

    assert b"spans" in eventually(trace, "an exemplar's trace is found")


def test_the_communitys_content_finds_what_it_reads(prometheus):
    """At least 85 % of what is always there in a real cluster is there; every miss has a reason."""

    def complete():
        found = community.examine(prometheus)
        always = [(need, missing) for need, missing in found if need.kind == "always"]
        unexplained = [need.name for need, missing in always if missing and need.name not in NOT_HERE]
        assert not unexplained, community.table((need, m) for need, m in found if need.name in unexplained)
        assert sum(not missing for _, missing in always) >= 0.85 * len(always)
        objects = [need.name for need, missing in found if need.kind == "object" and missing]
        assert set(objects) <= {"container_cpu_cfs_periods_total", "container_cpu_cfs_throttled_periods_total"}, objects
        return found

    print(community.table(eventually(complete, "the content finds what it reads", 90)))


def test_every_panel_has_data(prometheus):
    """Every query of every dashboard runs, and gives something unless its description says what it waits for."""

    def shown():
        empty = []
        for board in dashboards.boards():
            for panel in board.panels():
                answers = [prometheus.query(bound(board, query.expr)) for query in panel.queries]
                if not any(answers) and not panel.conditional:
                    empty.append(f"{board.uid}: {panel.title}")
        assert empty == []
        return True

    eventually(shown, "every panel shows something", 90)


def bound(board, expression: str) -> str:
    """A query as Grafana sends it."""
    for variable in board.variables:
        expression = expression.replace(f"${variable.name}", ".*")
    return expression.replace("$__rate_interval", "1m")


def test_variables_have_values(prometheus):
    """What a dashboard lets one choose from exists."""
    for board in dashboards.boards():
        for variable in board.variables:
            assert prometheus.query(f"count by ({variable.label}) ({variable.metric})"), (board.uid, variable.name)


def test_it_lives_as_the_cluster_does(watched, prometheus):
    """Killed, it is stopped in `status` and brought back by `up`, with its history; the cluster stays ready."""
    before = prometheus.value("count_over_time(up{job='prometheus-k8s'}[10m])")
    os.kill(watched.status()["monitoring"]["prometheus"]["pid"], signal.SIGKILL)
    eventually(lambda: watched.status()["monitoring"]["prometheus"]["pid"] == 0, "Prometheus is gone")
    assert watched.status()["ready"]
    watched.kubeglass("up", "--detach")
    assert watched.status()["monitoring"]["prometheus"]["healthy"]
    eventually(
        lambda: prometheus.value("count_over_time(up{job='prometheus-k8s'}[10m])") >= before, "the history is there"
    )


def test_without_prometheus_nothing_is_started(tmp_path):
    """When there is none on PATH, `up --prometheus` says how to get it and leaves nothing behind."""
    data = tmp_path / "data"
    bare = Cluster(data)
    bare._environment["PATH"] = str(tmp_path)
    result = bare.kubeglass("up", "--detach", "--ports", "auto", "--prometheus", check=False)
    assert result.returncode == 1
    assert "there is no prometheus on PATH" in result.stderr and "apt-get install" in result.stderr
    assert not list(data.glob("run/*"))

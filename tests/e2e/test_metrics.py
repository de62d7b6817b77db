"""The metrics of a live cluster against upstream's table: nothing wrong, nothing invented, the first wave there."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from typing import NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.e2e.cluster import ROOT, Cluster, eventually
from tests.telemetry.metrics import surface
from tests.telemetry.metrics.surface import Upstream

OURS = re.compile(r"kubeglass_|python_")

ON_DEMAND = re.compile(
    r"aggregator_unavailable_apiservice_total"  # an APIService that became unavailable
    r"|apiserver_admission_webhook_.*"  # a webhook
    r"|apiserver_(audit_level|request_aborts|request_terminations|flowcontrol_rejected_requests)_total"
    r"|apiserver_watch_list_duration_seconds|authentication_attempts"
    r"|container_cpu_cfs_.*|kubelet_cgroup_manager_duration_seconds"  # cgroups with a quota
    r"|etcd_request_errors_total|kubelet_runtime_operations_errors_total|kubelet_started_containers_errors_total"
    r"|job_controller_.*|cronjob_.*|kube_pod_resource_.*|scheduler_plugin_execution_duration_seconds|kubelet_evictions|kubelet_volume_stats_.*"
    r"|kubeproxy_sync_proxy_rules_iptables_restore_failures_total|kubeproxy_network_programming_duration_seconds"
    r"|storage_operation_duration_seconds|prober_probe_.*|scheduler_preemption_.*|scheduler_unschedulable_pods"
    r"|apiserver_requested_deprecated_apis|node_collector_evictions_total|container_(fs|network)_.*"
    r"|apiserver_(storage_objects|resource_objects|terminated_watchers_total)"
)
"""First-wave metrics with labels, whose first series needs an event that a quiet cluster does not have."""


class Page(NamedTuple):
    """One scraped endpoint, as `component/path`."""

    endpoint: str
    text: str


@pytest.fixture(scope="module")
def pages(one_node: Cluster) -> list[Page]:
    """Every metrics endpoint of a cluster that has run something, read with the Prometheus token."""
    one_node.kubectl("apply", "-f", str(ROOT / "examples/nginx-app.yaml"))
    one_node.kubectl("rollout", "status", "deployment/my-nginx", "--timeout=60s")
    found = []
    for name, component in one_node.status()["components"].items():
        for url in component["metrics"]:
            text = one_node.curl(url, "-f", token=True).decode()
            found.append(Page(name.partition("/")[0] + "/" + url.split("/", 3)[3], text))
    return found


def _table(endpoint: str) -> dict[str, list[Upstream]]:
    table: dict[str, list[Upstream]] = {}
    for metric in surface.upstream():
        if endpoint in metric.endpoints:
            table.setdefault(metric.name, []).append(metric)
    return table


def _ours(pages: list[Page]) -> list[Page]:
    return [page for page in pages if page.endpoint.partition("/")[0] in surface.COMPONENTS]


def test_every_endpoint_of_a_component_is_there(pages: list[Page]) -> None:
    """/metrics and /metrics/slis everywhere, the scheduler's and the kubelet's own beside them."""
    expected = {endpoint for metric in surface.upstream() for endpoint in metric.endpoints}
    served = {page.endpoint for page in _ours(pages)}
    components = {endpoint for endpoint in expected if endpoint.partition("/")[0] in surface.COMPONENTS}
    assert components <= served


def test_no_family_is_invented(pages: list[Page]) -> None:
    """Under a name without our prefix there is only what upstream serves (possibly on another endpoint)."""
    names = {metric.name for metric in surface.upstream()}
    for page in _ours(pages):
        families = re.findall(r"^# TYPE (\S+)", page.text, re.MULTILINE)
        assert [name for name in families if name not in names and not OURS.match(name)] == [], page.endpoint


def test_families_are_upstreams(pages: list[Page]) -> None:
    """Type, level and labels of each family, and the bounds of each histogram."""
    for page in _ours(pages):
        table = _table(page.endpoint)
        helps = dict(re.findall(r"^# HELP (\S+) (.*)", page.text, re.MULTILINE))
        types = dict(re.findall(r"^# TYPE (\S+) (\S+)", page.text, re.MULTILINE))
        for family in text_string_to_metric_families(page.text):
            name = family.name if family.name in types else f"{family.name}_total"
            if name not in table:
                continue
            labels = {label for sample in family.samples for label in sample.labels} - {"le", "quantile"}
            fits = [metric for metric in table[name] if _fits(metric, types[name], helps[name], labels)]
            assert fits, f"{page.endpoint} {name}: {types[name]} {helps[name]!r} {labels}"
            bounds = {float(s.labels["le"]) for s in family.samples if s.name == f"{name}_bucket"} - {math.inf}
            wanted = sorted(map(float, fits[0].buckets))
            assert len(bounds) == len(wanted), f"{page.endpoint} {name}"
            pairs = zip(sorted(bounds), wanted, strict=True)
            assert all(math.isclose(ours, theirs, rel_tol=1e-9) for ours, theirs in pairs), f"{page.endpoint} {name}"


def _fits(metric: Upstream, kind: str, help_text: str, labels: set[str]) -> bool:
    level = re.match(r"(?:EXPERIMENTAL: )?\[(\w+)\] ", help_text)
    known = set(metric.labels) | ({"phase"} if metric.name.endswith("seat_utilization") else set())
    return (kind, level.group(1) if level else "") == (metric.type, metric.stability) and labels <= known


def test_the_first_wave_is_live(one_node: Cluster, pages: list[Page]) -> None:
    """What dashboards and alerts read first shows series, but for events that did not happen."""
    shown = {page.endpoint: set(re.findall(r"^# TYPE (\S+)", page.text, re.MULTILINE)) for page in pages}
    missing = {
        metric.name
        for metric in surface.upstream()
        if metric.first_wave
        and (not metric.deprecated or metric.name == "apiserver_storage_objects")
        and not any(metric.name in shown.get(endpoint, ()) for endpoint in metric.endpoints)
    }
    assert {name for name in missing if not ON_DEMAND.fullmatch(name)} == set()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus")
def test_promtool_complains_of_upstreams_names_only(pages: list[Page]) -> None:
    """Every page parses; what the linter dislikes are names that are not ours to choose."""
    names = {metric.name for metric in surface.upstream()}
    for page in _ours(pages):
        found = subprocess.run(["promtool", "check", "metrics"], input=page.text, capture_output=True, text=True)
        assert "error while linting" not in found.stderr, page.endpoint
        complaints = [line for line in found.stderr.splitlines() if line.split()[0] not in names]
        assert complaints == [], page.endpoint


def test_strangers_read_nothing(one_node: Cluster) -> None:
    """Without credentials the metrics are refused; the Prometheus token reads them and nothing else."""
    for name, component in one_node.status()["components"].items():
        if name.partition("/")[0] not in ("apiserver", "scheduler", "controller-manager", "kubelet"):
            continue
        for url in component["metrics"]:
            command = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", url]
            status = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            assert status in ("401", "403"), url
    assert b'"code":403' in one_node.curl("/api/v1/pods", token=True).replace(b" ", b"")


def test_a_write_moves_its_metrics(one_node: Cluster) -> None:
    """One create: request, admission, storage and audit-free path each count it, seen from outside."""

    def count() -> float:
        page = one_node.curl("/metrics", token=True).decode()
        pattern = r'^apiserver_request_total\{code="201",.*resource="configmaps",.*verb="POST",.*\} (\S+)$'
        return sum(map(float, re.findall(pattern, page, re.MULTILINE)))

    before = count()
    one_node.kubectl("create", "configmap", "moves-metrics", "--from-literal=a=b")
    eventually(lambda: count() == before + 1, "the create to be counted")

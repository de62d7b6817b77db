"""Alerts proven on a live cluster: a fault really happens, a real Prometheus sees it, the alert fires and resolves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest
from tests.e2e.cluster import Cluster, cluster

from kubeglass.components.cli import prove_rules
from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.lookup import existing_plan
from kubeglass.components.cli.prove import SCENARIOS, report, rule_documents
from kubeglass.components.cli.prove_bench import SCRAPE_SECONDS, Bench, bench
from kubeglass.components.cli.prove_scenario import Scenario, built_in, parse

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="needs a real Prometheus: apt-get install prometheus"
)
ALL = {scenario.name: scenario for scenario in built_in(SCENARIOS)}
FLAGS = tuple(dict.fromkeys(flag for scenario in ALL.values() for flag in scenario.cluster.flags))
TOGETHER = (
    ("broken-workloads", "dead-api-service", "bad-credentials", "dead-webhooks", "hungry-container", "cordoned-node"),
    ("noisy-client",),
    ("frozen-collector",),
    ("slow-store",),
    ("failing-store",),
    ("dead-kubelet",),
    ("partition",),
    ("skewed-clock",),
    ("dead-components",),
    ("dead-apiserver",),
)
"""Faults that do not get in each other's way are injected at once, to save time."""
LAST = ("stalled-watch",)
"""Thousands of objects are deleted for a while after it, and scrapes of state metrics take long."""
LEAST_PROVEN = 15


def combined(names: tuple[str, ...]) -> Scenario:
    """One scenario with the faults and expectations of several."""
    chosen = [ALL[name] for name in names]
    return Scenario(
        name=" and ".join(names),
        faults=tuple(fault for one in chosen for fault in one.faults),
        prepare=tuple(fault for one in chosen for fault in one.prepare),
        expect=tuple(wanted for one in chosen for wanted in one.expectations),
        within="120s",
    )


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Cluster]:
    with cluster("--nodes", "2", *FLAGS) as running:
        yield running


@pytest.fixture(scope="module")
def prover(two_nodes: Cluster) -> Iterator[Bench]:
    data = DataDir(two_nodes.data)
    with bench(data, existing_plan(data), rule_documents(()), speed=60) as prover:
        yield prover


@pytest.fixture(scope="module")
def proven() -> set[str]:
    """The alerts that the tests of this module have seen inactive, pending, firing and resolved."""
    return set()


needs_faketime = pytest.mark.skipif(shutil.which("faketime") is None, reason="needs apt-get install faketime")


@pytest.mark.parametrize(
    "names",
    [pytest.param(names, marks=needs_faketime if "skewed-clock" in names else ()) for names in TOGETHER],
    ids="+".join,
)
def test_alerts_fire_and_resolve(prover, proven, names):
    """Inactive, pending, firing, resolved: every alert that the scenarios expect."""
    prove(prover, proven, names)


def prove(prover: Bench, proven: set[str], names: tuple[str, ...]) -> None:
    """Every alert that the scenarios expect goes all the way; those that do are added to `proven`."""
    verdicts = prover.prove(combined(names))
    assert all(verdict.proven for verdict in verdicts), "\n" + report(verdicts)
    for verdict in verdicts:
        seen = verdict.timeline
        assert seen.pending is not None and seen.firing is not None and seen.resolved is not None
        assert 0 < seen.pending < seen.firing < seen.resolved
        proven.add(verdict.expectation.alert)


@pytest.mark.parametrize("speed", [60, 900])
def test_fifteen_minutes_take_seconds(two_nodes, speed):
    """`for: 15m` is pending for 15 m / speed, give or take two evaluations; one is the least."""
    rule = {"alert": "Patient", "expr": 'absent(up{job="kube-scheduler"} == 1)', "for": "15m"}
    documents = {"mine": {"groups": [{"name": "mine", "rules": [rule]}]}}
    data = DataDir(two_nodes.data)
    scenario = parse("expect: [Patient]\nfaults: [{fault: freeze, component: scheduler}]\nwithin: 60s", "patience.yaml")
    two_nodes.kubeglass("up", "--detach")  # what earlier faults took along
    with bench(data, existing_plan(data), documents, speed) as prover:
        (verdict,) = prover.prove(scenario)
    seen = verdict.timeline
    assert verdict.proven, report([verdict])
    assert max(1, 900 / speed) - 1 <= seen.firing - seen.pending <= 900 / speed + 2 * SCRAPE_SECONDS
    assert seen.resolved < 40


def test_reasons_come_from_what_prometheus_has(two_nodes, tmp_path):
    """An alert on a metric, a label or a threshold that is not there says so; the exit status is 1."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        json.dumps(
            {
                "groups": [
                    {
                        "name": "mine",
                        "rules": [
                            {"alert": "Metric", "expr": "no_such_metric > 0"},
                            {"alert": "Label", "expr": 'up{job="kube-schedule"} == 0'},
                            {"alert": "Threshold", "expr": "count(kube_node_info) > 99"},
                            {"alert": "Duration", "expr": 'up{job="kube-scheduler"} == 0', "for": "10d"},
                            {"alert": "Early", "expr": "vector(1)"},
                        ],
                    }
                ]
            }
        )
    )
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(
        "description: The scheduler hangs.\nwithin: 8s\nexpect: [Metric, Label, Threshold, Duration, Early]\n"
        "faults: [{fault: freeze, component: scheduler}]\n"
    )
    assert parse(scenario.read_text(), "s").faults
    result = two_nodes.kubeglass(
        "prove", "--rules", str(rules), "--scenario", str(scenario), "--data-dir", str(two_nodes.data), "-o", "json",
        check=False,
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    reasons = {row["alert"]: row["reasons"][0] for row in json.loads(result.stdout)}
    assert reasons["Metric"] == "metric missing: nothing exposes no_such_metric"
    assert reasons["Label"].startswith('label mismatch: no series of up has job="kube-schedule"; its values are ')
    assert reasons["Threshold"] == "threshold never reached: count(kube_node_info) was at most 2, and > 99 is needed"
    assert "did not hold" in reasons["Duration"]
    assert "firing before the fault" in reasons["Early"]


def test_bad_input(two_nodes, tmp_path):
    """What cannot be proven is refused in one line, without touching the cluster."""
    for argv, words in (
        (("--alert", "NoSuchAlert"), "no built-in scenario makes NoSuchAlert fire"),
        (("--scenario", str(tmp_path / "none.yaml")), "cannot read"),
        ((), "say what to prove"),
        (("--alert", "SchedulerDown", "--speed", "0.5"), "--speed must be at least 1"),
        (("--alert", "Mine", "--scenario", "dead-kubelet", "--data-dir", str(two_nodes.data)), "no alert 'Mine'"),
    ):
        result = two_nodes.kubeglass("prove", *argv, check=False)
        assert (result.returncode, words in result.stderr) == (1, True), result.stderr


def test_no_scenario_is_left_out():
    """Each is proven here, once."""
    assert sorted([*(name for names in TOGETHER for name in names), *LAST]) == sorted(ALL)


def test_a_watch_that_nobody_reads_is_dropped(prover, proven):
    """Inactive, pending, firing, resolved."""
    prove(prover, proven, LAST)


def test_how_many_alerts_are_proven(proven):
    """Of those that come with kubeglass, by what the tests above saw: run alone, there is nothing to count."""
    alerts = {alert.name for document in rule_documents(()).values() for alert in prove_rules.alerts(document)}
    print(f"\n{len(proven)} of {len(alerts)} alerts proven: {', '.join(sorted(proven))}")
    print(f"not proven: {', '.join(sorted(alerts - proven))}")
    assert len(proven) >= LEAST_PROVEN

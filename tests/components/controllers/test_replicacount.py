"""How many replicas usage asks for, by the examples of upstream's documentation and calculator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from kubeglass.components.api.objects import HorizontalPodAutoscalerBehavior, MetricSpec, Pod, decode
from kubeglass.components.controllers.podusage import parse
from kubeglass.components.controllers.replicacount import History, Usage, limited, rules, stabilized
from kubeglass.components.controllers.scalingmetrics import Failed, Measured, evaluate
from kubeglass.components.machinery import clock

NOW = clock.parse("2026-01-02T04:00:00Z")
CPU_50 = decode(
    MetricSpec,
    {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
    },
)
MEMORY_100M = decode(
    MetricSpec,
    {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "100M"}}},
)


def pod(name: str, ready: str = "True", phase: str = "Running", started: str = "2026-01-02T03:00:00Z") -> Pod:
    resources = {"requests": {"cpu": "100m"}}
    return decode(
        Pod,
        {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"containers": [{"name": "c", "resources": resources}]},
            "status": {
                "phase": phase,
                "startTime": started,
                "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": started}],
            },
        },
    )


def outcome(spec: MetricSpec, pods: list[Pod], used: Mapping[str, int], current: int | None = None) -> Any:
    def usage_of(namespace: str, name: str, resource: str, container: str) -> Usage | None:
        return Usage(used[name], NOW, 15) if name in used else None

    return evaluate(spec, pods, usage_of, len(pods) if current is None else current, NOW)


def replicas(*args: Any, **options: Any) -> int:
    found = outcome(*args, **options)
    assert isinstance(found, Measured), found
    return found.replicas


@pytest.mark.parametrize(("used", "expected"), [(50, 3), (100, 6), (25, 2), (53, 3), (46, 3), (56, 4)])
def test_in_proportion_to_usage(used: int, expected: int) -> None:
    """Three Pods at twice the target become six; within a tenth of the target nothing changes."""
    pods = [pod(name) for name in "abc"]
    assert replicas(CPU_50, pods, dict.fromkeys("abc", used)) == expected


def test_what_is_not_known_never_makes_a_change_larger() -> None:
    """A Pod without a figure counts as idle when scaling up, and as busy when scaling down."""
    pods = [pod(name) for name in "abc"]
    assert replicas(CPU_50, pods, {"a": 100, "b": 100}) == 4  # ceil(200% / 3 / 50% * 3), not 6
    assert replicas(CPU_50, pods, {"a": 10, "b": 10}) == 3  # c counts with all of its request


def test_starting_pods_hold_a_scale_up_back() -> None:
    """A Pod that is not ready yet counts as using nothing; a failed one does not count at all."""
    pods = [pod("a"), pod("b"), pod("c", ready="False", started="2026-01-02T03:59:30Z")]
    assert replicas(CPU_50, pods, {"a": 100, "b": 100, "c": 100}) == 4
    pods[2] = pod("c", phase="Failed")
    assert replicas(CPU_50, pods, {"a": 100, "b": 100, "c": 100}) == 4


def test_mean_values() -> None:
    """AverageValue compares the mean itself."""
    found = outcome(MEMORY_100M, [pod("a"), pod("b")], {"a": 150_000_000, "b": 250_000_000})
    assert isinstance(found, Measured) and found.replicas == 4
    assert found.status["resource"]["current"] == {"averageValue": "200M"}


def test_texts_of_failure() -> None:
    """The words that `kubectl describe hpa` shows."""
    found = outcome(CPU_50, [pod("a")], {})
    assert isinstance(found, Failed)
    assert (found.reason, found.compute_message) == (
        "FailedGetResourceMetric",
        "failed to get cpu resource metric value: failed to get cpu utilization: unable to get metrics for resource "
        "cpu: no metrics returned from resource metrics API",
    )
    bare = decode(Pod, {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c"}]}})
    found = outcome(CPU_50, [bare], {"a": 5})
    assert isinstance(found, Failed)
    assert found.message == "failed to get cpu utilization: missing request for cpu in container c of Pod a"


def test_down_waits_for_the_highest_recent_wish() -> None:
    """A lower wish waits five minutes for the highest of the last five; a higher one is followed at once."""
    up, down = rules(None)
    history = History()
    assert stabilized(4, 8, history, up, down, NOW).replicas == 8
    held = stabilized(8, 2, history, up, down, NOW + 60)
    assert (held.replicas, held.reason) == (8, "ScaleDownStabilized")
    assert stabilized(8, 2, history, up, down, NOW + 301).replicas == 2


def test_up_is_limited_in_rate() -> None:
    """By default at most twice as many, or four more, in 15 s; what was added lately counts."""
    up, down = rules(None)
    fresh = limited(2, 100, (1, 50), History(), up, down, NOW)
    assert (fresh.replicas, fresh.reason) == (6, "ScaleUpLimit")
    assert limited(10, 100, (1, 50), History(), up, down, NOW).replicas == 20
    assert limited(6, 100, (1, 50), History(changes=[(NOW - 5, 4)]), up, down, NOW).replicas == 6
    assert limited(40, 100, (1, 50), History(), up, down, NOW).reason == "TooManyReplicas"
    assert limited(4, 0, (2, 50), History(), up, down, NOW).reason == "TooFewReplicas"


def test_a_behaviour_of_ones_own() -> None:
    """One Pod a minute down, never up."""
    behavior = decode(
        HorizontalPodAutoscalerBehavior,
        {
            "scaleUp": {"selectPolicy": "Disabled"},
            "scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]},
        },
    )
    up, down = rules(behavior)
    assert limited(5, 9, (1, 10), History(), up, down, NOW).replicas == 5
    assert limited(5, 1, (1, 10), History(), up, down, NOW).replicas == 4
    assert limited(4, 1, (1, 10), History(changes=[(NOW - 30, -1)]), up, down, NOW).replicas == 4


def test_a_kubelets_figures() -> None:
    """/metrics/resource is read with or without timestamps; other families are left alone."""
    text = """# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="c",namespace="default",pod="a"} 1.5 1767326400000
container_memory_working_set_bytes{container="c",namespace="default",pod="a"} 2e+06
node_cpu_usage_seconds_total 7
"""
    cpu, memory = parse(text, NOW)
    assert (cpu.container, cpu.resource, cpu.value, cpu.at) == (("default", "a", "c"), "cpu", 1.5, 1767326400.0)
    assert (memory.resource, memory.value, memory.at) == ("memory", 2e6, NOW)

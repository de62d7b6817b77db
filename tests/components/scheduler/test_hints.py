"""Which events bring a rejected Pod back, and which leave it asleep."""

from __future__ import annotations

from typing import Any

import pytest

from kubeglass.components.scheduler.hints import Occurrence, hint_of
from kubeglass.components.scheduler.plugins.interpodaffinity import InterPodAffinity
from kubeglass.components.scheduler.plugins.placement import TaintToleration
from kubeglass.components.scheduler.plugins.resources import NodeResourcesFit
from kubeglass.components.scheduler.plugins.topologyspread import PodTopologySpread

from .conftest import Cluster, pod


def term(app: str) -> dict[str, Any]:
    return {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": app}}}


def test_room_must_be_large_enough(cluster: Cluster) -> None:
    """A Pod that went helps one that was too large only if what is free on its node is enough now."""
    cluster.node("a", cpu="4")
    small, large = cluster.run("small", "a", cpu="1"), cluster.run("large", "a", cpu="3")
    waiting, helps = pod("waiting", cpu="2"), hint_of(NodeResourcesFit())
    node = cluster.snapshot.nodes["a"]
    cluster.snapshot.drop(small.key)
    assert not helps(waiting, Occurrence("AssignedPodDelete", node, small))
    cluster.snapshot.drop(large.key)
    assert helps(waiting, Occurrence("AssignedPodDelete", node, large))
    assert not helps(waiting, Occurrence("AssignedPodDelete", None, large))


def test_a_new_node_must_admit_the_pod(cluster: Cluster) -> None:
    """A node whose taint the Pod does not tolerate does not help it."""
    cluster.node("a", taints=[{"key": "gpu", "effect": "NoSchedule"}])
    cluster.node("b")
    helps, nodes = hint_of(TaintToleration()), cluster.snapshot.nodes
    assert not helps(pod("p"), Occurrence("NodeAdd", nodes["a"]))
    assert helps(pod("p"), Occurrence("NodeAdd", nodes["b"]))


@pytest.mark.parametrize(
    ("event", "labels", "expected"),
    [
        ("AssignedPodAdd", {"app": "cache"}, True),
        ("AssignedPodAdd", {"app": "other"}, False),
        ("AssignedPodDelete", {"app": "web"}, True),
        ("AssignedPodDelete", {"app": "cache"}, False),
    ],
)
def test_affinity_looks_at_the_other_pods_labels(
    cluster: Cluster, event: str, labels: dict[str, str], expected: bool
) -> None:
    """A Pod that wants to be near a cache and away from its like is woken by caches that come and likes that go."""
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    affinity = {"podAffinity": {required: [term("cache")]}, "podAntiAffinity": {required: [term("web")]}}
    waiting = pod("waiting", labels={"app": "web"}, affinity=affinity)
    cluster.node("a")
    occurrence = Occurrence(event, cluster.snapshot.nodes["a"], pod("other", labels=labels))
    assert hint_of(InterPodAffinity())(waiting, occurrence) is expected


def test_spreading_counts_only_what_the_selector_selects(cluster: Cluster) -> None:
    """Pods that no constraint counts change nothing."""
    constraint = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    waiting = pod("waiting", labels={"app": "web"}, topologySpreadConstraints=[constraint])
    helps = hint_of(PodTopologySpread(lambda pod: None))
    assert helps(waiting, Occurrence("AssignedPodDelete", None, pod("x", labels={"app": "web"})))
    assert not helps(waiting, Occurrence("AssignedPodDelete", None, pod("y", labels={"app": "db"})))

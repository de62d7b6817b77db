"""How DaemonSets surge, read from their plans."""

from __future__ import annotations

from typing import Any

from kubeglass.components.api.kinds import DAEMON_SET
from kubeglass.components.api.objects import Node, Pod, decode
from kubeglass.components.controllers.actions import CreatePods, DeletePods
from kubeglass.components.controllers.daemonset import Observed, plan, target_node
from kubeglass.components.controllers.revisions import HASH_LABEL, history_of
from kubeglass.components.controllers.views import DaemonSet
from kubeglass.components.machinery import clock

NOW = clock.parse("2026-01-02T03:04:05Z")
NODES = [decode(Node, {"metadata": {"name": f"node-{n}"}}) for n in range(4)]


def daemon_set(**rolling: Any) -> DaemonSet:
    return decode(
        DaemonSet,
        {
            "metadata": {"name": "agent", "namespace": "default", "uid": "d"},
            "spec": {
                "selector": {"matchLabels": {"app": "agent"}},
                "template": {"metadata": {"labels": {"app": "agent"}}, "spec": {"containers": [{"name": "c"}]}},
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            },
        },
    )


SURGING = daemon_set(maxSurge=1, maxUnavailable=0)
NEW = history_of(DAEMON_SET, SURGING, SURGING.spec.template, {}, ()).current_hash


def pod(node: int, version: str = "old", ready: bool = True) -> Pod:
    name = f"{version}-{node}"
    return decode(
        Pod,
        {
            "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {HASH_LABEL: version}},
            "spec": {"nodeName": f"node-{node}"},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]},
        },
    )


def outcome(*pods: Pod) -> tuple[list[str], list[str]]:
    """(nodes that get a new Pod, Pods that go)."""
    actions = plan(Observed(SURGING, pods, NODES), NOW).actions
    made = [target_node(decode(Pod, each)) for a in actions if isinstance(a, CreatePods) for each in a.pods]
    return made, [name for a in actions if isinstance(a, DeletePods) for _, name, _ in a.pods]


def test_a_new_pod_starts_beside_the_old_one() -> None:
    """maxSurge 1: one node gets a second Pod; while that one is not available, nothing else happens."""
    old = [pod(n) for n in range(4)]
    assert outcome(*old) == (["node-0"], [])
    assert outcome(*old, pod(0, NEW, ready=False)) == ([], [])


def test_the_old_pod_goes_when_the_new_one_serves() -> None:
    """An available new Pod takes the old one's place, and the next node surges."""
    old = [pod(n) for n in range(4)]
    assert outcome(*old, pod(0, NEW)) == (["node-1"], ["old-0"])


def test_a_broken_old_pod_is_replaced_at_once() -> None:
    """A node whose old Pod does not serve needs no share of the surge."""
    assert outcome(pod(0), pod(1), pod(2, ready=False), pod(3, NEW))[0] == ["node-0", "node-2"]

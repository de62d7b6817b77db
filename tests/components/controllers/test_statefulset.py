"""How StatefulSets roll, read from their plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from kubeglass.components.api.objects import ControllerRevision, Pod, decode
from kubeglass.components.controllers.actions import Create, Delete
from kubeglass.components.controllers.statefulset import Observed, max_unavailable, plan
from kubeglass.components.controllers.views import StatefulSet
from kubeglass.components.machinery import clock

NOW = clock.parse("2026-01-02T03:04:05Z")


def template(image: str) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": image}]}}


def revision(name: str, image: str, number: int) -> ControllerRevision:
    data = {"spec": {"template": {**template(image), "$patch": "replace"}}}
    return decode(ControllerRevision, {"metadata": {"name": name, "labels": {}}, "revision": number, "data": data})


REVISIONS = (revision("db-old", "db:1", 1), revision("db-new", "db:2", 2))


def stateful_set(replicas: int = 5, policy: str = "Parallel", **rolling: Any) -> StatefulSet:
    return decode(
        StatefulSet,
        {
            "metadata": {"name": "db", "namespace": "default", "uid": "s", "generation": 2},
            "spec": {
                "replicas": replicas,
                "podManagementPolicy": policy,
                "selector": {"matchLabels": {"app": "db"}},
                "template": template("db:2"),
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            },
            "status": {"currentRevision": "db-old", "updateRevision": "db-new"},
        },
    )


def pod(ordinal: int, revision: str = "db-old", ready: bool = True) -> Pod:
    name = f"db-{ordinal}"
    return decode(
        Pod,
        {
            "metadata": {
                "name": name,
                "namespace": "default",
                "uid": name,
                "labels": {"controller-revision-hash": revision},
            },
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]},
        },
    )


def deleted(found: StatefulSet, pods: Sequence[Pod]) -> list[str]:
    return [a.name for a in plan(Observed(found, pods, REVISIONS), NOW).actions if isinstance(a, Delete)]


@pytest.mark.parametrize(("value", "expected"), [(None, 1), (3, 3), ("50%", 2), ("10%", 1)])
def test_max_unavailable(value: int | str | None, expected: int) -> None:
    """A percentage rounds down, nothing means one, and it is never less than one."""
    assert max_unavailable(stateful_set(maxUnavailable=value)) == expected


def test_several_pods_go_at_once() -> None:
    """maxUnavailable 2 takes the two highest; one that is down already counts as one of them and costs nothing."""
    pods = [pod(ordinal) for ordinal in range(5)]
    assert deleted(stateful_set(maxUnavailable=2), pods) == ["db-4", "db-3"]
    assert deleted(stateful_set(), pods) == ["db-4"]
    pods[4] = pod(4, ready=False)
    assert deleted(stateful_set(maxUnavailable=2), pods) == ["db-4", "db-3"]
    pods[4] = pod(4, "db-new", ready=False)
    assert deleted(stateful_set(maxUnavailable=2), pods) == ["db-3"]


def test_below_the_partition_pods_come_back_old() -> None:
    """A missing Pod below the partition is made from the current revision, one above from the update revision."""
    found = stateful_set(partition=3)
    step = plan(Observed(found, [pod(0), pod(2), pod(3, "db-new")], REVISIONS), NOW)
    made = {a.name: a.obj for a in step.actions if isinstance(a, Create)}
    assert made["db-1"]["spec"]["containers"][0]["image"] == "db:1"
    assert made["db-1"]["metadata"]["labels"]["controller-revision-hash"] == "db-old"
    assert made["db-4"]["spec"]["containers"][0]["image"] == "db:2"
    assert made["db-4"]["metadata"]["labels"]["controller-revision-hash"] == "db-new"


def test_the_partition_stops_the_roll() -> None:
    """Nothing below the partition is taken, whatever maxUnavailable allows."""
    assert deleted(stateful_set(partition=4, maxUnavailable=3), [pod(n) for n in range(5)]) == ["db-4"]

"""Small clusters, described in a few words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest

from kubeglass.components.api.objects import LabelSelector, Node, Pod, PodDisruptionBudget, decode
from kubeglass.components.scheduler.cycle import Cycle
from kubeglass.components.scheduler.framework import Framework
from kubeglass.components.scheduler.interface import Code, Status
from kubeglass.components.scheduler.plugins.volumes import VolumeSources
from kubeglass.components.scheduler.profile import Surroundings, default_plugins
from kubeglass.components.scheduler.queue import Nominator
from kubeglass.components.scheduler.snapshot import PodInfo, Snapshot


class Silent:
    """Instruments that measure nothing."""

    @contextmanager
    def point(self, extension_point: str, pod: PodInfo) -> Iterator[Callable[[Code], None]]:
        yield lambda code: None

    @contextmanager
    def plugin(self, plugin: str, extension_point: str) -> Iterator[Callable[[Code], None]]:
        yield lambda code: None

    def evaluated(self, plugin: str, extension_point: str) -> None:
        pass


class Cluster:
    """A snapshot with the default profile over it."""

    def __init__(self, seed: int = 1) -> None:
        self.snapshot = Snapshot()
        self.nominator = Nominator()
        self.budgets: list[PodDisruptionBudget] = []
        self.selector: LabelSelector | None = None
        self.claims: dict[tuple[str, str], Any] = {}
        self.volumes: dict[str, Any] = {}
        self.classes: dict[str, Any] = {}
        choice = Random(seed)

        async def written(pod: PodInfo, node_name: str) -> Status:
            return Status()

        async def bound(claim: Any, node_name: str, volume: Any) -> str:
            return ""

        around = Surroundings(
            self.snapshot,
            choice,
            lambda pod: self.selector,
            lambda: self.budgets,
            VolumeSources(
                lambda ns, name: self.claims.get((ns, name)),
                self.volumes.get,
                lambda: list(self.volumes.values()),
                self.classes.get,
                bound,
            ),
            written,
        )
        self.framework = Framework("default-scheduler", default_plugins(around), Silent())
        self.cycle = Cycle(self.framework, self.snapshot, self.nominator, choice)

    def node(self, name: str, **options: Any) -> None:
        self.snapshot.set_node(node(name, **options))

    def run(self, name: str, on: str, **options: Any) -> PodInfo:
        """A Pod that runs already."""
        info = pod(name, **options)
        self.snapshot.put(info, on)
        return info

    def place(self, info: PodInfo) -> str:
        """Decide, and assume what was decided; the answer is the node, or why none."""
        decision = self.cycle.decide(info)
        if decision.node_name:
            self.snapshot.assume(info, decision.node_name)
            return decision.node_name
        assert decision.diagnosis is not None
        return decision.diagnosis.message()


def node(
    name: str,
    cpu: str = "4",
    memory: str = "8Gi",
    pods: str = "110",
    labels: Mapping[str, str] | None = None,
    taints: list[dict[str, str]] | None = None,
    unschedulable: bool = False,
    images: list[dict[str, Any]] | None = None,
) -> Node:
    return decode(
        Node,
        {
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
            "spec": {"taints": taints or [], "unschedulable": unschedulable},
            "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods}, "images": images or []},
        },
    )


def pod(
    name: str,
    cpu: str = "",
    memory: str = "",
    labels: Mapping[str, str] | None = None,
    namespace: str = "default",
    image: str = "nginx",
    start: str = "",
    nominated: str = "",
    **spec: Any,
) -> PodInfo:
    requests = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}
    body = {
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}", "labels": labels or {}},
        "spec": {"containers": [{"name": "c", "image": image, "resources": {"requests": requests}}], **spec},
        "status": {"startTime": start, "nominatedNodeName": nominated},
    }
    return PodInfo(decode(Pod, body))


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()

"""Rollouts as transcripts: what a Deployment does, step by step, while a simulated world makes its Pods ready.

Each line is one action; `.` lines show the sets as `revision: ready/asked`.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from kubeglass.components.api.kinds import DEPLOYMENT
from kubeglass.components.controllers import deployment
from kubeglass.components.controllers.actions import Create, Delete, Emit, Patch
from kubeglass.components.controllers.deployment import REVISION, Observed, revision_of
from kubeglass.components.controllers.views import Deployment, ReplicaSet


def merge(target: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            merge(target.setdefault(key, {}), value)
        else:
            target[key] = value


class World:
    """One Deployment, its ReplicaSets, and Pods that get ready one step after they are asked for."""

    def __init__(self, replicas: int, **spec: Any) -> None:
        self.now = 1_000_000.0
        self.created = 0
        self.transcript: list[str] = []
        self.sets: dict[str, dict[str, Any]] = {}
        self.broken_images: set[str] = set()
        self.deployment: dict[str, Any] = {
            "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1, "annotations": {}},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "c", "image": "v1"}]},
                },
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                **spec,
            },
            "status": {},
        }

    def set_image(self, image: str) -> None:
        self.deployment = json.loads(json.dumps(self.deployment))
        self.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = image
        self.deployment["metadata"]["generation"] += 1

    def scale(self, replicas: int) -> None:
        self.deployment["spec"]["replicas"] = replicas
        self.deployment["metadata"]["generation"] += 1

    def step(self) -> bool:
        """One plan, carried out; whether it did anything."""
        step = deployment.plan(self._observed(), self.now)
        for action in step.actions:
            match action:
                case Create():
                    obj = json.loads(json.dumps(action.obj))
                    self.created += 1
                    obj["metadata"].update(uid=f"u{self.created}", creationTimestamp=f"{self.created:04}")
                    obj["metadata"]["generation"] = 1
                    obj["status"] = {"replicas": 0, "observedGeneration": 1}
                    self.sets[action.name] = obj
                case Patch(kind=kind, name=name, patch=patch):
                    merge(self.deployment if kind is DEPLOYMENT else self.sets[name], patch)
                case Delete(name=name):
                    self.transcript.append(f"delete {self._label(name)}")
                    del self.sets[name]
                case Emit(message=message):
                    for name in self.sets:
                        message = message.replace(name, self._label(name))
                    self.transcript.append(message)
        return bool(step.actions)

    def settle(self, rounds: int = 60) -> list[str]:
        """Step until nothing happens; the answer is what was said meanwhile."""
        self.transcript = []
        for _ in range(rounds):
            acted = self.step()
            moved = self._pods_move()
            self.now += 1
            if not acted and not moved:
                break
        return self.transcript

    def condition(self, type: str) -> str:
        found = next((c for c in self.deployment["status"]["conditions"] if c["type"] == type), None)
        return f"{found['status']} {found['reason']}" if found else ""

    def shape(self) -> str:
        """Revisions with Pods, oldest first."""
        views = sorted(self._observed().sets, key=revision_of)
        return " ".join(
            f"{revision_of(v)}:{v.status.ready_replicas}/{v.spec.replicas}" for v in views if v.spec.replicas
        )

    def _label(self, name: str) -> str:
        return f"r{self.sets[name]['metadata']['annotations'][REVISION]}"

    def _observed(self) -> Observed:
        view = msgspec.convert(self.deployment, Deployment)
        return Observed(view, [msgspec.convert(each, ReplicaSet) for each in self.sets.values()])

    def _pods_move(self) -> bool:
        moved = False
        for each in self.sets.values():
            asked = each["spec"]["replicas"]
            image = each["spec"]["template"]["spec"]["containers"][0]["image"]
            ready = 0 if image in self.broken_images else min(asked, each["status"].get("replicas", 0))
            status = {"replicas": asked, "readyReplicas": ready, "availableReplicas": ready, "observedGeneration": 1}
            if each["status"] != status:
                each["status"] = status
                moved = True
        return moved


def test_first_rollout() -> None:
    """A new Deployment gets one ReplicaSet of full size and reports that it has progressed."""
    world = World(3)
    assert world.settle() == ["Scaled up replica set r1 from 0 to 3"]
    assert world.condition("Progressing") == "True NewReplicaSetAvailable"
    assert world.condition("Available") == "True MinimumReplicasAvailable"
    assert world.deployment["metadata"]["annotations"] == {REVISION: "1"}
    assert world.deployment["status"]["availableReplicas"] == 3


def test_rolling_update_one_by_one() -> None:
    """With maxSurge 1 and maxUnavailable 0, a new Pod comes up before an old one goes."""
    world = World(3)
    world.settle()
    world.set_image("v2")
    assert world.settle() == [
        "Scaled up replica set r2 from 0 to 1",
        "Scaled down replica set r1 from 3 to 2",
        "Scaled up replica set r2 from 1 to 2",
        "Scaled down replica set r1 from 2 to 1",
        "Scaled up replica set r2 from 2 to 3",
        "Scaled down replica set r1 from 1 to 0",
    ]
    assert world.shape() == "2:3/3"


def test_rolling_update_with_the_defaults() -> None:
    """25 % of 4 is one: one more and one fewer at a time."""
    world = World(4, strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
    world.settle()
    world.set_image("v2")
    assert world.settle()[:5] == [
        "Scaled up replica set r2 from 0 to 1",
        "Scaled down replica set r1 from 4 to 3",
        "Scaled up replica set r2 from 1 to 2",
        "Scaled down replica set r1 from 3 to 2",
        "Scaled up replica set r2 from 2 to 3",
    ]
    assert world.shape() == "2:4/4"


def test_a_broken_image_stops_the_rollout() -> None:
    """Pods that never get ready leave the old ones running, and after the deadline the rollout is called stuck."""
    world = World(3, progressDeadlineSeconds=30)
    world.broken_images.add("bad")
    world.settle()
    world.set_image("bad")
    assert world.settle() == ["Scaled up replica set r2 from 0 to 1"]
    assert world.shape() == "1:3/3 2:0/1"
    world.now += 31
    world.settle()
    assert world.condition("Progressing") == "False ProgressDeadlineExceeded"
    assert world.condition("Available") == "True MinimumReplicasAvailable"


def test_undo() -> None:
    """Going back to an old template reuses its ReplicaSet under a new revision and remembers the old number."""
    world = World(2)
    world.settle()
    world.set_image("v2")
    world.settle()
    world.set_image("v1")
    assert world.settle()[0] == "Scaled up replica set r3 from 0 to 1"
    assert world.shape() == "3:2/2"
    annotations = [each["metadata"]["annotations"] for each in world.sets.values()]
    assert [a[REVISION] for a in annotations] == ["3", "2"]
    assert annotations[0][deployment.HISTORY] == "1"
    assert world.deployment["metadata"]["annotations"][REVISION] == "3"


def test_scale() -> None:
    """Changing replicas resizes the one set, and its annotations follow."""
    world = World(3)
    world.settle()
    world.scale(5)
    assert world.settle() == ["Scaled up replica set r1 from 3 to 5"]
    world.scale(1)
    assert world.settle() == ["Scaled down replica set r1 from 5 to 1"]
    (each,) = world.sets.values()
    assert each["metadata"]["annotations"]["deployment.kubernetes.io/desired-replicas"] == "1"
    assert each["metadata"]["annotations"]["deployment.kubernetes.io/max-replicas"] == "2"


def test_proportional_scaling_in_the_middle_of_a_rollout() -> None:
    """Scaling a stuck rollout from 10 to 15 spreads the five new replicas over both sets by their size."""
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    world = World(10, strategy=rolling)
    world.broken_images.add("bad")
    world.settle()
    world.set_image("bad")
    world.settle()
    assert world.shape() == "1:8/8 2:0/5"
    world.scale(15)
    world.settle()
    assert world.shape() == "1:11/11 2:0/7"


def test_recreate() -> None:
    """All old Pods go before the first new one comes."""
    world = World(3, strategy={"type": "Recreate"})
    world.settle()
    world.set_image("v2")
    assert world.settle() == ["Scaled down replica set r1 from 3 to 0", "Scaled up replica set r2 from 0 to 3"]


def test_paused() -> None:
    """A paused Deployment can be scaled and does not roll; resuming starts the rollout."""
    world = World(2)
    world.settle()
    world.deployment["spec"]["paused"] = True
    world.set_image("v2")
    assert world.settle() == []
    assert world.condition("Progressing") == "Unknown DeploymentPaused"
    world.scale(3)
    assert world.settle() == ["Scaled up replica set r1 from 2 to 3"]
    world.deployment["spec"]["paused"] = False
    assert world.settle()[0] == "Scaled up replica set r2 from 0 to 1"
    assert world.shape() == "2:3/3"


def test_history_limit() -> None:
    """Only so many old sets are kept, the oldest revisions go first."""
    world = World(1, revisionHistoryLimit=2)
    for image in ("v1", "v2", "v3", "v4", "v5"):
        world.set_image(image)
        world.settle()
    assert sorted(int(each["metadata"]["annotations"][REVISION]) for each in world.sets.values()) == [3, 4, 5]


def test_a_selector_for_everything_is_refused() -> None:
    """An empty selector does nothing but warn."""
    world = World(1, selector={})
    world.step()
    assert world.transcript == ["This deployment is selecting all pods. A non-empty selector is required."]

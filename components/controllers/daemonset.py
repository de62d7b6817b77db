"""DaemonSets: one Pod on every node that its template admits. Upstream: daemonset-controller."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from kubeglass.components.api import placement
from kubeglass.components.api.kinds import CONTROLLER_REVISION, DAEMON_SET, NODE, POD
from kubeglass.components.api.objects import ControllerRevision, Node, Pod, PodSpec, encode
from kubeglass.components.api.selectors import from_label_selector
from kubeglass.components.controllers.actions import Action, CreatePods, DeletePods, Emit, Patch, Plan
from kubeglass.components.controllers.arithmetic import scaled
from kubeglass.components.controllers.context import CONTROLLER, ControllerContext, candidates, follow, follow_members
from kubeglass.components.controllers.ownership import claim
from kubeglass.components.controllers.podstate import is_ready, pod_from_template, seconds_until_available
from kubeglass.components.controllers.revisions import HASH_LABEL, history_of, surplus
from kubeglass.components.controllers.views import DaemonSet
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.informer import Change
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler

_TOLERATIONS = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")


@dataclass(frozen=True, slots=True)
class Observed:
    """A DaemonSet, its Pods, all nodes, and its revisions."""

    daemon_set: DaemonSet
    pods: Sequence[Pod]
    nodes: Sequence[Node]
    revisions: Sequence[ControllerRevision] = ()


def plan(observed: Observed, now: float) -> Plan:
    """Create and delete Pods node by node, roll old ones, state what there is."""
    return _Step(observed, now).plan()


class _Step:
    def __init__(self, observed: Observed, now: float) -> None:
        self.owner = observed.daemon_set
        self.now = now
        self.spec = msgspec.convert(pod_spec(self.owner.spec.template), PodSpec)
        self.nodes = observed.nodes
        labels = (self.owner.spec.template.get("metadata") or {}).get("labels") or {}
        self.history = history_of(DAEMON_SET, self.owner, self.owner.spec.template, labels, observed.revisions)
        self.on_node: dict[str, list[Pod]] = defaultdict(list)
        for pod in observed.pods:
            self.on_node[target_node(pod)].append(pod)
        self.pods = observed.pods
        strategy = self.owner.spec.update_strategy
        self.rolling = strategy.type != "OnDelete"
        rolling = strategy.rolling_update
        self.surge = rolling is not None and self.rolling and rolling.max_surge not in (None, 0, "0%")

    def plan(self) -> Plan:
        actions: list[Action] = list(self.history.actions)
        create: list[str] = []
        delete: list[Pod] = []
        waits: list[float] = []
        should_run = {node.metadata.name: self._verdict(node) for node in self.nodes}
        if not self.owner.metadata.deletion_timestamp:
            for name, (run, stay) in should_run.items():
                self._settle(name, run, stay, create, delete, actions)
            for name in self.on_node.keys() - should_run.keys():
                delete += [pod for pod in self.on_node[name] if not pod.metadata.deletion_timestamp]
            if self.surge:
                self._surge(should_run, create, delete)
            elif self.rolling:
                delete += self._outdated(should_run, create, delete)
        if delete:
            actions.append(DeletePods(self.owner, _references(delete)))
        if create:
            actions.append(CreatePods(self.owner, tuple(self._pod_for(name) for name in sorted(create))))
        used = {pod.metadata.labels.get(HASH_LABEL, "") for pod in self.pods}
        actions += surplus(self.history, used, self.owner.spec.revision_history_limit)
        status = self._status(should_run, waits)
        if status:
            meta = self.owner.metadata
            patch = {"status": status}
            actions.append(Patch(DAEMON_SET, meta.name, meta.namespace, patch, "status", ignore_missing=True))
        return Plan(tuple(actions), min(waits, default=None))

    def _verdict(self, node: Node) -> tuple[bool, bool]:
        """(should a Pod be started there, may one that is there stay)."""
        if self.spec.node_name and self.spec.node_name != node.metadata.name:
            return False, False
        if not placement.allows_node(self.spec, node):
            return False, False
        taints, tolerations = node.spec.taints, self.spec.tolerations
        refusing = (placement.NO_SCHEDULE, placement.NO_EXECUTE)
        run = placement.untolerated(taints, tolerations, refusing) is None
        return run, placement.untolerated(taints, tolerations, (placement.NO_EXECUTE,)) is None

    def _settle(
        self, name: str, run: bool, stay: bool, create: list[str], delete: list[Pod], actions: list[Action]
    ) -> None:
        here = [pod for pod in self.on_node[name] if not pod.metadata.deletion_timestamp]
        failed = [pod for pod in here if pod.status.phase == "Failed"]
        for pod in failed:
            message = f"Found failed daemon pod {pod.key} on node {name}, will try to kill it"
            actions.append(Emit(self.owner, "Warning", "FailedDaemonPod", message))
        here = [pod for pod in here if pod.status.phase not in ("Failed", "Succeeded")]
        delete += failed
        if not stay:
            delete += here
        elif self.surge and len(here) > 1:
            delete += self._surplus_of_a_surge(here)
        elif len(here) > 1:
            delete += sorted(here, key=lambda pod: (pod.metadata.creation_timestamp, pod.metadata.name))[1:]
        elif run and not here and not failed and not self.on_node[name]:
            create.append(name)

    def _outdated(
        self, should_run: Mapping[str, tuple[bool, bool]], create: Sequence[str], delete: Sequence[Pod]
    ) -> list[Pod]:
        """Pods of an old template, as many as may be unavailable at once: those not available anyway first."""
        wanted = sum(run for run, _ in should_run.values())
        rolling = self.owner.spec.update_strategy.rolling_update
        allowed = max(1, scaled(rolling.max_unavailable if rolling else 1, wanted, round_up=True))
        leaving = {pod.metadata.uid for pod in delete}
        old: list[Pod] = []
        unavailable = len(create)
        for name, (run, _) in should_run.items():
            if not run or name in create:
                continue
            here = [p for p in self.on_node[name] if not p.metadata.deletion_timestamp]
            here = [p for p in here if p.metadata.uid not in leaving]
            if not here:
                unavailable += 1
                continue
            if not self._available(here[0]):
                unavailable += 1
            if here[0].metadata.labels.get(HASH_LABEL) != self.history.current_hash:
                old.append(here[0])
        broken = [pod for pod in old if not self._available(pod)]
        healthy = [pod for pod in old if self._available(pod)]
        return broken + healthy[: max(0, allowed - unavailable)]

    def _is_old(self, pod: Pod) -> bool:
        return pod.metadata.labels.get(HASH_LABEL) != self.history.current_hash

    def _surplus_of_a_surge(self, here: Sequence[Pod]) -> list[Pod]:
        """All but the oldest Pod of the old template and of the new one; the old one goes when the new one serves."""
        ordered = sorted(here, key=lambda pod: (pod.metadata.creation_timestamp, pod.metadata.name))
        old = [pod for pod in ordered if self._is_old(pod)]
        new = [pod for pod in ordered if not self._is_old(pod)]
        if old and new and (not is_ready(old[0]) or self._available(new[0])):
            return old + new[1:]
        return old[1:] + new[1:]

    def _surge(self, should_run: Mapping[str, tuple[bool, bool]], create: list[str], delete: Sequence[Pod]) -> None:
        """Start new Pods beside old ones on at most maxSurge nodes; where the old one does not serve, at once."""
        rolling = self.owner.spec.update_strategy.rolling_update
        allowed = scaled(rolling.max_surge if rolling else 0, sum(run for run, _ in should_run.values()), round_up=True)
        leaving = {pod.metadata.uid for pod in delete}
        waiting: list[str] = []
        for name, (run, _) in should_run.items():
            here = [pod for pod in self.on_node[name] if pod.metadata.uid not in leaving]
            here = [pod for pod in here if not pod.metadata.deletion_timestamp]
            new = [pod for pod in here if not self._is_old(pod)]
            if not run or not here or len(here) == len(new):
                continue
            if new:
                allowed -= not self._available(new[0])
            elif not self._available(here[0]):
                create.append(name)
            else:
                waiting.append(name)
        create += waiting[: max(0, allowed)]

    def _available(self, pod: Pod) -> bool:
        return seconds_until_available(pod, self.owner.spec.min_ready_seconds, self.now) == 0

    def _pod_for(self, node: str) -> dict[str, Any]:
        template = self.owner.spec.template
        pod = pod_from_template({**template, "spec": pod_spec(template, node)}, DAEMON_SET, self.owner)
        labels = {**pod["metadata"].get("labels", {}), HASH_LABEL: self.history.current_hash}
        return {**pod, "metadata": {**pod["metadata"], "labels": labels}}

    def _status(self, should_run: Mapping[str, tuple[bool, bool]], waits: list[float]) -> dict[str, Any]:
        counts = dict.fromkeys(("current", "desired", "ready", "available", "updated", "misplaced"), 0)
        for name, (run, _) in should_run.items():
            pods = sorted(self.on_node.get(name, []), key=lambda pod: pod.metadata.creation_timestamp)
            if not run:
                counts["misplaced"] += bool(pods)
                continue
            counts["desired"] += 1
            if not pods:
                continue
            first = pods[0]
            counts["current"] += 1
            counts["ready"] += is_ready(first)
            left = seconds_until_available(first, self.owner.spec.min_ready_seconds, self.now)
            counts["available"] += left == 0
            if left:
                waits.append(left)
            counts["updated"] += first.metadata.labels.get(HASH_LABEL) == self.history.current_hash
        status = {
            "currentNumberScheduled": counts["current"],
            "desiredNumberScheduled": counts["desired"],
            "numberMisscheduled": counts["misplaced"],
            "numberReady": counts["ready"],
            "updatedNumberScheduled": counts["updated"],
            "numberAvailable": counts["available"],
            "numberUnavailable": counts["desired"] - counts["available"],
            "observedGeneration": self.owner.metadata.generation,
        }
        stored = encode(self.owner.status)
        return {key: value for key, value in status.items() if stored.get(key, 0) != value}


def pod_spec(template: Mapping[str, Any], node: str = "") -> dict[str, Any]:
    """The template's spec with what every daemon Pod tolerates and, given a node, the affinity to just that one."""
    spec = dict(template.get("spec") or {})
    wanted = [*_TOLERATIONS, *([_NETWORK] if spec.get("hostNetwork") else [])]
    present = {(t.get("key"), t.get("effect")) for t in spec.get("tolerations") or ()}
    added = [{"key": k, "operator": "Exists", "effect": e} for k, e in wanted if (k, e) not in present]
    spec["tolerations"] = [*(spec.get("tolerations") or ()), *added]
    if node:
        requirement = {"key": "metadata.name", "operator": "In", "values": [node]}
        affinity = dict(spec.get("affinity") or {})
        node_affinity = dict(affinity.get("nodeAffinity") or {})
        required = node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
        terms = [
            {**{k: v for k, v in term.items() if k != "matchFields"}, "matchFields": [requirement]}
            for term in required.get("nodeSelectorTerms") or [{}]
        ]
        node_affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
        affinity["nodeAffinity"] = node_affinity
        spec["affinity"] = affinity
    return spec


def target_node(pod: Pod) -> str:
    """Where the Pod runs, or is meant to run while the scheduler has not bound it."""
    if pod.spec.node_name:
        return pod.spec.node_name
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    for term in required.node_selector_terms if required else ():
        for field in term.match_fields:
            if field.key == "metadata.name" and len(field.values) == 1:
                return field.values[0]
    return ""


def _references(pods: Sequence[Pod]) -> tuple[tuple[str, str, str], ...]:
    unique = {pod.metadata.uid: pod for pod in pods}
    return tuple((pod.metadata.namespace, pod.metadata.name, uid) for uid, pod in unique.items())


class DaemonSetController:
    """Watches DaemonSets, their Pods, and the nodes."""

    name = "daemonset-controller"
    kind = DAEMON_SET

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._daemon_sets = context.informers.of(DAEMON_SET, DaemonSet)
        self._pods = context.informers.of(POD, Pod)
        self._nodes = context.informers.of(NODE, Node)
        self._revisions = context.informers.of(CONTROLLER_REVISION, ControllerRevision)
        self.queue = context.queue("daemonset")
        follow(self._daemon_sets, self.queue)
        follow_members(self._pods, self._daemon_sets, DAEMON_SET, self.queue, lambda d: d.spec.selector)
        self._nodes.subscribe(self._node_changed)

    async def run(self, started: Callable[[], None]) -> None:
        await run_reconciler(self, self.queue, self._telemetry, workers=2, started=started)

    async def reconcile(self, key: str) -> Result:
        found = self._daemon_sets.get(key)
        if found is None:
            return DONE
        selector = from_label_selector(found.spec.selector)
        pods, claims = claim(DAEMON_SET, found, selector, POD, candidates(self._pods, found))
        if claims:
            await self._writer.apply(claims)
            return Result(0)
        revisions = self._revisions.by_index(CONTROLLER, found.metadata.uid)
        step = plan(Observed(found, pods, self._nodes.list(), revisions), clock.now())
        await self._writer.apply(step.actions)
        again = any(isinstance(action, CreatePods | DeletePods) for action in step.actions)
        return Result(0) if again else Result(step.requeue_after_seconds)

    def _node_changed(self, change: Change[Node]) -> None:
        old, new = change.old, change.new
        same = old is not None and (old.metadata.labels, old.spec) == (new.metadata.labels, new.spec)
        if change.type == "MODIFIED" and same:
            return
        for found in self._daemon_sets.list():
            self.queue.add(found.key)

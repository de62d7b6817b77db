"""ReplicaSets: keep the wanted number of Pods. Upstream: replicaset-controller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kubeglass.components.api.kinds import POD, REPLICA_SET, Kind
from kubeglass.components.api.objects import Pod, Resource, encode
from kubeglass.components.api.selectors import EVERYTHING, from_label_selector, from_map
from kubeglass.components.controllers.actions import Action, CreatePods, DeletePods, Patch, Plan
from kubeglass.components.controllers.arithmetic import condition_of, with_condition, without_condition
from kubeglass.components.controllers.context import (
    CONTROLLER,
    ControllerContext,
    candidates,
    follow,
    follow_members,
)
from kubeglass.components.controllers.metrics import ReplicaSetMetrics
from kubeglass.components.controllers.ownership import claim, controller_of
from kubeglass.components.controllers.podstate import (
    deletion_rank,
    is_active,
    is_finished,
    is_ready,
    pod_from_template,
    seconds_until_available,
)
from kubeglass.components.controllers.views import ReplicaSet
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler

R = TypeVar("R", bound=Resource)

BURST = 500
"""The most Pods created or deleted in one step."""
REPLICA_FAILURE = "ReplicaFailure"


@dataclass(frozen=True, slots=True)
class Observed:
    """A ReplicaSet, its Pods, and how many Pods of related sets are on each node (for choosing whom to delete)."""

    replica_set: ReplicaSet
    pods: Sequence[Pod]
    related_on_node: Mapping[str, int]
    kind: Kind = REPLICA_SET


def plan(observed: Observed, now: float, failure: str = "") -> Plan:
    """Create or delete Pods to get to spec.replicas, then state what there is.

    `failure` is why the last attempt to do so failed; it becomes the ReplicaFailure condition.
    """
    each = observed.replica_set
    active = [pod for pod in observed.pods if is_active(pod)]
    actions: list[Action] = []
    if not each.metadata.deletion_timestamp:
        missing = each.spec.replicas - len(active)
        if missing > 0:
            pods = tuple(pod_from_template(each.spec.template, observed.kind, each) for _ in range(min(missing, BURST)))
            actions.append(CreatePods(each, pods))
        elif missing < 0:
            actions.append(DeletePods(each, _references(to_delete(observed, active, min(-missing, BURST)))))
    status = status_of(observed, now, failure, len(active) - each.spec.replicas)
    if status is not None:
        meta = each.metadata
        patch = {"status": status}
        actions.append(Patch(observed.kind, meta.name, meta.namespace, patch, "status", ignore_missing=True))
    return Plan(tuple(actions), _next_available(each, active, now))


def to_delete(observed: Observed, active: Sequence[Pod], count: int) -> list[Pod]:
    """The Pods whose deletion hurts least."""
    ranked = sorted(active, key=lambda pod: deletion_rank(pod, observed.related_on_node.get(pod.spec.node_name, 0)))
    return ranked[:count]


def _references(pods: Sequence[Pod]) -> tuple[tuple[str, str, str], ...]:
    return tuple((pod.metadata.namespace, pod.metadata.name, pod.metadata.uid) for pod in pods)


def _next_available(each: ReplicaSet, active: Sequence[Pod], now: float) -> float | None:
    """When the next ready Pod will have been ready for long enough."""
    waits = [seconds_until_available(pod, each.spec.min_ready_seconds, now) for pod in active]
    return min((seconds for seconds in waits if seconds), default=None)


def status_of(observed: Observed, now: float, failure: str, surplus: int) -> dict[str, Any] | None:
    """The change of status, or None when nothing changed."""
    each = observed.replica_set
    active = [pod for pod in observed.pods if is_active(pod)]
    labels = (each.spec.template.get("metadata") or {}).get("labels") or {}
    everything = from_map(labels) if labels else EVERYTHING
    conditions = [encode(found) for found in each.status.conditions]
    if failure and condition_of(conditions, REPLICA_FAILURE) is None:
        found = {
            "type": REPLICA_FAILURE,
            "status": "True",
            "lastTransitionTime": clock.rfc3339(now),
            "reason": "FailedCreate" if surplus < 0 else "FailedDelete",
            "message": failure,
        }
        conditions = with_condition(conditions, found)
    elif not failure:
        conditions = without_condition(conditions, REPLICA_FAILURE)
    status = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(everything.matches(pod.metadata.labels) for pod in active),
        "readyReplicas": sum(is_ready(pod) for pod in active),
        "availableReplicas": sum(seconds_until_available(pod, each.spec.min_ready_seconds, now) == 0 for pod in active),
        "terminatingReplicas": sum(
            bool(pod.metadata.deletion_timestamp) and not is_finished(pod) for pod in observed.pods
        ),
        "observedGeneration": each.metadata.generation,
        "conditions": conditions,
    }
    if observed.kind is not REPLICA_SET:
        del status["terminatingReplicas"]
    stored = encode(each.status)
    empty: dict[str, Any] = {"conditions": []}
    changed = {key: value for key, value in status.items() if stored.get(key, empty.get(key, 0)) != value}
    return changed or None


@dataclass(frozen=True, slots=True)
class Workload(Generic[R]):
    """How objects that keep a number of Pods are followed, and read as ReplicaSets."""

    view: type[R]
    queue: str
    as_replica_set: Callable[[R], ReplicaSet]


REPLICA_SETS: Workload[Any] = Workload(ReplicaSet, "replicaset", lambda found: found)


class ReplicaSetController:
    """Watches ReplicaSets (or what else is read as such) and their Pods."""

    name = "replicaset-controller"
    workload = REPLICA_SETS
    kind = REPLICA_SET

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._metrics = ReplicaSetMetrics(context.telemetry.metrics)
        self._read = self.workload.as_replica_set
        self._sets = context.informers.of(self.kind, self.workload.view)
        self._pods = context.informers.of(POD, Pod)
        self.queue = context.queue(self.workload.queue)
        follow(self._sets, self.queue)
        follow_members(self._pods, self._sets, self.kind, self.queue, lambda each: self._read(each).spec.selector)

    async def run(self, started: Callable[[], None]) -> None:
        await run_reconciler(self, self.queue, self._telemetry, workers=5, started=started)

    async def reconcile(self, key: str) -> Result:
        found = self._sets.get(key)
        if found is None:
            return DONE
        each = self._read(found)
        selector = from_label_selector(each.spec.selector)
        pods, claims = claim(self.kind, each, selector, POD, candidates(self._pods, each))
        pods = [pod for pod in pods if not is_finished(pod)]
        if claims:
            await self._writer.apply(claims)
            return Result(0)
        observed = Observed(each, pods, self._related(each), self.kind)
        now = clock.now()
        step = plan(observed, now)
        scaling = [action for action in step.actions if isinstance(action, CreatePods | DeletePods)]
        self._observe_ages(observed, scaling, now)
        try:
            await self._writer.apply(scaling)
        except Exception as error:
            await self._state_failure(key, selector, str(error))
            raise
        if scaling:
            return Result(0)  # the counts have changed: state them from what the informer shows now
        await self._writer.apply(step.actions)
        return Result(step.requeue_after_seconds)

    async def _state_failure(self, key: str, selector: Any, failure: str) -> None:
        found = self._sets.get(key)
        if found is None:
            return
        each = self._read(found)
        pods, _ = claim(self.kind, each, selector, POD, candidates(self._pods, each))
        step = plan(Observed(each, [pod for pod in pods if not is_finished(pod)], {}, self.kind), clock.now(), failure)
        await self._writer.apply(action for action in step.actions if isinstance(action, Patch))

    def _related(self, each: ReplicaSet) -> Mapping[str, int]:
        """Active Pods per node of all sets with the same controller."""
        owner = controller_of(each.metadata)
        related = self._sets.by_index(CONTROLLER, owner.uid) if owner else [each]
        return Counter(
            pod.spec.node_name
            for one in related
            for pod in self._pods.by_index(CONTROLLER, one.metadata.uid)
            if is_active(pod) and pod.spec.node_name
        )

    def _observe_ages(self, observed: Observed, scaling: Sequence[Action], now: float) -> None:
        """How old the Pods chosen for deletion are, against the youngest that stays or goes (at best one)."""
        ready = {pod.metadata.uid: _ready_seconds(pod, now) for pod in observed.pods if is_ready(pod)}
        youngest = min(ready.values(), default=0.0)
        for action in scaling:
            if isinstance(action, DeletePods) and youngest > 0:
                for _, _, uid in action.pods:
                    if uid in ready:
                        ratio = ready[uid] / youngest
                        self._metrics.replicaset_controller_sorting_deletion_age_ratio.observe(ratio)


def _ready_seconds(pod: Pod, now: float) -> float:
    stamps = [found.last_transition_time for found in pod.status.conditions if found.type == "Ready"]
    return now - clock.parse(stamps[0]) if stamps and stamps[0] else 0.0

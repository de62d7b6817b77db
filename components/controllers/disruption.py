"""PodDisruptionBudgets: how many Pods may be evicted now. Upstream: disruption-controller."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kubeglass.components.api.kinds import (
    DEPLOYMENT,
    POD,
    POD_DISRUPTION_BUDGET,
    REPLICA_SET,
    STATEFUL_SET,
)
from kubeglass.components.api.objects import Pod, PodDisruptionBudget, encode
from kubeglass.components.api.selectors import from_label_selector
from kubeglass.components.controllers.actions import Patch, Plan
from kubeglass.components.controllers.arithmetic import scaled, with_condition
from kubeglass.components.controllers.context import ControllerContext, follow
from kubeglass.components.controllers.ownership import controller_of
from kubeglass.components.controllers.podstate import is_active, is_ready
from kubeglass.components.controllers.views import Deployment, ReplicaSet, StatefulSet
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.informer import Change
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler

_DELETION_TIMEOUT_SECONDS = 120.0


def plan(budget: PodDisruptionBudget, pods: Sequence[Pod], expected: int, now: float) -> Plan:
    """The status of a budget over its Pods; `expected` is how many their controllers want."""
    spec, stored = budget.spec, budget.status
    disrupted = {
        name: stamp
        for name, stamp in stored.disrupted_pods.items()
        if clock.parse(stamp) + _DELETION_TIMEOUT_SECONDS > now
        and any(pod.metadata.name == name and not pod.metadata.deletion_timestamp for pod in pods)
    }
    healthy = sum(is_ready(pod) and is_active(pod) and pod.metadata.name not in disrupted for pod in pods)
    if spec.max_unavailable is not None:
        desired = max(0, expected - scaled(spec.max_unavailable, expected, round_up=True))
    else:
        desired = scaled(spec.min_available, expected, round_up=True)
        if isinstance(spec.min_available, int):
            expected = len(pods)
    allowed = max(0, healthy - desired) if expected > 0 else 0
    reason = "SufficientPods" if allowed > 0 else "InsufficientPods"
    condition = {
        "type": "DisruptionAllowed",
        "status": "True" if allowed > 0 else "False",
        "reason": reason,
        "message": "",
        "lastTransitionTime": clock.rfc3339(now),
        "observedGeneration": budget.metadata.generation,
    }
    status: dict[str, Any] = {
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "disruptionsAllowed": allowed,
        "observedGeneration": budget.metadata.generation,
        "conditions": with_condition([encode(found) for found in stored.conditions], condition),
    }
    before = encode(stored)
    changed = {key: value for key, value in status.items() if before.get(key, 0) != value}
    if disrupted != stored.disrupted_pods:
        gone = dict.fromkeys(stored.disrupted_pods.keys() - disrupted.keys())
        changed["disruptedPods"] = {**disrupted, **gone}
    if not changed:
        return Plan()
    meta = budget.metadata
    patch = {"metadata": {"resourceVersion": meta.resource_version}, "status": changed}
    return Plan((Patch(POD_DISRUPTION_BUDGET, meta.name, meta.namespace, patch, "status", ignore_missing=True),))


class DisruptionController:
    """Watches budgets and Pods."""

    name = "disruption-controller"
    kind = POD_DISRUPTION_BUDGET

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._budgets = context.informers.of(POD_DISRUPTION_BUDGET, PodDisruptionBudget)
        self._pods = context.informers.of(POD, Pod)
        self._sets = context.informers.of(REPLICA_SET, ReplicaSet)
        self._deployments = context.informers.of(DEPLOYMENT, Deployment)
        self._stateful_sets = context.informers.of(STATEFUL_SET, StatefulSet)
        self.queue = context.queue("disruption")
        follow(self._budgets, self.queue)
        self._pods.subscribe(self._pod_changed)

    async def run(self, started: Callable[[], None]) -> None:
        await run_reconciler(self, self.queue, self._telemetry, started=started)

    async def reconcile(self, key: str) -> Result:
        budget = self._budgets.get(key)
        if budget is None or budget.metadata.deletion_timestamp:
            return DONE
        selector = from_label_selector(budget.spec.selector)
        pods = [pod for pod in self._pods.list(budget.metadata.namespace) if selector.matches(pod.metadata.labels)]
        step = plan(budget, pods, self._expected(pods), clock.now())
        await self._writer.apply(step.actions)
        return Result(_DELETION_TIMEOUT_SECONDS) if budget.status.disrupted_pods else DONE

    def _expected(self, pods: Iterable[Pod]) -> int:
        """The sum of what the Pods' controllers want, each counted once; a bare Pod counts as one."""
        wanted: dict[str, int] = {}
        for pod in pods:
            owner = controller_of(pod.metadata)
            if owner is None:
                wanted[pod.metadata.uid] = 1
            else:
                uid, replicas = self._scale_of(owner.kind, pod.metadata.namespace, owner.name)
                wanted[uid or pod.metadata.uid] = replicas
        return sum(wanted.values())

    def _scale_of(self, kind: str, namespace: str, name: str) -> tuple[str, int]:
        key = f"{namespace}/{name}"
        if kind == "ReplicaSet" and (each := self._sets.get(key)):
            parent = controller_of(each.metadata)
            deployment = self._deployments.get(f"{namespace}/{parent.name}") if parent else None
            if deployment is not None:
                return deployment.metadata.uid, deployment.spec.replicas
            return each.metadata.uid, each.spec.replicas
        if kind == "StatefulSet" and (found := self._stateful_sets.get(key)):
            return found.metadata.uid, found.spec.replicas
        return "", 1

    def _pod_changed(self, change: Change[Pod]) -> None:
        labels: Mapping[str, str] = change.new.metadata.labels
        for budget in self._budgets.list(change.new.metadata.namespace):
            if from_label_selector(budget.spec.selector).matches(labels):
                self.queue.add(budget.key)

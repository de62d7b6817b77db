"""Pods on nodes with NoExecute taints: deleted at once, or when their tolerationSeconds have passed.

Upstream: taint-eviction-controller. Time runs from when the taint was added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kubeglass.components.api.kinds import NODE, POD
from kubeglass.components.api.objects import Node, Pod, Taint, Toleration
from kubeglass.components.api.placement import NO_EXECUTE, tolerates
from kubeglass.components.controllers.actions import Action, Delete, Emit, Patch
from kubeglass.components.controllers.context import ControllerContext
from kubeglass.components.controllers.metrics import TaintEvictionMetrics
from kubeglass.components.controllers.podstate import is_finished
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.informer import Change
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler


def seconds_to_live(taints: Sequence[Taint], tolerations: Sequence[Toleration], now: float) -> float | None:
    """Seconds until the Pod must go: 0 or less means now, None never."""
    deadlines: list[float] = []
    for taint in taints:
        if taint.effect != NO_EXECUTE:
            continue
        matching = [toleration for toleration in tolerations if tolerates(toleration, taint)]
        if not matching:
            return 0.0
        limits = [max(0, t.toleration_seconds) for t in matching if t.toleration_seconds is not None]
        if limits:
            since = clock.parse(taint.time_added) if taint.time_added else now
            deadlines.append(since + min(limits) - now)
    return min(deadlines, default=None)


def eviction(pod: Pod, now: float) -> list[Action]:
    """Say why, then delete."""
    meta = pod.metadata
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint",
        "lastTransitionTime": clock.rfc3339(now),
    }
    patch = {"status": {"conditions": [condition]}}
    return [
        Emit(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {pod.key}"),
        Patch(POD, meta.name, meta.namespace, patch, "status", "strategic", ignore_missing=True),
        Delete(POD, meta.name, meta.namespace, meta.uid),
    ]


class TaintEvictionController:
    """Watches nodes' taints and the Pods on them."""

    name = "taint-eviction-controller"

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._metrics = TaintEvictionMetrics(context.telemetry.metrics)
        self._nodes = context.informers.of(NODE, Node)
        self._pods = context.informers.of(POD, Pod)
        self._pods.add_index("tainted-node", lambda pod: (pod.spec.node_name,) if pod.spec.node_name else ())
        self._scheduled: set[str] = set()
        self.queue = context.queue("noexec_taint_pod")
        self._nodes.subscribe(self._node_changed)
        self._pods.subscribe(self._pod_changed)

    async def run(self, started: Callable[[], None]) -> None:
        await run_reconciler(self, self.queue, self._telemetry, workers=8, started=started)

    async def reconcile(self, key: str) -> Result:
        pod = self._pods.get(key)
        if pod is None or pod.metadata.deletion_timestamp or is_finished(pod):
            self._scheduled.discard(key)
            return DONE
        node = self._nodes.get(pod.spec.node_name)
        now = clock.now()
        left = seconds_to_live(node.spec.taints if node else (), pod.spec.tolerations, now)
        if left is None:
            if key in self._scheduled:
                self._scheduled.discard(key)
                message = f"Cancelling deletion of Pod {pod.key}"
                await self._writer.apply([Emit(pod, "Normal", "TaintManagerEviction", message)])
            return DONE
        if left > 0:
            self._scheduled.add(key)
            return Result(left)
        self._scheduled.discard(key)
        await self._writer.apply(eviction(pod, now))
        self._metrics.taint_eviction_controller_pod_deletions_total.inc()
        return DONE

    def _node_changed(self, change: Change[Node]) -> None:
        if change.old is not None and change.old.spec.taints == change.new.spec.taints:
            return
        for pod in self._pods.by_index("tainted-node", change.new.metadata.name):
            self.queue.add(pod.key)

    def _pod_changed(self, change: Change[Pod]) -> None:
        pod = change.new
        node = self._nodes.get(pod.spec.node_name) if pod.spec.node_name else None
        if pod.key in self._scheduled or (node is not None and any(t.effect == NO_EXECUTE for t in node.spec.taints)):
            self.queue.add(change.key)

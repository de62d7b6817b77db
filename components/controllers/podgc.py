"""Pods nobody else removes: on nodes that are gone, deleted before they had a node, or finished beyond the threshold.

Upstream: pod-garbage-collector-controller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from kubeglass.components.api.errors import ApiError
from kubeglass.components.api.kinds import NODE, POD
from kubeglass.components.api.objects import Node, Pod
from kubeglass.components.controllers.actions import Action, Delete, Patch
from kubeglass.components.controllers.context import ControllerContext
from kubeglass.components.controllers.metrics import PodGcMetrics
from kubeglass.components.controllers.podstate import is_finished
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.reconcile import look_span
from kubeglass.components.machinery.transport import Unreachable

PERIOD_SECONDS = 20.0
QUARANTINE_SECONDS = 40.0
"""How long a node must be missing before its Pods are taken to be lost."""


def plan(
    pods: Iterable[Pod], nodes: Iterable[str], missing_since: Mapping[str, float], threshold: int, now: float
) -> list[tuple[str, Pod]]:
    """(reason, Pod) for each Pod to remove."""
    known = set(nodes)
    finished: list[Pod] = []
    found: list[tuple[str, Pod]] = []
    for pod in pods:
        node = pod.spec.node_name
        if not node and pod.metadata.deletion_timestamp:
            found.append(("unscheduled", pod))
        elif node and node not in known and now - missing_since.get(node, now) >= QUARANTINE_SECONDS:
            found.append(("orphaned", pod))
        elif is_finished(pod) and not pod.metadata.deletion_timestamp:
            finished.append(pod)
    surplus = len(finished) - threshold
    if threshold > 0 and surplus > 0:
        finished.sort(key=lambda pod: (pod.metadata.creation_timestamp, pod.metadata.name))
        found += [("terminated", pod) for pod in finished[:surplus]]
    return found


def removal(reason: str, pod: Pod, now: float) -> list[Action]:
    """Mark the Pod failed, where it did not finish itself, and delete it without grace."""
    meta = pod.metadata
    actions: list[Action] = []
    if not is_finished(pod):
        status: dict[str, object] = {"phase": "Failed"}
        if reason == "orphaned":
            condition = {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "DeletionByPodGC",
                "message": "PodGC: node no longer exists",
                "lastTransitionTime": clock.rfc3339(now),
            }
            status["conditions"] = [condition]
        patch = {"status": status}
        actions.append(Patch(POD, meta.name, meta.namespace, patch, "status", "strategic", ignore_missing=True))
    actions.append(Delete(POD, meta.name, meta.namespace, meta.uid, grace_period_seconds=0))
    return actions


class PodGarbageCollector:
    """Looks at all Pods every 20 seconds."""

    name = "pod-garbage-collector-controller"

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._log = self._telemetry.log
        self._metrics = PodGcMetrics(context.telemetry.metrics)
        self._threshold = int(context.options["terminated_pod_threshold"])
        self._pods = context.informers.of(POD, Pod)
        self._nodes = context.informers.of(NODE, Node)
        self._missing_since: dict[str, float] = {}

    async def run(self, started: Callable[[], None]) -> None:
        started()
        while True:
            await self._collect()
            await asyncio.sleep(PERIOD_SECONDS)

    async def _collect(self) -> None:
        now = clock.now()
        pods, nodes = self._pods.list(), [node.metadata.name for node in self._nodes.list()]
        missing = {pod.spec.node_name for pod in pods if pod.spec.node_name} - set(nodes)
        self._missing_since = {name: self._missing_since.get(name, now) for name in missing}
        for reason, pod in plan(pods, nodes, self._missing_since, self._threshold, now):
            self._log.info("PodGC is force deleting Pod", pod=pod.key, reason=reason)
            labels = (pod.metadata.namespace, reason)
            self._metrics.pod_gc_collector_force_delete_pods_total.labels(*labels).inc()
            try:
                with look_span(self.name, POD, pod, self._telemetry) as span:
                    span.set("podgc.reason", reason)
                    await self._writer.apply(removal(reason, pod, now))
            except (ApiError, Unreachable) as error:
                self._metrics.pod_gc_collector_force_delete_pod_errors_total.labels(*labels).inc()
                self._log.error(error, "Failed to delete pod", pod=pod.key)

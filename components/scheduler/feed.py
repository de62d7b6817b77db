"""News from the API, told to the snapshot and the queue: which Pods wait, which run where, what may help whom."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from kubeglass.components.api.objects import Namespace, Node, Pod
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.informer import Change
from kubeglass.components.scheduler.hints import Occurrence
from kubeglass.components.scheduler.metrics import QueueMetrics
from kubeglass.components.scheduler.queue import Nominator, SchedulingQueue
from kubeglass.components.scheduler.snapshot import PodInfo, Snapshot


class Feed:
    """Subscribers for each informer. `wake` is called when something may be ready to schedule."""

    def __init__(
        self,
        snapshot: Snapshot,
        queue: SchedulingQueue,
        nominator: Nominator,
        metrics: QueueMetrics,
        scheduler_name: str,
        wake: Callable[[], None],
    ) -> None:
        self._snapshot = snapshot
        self._queue = queue
        self._nominator = nominator
        self._metrics = metrics
        self._scheduler_name = scheduler_name
        self._wake = wake

    # -- pods -----------------------------------------------------------------------------------------------------

    def pod_changed(self, change: Change[Pod]) -> None:
        """A Pod came, changed or went."""
        started = time.perf_counter()
        event = self._assigned(change) if change.new.spec.node_name else self._unassigned(change)
        if event:
            self._handled(event, started)

    def _assigned(self, change: Change[Pod]) -> str:
        pod = change.new
        if change.type == "DELETED" or pod.status.phase in ("Succeeded", "Failed"):
            self._nominator.clear(pod.key)
            self._queue.delete(pod.key)
            if not self._snapshot.drop(pod.key):
                return ""  # a finished Pod that changes or goes frees nothing a second time
            self._move_for("AssignedPodDelete", PodInfo(pod))
            return "AssignedPodDelete"
        newly = change.old is None or not change.old.spec.node_name
        self._nominator.clear(pod.key)
        self._queue.delete(pod.key)
        info = PodInfo(pod)
        self._snapshot.put(info, pod.spec.node_name)
        if newly:
            self._move_for("AssignedPodAdd", info)
            return "AssignedPodAdd"
        if change.old is not None and (change.old.metadata.labels, change.old.spec) != (pod.metadata.labels, pod.spec):
            self._move_for("AssignedPodUpdate", info)
        return "AssignedPodUpdate"

    def _unassigned(self, change: Change[Pod]) -> str:
        pod = change.new
        if change.type == "DELETED" or pod.metadata.deletion_timestamp or pod.status.phase in ("Succeeded", "Failed"):
            self._queue.delete(pod.key)
            self._nominator.clear(pod.key)
            self._wake()
            return "UnscheduledPodDelete"
        if (pod.spec.scheduler_name or self._scheduler_name) != self._scheduler_name or self._snapshot.is_assumed(
            pod.key
        ):
            return ""
        if change.type == "ADDED":
            if pod.status.nominated_node_name:
                self._nominator.nominate(PodInfo(pod), pod.status.nominated_node_name)
            self._queue.add(PodInfo(pod), clock.now())
            self._wake()
            return "UnscheduledPodAdd"
        if change.old is not None and (change.old.metadata.labels, change.old.spec) != (pod.metadata.labels, pod.spec):
            self._queue.update(PodInfo(pod), "UnscheduledPodUpdate", clock.now())
            self._wake()
        return "UnscheduledPodUpdate"

    # -- nodes ----------------------------------------------------------------------------------------------------

    def node_changed(self, change: Change[Node]) -> None:
        """A node came, changed or went."""
        started = time.perf_counter()
        if change.type == "DELETED":
            self._snapshot.drop_node(change.new.metadata.name)
            self._handled("NodeDelete", started)
            return
        node = self._snapshot.set_node(change.new)
        for event in _node_events(change.old, change.new):
            self._move(Occurrence(event, node))
            self._handled(event, started)

    def namespace_changed(self, change: Change[Namespace]) -> None:
        """Namespaces matter by their labels, for terms with a namespaceSelector."""
        if change.type == "DELETED":
            self._snapshot.namespaces.pop(change.new.metadata.name, None)
        else:
            self._snapshot.namespaces[change.new.metadata.name] = change.new.metadata.labels

    def volumes_changed(self, resource: str) -> Callable[[Change[Any]], None]:
        """A subscriber for claims, volumes and classes; `resource` is the event's first part."""

        def changed(change: Change[Any]) -> None:
            action = {"ADDED": "Add", "MODIFIED": "Update", "DELETED": "Delete"}[change.type]
            claim = change.key if resource == "PersistentVolumeClaim" else ""
            self._move(Occurrence(f"{resource}{action}", claim=claim))

        return changed

    # -- both -----------------------------------------------------------------------------------------------------

    def _move_for(self, event: str, pod: PodInfo) -> None:
        self._move(Occurrence(event, self._snapshot.nodes.get(pod.spec.node_name), pod))

    def _move(self, occurrence: Occurrence) -> None:
        if self._queue.move(occurrence, clock.now()):
            self._wake()

    def _handled(self, event: str, started: float) -> None:
        self._metrics.event_handling_duration_seconds.labels(event).observe(time.perf_counter() - started)


def _node_events(old: Node | None, new: Node) -> list[str]:
    """What changed about a node, in upstream's event names."""
    if old is None:
        return ["NodeAdd"]
    events = []
    if old.status.allocatable != new.status.allocatable:
        events.append("NodeUpdateNodeAllocatable")
    if old.metadata.labels != new.metadata.labels:
        events.append("NodeUpdateNodeLabel")
    if old.spec.taints != new.spec.taints or old.spec.unschedulable != new.spec.unschedulable:
        events.append("NodeUpdateNodeTaint")
    if _verdicts(old) != _verdicts(new):
        events.append("NodeUpdateNodeCondition")
    return events


def _verdicts(node: Node) -> list[tuple[str, str]]:
    return [(condition.type, condition.status) for condition in node.status.conditions]

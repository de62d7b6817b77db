"""Plugins at the two ends: which Pod is next, which may not queue yet, and how a decision is written down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from kubeglass.components.scheduler.interface import SUCCESS, CycleState, Status, unresolvable
from kubeglass.components.scheduler.snapshot import PodInfo


class SchedulingGates:
    """Pods with spec.schedulingGates stay out of the queue until the last gate is removed."""

    name = "SchedulingGates"
    events = frozenset({"UnscheduledPodUpdate"})

    def pre_enqueue(self, pod: PodInfo) -> Status:
        gates = [gate.name for gate in pod.spec.scheduling_gates]
        if not gates:
            return SUCCESS
        return unresolvable(f"waiting for scheduling gates: [{' '.join(gates)}]", plugin=self.name)


class PrioritySort:
    """Higher priority first; among equals, whoever queued first."""

    name = "PrioritySort"
    events: frozenset[str] = frozenset()

    def order(self, pod: PodInfo, queued_at: float) -> tuple[int, float]:
        """The sort key: the smallest is next."""
        return -pod.priority, queued_at


class DefaultBinder:
    """Writes the decision to the API as a Binding."""

    name = "DefaultBinder"
    events: frozenset[str] = frozenset()

    def __init__(self, write: Callable[[PodInfo, str], Awaitable[Status]]) -> None:
        self._write = write

    async def bind(self, state: CycleState, pod: PodInfo, node_name: str) -> Status:
        return await self._write(pod, node_name)

"""Plugins about amounts: does the Pod fit, which node is left emptiest, which is left most balanced.

LeastAllocated: mean over cpu and memory of (allocatable - requested) * 100 / allocatable.
BalancedAllocation: (1 - standard deviation of the fractions requested / allocatable) * 100.
"""

from __future__ import annotations

from collections.abc import Sequence

from kubeglass.components.scheduler.hints import DecidesByNode
from kubeglass.components.scheduler.interface import MAX_NODE_SCORE, SKIP, SUCCESS, Code, CycleState, Status
from kubeglass.components.scheduler.snapshot import NodeInfo, PodInfo, Snapshot

SCORED = ("cpu", "memory")


class NodeResourcesFit(DecidesByNode):
    """Requests must fit into what is allocatable; nodes left emptier score higher."""

    name = "NodeResourcesFit"
    events = frozenset({"NodeAdd", "NodeUpdateNodeAllocatable", "AssignedPodDelete", "AssignedPodUpdate"})

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        lacking = self.lacking(pod, node)
        if not lacking:
            return None
        reasons = tuple("Too many pods" if name == "pods" else f"Insufficient {name}" for name in lacking)
        # What the empty node could not hold either, no eviction will make fit.
        hopeless = any(pod.requests.get(name, 0) > node.allocatable.get(name, 0) for name in lacking)
        return Status(Code.UNRESOLVABLE if hopeless else Code.UNSCHEDULABLE, reasons, self.name)

    def lacking(self, pod: PodInfo, node: NodeInfo) -> list[str]:
        """The resources that the node has too little of, `pods` for its number of Pods."""
        short = []
        if len(node.pods) + 1 > node.allocatable.get("pods", 0):
            short.append("pods")
        for name, asked in pod.requests.items():
            if asked > node.allocatable.get(name, 0) - node.requested[name]:
                short.append(name)
        return short

    def score(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> int:
        cpu, memory = pod.scoring_requests
        total = counted = 0
        for requested, name in ((node.scoring_cpu + cpu, "cpu"), (node.scoring_memory + memory, "memory")):
            allocatable = node.allocatable.get(name, 0)
            if allocatable:
                counted += 1
                if requested < allocatable:
                    total += (allocatable - requested) * MAX_NODE_SCORE // allocatable
        return total // counted if counted else 0


class NodeResourcesBalancedAllocation:
    """Prefers nodes whose cpu and memory would be used to the same degree."""

    name = "NodeResourcesBalancedAllocation"
    events: frozenset[str] = frozenset()

    def pre_score(self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot) -> Status:
        return SUCCESS if any(pod.requests.get(name) for name in SCORED) else SKIP

    def score(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> int:
        cpu, memory = _fraction(pod, node, "cpu"), _fraction(pod, node, "memory")
        deviation = 0.0 if cpu is None or memory is None else abs(cpu - memory) / 2  # of two values
        return int((1 - deviation) * MAX_NODE_SCORE)


def _fraction(pod: PodInfo, node: NodeInfo, name: str) -> float | None:
    allocatable = node.allocatable.get(name)
    if not allocatable:
        return None
    used = node.requested.get(name, 0) + pod.requests.get(name, 0)
    return used / allocatable if used < allocatable else 1.0

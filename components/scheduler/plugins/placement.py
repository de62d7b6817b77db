"""Plugins that read only the node object and the Pod's own words: name, selector, affinity, taints, ports."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

from kubeglass.components.api import placement
from kubeglass.components.api.objects import NodeSelector, PreferredSchedulingTerm, Taint
from kubeglass.components.scheduler.hints import DecidesByNode
from kubeglass.components.scheduler.interface import (
    MAX_NODE_SCORE,
    SKIP,
    SUCCESS,
    CycleState,
    Status,
    unresolvable,
    unschedulable,
)
from kubeglass.components.scheduler.snapshot import HostPort, NodeInfo, PodInfo, Snapshot

_CORDONED = Taint(key="node.kubernetes.io/unschedulable", effect=placement.NO_SCHEDULE)


def normalize_to_max(scores: MutableMapping[str, int], *, reverse: bool = False) -> None:
    """Stretch scores so that the best is MAX_NODE_SCORE; reversed, the highest becomes the worst."""
    highest = max(scores.values(), default=0)
    for name, score in scores.items():
        stretched = score * MAX_NODE_SCORE // highest if highest else 0
        scores[name] = MAX_NODE_SCORE - stretched if reverse else stretched


class NodeName(DecidesByNode):
    """Honours spec.nodeName of a Pod that names its node but was not bound."""

    name = "NodeName"
    events = frozenset({"NodeAdd"})

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        if pod.spec.node_name and pod.spec.node_name != node.name:
            return unresolvable("node(s) didn't match the requested node name", plugin=self.name)
        return None


class NodeUnschedulable(DecidesByNode):
    """Keeps Pods off cordoned nodes, unless they tolerate the cordon."""

    name = "NodeUnschedulable"
    events = frozenset({"NodeAdd", "NodeUpdateNodeTaint"})

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        if node.node.spec.unschedulable and not placement.tolerated(_CORDONED, pod.spec.tolerations):
            return unresolvable("node(s) were unschedulable", plugin=self.name)
        return None


class TaintToleration(DecidesByNode):
    """Taints with NoSchedule and NoExecute refuse; those with PreferNoSchedule cost score."""

    name = "TaintToleration"
    events = frozenset({"NodeAdd", "NodeUpdateNodeTaint"})

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        taints = node.node.spec.taints
        if not taints:
            return None
        refusing = (placement.NO_SCHEDULE, placement.NO_EXECUTE)
        if placement.untolerated(taints, pod.spec.tolerations, refusing) is None:
            return None
        return unresolvable("node(s) had untolerated taint(s)", plugin=self.name)

    def score(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> int:
        """How many PreferNoSchedule taints the Pod does not tolerate."""
        if not node.node.spec.taints:
            return 0
        tolerations = [t for t in pod.spec.tolerations if t.effect in ("", placement.PREFER_NO_SCHEDULE)]
        return sum(
            taint.effect == placement.PREFER_NO_SCHEDULE and not placement.tolerated(taint, tolerations)
            for taint in node.node.spec.taints
        )

    def normalize(self, state: CycleState, pod: PodInfo, scores: MutableMapping[str, int]) -> None:
        normalize_to_max(scores, reverse=True)


class NodeAffinity(DecidesByNode):
    """nodeSelector and node affinity, required and preferred."""

    name = "NodeAffinity"
    events = frozenset({"NodeAdd", "NodeUpdateNodeLabel"})

    def pre_filter(self, state: CycleState, pod: PodInfo, snapshot: Snapshot) -> tuple[frozenset[str] | None, Status]:
        required = _required(pod)
        if required is None and not pod.spec.node_selector:
            return None, SKIP
        return _named_nodes(required), SUCCESS

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        if placement.allows_node(pod.spec, node.node):
            return None
        return unresolvable("node(s) didn't match Pod's node affinity/selector", plugin=self.name)

    def pre_score(self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot) -> Status:
        return SUCCESS if _preferred(pod) else SKIP

    def score(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> int:
        return sum(
            term.weight
            for term in _preferred(pod)
            if term.preference is not None and placement.term_matches(term.preference, node.node)
        )

    def normalize(self, state: CycleState, pod: PodInfo, scores: MutableMapping[str, int]) -> None:
        normalize_to_max(scores)


def _required(pod: PodInfo) -> NodeSelector | None:
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    return affinity.required_during_scheduling_ignored_during_execution if affinity else None


def _preferred(pod: PodInfo) -> tuple[PreferredSchedulingTerm, ...]:
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    return affinity.preferred_during_scheduling_ignored_during_execution if affinity else ()


def _named_nodes(required: NodeSelector | None) -> frozenset[str] | None:
    """The only nodes that can match, when every term names nodes; None when some term does not."""
    if required is None or not required.node_selector_terms:
        return None
    names: set[str] = set()
    for term in required.node_selector_terms:
        named: set[str] | None = None
        for field in term.match_fields:
            if field.key == "metadata.name" and field.operator == "In":
                named = set(field.values) if named is None else named & set(field.values)
        if named is None:
            return None
        names |= named
    return frozenset(names)


class NodePorts(DecidesByNode):
    """Two Pods cannot take the same host port of one node."""

    name = "NodePorts"
    events = frozenset({"NodeAdd", "AssignedPodDelete"})

    def pre_filter(self, state: CycleState, pod: PodInfo, snapshot: Snapshot) -> tuple[frozenset[str] | None, Status]:
        return None, SUCCESS if pod.host_ports else SKIP

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        if any(_taken(port, node) for port in pod.host_ports):
            return unschedulable("node(s) didn't have free ports for the requested pod ports", plugin=self.name)
        return None


def _taken(port: HostPort, node: NodeInfo) -> bool:
    return any(port.conflicts(used) for used in node.ports)

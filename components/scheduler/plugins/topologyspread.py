"""Spreads alike Pods over topology domains (hosts, zones).

Filter, per DoNotSchedule constraint with key k and the node's value v:
    matching(v) + self - min over domains of matching  <=  maxSkew
Score, per ScheduleAnyway constraint: matching(v) * ln(domains + 2) + maxSkew - 1, summed; fewer is better.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from math import log

from kubeglass.components.api import placement
from kubeglass.components.api.objects import LabelSelector, LabelSelectorRequirement, TopologySpreadConstraint
from kubeglass.components.api.selectors import Selector, from_label_selector
from kubeglass.components.scheduler.hints import Occurrence
from kubeglass.components.scheduler.interface import (
    MAX_NODE_SCORE,
    SKIP,
    SUCCESS,
    CycleState,
    Status,
    unresolvable,
    unschedulable,
)
from kubeglass.components.scheduler.snapshot import NodeInfo, PodInfo, Snapshot

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
_HARD, _SOFT = "DoNotSchedule", "ScheduleAnyway"

WorkloadSelector = Callable[[PodInfo], LabelSelector | None]
"""The selector of the Services and the controller a Pod belongs to: what the default constraints count."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint, ready to match Pods."""

    topology_key: str
    max_skew: int
    selector: Selector
    min_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False

    def counts(self, pod: PodInfo, node: NodeInfo) -> bool:
        """Whether the node's Pods count for the spread of `pod`."""
        if self.honor_affinity and not placement.allows_node(pod.spec, node.node):
            return False
        refusing = (placement.NO_SCHEDULE, placement.NO_EXECUTE)
        return not (
            self.honor_taints
            and placement.untolerated(node.node.spec.taints, pod.spec.tolerations, refusing) is not None
        )

    def matching(self, pod: PodInfo, node: NodeInfo) -> int:
        """How many Pods of the node are alike `pod`."""
        return sum(self.alike(pod, other) for other in node.pods.values())

    def alike(self, pod: PodInfo, other: PodInfo) -> bool:
        return other.namespace == pod.namespace and not other.terminating and bool(self.selector.matches(other.labels))


@dataclass(slots=True)
class _Spread:
    """One hard constraint's counts per domain, with their minimum kept until they change."""

    constraint: Constraint
    counts: dict[str, int] = field(default_factory=dict)
    _minimum: int | None = None

    def minimum(self) -> int:
        if self._minimum is None:
            enough = len(self.counts) >= self.constraint.min_domains
            self._minimum = min(self.counts.values(), default=0) if enough else 0
        return self._minimum

    def change(self, domain: str, by: int) -> None:
        self.counts[domain] += by
        self._minimum = None


class _Spreads(list[_Spread]):
    def clone(self) -> _Spreads:
        return _Spreads(replace(spread, counts=dict(spread.counts)) for spread in self)


@dataclass(slots=True)
class _Scoring:
    constraints: list[Constraint]
    domains: list[dict[str, int]]
    weights: list[float]
    ignored: set[str]


class PodTopologySpread:
    """topologySpreadConstraints of the Pod, or upstream's defaults for Pods of Services and controllers."""

    name = "PodTopologySpread"
    events = frozenset({"NodeAdd", "NodeUpdateNodeLabel", "AssignedPodAdd", "AssignedPodDelete", "AssignedPodUpdate"})

    def __init__(self, workload_selector: WorkloadSelector) -> None:
        self._workload_selector = workload_selector

    def helps(self, pod: PodInfo, occurrence: Occurrence) -> bool:
        """A Pod that some hard constraint counts, or a node in one of its domains."""
        constraints = list(_declared(pod, _HARD))
        other, node = occurrence.pod, occurrence.node
        if other is not None:
            same_space = other.namespace == pod.namespace
            return same_space and any(constraint.selector.matches(other.labels) for constraint in constraints)
        return node is not None and all(constraint.topology_key in node.labels for constraint in constraints)

    # -- filter ---------------------------------------------------------------------------------------------------

    def pre_filter(self, state: CycleState, pod: PodInfo, snapshot: Snapshot) -> tuple[frozenset[str] | None, Status]:
        spreads = _Spreads(_Spread(constraint) for constraint in _declared(pod, _HARD))
        if not spreads:
            return None, SKIP
        for node in snapshot.nodes.values():
            if any(spread.constraint.topology_key not in node.labels for spread in spreads):
                continue
            for spread in spreads:
                if spread.constraint.counts(pod, node):
                    domain = node.labels[spread.constraint.topology_key]
                    spread.counts[domain] = spread.counts.get(domain, 0) + spread.constraint.matching(pod, node)
        state[self.name] = spreads
        return None, SUCCESS

    def add_pod(self, state: CycleState, pod: PodInfo, added: PodInfo, node: NodeInfo) -> None:
        self._change(state, pod, added, node, 1)

    def remove_pod(self, state: CycleState, pod: PodInfo, removed: PodInfo, node: NodeInfo) -> None:
        self._change(state, pod, removed, node, -1)

    def _change(self, state: CycleState, pod: PodInfo, other: PodInfo, node: NodeInfo, by: int) -> None:
        spreads: _Spreads = state[self.name]
        for spread in spreads:
            domain = node.labels.get(spread.constraint.topology_key)
            if domain in spread.counts and spread.constraint.alike(pod, other):
                spread.change(domain, by)

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        spreads: _Spreads = state[self.name]
        for spread in spreads:
            constraint = spread.constraint
            domain = node.labels.get(constraint.topology_key)
            if domain is None:
                return unresolvable(
                    "node(s) didn't match pod topology spread constraints (missing required label)", plugin=self.name
                )
            itself = int(bool(constraint.selector.matches(pod.labels)))
            if spread.counts.get(domain, 0) + itself - spread.minimum() > constraint.max_skew:
                return unschedulable("node(s) didn't match pod topology spread constraints", plugin=self.name)
        return None

    # -- score ----------------------------------------------------------------------------------------------------

    def pre_score(self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot) -> Status:
        declared = bool(pod.spec.topology_spread_constraints)
        constraints = _declared(pod, _SOFT) if declared else self._defaults(pod)
        if not constraints:
            return SKIP
        ignored = {
            node.name
            for node in nodes
            if declared and any(constraint.topology_key not in node.labels for constraint in constraints)
        }
        considered = [node for node in nodes if node.name not in ignored]
        domains: list[dict[str, int]] = []
        weights: list[float] = []
        for constraint in constraints:
            key = constraint.topology_key
            if key == HOSTNAME:
                domains.append({})
                weights.append(log(len(considered) + 2))
                continue
            counts = {node.labels[key]: 0 for node in considered if key in node.labels}
            for node in snapshot.nodes.values():
                domain = node.labels.get(key)
                if domain in counts and constraint.counts(pod, node):
                    counts[domain] += constraint.matching(pod, node)
            domains.append(counts)
            weights.append(log(len(counts) + 2))
        state[self.name + "/score"] = _Scoring(constraints, domains, weights, ignored)
        return SUCCESS

    def score(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> int:
        scoring: _Scoring = state[self.name + "/score"]
        if node.name in scoring.ignored:
            return 0
        total = 0.0
        for constraint, counts, weight in zip(scoring.constraints, scoring.domains, scoring.weights, strict=True):
            domain = node.labels.get(constraint.topology_key)
            if domain is None:
                continue
            alike = constraint.matching(pod, node) if constraint.topology_key == HOSTNAME else counts[domain]
            total += alike * weight + constraint.max_skew - 1
        return round(total)

    def normalize(self, state: CycleState, pod: PodInfo, scores: MutableMapping[str, int]) -> None:
        scoring: _Scoring = state[self.name + "/score"]
        kept = [score for name, score in scores.items() if name not in scoring.ignored]
        highest, lowest = max(kept, default=0), min(kept, default=0)
        for name, score in scores.items():
            if name in scoring.ignored:
                scores[name] = 0
            elif highest == 0:
                scores[name] = MAX_NODE_SCORE
            else:
                scores[name] = MAX_NODE_SCORE * (highest + lowest - score) // highest

    def _defaults(self, pod: PodInfo) -> list[Constraint]:
        selector = self._workload_selector(pod)
        if selector is None:
            return []
        matcher = from_label_selector(selector)
        return [Constraint(HOSTNAME, 3, matcher), Constraint(ZONE, 5, matcher)]


def _declared(pod: PodInfo, when_unsatisfiable: str) -> list[Constraint]:
    return [
        _constraint(pod, declared)
        for declared in pod.spec.topology_spread_constraints
        if (declared.when_unsatisfiable or _HARD) == when_unsatisfiable
    ]


def _constraint(pod: PodInfo, declared: TopologySpreadConstraint) -> Constraint:
    selector = declared.label_selector
    if selector is not None and declared.match_label_keys:
        extra = tuple(
            LabelSelectorRequirement(key=key, operator="In", values=(pod.labels[key],))
            for key in declared.match_label_keys
            if key in pod.labels
        )
        selector = LabelSelector(
            match_labels=selector.match_labels, match_expressions=selector.match_expressions + extra
        )
    return Constraint(
        declared.topology_key,
        declared.max_skew,
        from_label_selector(selector),
        declared.min_domains or 1,
        honor_affinity=declared.node_affinity_policy != "Ignore",
        honor_taints=declared.node_taints_policy == "Honor",
    )

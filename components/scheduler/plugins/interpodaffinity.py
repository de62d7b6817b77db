"""Pods near Pods, and Pods away from Pods.

All three filters and the score work on counts per topology pair (key, value): how many Pods there satisfy the
incoming Pod's terms, and how many there have terms of their own about the incoming Pod.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

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
from kubeglass.components.scheduler.snapshot import AffinityTerm, NodeInfo, PodInfo, Snapshot

Pairs = Counter[tuple[str, str]]
HARD_AFFINITY_WEIGHT = 1


@dataclass(slots=True)
class _Counts:
    """What one Pod's filtering needs; add and remove keep it true in a what-if."""

    namespaces: Mapping[str, Mapping[str, str]]
    existing_anti: Pairs = field(default_factory=Counter)
    affinity: Pairs = field(default_factory=Counter)
    anti: Pairs = field(default_factory=Counter)

    def clone(self) -> _Counts:
        return _Counts(self.namespaces, Counter(self.existing_anti), Counter(self.affinity), Counter(self.anti))

    def change(self, pod: PodInfo, other: PodInfo, node: NodeInfo, by: int) -> None:
        """`other` came to (or left) `node`."""
        own_labels = self.namespaces.get(pod.namespace, {})
        for term in other.required_anti_affinity:
            if term.matches(pod, own_labels):
                _count(self.existing_anti, term, node, by)
        other_labels = self.namespaces.get(other.namespace, {})
        if pod.required_affinity and all(term.matches(other, other_labels) for term in pod.required_affinity):
            for term in pod.required_affinity:
                _count(self.affinity, term, node, by)
        for term in pod.required_anti_affinity:
            if term.matches(other, other_labels):
                _count(self.anti, term, node, by)


def _count(pairs: Pairs, term: AffinityTerm, node: NodeInfo, by: int) -> None:
    value = node.labels.get(term.topology_key)
    if value is None:
        return
    pair = (term.topology_key, value)
    pairs[pair] += by
    if not pairs[pair]:
        del pairs[pair]


def _may_match(term: AffinityTerm, other: PodInfo) -> bool:
    in_scope = term.namespace_selector is not None or other.namespace in term.namespaces
    return in_scope and term.selector.matches(other.labels)


class InterPodAffinity:
    """podAffinity and podAntiAffinity, required and preferred, of the incoming and of the placed Pods."""

    name = "InterPodAffinity"
    events = frozenset({"NodeAdd", "NodeUpdateNodeLabel", "AssignedPodAdd", "AssignedPodDelete", "AssignedPodUpdate"})

    def helps(self, pod: PodInfo, occurrence: Occurrence) -> bool:
        """A node in some domain of the terms, or a Pod that a term of either one speaks of."""
        other = occurrence.pod
        terms = (*pod.required_affinity, *pod.required_anti_affinity)
        if other is None:
            node = occurrence.node
            return node is not None and (not terms or any(term.topology_key in node.labels for term in terms))
        # Which labels a namespace has is not known here: a term with a namespaceSelector is taken to reach everywhere.
        wanted = pod.required_affinity if occurrence.event != "AssignedPodDelete" else pod.required_anti_affinity
        freed = occurrence.event != "AssignedPodAdd" and any(_may_match(t, pod) for t in other.required_anti_affinity)
        if occurrence.event == "AssignedPodUpdate":
            wanted = terms
        return freed or any(_may_match(term, other) for term in wanted)

    # -- filter ---------------------------------------------------------------------------------------------------

    def pre_filter(self, state: CycleState, pod: PodInfo, snapshot: Snapshot) -> tuple[frozenset[str] | None, Status]:
        own = bool(pod.required_affinity or pod.required_anti_affinity)
        if not own and not snapshot.affinity_pods:
            return None, SKIP
        counts = _Counts(snapshot.namespaces)
        for node, other in snapshot.pods():
            if own or other.required_anti_affinity:
                counts.change(pod, other, node, 1)
        if not own and not counts.existing_anti:
            return None, SKIP
        state[self.name] = counts
        return None, SUCCESS

    def add_pod(self, state: CycleState, pod: PodInfo, added: PodInfo, node: NodeInfo) -> None:
        state[self.name].change(pod, added, node, 1)

    def remove_pod(self, state: CycleState, pod: PodInfo, removed: PodInfo, node: NodeInfo) -> None:
        state[self.name].change(pod, removed, node, -1)

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        counts: _Counts = state[self.name]
        if not _near_enough(counts, pod, node):
            return unresolvable("node(s) didn't match pod affinity rules", plugin=self.name)
        if any(_at(counts.anti, term, node) for term in pod.required_anti_affinity):
            return unschedulable("node(s) didn't match pod anti-affinity rules", plugin=self.name)
        if counts.existing_anti and any(counts.existing_anti.get(pair, 0) > 0 for pair in node.labels.items()):
            return unschedulable("node(s) didn't satisfy existing pods anti-affinity rules", plugin=self.name)
        return None

    # -- score ----------------------------------------------------------------------------------------------------

    def pre_score(self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot) -> Status:
        preferring = bool(pod.preferred_affinity or pod.preferred_anti_affinity)
        if not preferring and not snapshot.affinity_pods:
            return SKIP
        weights: Counter[tuple[str, str]] = Counter()
        own_labels = snapshot.namespaces.get(pod.namespace, {})
        for node, other in snapshot.pods():
            if preferring:
                labels = snapshot.namespaces.get(other.namespace, {})
                _weigh(weights, pod.preferred_affinity, other, labels, node, 1)
                _weigh(weights, pod.preferred_anti_affinity, other, labels, node, -1)
            if other.has_affinity:
                for term in other.required_affinity:
                    if term.matches(pod, own_labels):
                        _add(weights, term, node, HARD_AFFINITY_WEIGHT)
                _weigh(weights, other.preferred_affinity, pod, own_labels, node, 1)
                _weigh(weights, other.preferred_anti_affinity, pod, own_labels, node, -1)
        if not weights:
            return SKIP
        state[self.name + "/score"] = weights
        return SUCCESS

    def score(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> int:
        weights: Counter[tuple[str, str]] = state[self.name + "/score"]
        return sum(weights.get(pair, 0) for pair in node.labels.items())

    def normalize(self, state: CycleState, pod: PodInfo, scores: MutableMapping[str, int]) -> None:
        lowest, highest = min(scores.values()), max(scores.values())
        spread = highest - lowest
        for name, score in scores.items():
            scores[name] = MAX_NODE_SCORE * (score - lowest) // spread if spread else 0


def _at(pairs: Pairs, term: AffinityTerm, node: NodeInfo) -> bool:
    value = node.labels.get(term.topology_key)
    return value is not None and pairs.get((term.topology_key, value), 0) > 0


def _near_enough(counts: _Counts, pod: PodInfo, node: NodeInfo) -> bool:
    terms = pod.required_affinity
    if any(term.topology_key not in node.labels for term in terms):
        return False
    if all(_at(counts.affinity, term, node) for term in terms):
        return True
    # The first Pod of a group that wants to be together has nobody to join yet.
    own_labels = counts.namespaces.get(pod.namespace, {})
    return not counts.affinity and all(term.matches(pod, own_labels) for term in terms)


def _weigh(
    weights: Counter[tuple[str, str]],
    terms: Iterable[AffinityTerm],
    subject: PodInfo,
    namespace_labels: Mapping[str, str],
    node: NodeInfo,
    sign: int,
) -> None:
    for term in terms:
        if term.matches(subject, namespace_labels):
            _add(weights, term, node, sign * term.weight)


def _add(weights: Counter[tuple[str, str]], term: AffinityTerm, node: NodeInfo, weight: int) -> None:
    value = node.labels.get(term.topology_key)
    if value is not None:
        weights[(term.topology_key, value)] += weight

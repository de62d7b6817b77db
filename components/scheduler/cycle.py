"""One scheduling decision, pure: which node takes this Pod now, or why none does.

With many nodes only some are looked at: enough feasible ones to choose well from, starting where the last cycle
stopped, so that over time every node is tried. Equal scores are settled by the random source handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from kubeglass.components.scheduler.framework import Framework, ScoredNode
from kubeglass.components.scheduler.interface import Code, CycleState, Diagnosis, FilterPlugin, Nomination, Status
from kubeglass.components.scheduler.queue import Nominator
from kubeglass.components.scheduler.snapshot import NodeInfo, PodInfo, Snapshot

_MIN_FEASIBLE_NODES = 100
_MIN_PERCENTAGE = 5


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of one cycle: a node, or a diagnosis (and a nomination, where preemption found room)."""

    state: CycleState
    node_name: str = ""
    diagnosis: Diagnosis | None = None
    nomination: Nomination | None = None
    failure: str = ""
    evaluated_nodes: int = 0
    feasible_nodes: int = 0
    scores: tuple[ScoredNode, ...] = ()


def nodes_to_find(node_count: int) -> int:
    """How many feasible nodes are enough: all up to 100; then 50 % - nodes/125, at least 5 % and 100 nodes."""
    if node_count <= _MIN_FEASIBLE_NODES:
        return node_count
    percentage = max(50 - node_count // 125, _MIN_PERCENTAGE)
    return max(node_count * percentage // 100, _MIN_FEASIBLE_NODES)


class Cycle:
    """Decides for one Pod after the other over the living Snapshot."""

    def __init__(self, framework: Framework, snapshot: Snapshot, nominator: Nominator, choice: Random) -> None:
        self._framework = framework
        self._snapshot = snapshot
        self._nominator = nominator
        self._choice = choice
        self._next_start = 0

    def decide(self, pod: PodInfo, done: Callable[[str], None] = lambda step: None) -> Decision:
        """Filter, score, choose; when nothing fits, let PostFilter try to make room. `done` hears of each step."""
        state = CycleState()
        diagnosis = Diagnosis(len(self._snapshot.nodes))
        if not self._snapshot.nodes:
            return Decision(state, diagnosis=diagnosis)
        feasible, evaluated, failed = self._feasible(state, pod, diagnosis)
        done("Computing predicates done")
        if failed is not None:
            return Decision(state, failure=failed, diagnosis=diagnosis)
        if not feasible:
            nomination, failure = self._make_room(state, pod, diagnosis)
            return Decision(
                state, diagnosis=diagnosis, nomination=nomination, failure=failure, evaluated_nodes=evaluated
            )
        if len(feasible) == 1:
            return Decision(state, feasible[0].name, evaluated_nodes=evaluated, feasible_nodes=1)
        scores = self._framework.run_score(state, pod, feasible, self._snapshot)
        best = max(score.total for score in scores)
        name = self._choice.choice([score.name for score in scores if score.total == best])
        done("Prioritizing done")
        return Decision(state, name, evaluated_nodes=evaluated, feasible_nodes=len(feasible), scores=tuple(scores))

    # -- filtering ------------------------------------------------------------------------------------------------

    def _feasible(
        self, state: CycleState, pod: PodInfo, diagnosis: Diagnosis
    ) -> tuple[list[NodeInfo], int, str | None]:
        """(nodes that can take the Pod, how many were looked at, what broke)."""
        names, status = self._framework.run_pre_filter(state, pod, self._snapshot)
        if status.rejected:
            diagnosis.absent = status
            diagnosis.pre_filter_message = status.message
            diagnosis.plugins.add(status.plugin)
            return [], 0, None
        if not status.ok:
            return [], 0, f'running PreFilter plugin "{status.plugin}": {status.message}'
        if names is not None:
            nodes = [self._snapshot.nodes[name] for name in sorted(names) if name in self._snapshot.nodes]
            listed = " ".join(sorted(set(state.narrowed_by)))
            diagnosis.absent = Status(Code.UNRESOLVABLE, (f"node(s) didn't satisfy plugin(s) [{listed}]",))
            diagnosis.plugins.update(state.narrowed_by)
        else:
            nodes = list(self._snapshot.nodes.values())
        with self._framework.instruments.point("Filter", pod) as verdict:
            found, evaluated, failed = self._scan(state, pod, nodes, diagnosis)
            verdict(Code.ERROR if failed else Code.SUCCESS if found else Code.UNSCHEDULABLE)
        return found, evaluated, failed

    def _scan(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo], diagnosis: Diagnosis
    ) -> tuple[list[NodeInfo], int, str | None]:
        filters = self._framework.filters(state)
        for plugin in filters:
            self._framework.instruments.evaluated(plugin.name, "Filter")
        wanted = nodes_to_find(len(nodes))
        found: list[NodeInfo] = []
        evaluated = 0
        nominated = self._nominator.node_of(pod.key)
        start = self._next_start % len(nodes) if nodes else 0
        in_turn = (*nodes[start:], *nodes[:start])
        ordered = sorted(in_turn, key=lambda node: node.name != nominated) if nominated else in_turn
        for node in ordered:
            evaluated += 1
            refusal = self._refusal(filters, state, pod, node)
            if refusal is None:
                found.append(node)
                if len(found) >= wanted or node.name == nominated:
                    break
            elif refusal.rejected:
                diagnosis.verdicts[node.name] = refusal
                diagnosis.plugins.add(refusal.plugin)
            else:
                return [], evaluated, f'running "{refusal.plugin}" filter plugin: {refusal.message}'
        self._next_start = (start + evaluated) % len(nodes) if nodes else 0
        return found, evaluated, None

    def _refusal(
        self, filters: Sequence[FilterPlugin], state: CycleState, pod: PodInfo, node: NodeInfo
    ) -> Status | None:
        """Why the node cannot take the Pod, with and without the Pods nominated for it."""
        expected = self._expected(pod, node) if self._nominator else ()
        if expected:
            crowded, crowded_state = node.clone(), state.clone()
            for other in expected:
                crowded.add(other)
                self._framework.add_pod(crowded_state, pod, other, crowded)
            refusal = self._framework.run_filter(crowded_state, pod, crowded)
            if refusal is not None:
                return refusal
        for plugin in filters:
            refusal = plugin.filter(state, pod, node)
            if refusal is not None:
                return refusal
        return None

    def _expected(self, pod: PodInfo, node: NodeInfo) -> Sequence[PodInfo]:
        """Pods no less important than this one that wait for room on the node."""
        nominated = self._nominator.on(node.name)
        return [other for other in nominated if other.priority >= pod.priority and other.key != pod.key]

    def _make_room(self, state: CycleState, pod: PodInfo, diagnosis: Diagnosis) -> tuple[Nomination | None, str]:
        nomination, status = self._framework.run_post_filter(state, pod, diagnosis)
        if status.code is Code.ERROR:
            return None, status.message
        diagnosis.post_filter_message = status.message
        return nomination, ""

"""Makes room for a Pod that fits nowhere by choosing Pods of lower priority to evict.

Per node: take all lower Pods away; if the Pod then fits, give back as many as possible, most important first; what
cannot be given back are the victims. Among nodes, in this order: fewest disruption budgets violated, lowest highest
victim priority, lowest sum of priorities, fewest victims, latest start of the most important victim. Pure: it only
chooses; the scheduler evicts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

from kubeglass.components.api.objects import PodDisruptionBudget
from kubeglass.components.api.selectors import from_label_selector
from kubeglass.components.scheduler.framework import Framework
from kubeglass.components.scheduler.interface import Code, CycleState, Diagnosis, Nomination, Status, unschedulable
from kubeglass.components.scheduler.snapshot import NodeInfo, PodInfo, Snapshot

_MIN_CANDIDATES = 100
_MIN_CANDIDATES_PERCENT = 10
_NOT_HELPFUL = Status(Code.UNRESOLVABLE, ("Preemption is not helpful for scheduling",))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that would do, and at what price."""

    node_name: str
    victims: tuple[PodInfo, ...]  # most important first
    violations: int


class DefaultPreemption:
    """The PostFilter plugin of that name."""

    name = "DefaultPreemption"
    events: frozenset[str] = frozenset()

    def __init__(
        self, snapshot: Snapshot, budgets: Callable[[], Iterable[PodDisruptionBudget]], choice: Random
    ) -> None:
        self._snapshot = snapshot
        self._budgets = budgets
        self._choice = choice

    def post_filter(
        self, framework: Framework, state: CycleState, pod: PodInfo, diagnosis: Diagnosis
    ) -> tuple[Nomination | None, Status]:
        if (reason := self._ineligible(pod, diagnosis)) is not None:
            return None, unschedulable(f"preemption: {reason}", plugin=self.name)
        candidates, refusals = self._dry_run(framework, state, pod, diagnosis)
        if not candidates:
            # A Diagnosis words it: the same sentence as for filtering, about what preemption found.
            outcome = Diagnosis(diagnosis.node_count, refusals, _NOT_HELPFUL)
            return None, unschedulable(f"preemption: {outcome.message()}", plugin=self.name)
        best = min(candidates, key=_price)
        return Nomination(best.node_name, best.victims), Status()

    def _ineligible(self, pod: PodInfo, diagnosis: Diagnosis) -> str | None:
        if pod.spec.preemption_policy == "Never":
            return "not eligible due to preemptionPolicy=Never."
        nominated = pod.pod.status.nominated_node_name
        node = self._snapshot.nodes.get(nominated) if nominated else None
        if node is None or diagnosis.verdict(nominated).code is Code.UNRESOLVABLE:
            return None
        if any(other.terminating and other.priority < pod.priority for other in node.pods.values()):
            return "not eligible due to a terminating pod on the nominated node."
        return None

    def _dry_run(
        self, framework: Framework, state: CycleState, pod: PodInfo, diagnosis: Diagnosis
    ) -> tuple[list[Candidate], dict[str, Status]]:
        potential = [
            node for node in self._snapshot.nodes.values() if diagnosis.verdict(node.name).code is Code.UNSCHEDULABLE
        ]
        candidates: list[Candidate] = []
        refusals: dict[str, Status] = {}
        if not potential:
            return candidates, refusals
        enough = max(_MIN_CANDIDATES, len(potential) * _MIN_CANDIDATES_PERCENT // 100)
        offset = self._choice.randrange(len(potential))
        budgets = list(self._budgets())
        for node in (*potential[offset:], *potential[:offset]):
            found = _victims_on(framework, state.clone(), pod, node.clone(), budgets)
            if isinstance(found, Status):
                refusals[node.name] = found
                continue
            candidates.append(found)
            if len(candidates) >= enough:
                break
        return candidates, refusals


def _victims_on(
    framework: Framework, state: CycleState, pod: PodInfo, node: NodeInfo, budgets: Sequence[PodDisruptionBudget]
) -> Candidate | Status:
    lower = [other for other in node.pods.values() if other.priority < pod.priority]
    if not lower:
        return unschedulable("No preemption victims found for incoming pod", plugin=DefaultPreemption.name)
    for other in lower:
        _take_away(framework, state, pod, other, node)
    refusal = framework.run_filter(state, pod, node)
    if refusal is not None:
        return refusal
    lower.sort(key=_importance)
    violating, others = _split_by_budget(lower, budgets)
    victims: list[PodInfo] = []
    violations = 0
    for group, violates in ((violating, True), (others, False)):
        for other in group:
            _give_back(framework, state, pod, other, node)
            if framework.run_filter(state, pod, node) is not None:
                _take_away(framework, state, pod, other, node)
                victims.append(other)
                violations += violates
    victims.sort(key=_importance)
    return Candidate(node.name, tuple(victims), violations)


def _take_away(framework: Framework, state: CycleState, pod: PodInfo, other: PodInfo, node: NodeInfo) -> None:
    node.remove(other)
    framework.remove_pod(state, pod, other, node)


def _give_back(framework: Framework, state: CycleState, pod: PodInfo, other: PodInfo, node: NodeInfo) -> None:
    node.add(other)
    framework.add_pod(state, pod, other, node)


def _importance(pod: PodInfo) -> tuple[int, str]:
    """Sorts the most important first: high priority, then early start."""
    return -pod.priority, pod.pod.status.start_time or "9999"


def _split_by_budget(
    pods: Iterable[PodInfo], budgets: Sequence[PodDisruptionBudget]
) -> tuple[list[PodInfo], list[PodInfo]]:
    """(Pods whose eviction breaks a budget, the rest), spending the budgets in the order of `pods`."""
    allowed = [budget.status.disruptions_allowed for budget in budgets]
    violating: list[PodInfo] = []
    others: list[PodInfo] = []
    for pod in pods:
        breaks = False
        for index, budget in enumerate(budgets):
            if not _covers(budget, pod) or pod.name in budget.status.disrupted_pods:
                continue
            allowed[index] -= 1
            breaks = breaks or allowed[index] < 0
        (violating if breaks else others).append(pod)
    return violating, others


def _covers(budget: PodDisruptionBudget, pod: PodInfo) -> bool:
    if budget.metadata.namespace != pod.namespace or not pod.labels or budget.spec.selector is None:
        return False
    return bool(from_label_selector(budget.spec.selector).matches(pod.labels))


def _price(candidate: Candidate) -> tuple[int, int, int, int, _Latest]:
    priorities = [victim.priority for victim in candidate.victims]
    highest = max(priorities, default=-(2**31))
    first_start = min(
        (victim.pod.status.start_time or "9999" for victim in candidate.victims if victim.priority == highest),
        default="9999",
    )
    # Priorities are shifted so that many victims never look cheaper than few.
    total = sum(priority + 2**31 for priority in priorities)
    return candidate.violations, highest, total, len(priorities), _Latest(first_start)


@dataclass(frozen=True, slots=True)
class _Latest:
    """Orders times backwards: the latest is the smallest."""

    stamp: str

    def __lt__(self, other: _Latest) -> bool:
        return self.stamp > other.stamp

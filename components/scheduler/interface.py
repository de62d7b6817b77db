"""What a plugin of the scheduling framework is, and what it answers. Pure.

A plugin serves those extension points whose methods it has; see framework.py for how one Pod meets all of them.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from kubeglass.components.scheduler.snapshot import NodeInfo, PodInfo, Snapshot

if TYPE_CHECKING:
    from kubeglass.components.scheduler.framework import Framework

MAX_NODE_SCORE = 100


class Code(enum.Enum):
    """A plugin's verdict; the value is what metrics and logs print."""

    SUCCESS = "Success"
    ERROR = "Error"
    UNSCHEDULABLE = "Unschedulable"
    UNRESOLVABLE = "UnschedulableAndUnresolvable"
    WAIT = "Wait"
    SKIP = "Skip"
    PENDING = "Pending"


@dataclass(frozen=True, slots=True)
class Status:
    """A verdict with its reasons, and the plugin that gave it."""

    code: Code = Code.SUCCESS
    reasons: tuple[str, ...] = ()
    plugin: str = ""

    @property
    def ok(self) -> bool:
        return self.code is Code.SUCCESS

    @property
    def rejected(self) -> bool:
        """The Pod may not go there now; not a failure of the scheduler."""
        return self.code in (Code.UNSCHEDULABLE, Code.UNRESOLVABLE, Code.PENDING)

    @property
    def message(self) -> str:
        return ", ".join(self.reasons)


SUCCESS = Status()
SKIP = Status(Code.SKIP)


def unschedulable(*reasons: str, plugin: str) -> Status:
    """The node cannot take the Pod now; evicting Pods may help."""
    return Status(Code.UNSCHEDULABLE, reasons, plugin)


def unresolvable(*reasons: str, plugin: str) -> Status:
    """The node cannot take the Pod, whatever is evicted from it."""
    return Status(Code.UNRESOLVABLE, reasons, plugin)


def error(reason: str, plugin: str = "") -> Status:
    """The plugin itself failed."""
    return Status(Code.ERROR, (reason,), plugin)


class CycleState(dict[str, Any]):
    """What plugins computed once for the Pod of this cycle, by plugin name; `skipped` plugins sit the cycle out."""

    def __init__(self) -> None:
        super().__init__()
        self.skip_filter: set[str] = set()
        self.skip_score: set[str] = set()
        self.narrowed_by: list[str] = []

    def clone(self) -> CycleState:
        """An independent copy for a what-if: entries that know how are cloned."""
        twin = CycleState()
        twin.skip_filter = self.skip_filter
        twin.skip_score = self.skip_score
        for name, value in self.items():
            twin[name] = value.clone() if hasattr(value, "clone") else value
        return twin


class Plugin(Protocol):
    """Every plugin has a name; which extension points it serves is which methods it has."""

    name: str


@runtime_checkable
class PreFilterPlugin(Protocol):
    name: str

    def pre_filter(self, state: CycleState, pod: PodInfo, snapshot: Snapshot) -> tuple[frozenset[str] | None, Status]:
        """Precompute, or refuse the Pod everywhere, or name the only nodes worth a look (None: all)."""


@runtime_checkable
class PreFilterExtensions(Protocol):
    name: str

    def add_pod(self, state: CycleState, pod: PodInfo, added: PodInfo, node: NodeInfo) -> None:
        """`added` would run on `node` too."""

    def remove_pod(self, state: CycleState, pod: PodInfo, removed: PodInfo, node: NodeInfo) -> None:
        """`removed` would be gone from `node`."""


@runtime_checkable
class FilterPlugin(Protocol):
    name: str

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        """None when the node can take the Pod."""


@runtime_checkable
class PostFilterPlugin(Protocol):
    name: str

    def post_filter(
        self, framework: Framework, state: CycleState, pod: PodInfo, diagnosis: Diagnosis
    ) -> tuple[Nomination | None, Status]:
        """Try to make room for a Pod that fits nowhere."""


@runtime_checkable
class PreScorePlugin(Protocol):
    name: str

    def pre_score(self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot) -> Status:
        """Precompute for scoring; SKIP leaves the plugin out of this cycle."""


@runtime_checkable
class ScorePlugin(Protocol):
    name: str

    def score(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> int:
        """How good the node is, in the plugin's own scale."""


@runtime_checkable
class ScoreExtensions(Protocol):
    name: str

    def normalize(self, state: CycleState, pod: PodInfo, scores: MutableMapping[str, int]) -> None:
        """Bring the plugin's scores into 0..MAX_NODE_SCORE, in place."""


@runtime_checkable
class ReservePlugin(Protocol):
    name: str

    def reserve(self, state: CycleState, pod: PodInfo, node_name: str) -> Status:
        """Set something aside for the Pod before it is bound."""

    def unreserve(self, state: CycleState, pod: PodInfo, node_name: str) -> None:
        """Take it back; never fails."""


@runtime_checkable
class PermitPlugin(Protocol):
    name: str

    def permit(self, state: CycleState, pod: PodInfo, node_name: str) -> tuple[Status, float]:
        """Approve, deny, or WAIT at most that many seconds."""


@runtime_checkable
class PreBindPlugin(Protocol):
    name: str

    async def pre_bind(self, state: CycleState, pod: PodInfo, node_name: str) -> Status:
        """Last work before the binding is written."""


@runtime_checkable
class BindPlugin(Protocol):
    name: str

    async def bind(self, state: CycleState, pod: PodInfo, node_name: str) -> Status:
        """Write the binding; SKIP hands it to the next bind plugin."""


@runtime_checkable
class PreEnqueuePlugin(Protocol):
    name: str

    def pre_enqueue(self, pod: PodInfo) -> Status:
        """Whether the Pod may enter the active queue at all."""


@dataclass(frozen=True, slots=True)
class Nomination:
    """Where a Pod may run once the victims are gone."""

    node_name: str
    victims: tuple[PodInfo, ...] = ()


@dataclass(slots=True)
class Diagnosis:
    """Why no node was found: each looked-at node's verdict, and what PreFilter and PostFilter had to say."""

    node_count: int
    verdicts: dict[str, Status] = field(default_factory=dict)
    absent: Status = SUCCESS
    pre_filter_message: str = ""
    post_filter_message: str = ""
    plugins: set[str] = field(default_factory=set)

    def verdict(self, node_name: str) -> Status:
        """What was said of one node; nodes nobody looked at share `absent`."""
        return self.verdicts.get(node_name, self.absent)

    def message(self) -> str:
        """Upstream's FitError text: `0/2 nodes are available: 2 Insufficient cpu. preemption: …`."""
        if self.node_count == 0:
            return "no nodes available to schedule pods"
        text = f"0/{self.node_count} nodes are available:"
        if self.pre_filter_message:
            text += f" {self.pre_filter_message}."
        elif reasons := self._histogram():
            text += f" {', '.join(reasons)}."
        if self.post_filter_message:
            text += f" {self.post_filter_message}"
        return text

    def _histogram(self) -> list[str]:
        counts: Counter[str] = Counter(reason for status in self.verdicts.values() for reason in status.reasons)
        unseen = self.node_count - len(self.verdicts)
        if unseen > 0:
            for reason in self.absent.reasons:
                counts[reason] += unseen
        return sorted(f"{count} {reason}" for reason, count in counts.items())

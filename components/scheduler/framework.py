"""The scheduling framework, pure: what a plugin is, what it answers, and how one Pod meets all plugins.

A cycle over one Pod p and nodes N is: PreFilter(p) -> N' subset of N; Filter(p, n) for n in N' -> feasible F;
score(n) = sum over plugins of weight * normalize(Score(p, n)) for n in F; the highest score wins.
Nothing here does I/O or reads a clock; durations are measured by the `Instruments` it is handed.
Answers to kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from kubeglass.components.scheduler.snapshot import NodeInfo, PodInfo, Snapshot

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


class Instruments(Protocol):
    """How the framework reports what it runs; the scheduler hands in one that measures and traces."""

    def point(self, extension_point: str, pod: PodInfo) -> AbstractContextManager[Callable[[Code], None]]:
        """Around all plugins of one extension point for a Pod; the verdict is handed to what it yields."""

    def plugin(self, plugin: str, extension_point: str) -> AbstractContextManager[Callable[[Code], None]]:
        """Around one plugin call."""

    def evaluated(self, plugin: str, extension_point: str) -> None:
        """One plugin was consulted."""


@dataclass(frozen=True, slots=True)
class ScoredNode:
    """A node's total, and by plugin the scores of all nodes (weights not yet applied)."""

    name: str
    total: int
    by_plugin: Mapping[str, tuple[int, Mapping[str, int]]]

    @property
    def parts(self) -> dict[str, int]:
        """What each plugin contributed, weights applied."""
        return {plugin: weight * scores[self.name] for plugin, (weight, scores) in self.by_plugin.items()}


@dataclass(frozen=True, slots=True)
class Enabled:
    """One plugin of a profile and its score weight."""

    plugin: Any
    weight: int = 1


class Framework:
    """One profile: its plugins, run extension point by extension point, in the profile's order."""

    def __init__(self, profile: str, enabled: Sequence[Enabled], instruments: Instruments) -> None:
        plugins = [entry.plugin for entry in enabled]
        self.profile = profile
        self.instruments = instruments
        self.plugins = tuple(plugins)
        self._pre_enqueue = _having(plugins, PreEnqueuePlugin)
        self._pre_filter = _having(plugins, PreFilterPlugin)
        self._extensions = _having(plugins, PreFilterExtensions)
        self._filter = _having(plugins, FilterPlugin)
        self._post_filter = _having(plugins, PostFilterPlugin)
        self._pre_score = _having(plugins, PreScorePlugin)
        self._score = [(e.plugin, e.weight) for e in enabled if isinstance(e.plugin, ScorePlugin)]
        self._reserve = _having(plugins, ReservePlugin)
        self._permit = _having(plugins, PermitPlugin)
        self._pre_bind = _having(plugins, PreBindPlugin)
        self._bind = _having(plugins, BindPlugin)

    # -- before the queue -----------------------------------------------------------------------------------------

    def run_pre_enqueue(self, pod: PodInfo) -> Status:
        """The first refusal, or SUCCESS."""
        for plugin in self._pre_enqueue:
            status: Status = plugin.pre_enqueue(pod)
            if not status.ok:
                return status
        return SUCCESS

    # -- filtering ------------------------------------------------------------------------------------------------

    def run_pre_filter(
        self, state: CycleState, pod: PodInfo, snapshot: Snapshot
    ) -> tuple[frozenset[str] | None, Status]:
        """The nodes still worth a look (None: all), or the first refusal."""
        nodes: frozenset[str] | None = None
        with self.instruments.point("PreFilter", pod) as verdict:
            for plugin in self._pre_filter:
                with self.instruments.plugin(plugin.name, "PreFilter") as plugin_verdict:
                    allowed, status = plugin.pre_filter(state, pod, snapshot)
                    plugin_verdict(status.code)
                if status.code is Code.SKIP:
                    state.skip_filter.add(plugin.name)
                    continue
                self.instruments.evaluated(plugin.name, "PreFilter")
                if not status.ok:
                    verdict(status.code)
                    return None, status
                if allowed is not None:
                    state.narrowed_by.append(plugin.name)
                    nodes = allowed if nodes is None else nodes & allowed
                    if not nodes:
                        verdict(Code.UNRESOLVABLE)
                        return None, _nothing_left(state.narrowed_by)
            verdict(Code.SUCCESS)
        return nodes, SUCCESS

    def run_filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        """The first refusal of one node, or None."""
        for plugin in self.filters(state):
            refusal = plugin.filter(state, pod, node)
            if refusal is not None:
                return refusal
        return None

    def filters(self, state: CycleState) -> list[FilterPlugin]:
        """The filter plugins that take part in this cycle."""
        return [plugin for plugin in self._filter if plugin.name not in state.skip_filter]

    def add_pod(self, state: CycleState, pod: PodInfo, added: PodInfo, node: NodeInfo) -> None:
        """What-if: `added` also runs on `node`."""
        for plugin in self._extensions:
            if plugin.name not in state.skip_filter:
                plugin.add_pod(state, pod, added, node)

    def remove_pod(self, state: CycleState, pod: PodInfo, removed: PodInfo, node: NodeInfo) -> None:
        """What-if: `removed` is gone from `node`."""
        for plugin in self._extensions:
            if plugin.name not in state.skip_filter:
                plugin.remove_pod(state, pod, removed, node)

    def run_post_filter(
        self, state: CycleState, pod: PodInfo, diagnosis: Diagnosis
    ) -> tuple[Nomination | None, Status]:
        """Let the plugins make room; the first that succeeds wins, else all their reasons together."""
        refused: list[Status] = []
        with self.instruments.point("PostFilter", pod) as verdict:
            for plugin in self._post_filter:
                with self.instruments.plugin(plugin.name, "PostFilter") as plugin_verdict:
                    nomination, status = plugin.post_filter(self, state, pod, diagnosis)
                    plugin_verdict(status.code)
                if status.ok or status.code is Code.ERROR:
                    verdict(status.code)
                    return nomination, status
                refused.append(status)
            verdict(Code.UNSCHEDULABLE)
        reasons = tuple(reason for status in refused for reason in status.reasons)
        return None, Status(Code.UNSCHEDULABLE, reasons, refused[0].plugin if refused else "")

    # -- scoring --------------------------------------------------------------------------------------------------

    def run_score(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot
    ) -> list[ScoredNode]:
        """Every feasible node's total, in the order of `nodes`. Raises PluginFailed."""
        with self.instruments.point("PreScore", pod) as verdict:
            for plugin in self._pre_score:
                with self.instruments.plugin(plugin.name, "PreScore") as plugin_verdict:
                    status = plugin.pre_score(state, pod, nodes, snapshot)
                    plugin_verdict(status.code)
                if status.code is Code.SKIP:
                    state.skip_score.add(plugin.name)
                    continue
                self.instruments.evaluated(plugin.name, "PreScore")
                if not status.ok:
                    verdict(status.code)
                    raise PluginFailed(f'running PreScore plugin "{plugin.name}": {status.message}')
            verdict(Code.SUCCESS)
        by_plugin: dict[str, tuple[int, Mapping[str, int]]] = {}
        totals = dict.fromkeys((node.name for node in nodes), 0)
        with self.instruments.point("Score", pod) as verdict:
            for plugin, weight in self._score:
                if plugin.name in state.skip_score:
                    continue
                self.instruments.evaluated(plugin.name, "Score")
                with self.instruments.plugin(plugin.name, "Score") as plugin_verdict:
                    scores = {node.name: plugin.score(state, pod, node) for node in nodes}
                    plugin_verdict(Code.SUCCESS)
                if isinstance(plugin, ScoreExtensions):
                    plugin.normalize(state, pod, scores)
                by_plugin[plugin.name] = weight, scores
                for name, value in scores.items():
                    totals[name] += value * weight
            verdict(Code.SUCCESS)
        return [ScoredNode(name, total, by_plugin) for name, total in totals.items()]

    # -- placing --------------------------------------------------------------------------------------------------

    def run_reserve(self, state: CycleState, pod: PodInfo, node_name: str) -> Status:
        """Reserve with every plugin; the first failure undoes all."""
        with self.instruments.point("Reserve", pod) as verdict:
            for plugin in self._reserve:
                status: Status = plugin.reserve(state, pod, node_name)
                if not status.ok:
                    verdict(status.code)
                    self.run_unreserve(state, pod, node_name)
                    return status
            verdict(Code.SUCCESS)
        return SUCCESS

    def run_unreserve(self, state: CycleState, pod: PodInfo, node_name: str) -> None:
        """Undo Reserve, last plugin first."""
        for plugin in reversed(self._reserve):
            plugin.unreserve(state, pod, node_name)

    def run_permit(self, state: CycleState, pod: PodInfo, node_name: str) -> tuple[Status, float]:
        """SUCCESS, a refusal, or WAIT with the longest wait asked for."""
        wait_seconds = 0.0
        waiting = SUCCESS
        with self.instruments.point("Permit", pod) as verdict:
            for plugin in self._permit:
                status, seconds = plugin.permit(state, pod, node_name)
                if status.code is Code.WAIT:
                    waiting, wait_seconds = status, max(wait_seconds, seconds)
                elif not status.ok:
                    verdict(status.code)
                    return status, 0.0
            verdict(waiting.code)
        return waiting, wait_seconds

    async def run_pre_bind(self, state: CycleState, pod: PodInfo, node_name: str) -> Status:
        """The first failure, or SUCCESS."""
        with self.instruments.point("PreBind", pod) as verdict:
            for plugin in self._pre_bind:
                status: Status = await plugin.pre_bind(state, pod, node_name)
                if not status.ok:
                    verdict(status.code)
                    return status
            verdict(Code.SUCCESS)
        return SUCCESS

    async def run_bind(self, state: CycleState, pod: PodInfo, node_name: str) -> Status:
        """The first bind plugin that does not SKIP decides."""
        with self.instruments.point("Bind", pod) as verdict:
            for plugin in self._bind:
                status: Status = await plugin.bind(state, pod, node_name)
                if status.code is not Code.SKIP:
                    verdict(status.code)
                    return status
            verdict(Code.ERROR)
        return error("no bind plugin handled the pod")


class PluginFailed(Exception):
    """A plugin answered with an error where no verdict on a node could carry it."""


def _having(plugins: Iterable[Any], protocol: type[Any]) -> list[Any]:
    return [plugin for plugin in plugins if isinstance(plugin, protocol)]


def _nothing_left(plugins: Sequence[str]) -> Status:
    if len(plugins) == 1:
        reason = f"node(s) didn't satisfy plugin {plugins[0]}"
    else:
        reason = f"node(s) didn't satisfy plugin(s) [{' '.join(plugins)}] simultaneously"
    return Status(Code.UNRESOLVABLE, (reason,), plugins[-1])

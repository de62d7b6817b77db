"""The scheduling framework, pure: how one Pod meets all plugins, and what comes of it.

A cycle over one Pod p and nodes N is: PreFilter(p) -> N' subset of N; Filter(p, n) for n in N' -> feasible F;
score(n) = sum over plugins of weight * normalize(Score(p, n)) for n in F; the highest score wins.
Nothing here does I/O or reads a clock; durations are measured by the `Instruments` it is handed.
Answers to kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from kubeglass.components.scheduler.interface import (
    SUCCESS,
    BindPlugin,
    Code,
    CycleState,
    Diagnosis,
    FilterPlugin,
    Nomination,
    PermitPlugin,
    PostFilterPlugin,
    PreBindPlugin,
    PreEnqueuePlugin,
    PreFilterExtensions,
    PreFilterPlugin,
    PreScorePlugin,
    ReservePlugin,
    ScoreExtensions,
    ScorePlugin,
    Status,
    error,
)
from kubeglass.components.scheduler.snapshot import NodeInfo, PodInfo, Snapshot


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

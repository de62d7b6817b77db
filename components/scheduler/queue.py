"""Pods that wait for a node: active (next please), backoff (failed lately), unschedulable (until something changes).

A Pod that failed n times in a row backs off min(1 s * 2^(n-1), 10 s). An event moves a Pod out of unschedulable when
a plugin that rejected it says that this one can help; after 5 minutes it is tried anyway. When nothing is active,
unschedulable Pods that still back off are taken early. Pure: time is an argument. Upstream: scheduler/backend/queue.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from kubeglass.components.scheduler.hints import Hint, Occurrence
from kubeglass.components.scheduler.interface import Status
from kubeglass.components.scheduler.snapshot import PodInfo
from kubeglass.telemetry.tracing.causality import triggered_by
from kubeglass.telemetry.tracing.context import SpanContext

FIRST_BACKOFF_SECONDS = 1.0
LAST_BACKOFF_SECONDS = 10.0
FLUSH_AFTER_SECONDS = 300.0

POD_ADD = "UnschedulablePodAdd"
ATTEMPT_FAILURE = "ScheduleAttemptFailure"
BACKOFF_COMPLETE = "BackoffComplete"
POP_FROM_BACKOFF = "PopFromBackoffQ"
TIMEOUT = "UnschedulableTimeout"


@dataclass(slots=True, eq=False)
class QueuedPod:
    """A waiting Pod and its history."""

    pod: PodInfo
    queued_at: float
    first_active_at: float | None = None  # when it was first moved to the active queue; gated time does not count
    attempts: int = 0
    failures_in_a_row: int = 0
    backoff_until: float = 0.0
    parked_at: float = 0.0
    failed_by_error: bool = False
    rejected_by: frozenset[str] = frozenset()
    gated: bool = False
    flushed: bool = False
    moved_by: SpanContext | None = None
    """The change, not of the Pod itself, that made another attempt worth while."""


class QueueObserver(Protocol):
    """Who counts what goes in."""

    def incoming(self, queue: str, event: str) -> None:
        """A Pod was put into `queue` because of `event`."""


@dataclass(slots=True)
class Nominator:
    """Pods that wait for victims to leave a node: they count there already for Pods of lower or equal priority."""

    _by_node: dict[str, dict[str, PodInfo]] = field(default_factory=dict)
    _node_of: dict[str, str] = field(default_factory=dict)

    def nominate(self, pod: PodInfo, node_name: str) -> None:
        self.clear(pod.key)
        self._by_node.setdefault(node_name, {})[pod.key] = pod
        self._node_of[pod.key] = node_name

    def clear(self, key: str) -> None:
        node_name = self._node_of.pop(key, None)
        if node_name is not None:
            self._by_node[node_name].pop(key, None)

    def node_of(self, key: str) -> str:
        """The node a Pod is nominated for, or nothing."""
        return self._node_of.get(key, "")

    def __bool__(self) -> bool:
        return bool(self._node_of)

    def on(self, node_name: str) -> Iterator[PodInfo]:
        """The Pods nominated for a node."""
        return iter(tuple(self._by_node.get(node_name, {}).values()))


class SchedulingQueue:
    """All three queues; a Pod is in at most one of them, or in none while it is being scheduled."""

    def __init__(
        self,
        order: Callable[[PodInfo, float], tuple[int, float]],
        pre_enqueue: Callable[[PodInfo], Status],
        interests: Mapping[str, frozenset[str]],
        observer: QueueObserver,
        hints: Mapping[str, Hint] = MappingProxyType({}),
    ) -> None:
        self._order = order
        self._pre_enqueue = pre_enqueue
        self._interests = interests
        self._observer = observer
        self._hints = hints
        self._sequence = itertools.count()
        self._active: dict[str, QueuedPod] = {}
        self._active_heap: list[tuple[tuple[int, float], int, QueuedPod]] = []
        self._backoff: dict[str, QueuedPod] = {}
        self._parked: dict[str, QueuedPod] = {}

    # -- in -------------------------------------------------------------------------------------------------------

    def add(self, pod: PodInfo, now: float) -> None:
        """A Pod without a node appeared."""
        self.delete(pod.key)
        self._activate(QueuedPod(pod, now), POD_ADD, now)

    def update(self, pod: PodInfo, event: str, now: float) -> None:
        """A waiting Pod changed; where that can help, it is tried again."""
        for queue in (self._active, self._backoff):
            if pod.key in queue:
                queue[pod.key].pod = pod
                return
        queued = self._parked.get(pod.key)
        if queued is None:
            return
        queued.pod = pod
        del self._parked[pod.key]
        self._requeue(queued, event, now)

    def delete(self, key: str) -> None:
        """The Pod is gone, or has a node."""
        self._active.pop(key, None)
        self._backoff.pop(key, None)
        self._parked.pop(key, None)

    def park(self, queued: QueuedPod, rejected_by: frozenset[str], now: float) -> None:
        """No node took the Pod: wait for an event that could change the mind of who rejected it."""
        queued.rejected_by = rejected_by
        queued.failed_by_error = False
        self._fail(queued, now)
        self._observer.incoming("unschedulable", ATTEMPT_FAILURE)
        self._parked[queued.pod.key] = queued

    def retry(self, queued: QueuedPod, now: float) -> None:
        """The attempt broke (not the Pod's fault): try again after the backoff."""
        queued.failed_by_error = True
        self._fail(queued, now)
        self._observer.incoming("backoff", ATTEMPT_FAILURE)
        self._backoff[queued.pod.key] = queued

    # -- out ------------------------------------------------------------------------------------------------------

    def pop(self, now: float) -> QueuedPod | None:
        """The next Pod to schedule, or None; call `flush` first."""
        while self._active_heap:
            _, _, queued = heapq.heappop(self._active_heap)
            if self._active.get(queued.pod.key) is queued:
                del self._active[queued.pod.key]
                queued.attempts += 1
                return queued
        return self._pop_backoff()

    def _pop_backoff(self) -> QueuedPod | None:
        early = [queued for queued in self._backoff.values() if not queued.failed_by_error]
        if not early:
            return None
        queued = min(early, key=lambda waiting: self._order(waiting.pod, waiting.queued_at))
        del self._backoff[queued.pod.key]
        self._observer.incoming("active", POP_FROM_BACKOFF)
        queued.attempts += 1
        return queued

    # -- moves ----------------------------------------------------------------------------------------------------

    def move(self, occurrence: Occurrence, now: float) -> int:
        """Something happened in the cluster: how many Pods it may have helped."""
        event = occurrence.event
        helped = [queued for queued in self._parked.values() if self._may_help(queued, occurrence)]
        trigger = triggered_by.get()
        for queued in helped:
            del self._parked[queued.pod.key]
            queued.moved_by = trigger.reaction.parent if trigger else None
            self._requeue(queued, event, now)
        return len(helped)

    def flush(self, now: float) -> float | None:
        """Move what has waited long enough; the answer is when to come again (None: only on news)."""
        for queued in [q for q in self._backoff.values() if q.backoff_until <= now]:
            del self._backoff[queued.pod.key]
            self._activate(queued, BACKOFF_COMPLETE, now)
        for queued in [q for q in self._parked.values() if not q.gated and q.parked_at + FLUSH_AFTER_SECONDS <= now]:
            del self._parked[queued.pod.key]
            queued.flushed = True
            self._requeue(queued, TIMEOUT, now)
        times = [q.backoff_until for q in self._backoff.values()]
        times += [q.parked_at + FLUSH_AFTER_SECONDS for q in self._parked.values() if not q.gated]
        return min(times, default=None)

    def _may_help(self, queued: QueuedPod, occurrence: Occurrence) -> bool:
        if queued.gated:
            return False
        return not queued.rejected_by or any(self._helps(name, queued.pod, occurrence) for name in queued.rejected_by)

    def _helps(self, plugin: str, pod: PodInfo, occurrence: Occurrence) -> bool:
        if occurrence.event not in self._interests.get(plugin, ()):
            return False
        hint = self._hints.get(plugin)
        return hint is None or hint(pod, occurrence)

    def _requeue(self, queued: QueuedPod, event: str, now: float) -> None:
        if queued.backoff_until > now and not queued.gated:
            self._observer.incoming("backoff", event)
            self._backoff[queued.pod.key] = queued
        else:
            self._activate(queued, event, now)

    def _activate(self, queued: QueuedPod, event: str, now: float) -> None:
        gate = self._pre_enqueue(queued.pod)
        if not gate.ok:
            queued.gated = True
            queued.rejected_by = frozenset((gate.plugin,))
            self._observer.incoming("unschedulable", event)
            self._parked[queued.pod.key] = queued
            return
        queued.gated = False
        if queued.first_active_at is None:
            queued.first_active_at = now
        self._observer.incoming("active", event)
        self._active[queued.pod.key] = queued
        rank = self._order(queued.pod, queued.queued_at)
        heapq.heappush(self._active_heap, (rank, next(self._sequence), queued))

    def _fail(self, queued: QueuedPod, now: float) -> None:
        queued.failures_in_a_row += 1
        exponent = min(queued.failures_in_a_row - 1, 10)
        queued.backoff_until = now + min(FIRST_BACKOFF_SECONDS * 2.0**exponent, LAST_BACKOFF_SECONDS)
        queued.parked_at = now

    # -- counts ---------------------------------------------------------------------------------------------------

    def pending(self) -> Mapping[str, int]:
        """Pods per queue, as scheduler_pending_pods names them."""
        gated = sum(queued.gated for queued in self._parked.values())
        return {
            "active": len(self._active),
            "backoff": len(self._backoff),
            "unschedulable": len(self._parked) - gated,
            "gated": gated,
        }

    def rejections(self) -> Counter[str]:
        """How many waiting Pods each plugin rejected in their last attempt (or gates)."""
        waiting = (*self._active.values(), *self._backoff.values(), *self._parked.values())
        return Counter(name for queued in waiting for name in queued.rejected_by)

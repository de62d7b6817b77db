"""Queueing hints, pure: whether something that happened can have made a rejected Pod schedulable.

Without them any event that a rejecting plugin listens to would bring the Pod back for one more attempt in vain.
Upstream: pkg/scheduler/framework, QueueingHintFn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kubeglass.components.scheduler.interface import CycleState, Status
from kubeglass.components.scheduler.snapshot import NodeInfo, PodInfo


@dataclass(frozen=True, slots=True)
class Occurrence:
    """What happened, and to what: the node concerned as it is now, the other Pod, or the claim (`namespace/name`)."""

    event: str
    node: NodeInfo | None = None
    pod: PodInfo | None = None
    claim: str = ""


Hint = Callable[[PodInfo, Occurrence], bool]


class DecidesByNode(ABC):
    """A filter that reads nothing but the Pod and one node: an event helps only if its node passes now."""

    @abstractmethod
    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        """As of a FilterPlugin: None where the Pod fits."""

    def helps(self, pod: PodInfo, occurrence: Occurrence) -> bool:
        """Whether the waiting Pod would pass on the event's node."""
        node = occurrence.node
        return node is not None and self.filter(CycleState(), pod, node) is None


def hint_of(plugin: Any) -> Hint:
    """The plugin's own hint; one without hopes for the best."""
    hint: Hint = getattr(plugin, "helps", lambda pod, occurrence: True)
    return hint

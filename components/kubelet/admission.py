"""Whether the node takes a Pod that was bound to it: its resources, its labels.

The scheduler decided by what it knew; a Pod may also name its node itself. A refused Pod is Failed for good.
Upstream: pkg/kubelet/lifecycle/predicate.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple

from kubeglass.components.api.objects import Node, Pod
from kubeglass.components.api.placement import allows_node
from kubeglass.components.kubelet.pod_resources import amounts, requests, together


class Refusal(NamedTuple):
    """Why a Pod is not taken, as reason and message."""

    reason: str
    message: str


def refusal(pod: Pod, others: Iterable[Pod], capacity: Mapping[str, int]) -> Refusal | None:
    """What the node lacks for the Pod beside the others; None when it fits. Pure."""
    wanted, used = {"pods": 1, **requests(pod)}, dict.fromkeys(capacity, 0)
    for other in others:
        used = together(used, {"pods": 1, **requests(other)})
    for name in (*capacity, *(name for name in wanted if name not in capacity)):
        asked, taken, limit = wanted.get(name, 0), used.get(name, 0), capacity.get(name, 0)
        if asked and asked + taken > limit:
            return Refusal(
                f"OutOf{name}",
                f"Node didn't have enough resource: {name}, requested: {asked}, used: {taken}, capacity: {limit}",
            )
    return None


class Admission:
    """Remembers which Pods the node took."""

    def __init__(
        self,
        pods: Callable[[], Iterable[Pod]],
        allocatable: Callable[[], Mapping[str, str]],
        max_pods: int,
        node: Callable[[], Awaitable[Node]],
    ) -> None:
        self._pods = pods
        self._allocatable = allocatable
        self._max_pods = max_pods
        self._node = node
        self._taken: set[str] = set()

    async def refusal(self, pod: Pod) -> Refusal | None:
        """Take a new Pod, or say why not. Asks for the Node only where the Pod's own words restrict it."""
        restricted = pod.spec.node_selector or (pod.spec.affinity and pod.spec.affinity.node_affinity)
        if restricted and not allows_node(pod.spec, await self._node()):
            text = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
            return Refusal("NodeAffinity", text)
        capacity = amounts(self._allocatable())
        others = [other for other in self._pods() if other.metadata.uid != pod.metadata.uid and self._counts(other)]
        found = refusal(pod, others, {"pods": self._max_pods, **capacity})
        if found is None:
            self._taken.add(pod.metadata.uid)
        return found

    def forget(self, pod_uid: str) -> None:
        """The Pod is gone."""
        self._taken.discard(pod_uid)

    def _counts(self, pod: Pod) -> bool:
        """Whether a Pod holds resources: taken by this kubelet or by the one before, and not over."""
        taken = pod.metadata.uid in self._taken or bool(pod.status.start_time)
        return taken and pod.status.phase not in ("Succeeded", "Failed")

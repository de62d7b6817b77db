"""How many replicas each ReplicaSet of a Deployment should have: rolling updates, proportional scaling. Pure.

total <= replicas + maxSurge          (surge rounds up)
available >= replicas - maxUnavailable (unavailable rounds down; if both are 0, it is 1)
"""

from __future__ import annotations

from collections.abc import Sequence

from kubeglass.components.controllers.arithmetic import scaled
from kubeglass.components.controllers.views import Deployment, ReplicaSet

MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"


class Sizes:
    """The replicas that a plan gives to each set, starting from what they ask for now."""

    def __init__(self, deployment: Deployment, sets: Sequence[ReplicaSet]) -> None:
        self.wanted = deployment.spec.replicas
        self.max_surge, self.max_unavailable = _fences(deployment)
        self._status_replicas = deployment.status.replicas
        self._planned = {each.metadata.uid: each.spec.replicas for each in sets}

    def of(self, each: ReplicaSet) -> int:
        """The planned replicas of a set."""
        return self._planned[each.metadata.uid]

    def plan(self, each: ReplicaSet, replicas: int) -> None:
        """Decide a set's replicas."""
        self._planned[each.metadata.uid] = max(0, replicas)

    @property
    def limit(self) -> int:
        """The most replicas all sets may have together."""
        return self.wanted + self.max_surge

    def for_new(self, current: int, others: int) -> int:
        """The replicas of the newest set, that has `current` while the others have `others`, in a rolling update."""
        total = current + others
        if total >= self.limit:
            return current
        return current + min(self.limit - total, self.wanted - current)

    def shrink_old(self, old: Sequence[ReplicaSet], new: ReplicaSet) -> None:
        """Take from old sets what can go without falling below the minimum available: unhealthy Pods first."""
        everything = [*old, new]
        minimum = self.wanted - self.max_unavailable
        new_unavailable = self.of(new) - new.status.available_replicas
        removable = sum(map(self.of, everything)) - minimum - new_unavailable
        if removable <= 0:
            return
        removable_unhealthy = removable
        for each in sorted(old, key=_age):
            unhealthy = self.of(each) - each.status.available_replicas
            if removable_unhealthy <= 0 or unhealthy <= 0:
                continue
            taken = min(removable_unhealthy, unhealthy)
            self.plan(each, self.of(each) - taken)
            removable_unhealthy -= taken
        spare = sum(each.status.available_replicas for each in everything) - minimum
        for each in sorted(old, key=_age):
            if spare <= 0:
                break
            taken = min(self.of(each), spare)
            self.plan(each, self.of(each) - taken)
            spare -= taken

    def scale_proportionally(self, active: Sequence[ReplicaSet]) -> None:
        """Spread a change of spec.replicas in the middle of a rollout over all sets, by their size."""
        allowed = self.limit if self.wanted > 0 else 0
        to_add = allowed - sum(map(self.of, active))
        if to_add == 0:
            return
        # Largest first; of equals the newest first when growing, the oldest first when shrinking.
        ordered = sorted(active, key=_age, reverse=to_add > 0)
        ordered.sort(key=self.of, reverse=True)
        added = 0
        targets = {}
        for each in ordered:
            share = self._share(each, to_add, added)
            targets[each.metadata.uid] = self.of(each) + share
            added += share
        for index, each in enumerate(ordered):
            leftover = to_add - added if index == 0 else 0
            self.plan(each, targets[each.metadata.uid] + leftover)

    def _share(self, each: ReplicaSet, to_add: int, added: int) -> int:
        current = self.of(each)
        if current == 0 or to_add == added:
            return 0
        fraction = -current
        if self.wanted > 0:
            before = _positive(each.metadata.annotations.get(MAX_REPLICAS, "")) or self._status_replicas or self.limit
            fraction = _round_half_up(current * self.limit, before) - current
        allowed = to_add - added
        return min(fraction, allowed) if to_add > 0 else max(fraction, allowed)


def _fences(deployment: Deployment) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in Pods."""
    strategy = deployment.spec.strategy
    if strategy.type == "Recreate" or (strategy.rolling_update is None and strategy.type != "RollingUpdate"):
        return 0, 0
    rolling = strategy.rolling_update
    wanted = deployment.spec.replicas
    surge = scaled(rolling.max_surge if rolling else "25%", wanted, round_up=True)
    unavailable = scaled(rolling.max_unavailable if rolling else "25%", wanted, round_up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, wanted)


def _age(each: ReplicaSet) -> tuple[str, str]:
    return each.metadata.creation_timestamp, each.metadata.name


def _positive(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _round_half_up(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)

"""From usage to a number of replicas: the arithmetic of the horizontal Pod autoscaler. Pure.

wanted = ceil(Pods * usage / target), left alone within a tolerance of 10 %. Pods that are not ready count as using
nothing when that would scale up, Pods without a figure as using nothing when scaling up and all of their target when
scaling down: what is not known never makes a change larger. Then the wanted number is stabilised (no lower than the
recent highest wish, no higher than the recent lowest) and limited in rate by the behaviour's policies.
Upstream: pkg/controller/podautoscaler/replica_calculator.go and horizontal.go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kubeglass.components.api.objects import (
    HorizontalPodAutoscalerBehavior,
    HPAScalingPolicy,
    HPAScalingRules,
    Pod,
)
from kubeglass.components.controllers.podstate import condition
from kubeglass.components.machinery import clock

TOLERANCE = 0.1
CPU_INITIALIZATION_SECONDS = 300.0
INITIAL_READINESS_SECONDS = 30.0
DOWNSCALE_STABILIZATION_SECONDS = 300

_UP = HPAScalingRules(
    stabilization_window_seconds=0,
    select_policy="Max",
    policies=(
        HPAScalingPolicy(type="Pods", value=4, period_seconds=15),
        HPAScalingPolicy(type="Percent", value=100, period_seconds=15),
    ),
)
_DOWN = HPAScalingRules(
    stabilization_window_seconds=DOWNSCALE_STABILIZATION_SECONDS,
    select_policy="Max",
    policies=(HPAScalingPolicy(type="Percent", value=100, period_seconds=15),),
)


class Unknown(Exception):
    """The figures do not tell how many replicas are wanted; the text is upstream's."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a Pod used, averaged over the `window_seconds` that ended `at`: thousandths of a core, or bytes."""

    value: int
    at: float
    window_seconds: float


@dataclass(frozen=True, slots=True)
class Proposal:
    """How many replicas one metric asks for, and what was seen: the mean per Pod, and its share of the request."""

    replicas: int
    average: int
    utilization: int | None = None


# -- one metric -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Groups:
    ready: int = 0
    unready: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    ignored: set[str] = field(default_factory=set)


def propose(
    current: int,
    pods: Sequence[Pod],
    usages: Mapping[str, Usage],
    ratio_of: Callable[[Mapping[str, int]], float],
    at_target: Callable[[str], int],
    *,
    is_cpu: bool,
    now: float,
    tolerance: float = TOLERANCE,
) -> int:
    """The replicas that bring `ratio_of(usage by Pod)` to 1. `at_target` is a Pod's usage right on target.

    Raises Unknown.
    """
    if not pods:
        raise Unknown("no pods returned by selector while calculating replica count")
    groups = _group(pods, usages, is_cpu, now)
    left_out = groups.ignored | groups.unready
    values = {name: usage.value for name, usage in usages.items() if name not in left_out}
    if not values:
        raise Unknown("did not receive metrics for targeted pods (pods might be unready)")
    ratio = ratio_of(values)
    held_back = groups.unready if ratio > 1.0 else set()
    if not held_back and not groups.missing:
        return current if abs(1.0 - ratio) <= tolerance else math.ceil(ratio * groups.ready)
    values |= {name: at_target(name) if ratio < 1.0 else 0 for name in groups.missing}
    values |= dict.fromkeys(held_back, 0)
    cautious = ratio_of(values)
    turned = (ratio - 1.0) * (cautious - 1.0) < 0
    if turned or abs(1.0 - cautious) <= tolerance:
        return current
    wanted = math.ceil(cautious * len(values))
    return current if (cautious - 1.0) * (wanted - current) < 0 else wanted


def _group(pods: Iterable[Pod], usages: Mapping[str, Usage], is_cpu: bool, now: float) -> _Groups:
    groups = _Groups()
    for pod in pods:
        name = pod.metadata.name
        if pod.metadata.deletion_timestamp or pod.status.phase == "Failed":
            groups.ignored.add(name)
        elif pod.status.phase == "Pending":
            groups.unready.add(name)
        elif name not in usages:
            groups.missing.add(name)
        elif is_cpu and _still_starts(pod, usages[name], now):
            groups.unready.add(name)
        else:
            groups.ready += 1
    return groups


def _still_starts(pod: Pod, usage: Usage, now: float) -> bool:
    """Whether the figure may be that of a start-up, which says nothing about the load."""
    ready = condition(pod, "Ready")
    if ready is None or not pod.status.start_time:
        return True
    started, changed = clock.parse(pod.status.start_time), clock.parse(ready.last_transition_time)
    if started + CPU_INITIALIZATION_SECONDS > now:
        return ready.status == "False" or usage.at < changed + usage.window_seconds
    return ready.status == "False" and started + INITIAL_READINESS_SECONDS > changed


# -- stabilising and limiting -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class History:
    """What was wished for and done lately: (when, replicas) and (when, replicas added or, negative, taken)."""

    wishes: list[tuple[float, int]] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)

    def forget_before(self, moment: float) -> None:
        self.wishes = [found for found in self.wishes if found[0] >= moment]
        self.changes = [found for found in self.changes if found[0] >= moment]

    def changed_since(self, moment: float) -> int:
        """Replicas added less those taken."""
        return sum(change for at, change in self.changes if at > moment)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A number with the reason and message of the condition that explains it."""

    replicas: int
    reason: str
    message: str


def rules(behavior: HorizontalPodAutoscalerBehavior | None) -> tuple[HPAScalingRules, HPAScalingRules]:
    """(up, down), with defaults where the behaviour says nothing."""
    up = behavior.scale_up if behavior else None
    down = behavior.scale_down if behavior else None
    return _completed(up, _UP), _completed(down, _DOWN)


def _completed(given: HPAScalingRules | None, default: HPAScalingRules) -> HPAScalingRules:
    if given is None:
        return default
    window = given.stabilization_window_seconds
    return HPAScalingRules(
        stabilization_window_seconds=default.stabilization_window_seconds if window is None else window,
        select_policy=given.select_policy or default.select_policy,
        policies=given.policies or default.policies,
        tolerance=given.tolerance,
    )


def stabilized(
    current: int, wanted: int, history: History, up: HPAScalingRules, down: HPAScalingRules, now: float
) -> Outcome:
    """Between the lowest wish of the up window and the highest of the down window, as near to `current` as that is."""
    lowest = min((n for at, n in history.wishes if at >= now - (up.stabilization_window_seconds or 0)), default=wanted)
    highest = max(
        (n for at, n in history.wishes if at >= now - (down.stabilization_window_seconds or 0)), default=wanted
    )
    steady = min(max(current, min(lowest, wanted)), max(highest, wanted))
    history.wishes.append((now, wanted))
    if steady < wanted:
        text = "recent recommendations were lower than current one, applying the lowest recent recommendation"
        return Outcome(steady, "ScaleUpStabilized", text)
    if steady > wanted:
        text = "recent recommendations were higher than current one, applying the highest recent recommendation"
        return Outcome(steady, "ScaleDownStabilized", text)
    return Outcome(steady, "ReadyForNewScale", "recommended size matches current size")


def limited(
    current: int,
    wanted: int,
    bounds: tuple[int, int],
    history: History,
    up: HPAScalingRules,
    down: HPAScalingRules,
    now: float,
) -> Outcome:
    """Within [min, max] and no faster than the policies allow."""
    least, most = bounds
    if wanted > current:
        limit = max(current, _fastest(current, history, up, now, 1))
        if limit < most and wanted > limit:
            text = "the desired replica count is increasing faster than the maximum scale rate"
            return Outcome(limit, "ScaleUpLimit", text)
    elif wanted < current:
        limit = min(current, _fastest(current, history, down, now, -1))
        if limit > least and wanted < limit:
            text = "the desired replica count is decreasing faster than the maximum scale rate"
            return Outcome(limit, "ScaleDownLimit", text)
    if wanted > most:
        return Outcome(most, "TooManyReplicas", "the desired replica count is more than the maximum replica count")
    if wanted < least:
        return Outcome(least, "TooFewReplicas", "the desired replica count is less than the minimum replica count")
    return Outcome(wanted, "DesiredWithinRange", "the desired count is within the acceptable range")


def _fastest(current: int, history: History, rules: HPAScalingRules, now: float, sign: int) -> int:
    """The number of replicas furthest from `current` that the policies allow now; sign 1 is up, -1 down."""
    if rules.select_policy == "Disabled":
        return current
    reached = []
    for policy in rules.policies:
        began = current - history.changed_since(now - policy.period_seconds)
        if policy.type == "Pods":
            reached.append(began + sign * policy.value)
        elif sign > 0:
            reached.append(-(-began * (100 + policy.value) // 100))
        else:
            reached.append(began * (100 - policy.value) // 100)
    furthest = (rules.select_policy == "Max") == (sign > 0)
    return max(reached) if furthest else min(reached)

"""How the seats of the server are divided among the levels, and lent between them every ten seconds.

nominal  = ceil(server * shares / sum of shares)
minimum  = nominal - round(nominal * lendablePercent / 100)
maximum  = nominal + round(nominal * borrowingLimitPercent / 100), or + server when there is no limit
current  : exempt levels get what they used at their peak; for the others find the one proportion p with
           sum of clamp(p * target, minCurrent, maximum) = sum of nominal, target = max(minCurrent, smoothed demand).
Halves are rounded away from zero. That `current` may hand out the exempt part twice is upstream's behaviour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kubeglass.components.api.objects.flowcontrol import PriorityLevel
from kubeglass.components.apiserver.flowcontrol.seats import half_away

MIN_TARGET = 0.001
_SLACK = 1e-7


@dataclass(frozen=True, slots=True)
class LevelLimits:
    """The fixed limits of one level, in seats."""

    nominal: int
    minimum: int
    maximum: int

    @property
    def initial(self) -> int:
        """What a new level starts with, before the first adjustment."""
        return self.nominal - (self.nominal - self.minimum) // 2


@dataclass(frozen=True, slots=True)
class LevelShares:
    """What a level asks for."""

    shares: int
    lendable_percent: int = 0
    borrowing_limit_percent: int | None = None

    @classmethod
    def of(cls, level: PriorityLevel) -> LevelShares:
        return cls(level.shares, level.lendable_percent, level.borrowing_limit_percent)


def divide(server_limit: int, levels: Mapping[str, LevelShares]) -> dict[str, LevelLimits]:
    """The limits of every level."""
    total = sum(level.shares for level in levels.values())
    return {name: _limits(server_limit, total, level) for name, level in levels.items()}


def _limits(server_limit: int, total_shares: int, level: LevelShares) -> LevelLimits:
    nominal = -(-server_limit * level.shares // total_shares) if total_shares else 0
    lendable = half_away(nominal * level.lendable_percent / 100)
    percent = level.borrowing_limit_percent
    borrowing = server_limit if percent is None else half_away(nominal * percent / 100)
    return LevelLimits(nominal, nominal - lendable, nominal + borrowing)


class AllocationError(ValueError):
    """No allocation satisfies the bounds; `reason` is a constant word."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Claim:
    """One participant of a fair allocation: wants to be proportional to `target`, within bounds."""

    target: float
    lower: float
    upper: float


def allocate(required_sum: int, claims: Sequence[Claim]) -> tuple[list[float], float]:
    """Allocations clamp(p * target, lower, upper) that sum to `required_sum`, and the proportion p.

    Raises AllocationError when the bounds make it impossible.
    """
    _check(required_sum, claims)
    if required_sum == 0 or not claims:
        return [0.0] * len(claims), 0.0
    targets = [max(claim.target, MIN_TARGET) for claim in claims]
    lowers = sum(claim.lower for claim in claims)
    uppers = sum(claim.upper for claim in claims)
    if lowers - required_sum >= -_SLACK:
        p = min(claim.lower / target for claim, target in zip(claims, targets, strict=True))
        return [claim.lower for claim in claims], p
    if required_sum - uppers >= -_SLACK:
        p = max(claim.upper / target for claim, target in zip(claims, targets, strict=True))
        return [claim.upper for claim in claims], p
    p = _proportion(required_sum, claims, targets)
    return [min(max(p * t, c.lower), c.upper) for c, t in zip(claims, targets, strict=True)], p


def _check(required_sum: int, claims: Sequence[Claim]) -> None:
    if required_sum < 0:
        raise AllocationError("negative-sum", f"requiredSum {required_sum} is negative")
    for index, claim in enumerate(claims):
        if claim.lower < 0:
            raise AllocationError("negative-lower-bound", f"lower bound {index} is {claim.lower} but must not be < 0")
        if claim.upper < claim.lower:
            raise AllocationError("upper-below-lower", f"upper bound {index} is below its lower bound")
        if max(claim.target, MIN_TARGET) < claim.lower:
            raise AllocationError("target-below-lower", f"target {index} is below its lower bound")
    if sum(claim.lower for claim in claims) - required_sum > _SLACK:
        raise AllocationError("lower-bounds-exceed-sum", f"lower bounds sum to more than {required_sum}")
    if claims and required_sum - sum(claim.upper for claim in claims) > _SLACK:
        raise AllocationError("upper-bounds-below-sum", f"upper bounds sum to less than {required_sum}")


def _proportion(required_sum: int, claims: Sequence[Claim], targets: Sequence[float]) -> float:
    """Walks up the 2n breakpoints lower/target and upper/target; between two of them the sum is linear in p."""
    bends = [(claim.lower / target, target, -claim.lower) for claim, target in zip(claims, targets, strict=True)]
    bends += [(claim.upper / target, -target, claim.upper) for claim, target in zip(claims, targets, strict=True)]
    bends.sort(key=lambda bend: bend[0])
    slope, constant = 0.0, sum(claim.lower for claim in claims)
    for index, (_, slope_change, constant_change) in enumerate(bends):
        slope += slope_change
        constant += constant_change
        end = bends[index + 1][0] if index + 1 < len(bends) else math.inf
        if slope > 0 and slope * end + constant >= required_sum:
            return (required_sum - constant) / slope
    return bends[-1][0]


@dataclass(frozen=True, slots=True)
class LevelDemand:
    """A level as the adjustment sees it."""

    limits: LevelLimits
    exempt: bool
    high_watermark: int
    smoothed: float

    @property
    def min_current(self) -> int:
        """What the level keeps before anything is lent."""
        wanted = self.high_watermark if self.exempt else min(self.limits.nominal, self.high_watermark)
        return max(self.limits.minimum, wanted)

    @property
    def target(self) -> float:
        return max(float(self.min_current), self.smoothed)


@dataclass(frozen=True, slots=True)
class Adjustment:
    """The outcome of one borrowing step: seats per level, and p (0 when no fair allocation was needed)."""

    current: dict[str, int]
    targets: dict[str, float]
    fair_fraction: float


def adjust(levels: Mapping[str, LevelDemand]) -> Adjustment:
    """Lends and borrows. Raises AllocationError when the bounds leave no room (the old limits then stay)."""
    current = {name: level.min_current for name, level in levels.items() if level.exempt}
    others = {name: level for name, level in levels.items() if not level.exempt}
    targets = {name: level.target for name, level in levels.items()}
    total = sum(level.limits.nominal for level in levels.values())
    remaining = total - sum(current.values())
    minimum = sum(level.limits.minimum for level in others.values())
    min_current = sum(level.min_current for level in others.values())
    if remaining <= minimum:
        current |= {name: level.limits.minimum for name, level in others.items()}
        return Adjustment(current, targets, 0.0)
    if remaining <= min_current:
        fraction = (remaining - minimum) / (min_current - minimum)
        current |= {name: _between(level, fraction) for name, level in others.items()}
        return Adjustment(current, targets, 0.0)
    claims = [Claim(level.target, level.min_current, level.limits.maximum) for level in others.values()]
    allocations, p = allocate(total, claims)
    current |= {name: half_away(seats) for name, seats in zip(others, allocations, strict=True)}
    return Adjustment(current, targets, p)


def _between(level: LevelDemand, fraction: float) -> int:
    return level.limits.minimum + half_away((level.min_current - level.limits.minimum) * fraction)

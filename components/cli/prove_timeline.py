"""What an alert did, read from the ALERTS samples that Prometheus kept of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Timeline:
    """When an alert was first pending, first firing and gone, in seconds after the fault; None: not yet."""

    before: str = "inactive"  # what it was when the fault was injected
    pending: float | None = None
    firing: float | None = None
    resolved: float | None = None

    @property
    def fired(self) -> bool:
        return self.firing is not None

    @property
    def proven(self) -> bool:
        """Inactive, then (unless its rule has no `for`) pending, firing, and inactive again."""
        return self.before == "inactive" and self.firing is not None and self.resolved is not None

    def __str__(self) -> str:
        steps = [f"{self.before} at 0.0 s"]
        steps += [
            f"{state} at {moment:.1f} s"
            for state, moment in (("pending", self.pending), ("firing", self.firing), ("resolved", self.resolved))
            if moment is not None
        ]
        return " → ".join(steps)


def timeline(series: Iterable[Mapping[str, Any]], fault_at: float, seen_until: float, step_seconds: float) -> Timeline:
    """The timeline of an alert.

    `series` is a matrix of ALERTS samples as the query API answers it, `fault_at` and `seen_until` are seconds since
    the epoch. An alert is resolved once two evaluations went by without it.
    """
    moments: dict[str, list[float]] = {"pending": [], "firing": []}
    for one in series:
        moments[one["metric"]["alertstate"]] += [float(stamp) for stamp, _ in one["values"]]
    before = [state for state in ("firing", "pending") if any(at <= fault_at for at in moments[state])]
    pending, firing = (_first_after(moments[state], fault_at) for state in ("pending", "firing"))
    last = max((*moments["pending"], *moments["firing"]), default=None)
    resolved = None
    if firing is not None and last is not None and seen_until - last > 2 * step_seconds:
        resolved = last + step_seconds - fault_at
    return Timeline(before[0] if before else "inactive", pending, firing, resolved)


def _first_after(moments: Sequence[float], start: float) -> float | None:
    return min((at - start for at in moments if at > start), default=None)

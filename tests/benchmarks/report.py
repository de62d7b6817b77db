"""What a benchmark says: one row per comparison, printed as a table of ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. `ratio` is what `bound` speaks about; `ok` whether it holds."""

    what: str
    ours: str
    theirs: str
    ratio: float
    bound: str
    ok: bool


def alternate(candidates: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Median seconds of each candidate, all of them run in turn in every round, so that noise meets them alike."""
    seconds: list[list[float]] = [[] for _ in candidates]
    for candidate in candidates:
        candidate()
    for number in range(rounds):
        order = range(len(candidates)) if number % 2 == 0 else reversed(range(len(candidates)))
        for index in order:
            started = time.perf_counter()
            candidates[index]()
            seconds[index].append(time.perf_counter() - started)
    return [statistics.median(measured) for measured in seconds]


def table(rows: Iterable[Row]) -> str:
    """The rows as text."""
    cells = [("what", "ours", "theirs", "ratio", "bound", "")]
    cells += [(r.what, r.ours, r.theirs, f"{r.ratio:.3g}", r.bound, "" if r.ok else "MISSED") for r in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(6)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )

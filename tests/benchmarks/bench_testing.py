"""The `cluster` fixture of `kubeglass.testing`: how long a test waits for a cluster of its own.

Start: from asking for it until a client can use it. Processor time is the whole process's; what the wall clock says
beyond it is the machine's other work.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.benchmarks.report import Row

from kubeglass.components.testing.cluster import running_cluster

_BOUND_SECONDS = 1.0
_SIDE_BY_SIDE = 4


def run(rounds: int) -> Iterable[Row]:
    """Twice `rounds` starts, one after the other, then as many four at a time."""
    _start()  # the first one of a process also loads code
    clock, cpu = zip(*(_start() for _ in range(2 * rounds)), strict=True)
    yield _row("cluster fixture, start, p95", _p95(clock), _BOUND_SECONDS)
    yield _row("the same, processor time, median", statistics.median(cpu), _BOUND_SECONDS)
    began = time.process_time()
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        starts = list(pool.map(lambda _: _start(), range(2 * rounds)))
    each = (time.process_time() - began) / len(starts)
    yield _row(f"{_SIDE_BY_SIDE} side by side, start and end, processor time of each", each, 2 * _BOUND_SECONDS)


def _start() -> tuple[float, float]:
    """Seconds of the wall clock and of processors."""
    wall, cpu = time.perf_counter(), time.process_time()
    with running_cluster() as cluster:
        seconds = time.perf_counter() - wall, time.process_time() - cpu
        assert cluster.list("nodes") is not None
    return seconds


def _p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def _row(what: str, seconds: float, bound: float) -> Row:
    return Row(what, f"{seconds:.2f} s", "", seconds, f"<= {bound:g}", seconds <= bound)

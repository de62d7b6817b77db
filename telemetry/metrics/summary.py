"""Summaries: quantiles of the observations of the last `max_age_seconds`, without keeping all of them.

The stream keeps tuples (value, width, delta): `width` is the distance in ranks to the tuple before, `delta` the
uncertainty of the rank. For targets (q, e) and n observations, neighbours merge while width + delta <= f(rank), with
    f(r) = min over targets of  2 e r / q   if r >= q n,  else  2 e (n - r) / (1 - q)
so that the rank of the answer for q is within e n of q n (Cormode, Korn, Muthukrishnan, Srivastava 2005).
Five streams start one after the other; the oldest answers and is replaced when it has seen `max_age_seconds`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, inf, nan
from typing import Final

from kubeglass.telemetry.metrics import spelling
from kubeglass.telemetry.metrics.definitions import Summary
from kubeglass.telemetry.metrics.instruments import RECORDING, Binding, Instrument, needs_labels

AGE_BUCKETS: Final = 5
_BUFFER: Final = 500

Objectives = Sequence[tuple[float, float]]


class Stream:
    """A compressed sample for targeted quantiles."""

    __slots__ = ("_buffer", "_objectives", "_samples", "count")

    def __init__(self, objectives: Objectives) -> None:
        self._objectives = objectives
        self._samples: list[tuple[float, int, int]] = []
        self._buffer: list[float] = []
        self.count = 0

    def insert(self, value: float) -> None:
        self._buffer.append(value)
        if len(self._buffer) >= _BUFFER:
            self._flush()

    def query(self, quantile: float) -> float:
        """The value whose rank is near `quantile`; NaN when nothing was observed."""
        self._flush()
        if not self._samples:
            return nan
        target = ceil(quantile * self.count)
        limit = target + self._allowed(target) / 2
        rank = 0
        answer = self._samples[0][0]
        for value, width, delta in self._samples:
            if rank + width + delta > limit:
                return answer
            rank += width
            answer = value
        return answer

    def _flush(self) -> None:
        if self._buffer:
            self._merge(sorted(self._buffer))
            self._buffer.clear()
            self._compress()

    def _merge(self, fresh: list[float]) -> None:
        old, merged, rank, at = self._samples, [], 0, 0
        for value in fresh:
            while at < len(old) and old[at][0] <= value:
                rank += old[at][1]
                merged.append(old[at])
                at += 1
            inside = 0 < at < len(old)
            merged.append((value, 1, max(int(self._allowed(rank)) - 1, 0) if inside else 0))
            self.count += 1
            rank += 1
        self._samples = merged + old[at:]

    def _compress(self) -> None:
        kept: list[tuple[float, int, int]] = []
        rank = self.count
        for value, width, delta in reversed(self._samples):
            rank -= width
            last = kept[-1] if kept else None
            if last and len(kept) > 1 and width + last[1] + last[2] <= self._allowed(rank):
                kept[-1] = (last[0], last[1] + width, last[2])
            else:
                kept.append((value, width, delta))
        self._samples = kept[::-1]

    def _allowed(self, rank: float) -> float:
        allowed = inf
        for quantile, error in self._objectives:
            if rank >= quantile * self.count:
                allowed = min(allowed, 2 * error * rank / quantile)
            else:
                allowed = min(allowed, 2 * error * (self.count - rank) / (1 - quantile))
        return allowed


class SummaryChild:
    """One series: count and sum since the start, quantiles of the recent past."""

    __slots__ = ("_clock_ns", "_objectives", "_rotate_at_ns", "_step_ns", "_streams", "count", "heads", "sum")

    def __init__(
        self, heads: Sequence[str], objectives: Objectives, max_age_seconds: float, clock_ns: Callable[[], int]
    ) -> None:
        self.heads = heads
        self.count = 0
        self.sum: float = 0
        self._objectives = objectives
        self._clock_ns = clock_ns
        self._step_ns = int(max_age_seconds * 1e9 / AGE_BUCKETS)
        self._streams = [Stream(objectives) for _ in range(AGE_BUCKETS)]
        self._rotate_at_ns = clock_ns() + self._step_ns

    def observe(self, value: float) -> None:
        self._rotate()
        for stream in self._streams:
            stream.insert(value)
        self.count += 1
        self.sum += value

    def quantiles(self) -> list[tuple[float, float]]:
        """(quantile, value) for each objective."""
        self._rotate()
        return [(quantile, self._streams[0].query(quantile)) for quantile, _ in self._objectives]

    def reset(self) -> None:
        self.count, self.sum = 0, 0
        self._streams = [Stream(self._objectives) for _ in range(AGE_BUCKETS)]

    def _rotate(self) -> None:
        now = self._clock_ns()
        while now >= self._rotate_at_ns:
            self._streams = [*self._streams[1:], Stream(self._objectives)]
            self._rotate_at_ns += self._step_ns
            if not any(stream.count or stream._buffer for stream in self._streams):
                self._rotate_at_ns = max(self._rotate_at_ns, now + self._step_ns)


class IgnoringSummary(SummaryChild):
    """The child of a hidden summary."""

    __slots__ = ()

    def observe(self, value: float) -> None:
        """Nothing."""


class SummaryInstrument(Instrument[SummaryChild]):
    """A bound Summary. Without labels it is its own single series."""

    __slots__ = ("_clock_ns", "_row", "observe")

    def __init__(self, row: Summary, help_text: str, binding: Binding = RECORDING) -> None:
        self._row = row
        self._clock_ns = binding.clock_ns
        super().__init__(row, help_text, binding)
        self.observe: Callable[[float], None] = needs_labels if row.labels else self.children[()].observe

    def reset(self) -> None:
        self.hides_zero = bool(self.row.labels)
        for child in self.children.values():
            child.reset()

    def _child(self, labels: str) -> SummaryChild:
        row = self._row
        heads = spelling.summary_heads(row.name, labels, [quantile for quantile, _ in row.objectives])
        return SummaryChild(heads, row.objectives, row.max_age_seconds, self._clock_ns)

    def _ignoring(self) -> SummaryChild:
        return IgnoringSummary((), self._row.objectives, self._row.max_age_seconds, self._clock_ns)

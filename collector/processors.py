"""What stands between the receivers and the store: the memory limit and tail sampling. Pure but for counting.

The limit is on bytes that are accounted for (accepted and not yet stored), so a refusal comes before growth and ends
by itself when the store has caught up. Tail sampling judges a trace when `wait_seconds` have passed since its first
span: errors, slow spans and changes are kept, of the rest a share by trace id; the default keeps everything at once.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from kubeglass.collector.segments import CHANGE, ERROR, Segment
from kubeglass.telemetry.tracing.tracer import ratio_samples


class MemoryLimiter:
    """How many bytes are held, and whether more may be."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit = limit_bytes
        self.held = 0

    def admits(self, size: int) -> bool:
        """Whether a request of `size` bytes may be decoded. One request is always admitted when nothing is held."""
        return self.held == 0 or self.held + size <= self.limit

    def hold(self, size: int) -> None:
        """Account for something accepted."""
        self.held += size

    def release(self, size: int) -> None:
        """It is stored, or thrown away."""
        self.held -= size


@dataclass(frozen=True, slots=True)
class SamplingPolicy:
    """Which traces are kept. `share` is the part kept of those that are neither failed, slow nor a change."""

    share: float = 1.0
    wait_seconds: float = 10.0
    slow_seconds: float = 1.0
    keep_errors: bool = True
    keep_changes: bool = True

    @property
    def keeps_everything(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.share >= 1.0

    def keeps(self, trace: bytes, flags: int, longest_ns: int) -> bool:
        """The verdict on a trace, from what is known of it."""
        return (
            (self.keep_errors and bool(flags & ERROR))
            or (self.keep_changes and bool(flags & CHANGE))
            or longest_ns >= self.slow_seconds * 1e9
            or ratio_samples(int.from_bytes(trace, "big"), int(self.share * (1 << 63)))
        )


class TailSampler:
    """Holds segments until their trace is judged. Verdicts are remembered for spans that come later."""

    def __init__(self, policy: SamplingPolicy, *, remembered: int = 100_000) -> None:
        self._policy = policy
        self._remembered = remembered
        self._waiting: OrderedDict[bytes, tuple[float, list[Segment]]] = OrderedDict()
        self._verdicts: OrderedDict[bytes, bool] = OrderedDict()

    def offer(self, segments: list[Segment], now: float) -> tuple[list[Segment], list[Segment]]:
        """(kept, thrown away) of these; the rest waits for `judge`."""
        if self._policy.keeps_everything:
            return segments, []
        kept: list[Segment] = []
        thrown: list[Segment] = []
        for segment in segments:
            verdict = self._verdicts.get(segment.trace)
            if verdict is None:
                self._waiting.setdefault(segment.trace, (now, []))[1].append(segment)
            elif verdict or self._policy.keeps(segment.trace, segment.flags, segment.longest):
                kept.append(segment)
            else:
                thrown.append(segment)
        return kept, thrown

    def judge(self, now: float, *, everything: bool = False) -> tuple[list[Segment], list[Segment]]:
        """(kept, thrown away) of the traces whose wait is over; of all, when the collector stops."""
        kept: list[Segment] = []
        thrown: list[Segment] = []
        while self._waiting:
            trace, (since, segments) = next(iter(self._waiting.items()))
            if not everything and now - since < self._policy.wait_seconds:
                break
            del self._waiting[trace]
            flags = longest = 0
            for segment in segments:
                flags |= segment.flags
                longest = max(longest, segment.longest)
            verdict = self._policy.keeps(trace, flags, longest)
            self._remember(trace, verdict)
            (kept if verdict else thrown).extend(segments)
        return kept, thrown

    def _remember(self, trace: bytes, verdict: bool) -> None:
        self._verdicts[trace] = verdict
        if len(self._verdicts) > self._remembered:
            self._verdicts.popitem(last=False)

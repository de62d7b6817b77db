"""The text of a slow operation, as k8s.io/utils/trace prints it: steps, nested traces, shares of the threshold.

Pure: a `SlowTrace` is filled by whoever measures (the tracer's spans), `report` says what to
print at a verbosity. Times are Unix nanoseconds, durations nanoseconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubeglass.logging.goduration import duration_text
from kubeglass.logging.goformat import value_text

Fields = Sequence[tuple[str, Any]]

ALL_STEPS_LEVEL = 4
REPORT_LEVEL = 2


@dataclass(slots=True)
class Step:
    """A named moment inside a trace."""

    name: str
    at: int
    fields: Fields = ()


@dataclass(slots=True)
class SlowTrace:
    """One operation: when it ran, what it did, and from which duration on it is worth a text (None: always)."""

    name: str
    start: int
    end: int = 0
    threshold: int | None = None
    fields: Fields = ()
    items: list[Step | SlowTrace] = field(default_factory=list)

    @property
    def duration(self) -> int:
        """How long it took."""
        return self.end - self.start

    @property
    def is_slow(self) -> bool:
        """Whether it took as long as its threshold."""
        return self.threshold is None or self.duration >= self.threshold


def report(trace: SlowTrace, number: int, verbosity: int, zone: Any = time.gmtime) -> list[str]:
    """The texts to print for an outermost trace, mostly none or one. `number` is the trace's random 31-bit number.

    `zone` turns Unix seconds into the broken-down time to show (time.localtime for local time).
    """
    if verbosity < REPORT_LEVEL:
        return []
    if not trace.is_slow:
        inner = (item for item in trace.items if isinstance(item, SlowTrace))
        return [text for item in inner for text in report(item, number, verbosity, zone)]
    writer = _Writer(f"Trace[{number}]: ", verbosity, zone)
    return [writer.text(trace)]


class _Writer:
    """Writes the lines of one report; each starts with the trace's number."""

    def __init__(self, prefix: str, verbosity: int, zone: Any) -> None:
        self._prefix = prefix
        self._all_steps = verbosity >= ALL_STEPS_LEVEL
        self._zone = zone

    def text(self, trace: SlowTrace) -> str:
        head = f'{self._prefix}"{trace.name}" {_fields_text(trace.fields)}({self._date(trace.start)})'
        total = f" (total time: {_milliseconds(trace.duration)}):"
        spent = duration_text(trace.duration)
        return f"{head}{total}{self._items(trace, self._prefix)}\n{self._prefix}[{spent}] [{spent}] END\n"

    def _items(self, trace: SlowTrace, indent: str) -> str:
        floor = None if self._all_steps else step_threshold(trace)
        parts: list[str] = []
        last = trace.start
        for item in trace.items:
            if isinstance(item, SlowTrace):
                if floor is None or item.threshold is None or item.is_slow:
                    parts.append(f"\n{indent}{self._nested(item, indent)}")
                last = item.end
                continue
            taken = item.at - last
            if floor is None or taken >= floor:
                parts.append(f"\n{indent}{self._step(item, taken)}")
            last = item.at
        return "".join(parts)

    def _step(self, step: Step, taken: int) -> str:
        return f'---"{step.name}" {_fields_text(step.fields)}{_milliseconds(taken)} ({self._clock(step.at)})'

    def _nested(self, trace: SlowTrace, indent: str) -> str:
        facts = f"{_fields_text(trace.fields)}{_milliseconds(trace.duration)} ({self._clock(trace.start)})"
        return f'["{trace.name}" {facts}{self._items(trace, f"{indent} ")}]'

    def _date(self, at: int) -> str:
        return time.strftime(f"%d-%b-%Y %H:%M:%S.{_fraction(at)}", self._zone(at // 1_000_000_000))

    def _clock(self, at: int) -> str:
        return time.strftime(f"%H:%M:%S.{_fraction(at)}", self._zone(at // 1_000_000_000))


def step_threshold(trace: SlowTrace) -> int | None:
    """How long a step must take to be shown; None shows all.

    The trace's threshold, less those of its nested traces, spread over its own steps and one more; never
    less than a quarter of the threshold spread over all items.
    """
    if trace.threshold is None:
        return None
    rest = trace.threshold
    floor = trace.threshold // 4
    count = len(trace.items)
    for item in trace.items:
        if isinstance(item, SlowTrace) and item.threshold is not None:
            rest -= item.threshold
            count -= 1
    return max(rest, floor) // (count + 1)


def _fields_text(fields: Iterable[tuple[str, Any]]) -> str:
    text = ",".join(f"{name}:{value_text(value)}" for name, value in fields)
    return f"{text} " if text else ""


def _milliseconds(nanoseconds: int) -> str:
    return f"{nanoseconds // 1_000_000}ms"


def _fraction(at: int) -> str:
    return f"{at % 1_000_000_000 // 1_000_000:03d}"

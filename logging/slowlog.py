"""Operations that leave a text when they were slow, for code that draws no span of its own: trace.New and LogIfLong.

    with told_if_slow(log, "Scheduling", 0.1, {"name": name}) as step:  step("Computing predicates done")
Below -v=2, where no text is printed, nothing is measured.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from kubeglass.logging.klog import Logger
from kubeglass.logging.slowtrace import REPORT_LEVEL, SlowTrace, Step, report


class NoteStep(Protocol):
    """Notes that a step is done, and what else there is to say of it."""

    def __call__(self, name: str, /, **fields: Any) -> None: ...


def tell(trace: SlowTrace, log: Logger) -> None:
    """Print an ended outermost trace, if it or one inside it was slow."""
    if not _worth_telling(trace):
        return
    for text in report(trace, random.getrandbits(31), log.sink.verbosity.level, time.localtime):
        log.text(text)


@contextmanager
def told_if_slow(log: Logger, name: str, seconds: float, fields: Mapping[str, Any]) -> Iterator[NoteStep]:
    """Measure what happens inside; from `seconds` on it is told, with its steps."""
    if not log.v(REPORT_LEVEL):
        yield _unmeasured
        return
    trace = SlowTrace(name, time.time_ns(), threshold=int(seconds * 1e9), fields=tuple(fields.items()))

    def step(name: str, /, **fields: Any) -> None:
        trace.items.append(Step(name, time.time_ns(), tuple(fields.items())))

    try:
        yield step
    finally:
        trace.end = time.time_ns()
        tell(trace, log)


def _unmeasured(name: str, /, **fields: Any) -> None:
    pass


def _worth_telling(trace: SlowTrace) -> bool:
    return trace.is_slow or any(isinstance(item, SlowTrace) and _worth_telling(item) for item in trace.items)

"""The only wall clock: every stamp that reaches an object, a record or a file comes from here.

Pure code takes `now` as an argument; asynchronous code waits on its loop's clock.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> float:
    """Seconds since the epoch."""
    return time.time()


def now_ns() -> int:
    """Nanoseconds since the epoch."""
    return time.time_ns()


def rfc3339(seconds: float) -> str:
    """metav1.Time: `2026-01-02T15:04:05Z`, truncated to the second."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(seconds: float) -> str:
    """metav1.MicroTime: `2026-01-02T15:04:05.000000Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def now_rfc3339() -> str:
    """The current time as a metav1.Time."""
    return rfc3339(now())


def now_micro() -> str:
    """The current time as a metav1.MicroTime."""
    return rfc3339_micro(now())


def parse(stamp: str) -> float:
    """Seconds since the epoch of a metav1.Time or MicroTime. Raises ValueError on anything else."""
    return datetime.fromisoformat(stamp).timestamp()

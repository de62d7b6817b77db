"""Immutable metric rows: what a metric is called, says and promises. Pure data; nothing here counts.

A component keeps its rows in its own metrics.py and a Registry *binds* them to instruments.
Life cycle (shown, deprecated, hidden) is decided from the row alone: see lifecycle.py.
Answers to https://kubernetes.io/docs/concepts/cluster-administration/system-metrics/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Final

_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Stability(StrEnum):
    """The promise a metric makes; NONE marks one outside the framework (no prefix, no life cycle)."""

    INTERNAL = "INTERNAL"
    ALPHA = "ALPHA"
    BETA = "BETA"
    STABLE = "STABLE"
    NONE = ""


INTERNAL: Final = Stability.INTERNAL
ALPHA: Final = Stability.ALPHA
BETA: Final = Stability.BETA
STABLE: Final = Stability.STABLE
NONE: Final = Stability.NONE

DEFAULT_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def exponential(start: float, factor: float, count: int) -> tuple[float, ...]:
    """`count` upper bounds, each `factor` times the one before, multiplied step by step as Go does."""
    bounds = [start]
    while len(bounds) < count:
        bounds.append(bounds[-1] * factor)
    return tuple(bounds)


def linear(start: float, width: float, count: int) -> tuple[float, ...]:
    """`count` upper bounds, each `width` above the one before, added step by step as Go does."""
    bounds = [start]
    while len(bounds) < count:
        bounds.append(bounds[-1] + width)
    return tuple(bounds)


def merged(*parts: tuple[float, ...]) -> tuple[float, ...]:
    """Bounds joined in order behind a leading 0, which upstream's merge helper leaves there."""
    return (0.0, *(bound for part in parts for bound in part))


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One row. Rows are compared by identity: a metric has exactly one row per life span.

    `deprecated` is the version that deprecated it ("1.34.0"); `since` is the first minor that has the row and
    `until` the first minor that no longer has it ("1.37"); empty means always.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    stability: Stability = ALPHA
    deprecated: str = ""
    const_labels: Mapping[str, str] = field(default_factory=dict)
    since: str = ""
    until: str = ""

    type: ClassVar[str] = "untyped"
    experimental: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not _METRIC_NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is not a valid metric name")
        names = (*self.labels, *self.const_labels)
        for label in names:
            if not _LABEL_NAME.fullmatch(label) or label.startswith("__"):
                raise ValueError(f"{label!r} is not a valid label name for metric {self.name!r}")
        if len(set(names)) != len(names):
            raise ValueError(f"duplicate label names in {names} for metric {self.name!r}")


@dataclass(frozen=True, slots=True, eq=False)
class Counter(Metric):
    """A number that only grows."""

    type: ClassVar[str] = "counter"


@dataclass(frozen=True, slots=True, eq=False)
class Gauge(Metric):
    """A number that states the present."""

    type: ClassVar[str] = "gauge"


def _check_buckets(row: Histogram | TimingRatioHistogram) -> None:
    if "le" in row.labels:
        raise ValueError(f"`le` is reserved in histogram {row.name!r}")
    if not row.buckets or any(low >= high for low, high in zip(row.buckets, row.buckets[1:], strict=False)):
        raise ValueError(f"histogram buckets of {row.name!r} must be in increasing order: {row.buckets}")


@dataclass(frozen=True, slots=True, eq=False)
class Histogram(Metric):
    """Observations counted under upper bounds; `buckets` leaves out +Inf."""

    buckets: tuple[float, ...] = DEFAULT_BUCKETS

    type: ClassVar[str] = "histogram"

    def __post_init__(self) -> None:
        Metric.__post_init__(self)
        _check_buckets(self)


@dataclass(frozen=True, slots=True, eq=False)
class TimingRatioHistogram(Metric):
    """How long a ratio held which value: a histogram whose weights are nanoseconds."""

    buckets: tuple[float, ...] = DEFAULT_BUCKETS

    type: ClassVar[str] = "histogram"
    experimental: ClassVar[bool] = True

    def __post_init__(self) -> None:
        Metric.__post_init__(self)
        _check_buckets(self)


@dataclass(frozen=True, slots=True, eq=False)
class Summary(Metric):
    """Quantiles of the last `max_age_seconds`; `objectives` are (quantile, allowed rank error) pairs."""

    objectives: tuple[tuple[float, float], ...] = ((0.5, 0.05), (0.9, 0.01), (0.99, 0.001))
    max_age_seconds: float = 600.0

    type: ClassVar[str] = "summary"

"""What a dashboard is made of, as values: boards of sections of panels of queries; and the few PromQL phrases that
repeat. How they become Grafana's JSON is in dashboards.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["timeseries", "stat", "table"]


@dataclass(frozen=True)
class Query:
    """One expression and how its series are called in the legend."""

    expr: str
    legend: str = "__auto"


@dataclass(frozen=True)
class Panel:
    """One panel. `conditional` says what must happen before there is anything to see; empty: there always is."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    kind: Kind = "timeseries"
    conditional: str = ""
    stacked: bool = False
    width: int = 8
    runbook: str = ""  # docs/runbooks/FILE.md#ALERT

    @property
    def text(self) -> str:
        """The description that is shown."""
        return f"{self.description} Empty until {self.conditional}." if self.conditional else self.description


@dataclass(frozen=True)
class Section:
    """A titled row of panels."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Variable:
    """A choice at the top of a dashboard: the values of a label of a metric."""

    name: str
    metric: str
    label: str


@dataclass(frozen=True)
class Board:
    """A dashboard."""

    uid: str
    title: str
    description: str
    sections: Sequence[Section]
    variables: Sequence[Variable] = field(default_factory=tuple)

    def panels(self) -> Iterator[Panel]:
        """Every panel, in order."""
        for section in self.sections:
            yield from section.panels


def q(expr: str, legend: str = "__auto") -> Sequence[Query]:
    """The queries of a panel that has one."""
    return (Query(expr, legend),)


def rate(metric: str, by: str = "", where: str = "") -> str:
    """The summed rate of a counter."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({metric}{_braces(where)}[$__rate_interval]))"


def total(metric: str, by: str = "", where: str = "") -> str:
    """The sum of a gauge."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} ({metric}{_braces(where)})"


def quantile(q: float, histogram: str, by: str = "", where: str = "") -> str:
    """A quantile of a classic histogram; `histogram` without _bucket."""
    grouping = f"{by}, le" if by else "le"
    return f"histogram_quantile({q}, sum by ({grouping}) (rate({histogram}_bucket{_braces(where)}[$__rate_interval])))"


def percentiles(histogram: str, where: str = "") -> Sequence[Query]:
    """Median, 90th and 99th percentile."""
    return tuple(Query(quantile(value, histogram, where=where), f"p{value * 100:g}") for value in (0.5, 0.9, 0.99))


def _braces(where: str) -> str:
    return f"{{{where}}}" if where else ""

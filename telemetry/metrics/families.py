"""What an exposition is made of beside instruments: families whose samples are computed when somebody asks.

Collected ones come from our rows, foreign ones from collectors of prometheus_client (bridge.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from kubeglass.telemetry.metrics import spelling
from kubeglass.telemetry.metrics.definitions import Metric

Sample = tuple[Metric, Sequence[str], float] | tuple[Metric, Sequence[str], float, int]
"""(row, label values in declared order, value[, timestamp in milliseconds])."""

Collect = Callable[[], Iterable[Sample]]


class Point(NamedTuple):
    """One computed sample, ready to be written."""

    head: str
    values: tuple[str, ...]
    value: float
    timestamp_ms: int | None


class Collected(NamedTuple):
    """All samples of one row at one scrape."""

    row: Metric
    help: str
    points: list[Point]

    def joined(self, other: Collected) -> Collected:
        """The samples of both."""
        return self._replace(points=in_order(self.row, self.points + other.points))


class ForeignRow(NamedTuple):
    """Name and text-format type of a family that has no row of ours."""

    name: str
    type: str


class ForeignSample(NamedTuple):
    """One line of a foreign family."""

    name: str
    labels: Mapping[str, str]
    value: float
    timestamp_ms: int | None


class Foreign(NamedTuple):
    """A family that came from a prometheus_client collector, as its samples."""

    row: ForeignRow
    help: str
    samples: list[ForeignSample]


class Collector:
    """A function called at scrape time, and the rows whose samples it may yield. Hidden rows yield nothing."""

    __slots__ = ("_collect", "_heads", "helps")

    def __init__(self, helps: dict[Metric, str], collect: Collect) -> None:
        self.helps = helps
        self._collect = collect
        self._heads: dict[Metric, dict[tuple[str, ...], str]] = {}

    def gather(self) -> list[Collected]:
        """Run the function once. A sample of a row that was not announced is a KeyError."""
        points: dict[Metric, list[Point]] = {row: [] for row in self.helps}
        heads: dict[Metric, dict[tuple[str, ...], str]] = {row: {} for row in self.helps}
        for sample in self._collect():
            row, values = sample[0], tuple(sample[1])
            if row not in points:
                continue
            head = self._heads.get(row, {}).get(values) or _head(row, values)
            heads[row][values] = head
            points[row].append(Point(head, values, sample[2], sample[3] if len(sample) > 3 else None))
        self._heads = heads  # only what this scrape used: the cache cannot outgrow the surface
        return [Collected(row, self.helps[row], in_order(row, found)) for row, found in points.items() if found]


def in_order(row: Metric, points: list[Point]) -> list[Point]:
    """The points as an exposition lists them. A series may be collected only once."""
    order = [index for _, index in sorted((name, index) for index, name in enumerate(row.labels))]
    ordered = sorted(points, key=lambda point: [point.values[index] for index in order])
    for point, following in pairwise(ordered):
        if point.values == following.values:
            text = f"{row.name} {dict(zip(row.labels, point.values, strict=True))}"
            raise ValueError(f"collected metric {text} was collected before with the same name and label values")
    return ordered


def _head(row: Metric, values: tuple[str, ...]) -> str:
    labels = spelling.labels(row.labels, values, row.const_labels)
    return f"{row.name}{{{labels}}} " if labels else f"{row.name} "

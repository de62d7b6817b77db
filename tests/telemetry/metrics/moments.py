"""What moved, written as a table in the text format: the way the moments tests say when a metric is counted.

    kubelet_started_pods_total                                       +1     grew by one
    kubelet_pod_worker_duration_seconds_count{operation_type="sync"} +      grew
    kubelet_running_pods                                             =1     is one now

Labels that a row leaves out are summed over, so a row names those that its moment decides.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import pytest

from kubeglass.telemetry.metrics.registry import Registry

_ROW = re.compile(r"^\s*(?P<name>\w+)(?:\{(?P<labels>.*)\})?\s+(?P<sign>[+=])(?P<value>[\d.]*)\s*$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_SERIES = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)", re.MULTILINE)

Labels = frozenset[tuple[str, str]]


class Row(NamedTuple):
    """One line of a table."""

    text: str
    name: str
    labels: Labels
    sign: str
    value: str

    def holds(self, before: float, now: float) -> bool:
        """Whether a sum that was `before` and is `now` is what the line says."""
        if self.sign == "=":
            return now == float(self.value)
        return now - before == float(self.value) if self.value else now > before


def table(text: str) -> Iterator[Row]:
    """The rows of a table; a line that is none is an error."""
    for line in filter(str.strip, text.splitlines()):
        found = _ROW.match(line)
        assert found, f"no row: {line}"
        labels = frozenset(_LABEL.findall(found["labels"] or ""))
        yield Row(line.strip(), found["name"], labels, found["sign"], found["value"])


class Moments:
    """The state of some registries when this was made, and what has moved since."""

    def __init__(self, *registries: Registry) -> None:
        self._pages: Callable[[], Iterator[str]] = lambda: (registry.expose()[1].decode() for registry in registries)
        self._before = self._read()

    @classmethod
    def of_pages(cls, read: Callable[[], Iterator[str]]) -> Moments:
        """The same for pages that somebody else reads."""
        moments = cls()
        moments._pages = read
        moments._before = moments._read()
        return moments

    def assert_moved(self, expected: str) -> None:
        """Every row of the table holds now."""
        if missing := self._missing(expected):
            pytest.fail("\n".join(missing), pytrace=False)

    async def until_moved(self, expected: str, seconds: float = 15.0) -> None:
        """Wait until every row holds at once."""
        deadline = time.monotonic() + seconds
        while missing := self._missing(expected):
            if time.monotonic() > deadline:
                pytest.fail("\n".join(missing), pytrace=False)
            await asyncio.sleep(0.05)

    def wait_until_moved(self, expected: str, seconds: float = 30.0) -> None:
        """The same where nothing else runs meanwhile."""
        deadline = time.monotonic() + seconds
        while missing := self._missing(expected):
            if time.monotonic() > deadline:
                pytest.fail("\n".join(missing), pytrace=False)
            time.sleep(0.2)

    def _missing(self, expected: str) -> list[str]:
        now = self._read()
        missing = []
        for row in table(expected):
            was, becomes = _sum(self._before, row), _sum(now, row)
            if not row.holds(was, becomes):
                missing.append(f"{row.text}: was {was:g}, is {becomes:g}")
        return missing

    def _read(self) -> Mapping[str, Mapping[Labels, float]]:
        found: dict[str, dict[Labels, float]] = {}
        for page in self._pages():
            for name, labels, value in _SERIES.findall(page):
                series = found.setdefault(name, {})
                key = frozenset(_LABEL.findall(labels))
                series[key] = series.get(key, 0.0) + float(value)
        return found


def _sum(read: Mapping[str, Mapping[Labels, float]], row: Row) -> float:
    return sum(value for labels, value in read.get(row.name, {}).items() if row.labels <= labels)

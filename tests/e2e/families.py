"""The metric families of a scraped page, against upstream's table."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from tests.telemetry.metrics import surface
from tests.telemetry.metrics.surface import Upstream


class Page(NamedTuple):
    """One scraped endpoint, as `component/path`."""

    endpoint: str
    text: str

    def families(self) -> set[str]:
        """Names of the families that show samples."""
        shown: set[str] = set()
        for name in re.findall(r"^(\w+)[{ ]", self.text, re.MULTILINE):
            shown |= {name, re.sub(r"_(bucket|count|sum)$", "", name)}
        return shown & set(re.findall(r"^# TYPE (\S+)", self.text, re.MULTILINE))

    def assert_upstreams(self) -> None:
        """Type, level and labels of each family that upstream has, and the bounds of each histogram."""
        table = _table(self.endpoint)
        helps = dict(re.findall(r"^# HELP (\S+) (.*)", self.text, re.MULTILINE))
        types = dict(re.findall(r"^# TYPE (\S+) (\S+)", self.text, re.MULTILINE))
        for name in types.keys() & table.keys():
            series = re.findall(rf"^{name}(?:_bucket|_sum|_count)?(?:{{(.*)}})? ", self.text, re.MULTILINE)
            labels = {label for one in series for label in re.findall(r'(\w+)="', one)} - {"le", "quantile"}
            fits = [metric for metric in table[name] if _fits(metric, types[name], helps[name], labels)]
            assert fits, f"{self.endpoint} {name}: {types[name]} {helps[name]!r} {labels}"
            bounds = {float(bound) for one in series for bound in re.findall(r'\ble="([^"]+)"', one)} - {math.inf}
            wanted = sorted(map(float, fits[0].buckets))
            assert len(bounds) == len(wanted), f"{self.endpoint} {name}"
            pairs = zip(sorted(bounds), wanted, strict=True)
            assert all(math.isclose(ours, theirs, rel_tol=1e-5) for ours, theirs in pairs), f"{self.endpoint} {name}"


def _table(endpoint: str) -> dict[str, list[Upstream]]:
    table: dict[str, list[Upstream]] = {}
    for metric in surface.upstream():
        if endpoint in metric.endpoints:
            table.setdefault(metric.name, []).append(metric)
    return table


def _fits(metric: Upstream, kind: str, help_text: str, labels: set[str]) -> bool:
    level = re.match(r"(?:EXPERIMENTAL: )?\[(\w+)\] ", help_text)
    known = set(metric.labels) | ({"phase"} if metric.name.endswith("seat_utilization") else set())
    return (kind, level.group(1) if level else "") == (metric.type, metric.stability) and labels in (known, set())

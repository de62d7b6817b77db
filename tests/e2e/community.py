"""What the community's content reads, held against a live cluster: which rows of data/community.yaml are met, and why
the others are not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Series = Sequence[Mapping[str, str]]
ROWS = Path(__file__).with_name("data") / "community.yaml"


@dataclass(frozen=True)
class Need:
    """One metric as the content reads it."""

    name: str
    targets: Sequence[str]
    labels: Mapping[str, Sequence[str]]
    kind: str
    waits: Sequence[str]


def needs() -> Iterator[Need]:
    """Every row."""
    for rows in yaml.safe_load(ROWS.read_text()).values():
        for row in rows:
            yield Need(row["name"], row["in"], row["labels"], row["class"], row.get("waits", ()))


def shortcomings(need: Need, series: Series) -> list[str]:
    """What is missing of a metric, given its series; nothing when the content finds all it reads."""
    if not series:
        return ["no series"]
    found = [f"none from {target}" for target in need.targets if not any(_from(target, one) for one in series)]
    found += [
        f"no label {label}"
        for label in need.labels
        if not any(label in one for one in series) and not _may_be_absent(need.labels[label])
    ]
    if not need.waits:
        for label, matchers in need.labels.items():
            found += [
                f"none with {label}{matcher}"
                for matcher in matchers
                if not any(_matches(matcher, one.get(label, "")) for one in series)
            ]
    return found


def _from(target: str, series: Mapping[str, str]) -> bool:
    """Whether a series comes from `JOB` or `JOB,metrics_path=PATH`."""
    job, _, path = target.partition(",metrics_path=")
    return series.get("job") == job and series.get("metrics_path", "") == (path or series.get("metrics_path", ""))


def _may_be_absent(matchers: Sequence[str]) -> bool:
    """Whether every matcher also holds for a series without the label."""
    return bool(matchers) and all(_matches(matcher, "") for matcher in matchers)


def _matches(matcher: str, value: str) -> bool:
    """A PromQL matcher without its label: =x, !=x, =~x, !~x."""
    operator, operand = re.fullmatch(r"(=~|!~|!=|=)(.*)", matcher, re.S).groups()
    if operator in ("=", "!="):
        return (value == operand) == (operator == "=")
    return bool(re.fullmatch(operand, value)) == (operator == "=~")


def table(found: Iterable[tuple[Need, list[str]]]) -> str:
    """The misses, for people."""
    return "\n".join(
        f"{need.kind:8} {need.name}: {'; '.join(missing)}"
        + (f"  (waits for {', '.join(need.waits)})" * bool(need.waits))
        for need, missing in found
        if missing
    )


def examine(prometheus: Any) -> list[tuple[Need, list[str]]]:
    """Every row with what is missing of it."""
    return [(need, shortcomings(need, prometheus.series(need.name))) for need in needs()]

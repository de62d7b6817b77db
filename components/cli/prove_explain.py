"""Why an alert did not fire, found by asking Prometheus for the parts of its rule: a metric that nobody exposes, a
label that no series has, a threshold not reached, a `for` not lasted, operands that do not match.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from kubeglass.components.cli import promql
from kubeglass.components.cli.prove_rules import Alert
from kubeglass.components.cli.prove_timeline import Timeline

_VALUES_SHOWN = 6


class Source(Protocol):
    """A Prometheus that was watching."""

    def query(self, expression: str) -> list[Any]:
        """An instant vector. Raises QueryError."""
        ...

    def extremes(self, expression: str, start: float) -> tuple[float, float] | None:
        """The least and the greatest value of any series since then; None when there was none."""
        ...


class QueryError(Exception):
    """Prometheus refused an expression; the text is its own."""


@dataclass(frozen=True, slots=True)
class Watched:
    """An alert, what it did and since when it was watched."""

    alert: Alert
    timeline: Timeline
    since: float


def explain(watched: Watched, source: Source) -> list[str]:
    """The reasons in words, the most telling first; never empty."""
    alert, timeline = watched.alert, watched.timeline
    if timeline.before != "inactive":
        return [f"it was {timeline.before} before the fault: the cluster was not healthy, or the threshold is too low"]
    if timeline.fired:
        return ["it still fires after the fault was healed: what it looks at did not recover in time"]
    if timeline.pending is not None:
        return [f"it was pending but its condition did not hold for {alert.for_seconds:g} s (`for`)"]
    try:
        return list(_never_true(watched, source)) or ["its condition is never true, though all its parts have data"]
    except QueryError as error:
        return [f"Prometheus cannot evaluate it: {error}"]
    except ValueError as error:
        return [f"its condition was never true (and its expression cannot be taken apart: {error})"]


def _never_true(watched: Watched, source: Source) -> Iterator[str]:
    expression = watched.alert.expression
    waits_for_absence = expression.lstrip().startswith(("absent(", "absent_over_time("))
    for selector in dict.fromkeys(promql.selectors(expression)):
        found = source.query(str(selector))
        if waits_for_absence and found:
            yield f"{selector} was there all the time, and the alert waits for it to be absent"
        elif not found and not waits_for_absence:
            yield from _missing(selector, watched, source)
    for operator, part in promql.parts(expression):
        if operator != "unless":
            yield from _threshold(part, watched, source)


def _missing(selector: promql.Selector, watched: Watched, source: Source) -> Iterator[str]:
    if source.extremes(str(selector), watched.since) is not None:
        return  # it comes and goes
    everything = source.query(selector.name)
    if not everything:
        if source.extremes(selector.name, watched.since) is None:
            yield f"metric missing: nothing exposes {selector.name}"
        return
    mismatches = [
        matcher for matcher in selector.matchers if not source.query(str(promql.Selector(selector.name, (matcher,))))
    ]
    for matcher in mismatches:
        values = sorted({sample["metric"].get(matcher.label, "") for sample in everything})
        shown = ", ".join(map(repr, values[:_VALUES_SHOWN])) + (", …" if len(values) > _VALUES_SHOWN else "")
        has = f"its values are {shown}" if values != [""] else "no series has that label"
        yield f"label mismatch: no series of {selector.name} has {matcher}; {has}"
    if not mismatches:
        yield f"label mismatch: every matcher of {selector} finds series, but none has all of them"


def _threshold(part: str, watched: Watched, source: Source) -> Iterator[str]:
    compared = promql.comparison(part)
    if compared is None:
        return
    extremes = source.extremes(compared.left, watched.since)
    if extremes is None:
        if all(source.query(str(selector)) for selector in promql.selectors(compared.left)):
            yield f"{_short(compared.left)} has no result: its operands have no labels in common, or nothing moved"
        return
    least, greatest = extremes
    if compared.operator in (">", ">="):
        reached = f"at most {greatest:g}"
    elif compared.operator in ("<", "<="):
        reached = f"at least {least:g}"
    else:
        reached = f"between {least:g} and {greatest:g}"
    if source.extremes(part, watched.since) is None:
        needed = f"{compared.operator} {_short(compared.right)}"
        yield f"threshold never reached: {_short(compared.left)} was {reached}, and {needed} is needed"


def _short(expression: str) -> str:
    return " ".join(expression.split())

"""Rule files on fast forward. Pure.

A rule written for production waits minutes. At speed N every duration in it is divided by N: `for`,
`keep_firing_for`, ranges in brackets and offsets; ranges stay long enough for four scrapes. Thresholds stay as they
are, so rates mean the same, while `increase` and `count_over_time` see N times less.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
_DURATION = r"(?:\d+(?:ms|[smhdwy]))+"
_RANGE = re.compile(rf"\[\s*({_DURATION})\s*(?::\s*({_DURATION})?\s*)?\]")
_OFFSET = re.compile(rf"\boffset\s+({_DURATION})")
SCRAPES_PER_RANGE = 4


class RuleError(Exception):
    """A rule file that cannot be read; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alerting rule as it is evaluated."""

    name: str
    expression: str
    for_seconds: float


def seconds(duration: str) -> float:
    """A Prometheus duration such as 1h30m. Raises ValueError."""
    if duration == "0":
        return 0.0
    if not re.fullmatch(_DURATION, duration):
        raise ValueError(f"not a duration: {duration!r}")
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|[smhdwy])", duration))


def text(value: float) -> str:
    """Seconds as a Prometheus duration, to the millisecond."""
    milliseconds = round(value * 1000)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


def accelerated(document: Mapping[str, Any], speed: float, scrape_seconds: float) -> dict[str, Any]:
    """A rule file's content at a speed, evaluated after every scrape."""
    return {
        "groups": [
            {
                "name": group["name"],
                "interval": text(scrape_seconds),
                "rules": [_rule(rule, speed, scrape_seconds) for rule in group.get("rules", ())],
            }
            for group in document.get("groups", ())
        ]
    }


def _rule(rule: Mapping[str, Any], speed: float, scrape_seconds: float) -> dict[str, Any]:
    changed = {**rule, "expr": _expression(str(rule["expr"]), speed, scrape_seconds)}
    for field in ("for", "keep_firing_for"):
        if field in rule:
            changed[field] = text(seconds(str(rule[field])) / speed)
    return changed


def _expression(expression: str, speed: float, scrape_seconds: float) -> str:
    shortest = SCRAPES_PER_RANGE * scrape_seconds

    def shorter(found: re.Match[str]) -> str:
        span = max(seconds(found[1]) / speed, min(shortest, seconds(found[1])))
        step = (
            f":{text(max(seconds(found[2]) / speed, scrape_seconds))}" if found[2] else ":" if ":" in found[0] else ""
        )
        return f"[{text(span)}{step}]"

    def nearer(found: re.Match[str]) -> str:
        return f"offset {text(seconds(found[1]) / speed)}"

    return _OFFSET.sub(nearer, _RANGE.sub(shorter, expression))


def alerts(document: Mapping[str, Any]) -> Iterator[Alert]:
    """The alerting rules of a rule file."""
    for group in document.get("groups", ()):
        for rule in group.get("rules", ()):
            if "alert" in rule:
                yield Alert(rule["alert"], str(rule["expr"]).strip(), seconds(str(rule.get("for", "0"))))


def load(document: bytes | str, source: str) -> dict[str, Any]:
    """The content of a rule file. Raises RuleError."""
    import yaml

    try:
        content = yaml.safe_load(document)
        if not isinstance(content, dict) or "groups" not in content:
            raise RuleError(f"{source}: there are no groups in it")
        list(alerts(content))
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise RuleError(f"{source}: {error}") from error
    return content

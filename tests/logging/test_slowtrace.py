"""Slow-operation texts are those of k8s.io/utils/trace."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kubeglass.logging.slowtrace import SlowTrace, Step, report

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "upstream_lines.json").read_text())[
    "slow_trace_text"
]["cases"]
START = int(datetime(2021, 8, 4, 1, tzinfo=UTC).timestamp()) * 1_000_000_000
MILLISECOND = 1_000_000


def trace_of(case: dict[str, Any]) -> SlowTrace:
    threshold = case.get("threshold")
    return SlowTrace(
        case["name"],
        START + case.get("start", 0) * MILLISECOND,
        START + case["end"] * MILLISECOND,
        None if threshold is None else threshold * MILLISECOND,
        case.get("fields", ()),
        [item_of(item) for item in case["items"]],
    )


def item_of(item: dict[str, Any]) -> Step | SlowTrace:
    if "nested" in item:
        return trace_of(item["nested"])
    return Step(item["step"], START + item["at"] * MILLISECOND, item.get("fields", ()))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_text(case: dict[str, Any]) -> None:
    """A trace prints upstream's text, or nothing where upstream prints nothing."""
    expected = [] if case["text"] is None else [case["text"]]
    assert report(trace_of(case["trace"]), 1298498081, case["v"]) == expected

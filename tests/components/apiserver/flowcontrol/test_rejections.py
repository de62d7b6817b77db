"""Retry-After and the wait limit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kubeglass.components.apiserver.flowcontrol.rejections import BODY, MAX_WAIT_NS, RetryAfter, wait_deadline
from kubeglass.components.apiserver.flowcontrol.seats import SECOND

DATA: Any = json.loads((Path(__file__).parent / "data" / "rejections.json").read_text())


@pytest.mark.parametrize("name", ["sequence", "constantStorm200PerSecond"])
def test_retry_after(name: str) -> None:
    """The advice doubles under a storm and shrinks after it."""
    tracker = RetryAfter()
    for step in DATA["retryAfter"][name]:
        for _ in range(step["dropped"]):
            tracker.dropped(step["second"])
        assert tracker.seconds == step["retryAfter"], step


def test_retry_after_a_trickle() -> None:
    """A trickle of drops does not bring the advice down."""
    tracker = RetryAfter()
    steps = DATA["retryAfter"]["constantStorm200PerSecond"] + DATA["retryAfter"]["stormThenTrickle"]
    for step in {step["second"]: step for step in steps}.values():
        for _ in range(step["dropped"]):
            tracker.dropped(step["second"])
        assert tracker.seconds == step["retryAfter"], step


def test_body() -> None:
    """A rejection is a plain text."""
    assert BODY.decode() == DATA["body"] + "\n"


@pytest.mark.parametrize(
    "case", [c for c in DATA["waitLimit"]["cases"] if "waitUntilFromNow" in c], ids=lambda c: c["id"]
)
def test_wait_deadline(case: Any) -> None:
    """A request waits for a quarter of its time, counted from its receipt, and never more than a minute."""
    now = 1_000 * SECOND
    received = now - (case["receivedAgoSeconds"] or 0) * SECOND
    deadline = None if case["deadlineInSeconds"] is None else now + case["deadlineInSeconds"] * SECOND
    until = wait_deadline(received, deadline, case.get("defaultWaitSeconds", 15) * SECOND)
    assert until - now == case["waitUntilFromNow"] * SECOND
    assert DATA["waitLimit"]["hardCapSeconds"] * SECOND == MAX_WAIT_NS

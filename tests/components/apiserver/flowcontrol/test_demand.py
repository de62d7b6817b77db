"""Statistics of seat demand over time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kubeglass.components.apiserver.flowcontrol.demand import DemandPeriod, SeatDemand, smooth
from kubeglass.components.apiserver.flowcontrol.seats import SECOND

DATA: Any = json.loads((Path(__file__).parent / "data" / "allocation.json").read_text())


@pytest.mark.parametrize("case", DATA["integrator"], ids=lambda c: c["id"])
def test_integrator(case: Any) -> None:
    """Average and deviation are weighted by time; the peak counts however short it was."""
    period, demand, since = DemandPeriod(), 0, 0
    for step in case["steps"]:
        now = round(step["atSeconds"] * SECOND)
        period.add(demand, now - since)
        since = now
        if "reset" in step:
            period = DemandPeriod(demand)
        else:
            demand = step["set"] if "set" in step else demand + step["add"]
            period.high = max(period.high, demand)
    period.add(demand, round(case["readAtSeconds"] * SECOND) - since)
    sample = period.sample()
    expect = case["expect"]
    assert sample.duration_ns == round(expect["durationSeconds"] * SECOND)
    assert sample.high == expect["max"]
    if expect["average"] is None:
        assert sample.average != sample.average
        assert sample.deviation != sample.deviation
    else:
        assert sample.average == pytest.approx(expect["average"])
        assert sample.deviation == pytest.approx(expect["stdev"])


def test_smoothing() -> None:
    """A rise counts at once, a fall slowly."""
    smoothed = 0.0
    for step in DATA["smoothing"]["sequence"]:
        smoothed = smooth(smoothed, step["envelope"])
        assert smoothed == pytest.approx(step["smoothed"], rel=1e-12)


def test_a_period_without_length_moves_only_the_watermark() -> None:
    """Two adjustments at one instant do not disturb the statistics."""
    period, demand = DemandPeriod(4), SeatDemand()
    period.add(4, SECOND)
    demand.update(period.sample())
    demand.update(DemandPeriod(9).sample())
    assert (demand.high_watermark, demand.average, demand.smoothed) == (9, 4.0, 4.0)

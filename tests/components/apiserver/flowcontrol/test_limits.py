"""Dividing and lending the seats of a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeglass.components.apiserver.flowcontrol.limits import (
    AllocationError,
    Claim,
    LevelDemand,
    LevelLimits,
    LevelShares,
    adjust,
    allocate,
    divide,
)
from kubeglass.components.apiserver.flowcontrol.seats import half_away

LIMITS: Any = json.loads((Path(__file__).parent / "data" / "limits.json").read_text())
ALLOCATION: Any = json.loads((Path(__file__).parent / "data" / "allocation.json").read_text())
CONFIGURATIONS = LIMITS["defaultConfiguration"] + LIMITS["borrowingTestConfigurations"]


def _shares(level: Any) -> LevelShares:
    return LevelShares(level["nominalConcurrencyShares"], level["lendablePercent"], level["borrowingLimitPercent"])


@pytest.mark.parametrize("case", CONFIGURATIONS, ids=lambda c: c["label"])
def test_divide(case: Any) -> None:
    """Nominal, minimum, maximum and initial limits of every level."""
    divided = divide(case["serverConcurrencyLimit"], {level["name"]: _shares(level) for level in case["levels"]})
    for level in case["levels"]:
        limits = divided[level["name"]]
        assert limits == LevelLimits(level["nominalCL"], level["minCL"], level["maxCL"])
        assert limits.initial == level["initialCurrentCL"]


@pytest.mark.parametrize("case", CONFIGURATIONS, ids=lambda c: c["label"])
def test_idle_adjustment(case: Any) -> None:
    """Without demand everybody's seats are spread in proportion to what nobody may borrow."""
    divided = divide(case["serverConcurrencyLimit"], {level["name"]: _shares(level) for level in case["levels"]})
    exempt = {level["name"]: level["exempt"] for level in case["levels"]}
    adjustment = adjust({name: LevelDemand(limits, exempt[name], 0, 0.0) for name, limits in divided.items()})
    expected = case["afterFirstAdjustmentWithNoDemand"]
    assert adjustment.current == expected["currentCL"]
    assert adjustment.fair_fraction == pytest.approx(expected["fairFrac"], rel=1e-12)


@pytest.mark.parametrize("total", LIMITS["release120"]["totals"], ids=lambda t: str(t["serverConcurrencyLimit"]))
def test_assured_limits(total: Any) -> None:
    """The assured limits of release 1.20 follow from the same shares."""
    shares = {"catch-all": 5, "system": 30, "leader-election": 10, "workload-high": 40, "workload-low": 100}
    divided = divide(
        total["serverConcurrencyLimit"],
        {name: LevelShares(count) for name, count in (shares | {"global-default": 20}).items()},
    )
    assert {name: limits.nominal for name, limits in divided.items()} == total["assuredConcurrencyLimits"]


@pytest.mark.parametrize("case", LIMITS["halfRounding"], ids=lambda c: f"{c['nominalCL']}-{c['percent']}")
def test_lendable_rounding(case: Any) -> None:
    """Exact halves are lent, not kept."""
    assert half_away(case["nominalCL"] * case["percent"] / 100) == case["lendableCL"]


@pytest.mark.parametrize("case", ALLOCATION["cases"], ids=lambda c: c["id"])
def test_allocate(case: Any) -> None:
    """One proportion serves all claims within their bounds."""
    claims = [Claim(c["target"], c["lowerBound"], c["upperBound"]) for c in case["classes"]]
    if "error" in case:
        with pytest.raises(AllocationError) as raised:
            allocate(case["requiredSum"], claims)
        assert raised.value.reason == case["error"]
        return
    allocations, proportion = allocate(case["requiredSum"], claims)
    assert allocations == pytest.approx(case["allocations"], rel=1e-9, abs=1e-9)
    assert proportion == pytest.approx(case["fairProportion"], rel=1e-9)
    assert [half_away(seats) for seats in allocations] == case["rounded"]


@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50), st.floats(0, 50)), min_size=1, max_size=8),
    st.floats(0.01, 0.99),
)
def test_allocation_is_proportional_within_bounds(rows: list[tuple[float, float, float]], where: float) -> None:
    """Whatever the claims, the sum is met and each share is proportional or at a bound."""
    claims = [Claim(low + extra, low, low + room) for low, extra, room in rows]
    lowers, uppers = sum(c.lower for c in claims), sum(c.upper for c in claims)
    required = int(lowers + (uppers - lowers) * where)
    if not lowers <= required <= uppers:
        return
    allocations, p = allocate(required, claims)
    if required:
        assert sum(allocations) == pytest.approx(required, abs=1e-5)
    for claim, seats in zip(claims, allocations, strict=True):
        proportional = p * max(claim.target, 0.001)
        assert claim.lower - 1e-6 <= seats <= claim.upper + 1e-6 or not required
        assert not required or seats == pytest.approx(min(max(proportional, claim.lower), claim.upper), abs=1e-4)


@pytest.mark.parametrize("case", ALLOCATION["exemptBorrowing"]["scenarios"], ids=lambda c: c["id"])
def test_exempt_takes_first(case: Any) -> None:
    """What exempt requests used at their peak is taken from the others first."""
    rows = ALLOCATION["exemptBorrowing"]["levels"]
    levels = {
        name: LevelDemand(
            LevelLimits(row["nominalCL"], row["minCL"], row["maxCL"]),
            name == "exempt",
            case["seatDemandHighWatermark"][name],
            0.0,
        )
        for name, row in rows.items()
    }
    assert {name: level.min_current for name, level in levels.items()} == case["minCurrentCL"]
    assert adjust(levels).current == case["expectedCurrentCL"]


@pytest.mark.parametrize("case", ALLOCATION["endToEndBorrowing"], ids=lambda c: c["id"])
def test_steady_state(case: Any) -> None:
    """With constant demand the borrowed limits settle at the expected values."""
    bounds = case["minMax"]
    nominal = {"test-pl0": 12, "test-pl1": 12, "catch-all": 1, "exempt": 0}
    demand = {"test-pl0": 24, "test-pl1": 6}
    adjustment = adjust(
        {
            name: LevelDemand(
                LevelLimits(nominal[name], *bounds[name]), name == "exempt", demand.get(name, 0), demand.get(name, 0)
            )
            for name in nominal
        }
    )
    assert adjustment.current == case["steadyStateCurrentCL"]
    assert adjustment.fair_fraction == pytest.approx(case["fairFrac"])
    targets = {name: seats for name, seats in adjustment.targets.items() if name != "exempt"}
    assert targets == case["steadyStateTargets"]

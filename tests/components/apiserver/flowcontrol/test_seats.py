"""How wide requests are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kubeglass.components.apiserver.flowcontrol.schemas import RequestDigest
from kubeglass.components.apiserver.flowcontrol.seats import (
    MILLISECOND,
    SECOND,
    UNKNOWN_STATS,
    CollectionStats,
    EstimatorFeatures,
    ListCost,
    WorkEstimate,
    format_work,
    half_away,
    is_mutating_estimate,
    level_seat_cap,
    list_estimate,
    list_options,
    mutating_estimate,
    ns_per_seat,
    seats_for,
    unclassifiable_estimate,
)
from kubeglass.components.apiserver.flowcontrol.watches import PRUNE_AFTER_NS, CollectionSizes, WatchTracker

DATA: Any = json.loads((Path(__file__).parent / "data" / "widths.json").read_text())
LIMITS: Any = json.loads((Path(__file__).parent / "data" / "limits.json").read_text())


def _estimate(case: Any) -> WorkEstimate:
    features = EstimatorFeatures(
        by_size=case.get("sizeBasedEstimate", True),
        streaming_lists=case.get("watchListFeature", True),
        consistent_reads_from_cache=case.get("consistentReadFromCache", False),
    )
    info, cap = case["requestInfo"], case["priorityLevelMaxSeats"]
    if info is None:
        return unclassifiable_estimate(cap, features)
    if info["verb"] in ("list", "watch"):
        stats: CollectionStats | None = None
        if case["statsError"] in ("stale", "other-error"):
            stats = UNKNOWN_STATS
        elif case["objectCount"] is not None:
            stats = CollectionStats(case["objectCount"], case["averageObjectSizeBytes"])
        return list_estimate(info["verb"], info["name"], list_options(case["query"]), stats, cap, features)
    if is_mutating_estimate(info["verb"], info["resource"], info["subresource"]):
        return mutating_estimate(case["watchCount"], cap)
    return WorkEstimate()


@pytest.mark.parametrize("case", DATA["cases"] + DATA["casesByFeature"], ids=lambda c: c["id"])
def test_estimate(case: Any) -> None:
    """A request is as wide as what it loads, or as the watchers it wakes."""
    expect = case["expect"]
    estimate = _estimate(case)
    assert (estimate.initial_seats, estimate.final_seats) == (expect["initialSeats"], expect["finalSeats"])
    assert estimate.additional_latency_ns == expect["additionalLatencyMs"] * MILLISECOND


@pytest.mark.parametrize("case", DATA["listFormulaPairs"])
def test_list_formulas(case: Any) -> None:
    """The two list formulas, before any cap."""
    cost = ListCost(
        CollectionStats(case["objectCount"], case["averageObjectSizeBytes"]),
        case["limit"],
        case["hasSelector"],
        case["fromCache"],
        case["singleObject"],
    )
    assert cost.seats_by_count() == case["expectSeatsByCount"]
    assert cost.seats_by_size() == case["expectSeatsBySize"]


@pytest.mark.parametrize("case", DATA["interestedWatchers"]["cases"], ids=lambda c: f"{c['verb']}-{c['namespace']}")
def test_interested_watchers(case: Any) -> None:
    """A write wakes the watches of everything, of its namespace, and of its object."""
    tracker = WatchTracker()
    for row in DATA["interestedWatchers"]["registered"]:
        tracker.register(_digest("watch", row["apiGroup"], row["resource"], row["namespace"], row["name"]))
    digest = _digest(case["verb"], case["apiGroup"], case["resource"], case["namespace"], case["name"])
    writes = is_mutating_estimate(digest.verb, digest.resource, digest.subresource)
    assert (tracker.interested(digest) if writes else 0) == case["expectedCount"]


def _digest(verb: str, group: str, resource: str, namespace: str, name: str) -> RequestDigest:
    return RequestDigest("u", (), True, verb, group, "v1", resource, "", namespace, name)


def test_a_watch_ends() -> None:
    """A watch that ended is no longer woken."""
    tracker = WatchTracker()
    key = tracker.register(_digest("watch", "", "pods", "a", ""))
    assert tracker.interested(_digest("create", "", "pods", "a", "")) == 1
    tracker.forget(key)
    assert tracker.interested(_digest("create", "", "pods", "a", "")) == 0
    assert tracker.open_watches() == 0


def test_a_kubelets_watch_is_not_counted() -> None:
    """A pods watch of one node is not counted; a watch of one name counts for that name."""
    tracker = WatchTracker()
    assert tracker.register(_digest("watch", "", "pods", "", ""), "spec.nodeName=n1") is None
    tracker.register(_digest("watch", "", "pods", "a", ""), "metadata.name=p")
    assert tracker.interested(_digest("update", "", "pods", "a", "p")) == 1
    assert tracker.interested(_digest("update", "", "pods", "a", "q")) == 0


def test_collection_sizes_age() -> None:
    """A size is believed for three minutes, feared for an hour, then forgotten."""
    sizes = CollectionSizes()
    sizes.record("apps", "deployments", 5, 100, now=0)
    assert sizes.get("apps", "deployments", 180 * SECOND) == CollectionStats(5, 100)
    assert sizes.get("apps", "deployments", 181 * SECOND) == UNKNOWN_STATS
    sizes.prune(PRUNE_AFTER_NS + 1)
    assert sizes.get("apps", "deployments", 181 * SECOND) is None


@pytest.mark.parametrize("case", DATA["seatSeconds"], ids=lambda c: c["string"])
def test_work_notation(case: Any) -> None:
    """Work is printed in seat-seconds with eight decimals."""
    work = case["raw"] if "raw" in case else seats_for(case["seats"], int(case["durationNs"]))
    assert format_work(work) == case["string"]


@pytest.mark.parametrize("case", DATA["durationPerSeat"])
def test_work_per_seat(case: Any) -> None:
    """Fewer seats take longer for the same work."""
    work = seats_for(case["seats"], case["durationMs"] * MILLISECOND)
    assert ns_per_seat(work, case["over"]) == case["resultMs"] * MILLISECOND


@pytest.mark.parametrize("case", LIMITS["maxSeats"], ids=lambda c: f"{c['nominalCL']}-{c['handSize']}")
def test_level_seat_cap(case: Any) -> None:
    """No request may be wider than 15 % of its level, nor fill it with one hand."""
    assert level_seat_cap(case["nominalCL"], case["handSize"]) == case["maxSeats"]


@pytest.mark.parametrize(("value", "rounded"), [(0.5, 1), (1.5, 2), (2.5, 3), (-0.5, -1), (-2.5, -3), (2.4, 2), (0, 0)])
def test_half_away(value: float, rounded: int) -> None:
    """Halves move away from zero."""
    assert half_away(value) == rounded

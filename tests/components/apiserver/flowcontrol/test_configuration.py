"""The configuration pass, and the regulator that carries it out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kubeglass.components.api.flowcontrol import LEVELS, SCHEMAS
from kubeglass.components.api.objects.flowcontrol import flow_schema, priority_level
from kubeglass.components.apiserver.flowcontrol.configuration import StatusWriteLimiter, plan
from kubeglass.components.apiserver.flowcontrol.regulator import Regulator
from kubeglass.components.apiserver.flowcontrol.requests import FlowCounters, Request, State
from kubeglass.components.apiserver.flowcontrol.schemas import RequestDigest
from kubeglass.components.apiserver.flowcontrol.seats import SECOND, WorkEstimate

LIMITS: Any = json.loads((Path(__file__).parent / "data" / "limits.json").read_text())
ALICE = RequestDigest("alice", ("system:authenticated",), True, "list", "", "v1", "pods", "", "default")


def _nothing(request: Request) -> None:
    return None


def _level(name: str, shares: int = 10, queues: int = 4) -> Any:
    queuing = {"queues": queues, "handSize": 1, "queueLengthLimit": 5}
    response = {"type": "Queue", "queuing": queuing}
    return priority_level(
        {
            "metadata": {"name": name},
            "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": shares, "limitResponse": response}},
        }
    )


def _schema(name: str, level: str, precedence: int = 500) -> Any:
    rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
    subject = {"kind": "Group", "group": {"name": "*"}}
    return flow_schema(
        {
            "metadata": {"name": name},
            "spec": {
                "priorityLevelConfiguration": {"name": level},
                "matchingPrecedence": precedence,
                "distinguisherMethod": {"type": "ByUser"},
                "rules": [{"subjects": [subject], "resourceRules": [rule]}],
            },
        }
    )


def test_mandatory_objects_are_imagined() -> None:
    """Without any object the two mandatory levels and schemas are in force."""
    decided = plan([], [], [])
    assert set(decided.levels) == {"exempt", "catch-all"}
    assert [schema.name for schema in decided.schemas] == ["exempt", "catch-all"]


def test_dangling_schemas_are_not_used_but_reported() -> None:
    """A schema without its level does not match, and its status will say why."""
    decided = plan([_schema("a", "gone"), _schema("b", "here")], [_level("here")], [])
    assert [schema.name for schema in decided.schemas] == ["exempt", "b", "catch-all"]
    assert (decided.dangling["a"].status, decided.dangling["a"].reason) == ("True", "NotFound")
    assert decided.dangling["a"].message == (
        'This FlowSchema references the PriorityLevelConfiguration object named "gone" but there is no such object'
    )
    assert (decided.dangling["b"].status, decided.dangling["b"].reason) == ("False", "Found")


def test_a_correct_status_is_not_written_again() -> None:
    """A condition that says what is true is left alone."""
    condition = plan([_schema("b", "here")], [_level("here")], []).dangling["b"]
    reported = flow_schema(
        {
            "metadata": {"name": "b"},
            "spec": {"priorityLevelConfiguration": {"name": "here"}},
            "status": {
                "conditions": [
                    {
                        "type": condition.type,
                        "status": condition.status,
                        "reason": condition.reason,
                        "message": condition.message,
                        "lastTransitionTime": "2026-01-01T00:00:00Z",
                    }
                ]
            },
        }
    )
    assert plan([reported], [_level("here")], []).dangling == {}


def test_broken_levels_are_skipped() -> None:
    """A level that cannot be dealt from is ignored with a warning."""
    decided = plan([], [_level("bad", queues=10**9)], [])
    assert "bad" not in decided.levels
    assert "Ignoring PriorityLevelConfiguration object bad" in decided.warnings[0]


@pytest.mark.parametrize("case", LIMITS["defaultConfiguration"], ids=lambda c: c["label"])
def test_default_limits(case: Any) -> None:
    """The default objects get the documented limits, idle and freshly started."""
    regulator = Regulator(case["serverConcurrencyLimit"], 0, _nothing)
    regulator.configure(SCHEMAS, LEVELS, 0)
    for row in case["levels"]:
        level = regulator.levels[row["name"]]
        assert (level.limits.nominal, level.limits.minimum, level.limits.maximum) == (
            row["nominalCL"],
            row["minCL"],
            row["maxCL"],
        )
        assert level.seat_cap == (row["maxSeats"] or 0)
    current = {name: level.queues.limit for name, level in regulator.levels.items()}
    assert current == case["afterFirstAdjustmentWithNoDemand"]["currentCL"]


def test_a_pass_without_change_keeps_the_statistics() -> None:
    """A pass that finds what it knew does not cut the demand window."""
    regulator = Regulator(600, 0, _nothing)
    regulator.configure(SCHEMAS, LEVELS, 0)
    queues = regulator.levels["system"].queues
    requests = [Request(FlowCounters("s"), WorkEstimate()) for _ in range(9)]
    for request in requests:
        queues.arrive(request, SECOND)
    for request in requests:
        queues.finish(request, SECOND)
    regulator.configure(SCHEMAS, LEVELS, 2 * SECOND)
    assert queues.end_demand_period(3 * SECOND).high == 9


def _run(regulator: Regulator, digest: RequestDigest, now: int) -> Request:
    flow = regulator.classify(digest)
    request = flow.request(digest, WorkEstimate())
    flow.level.queues.arrive(request, now)
    return request


def test_a_deleted_level_drains() -> None:
    """A busy level without object takes nothing new, keeps its shares until it is idle, and can be revived."""
    regulator = Regulator(100, 0, _nothing)
    regulator.configure([_schema("s", "mine")], [_level("mine")], 0)
    old = regulator.levels["mine"]
    running = _run(regulator, ALICE, 0)
    regulator.configure([_schema("s", "mine")], [], SECOND)
    assert regulator.levels["mine"] is old
    assert old.quiescing
    assert old.limits.nominal == 67
    assert regulator.classify(ALICE).level.name == "catch-all"
    regulator.configure([_schema("s", "mine")], [_level("mine")], 2 * SECOND)
    assert regulator.classify(ALICE).level is old
    assert not old.quiescing
    regulator.configure([], [], 3 * SECOND)
    old.queues.finish(running, 4 * SECOND)
    regulator.configure([], [], 5 * SECOND)
    assert "mine" not in regulator.levels


def test_a_change_keeps_what_waits() -> None:
    """Changing a level takes effect at once, and nothing that waits or runs is dropped."""
    regulator = Regulator(2, 0, _nothing)
    regulator.configure([_schema("s", "mine")], [_level("mine", queues=8)], 0)
    level = regulator.levels["mine"]
    requests = [_run(regulator, ALICE, 0) for _ in range(6)]
    waiting = [r for r in requests if r.state is State.WAITING]
    assert waiting
    regulator.configure([_schema("s", "mine")], [_level("mine", queues=2, shares=1000)], SECOND)
    assert level.queues.waiting + level.queues.executing == 6
    for request in requests:
        if request.state is State.WAITING:
            level.queues.set_limit(10, SECOND)
    assert all(request.state is State.EXECUTING for request in requests)


def test_a_reject_level_knows_no_flows() -> None:
    """Only levels with more than one queue compute a distinguisher."""
    regulator = Regulator(600, 0, _nothing)
    regulator.configure(SCHEMAS, LEVELS, 0)
    catch_all = regulator.flow("catch-all").request(ALICE, WorkEstimate())
    assert (catch_all.distinguisher, catch_all.hash_value) == ("", 0)
    assert regulator.flow("global-default").request(ALICE, WorkEstimate()).distinguisher == "alice"


def test_exempt_demand_is_taken_from_the_others() -> None:
    """The peak of the exempt level shrinks what the others share at the next adjustment."""
    regulator = Regulator(600, 0, _nothing)
    regulator.configure(SCHEMAS, LEVELS, 0)
    admin = RequestDigest("admin", ("system:masters",), False, "get", path="/x")
    for _ in range(300):
        _run(regulator, admin, 0)
    regulator.adjust(10 * SECOND)
    assert regulator.levels["exempt"].queues.limit == 300
    assert regulator.levels["exempt"].target == 300


def test_status_writes_are_limited() -> None:
    """No schema's status is written more than six times a minute."""
    limiter = StatusWriteLimiter()
    assert [limiter.allow("a", second * SECOND) for second in range(8)] == [True] * 6 + [False] * 2
    assert limiter.allow("b", 8 * SECOND)
    assert limiter.allow("a", 60 * SECOND)


def test_a_server_without_seats_is_refused() -> None:
    """The total must be positive."""
    with pytest.raises(ValueError, match="positive"):
        Regulator(0, 0, _nothing)

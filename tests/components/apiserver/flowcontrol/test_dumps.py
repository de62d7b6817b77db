"""The debug dumps, byte for byte."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from kubeglass.components.api.flowcontrol import LEVELS, SCHEMAS
from kubeglass.components.apiserver.flowcontrol import dumps
from kubeglass.components.apiserver.flowcontrol.controller import FlowController, Rejected
from kubeglass.components.apiserver.flowcontrol.dumps import Dumps, api_version, table, time_text
from kubeglass.components.apiserver.flowcontrol.metrics import FlowControlMetrics
from kubeglass.components.apiserver.flowcontrol.records import Caller
from kubeglass.components.apiserver.flowcontrol.schemas import RequestDigest
from kubeglass.components.apiserver.flowcontrol.seats import SECOND, format_work
from kubeglass.logging.goduration import duration_text
from kubeglass.telemetry.metrics.registry import Registry

DATA: Any = json.loads((Path(__file__).parent / "data" / "dumps.json").read_text())
FORMATS = DATA["valueFormats"]


@pytest.mark.parametrize("case", DATA["cases"], ids=lambda c: c["id"])
def test_layout(case: Any) -> None:
    """Columns are aligned as upstream aligns them, in every era."""
    assert table(case["columns"], case["rows"]) == case["text"]


def _columns(text: str) -> list[str]:
    return [cell.strip() for cell in text.splitlines()[0].split(",")]


@pytest.mark.parametrize("case", DATA["cases"], ids=lambda c: c["id"])
def test_columns(case: Any) -> None:
    """Each page has the columns of its era."""
    page = Dumps(_controller()).pages[dumps.PREFIX + case["endpoint"]]
    query = {"format": "v1.20"} if case["era"] == "1.20" else {}
    if case["includeRequestDetails"]:
        query["includeRequestDetails"] = "0"
    content_type, text = page(query)
    assert content_type == "text/plain; charset=utf-8"
    assert _columns(text) == case["columns"]


@pytest.mark.parametrize("case", FORMATS["seatSeconds"])
def test_seat_seconds(case: Any) -> None:
    """Work is shown with eight decimals."""
    assert format_work(int(case["raw1e8"])) == case["text"]


@pytest.mark.parametrize("case", FORMATS["durations"])
def test_durations(case: Any) -> None:
    """Durations are shown in Go's notation."""
    assert duration_text(int(case["ns"])) == case["text"]


@pytest.mark.parametrize("case", FORMATS["times"])
def test_times(case: Any) -> None:
    """Times have as many fraction digits as they need."""
    assert time_text(int(case["unixNs"])) == case["text"]


@pytest.mark.parametrize("case", FORMATS["apiVersion"])
def test_api_version(case: Any) -> None:
    """The core group is not named."""
    assert api_version(case["group"], case["version"]) == case["text"]


WALL = 1784887201 * SECOND


def _controller() -> FlowController:
    clock = [5 * SECOND]
    controller = FlowController(
        600, FlowControlMetrics(Registry()), now=lambda: clock[0], wall_ns=lambda: WALL + clock[0] - 5 * SECOND
    )
    controller.configure(SCHEMAS, LEVELS)
    return controller


async def _scene() -> tuple[FlowController, list[asyncio.Task[None]]]:
    """An administrator's request and bob's execute, alice's waits, and one more was rejected."""
    controller = _controller()
    queues = controller.regulator.levels["global-default"].queues
    queues.set_limit(1, controller.now())
    admin = RequestDigest("admin", ("system:masters",), False, "get", path="/metrics")
    bob = RequestDigest(
        "bob", ("system:authenticated",), True, "update", "", "v1", "pods", "status", "default", "p", "/api/v1/x"
    )
    alice = RequestDigest(
        "alice", ("system:authenticated",), True, "create", "apps", "v1", "deployments", "", "default"
    )
    await controller.enter(controller.ticket(admin))
    await controller.enter(controller.ticket(bob))
    caller = Caller("127.0.0.1:9", "curl/8", "audit", "trace")

    async def wait() -> None:
        await controller.enter(controller.ticket(alice, {}, caller))

    task = asyncio.get_running_loop().create_task(wait())
    await asyncio.sleep(0)
    return controller, [task]


async def test_a_scene() -> None:
    """Requests, queues and levels appear where they are."""
    controller, tasks = await _scene()
    pages = Dumps(controller)
    _, requests = pages.requests({"includeRequestDetails": "1"})
    rows = {row[10]: row for row in ([cell.strip() for cell in line.split(",")] for line in requests.splitlines()[1:])}
    stamp, zero = "2026-07-24T10:00:01Z", "0001-01-01T00:00:00Z"
    assert next(iter(rows)) == "admin"
    assert rows["admin"] == [
        *("exempt", "exempt", "-1", "-1", "", stamp, "1", "0", "0s", stamp),
        *("admin", "get", "/metrics", "", "", "", "", ""),
    ]
    level = ["global-default", "global-default"]
    assert [*rows["bob"][:2], *rows["bob"][3:]] == [
        *(*level, "-1", "bob", stamp, "1", "0", "0s", stamp),
        *("bob", "update", "/api/v1/x", "default", "p", "v1", "pods", "status"),
    ]
    assert [*rows["alice"][:2], *rows["alice"][3:]] == [
        *(*level, "0", "alice", stamp, "1", "0", "0s", zero),
        *("alice", "create", "", "default", "", "apps/v1", "deployments", ""),
    ]
    _, old = pages.requests({"format": "v1.20"})
    assert len(old.splitlines()) == 2
    _, levels = pages.priority_levels({})
    row = next(line for line in levels.splitlines() if line.startswith("global-default,"))
    assert [cell.strip() for cell in row.split(",")] == ["global-default", "1", "false", "false", *"111000"]
    _, old_levels = pages.priority_levels({"format": "v1.20"})
    assert "exempt,            <none>,       <none>, <none>,      <none>,          <none>\n" in old_levels
    _, queues = pages.queues({})
    assert len(queues.splitlines()) == 1 + 64 + 64 + 16 + 3 * 128
    busy = [line for line in queues.splitlines()[1:] if line.split(",")[2].strip() == "1"]
    assert [line.split(",")[-1].strip() for line in busy] == ["0.00300000ss"]
    _, old_queues = pages.queues({"format": "v1.20"})
    assert old_queues.splitlines()[1].split()[:3] == ["exempt,", "<none>,", "<none>,"]
    for task in tasks:
        task.cancel()


async def test_rejections_and_talkers() -> None:
    """Our own dumps name who was turned away, by which rule, and who is loudest."""
    controller = FlowController(600, FlowControlMetrics(Registry()))
    digest = RequestDigest("alice", ("dev", "system:authenticated"), True, "list", "", "v1", "pods", "", "default")
    controller.configure(SCHEMAS, LEVELS)
    controller.regulator.levels["global-default"].queues.set_limit(0, controller.now())
    now = controller.now()
    with pytest.raises(Rejected):
        await controller.enter(
            controller.ticket(digest, {}, Caller("10.0.0.9:1", "bot/1"), received=now - 60 * SECOND, deadline=now)
        )
    pages = Dumps(controller)
    _, text = pages.rejections({})
    row = dict(zip(_columns(text), [c.strip() for c in text.splitlines()[1].split(",")], strict=True))
    assert row["Outcome"] == "time-out"
    assert row["UserName"] == "alice"
    assert row["Groups"] == "dev system:authenticated"
    assert row["UserAgent"] == "bot/1"
    assert row["MatchedRule"] == "0 (Group system:unauthenticated | Group system:authenticated)"
    assert row["QueueIndex"] in row["Hand"].split()
    assert len(row["Hand"].split()) == 6
    assert row["Limit"] == "0"
    _, as_json = pages.rejections({"format": "json", "priorityLevel": "global-default"})
    assert json.loads(as_json)[0]["digest"]["user"] == "alice"
    assert json.loads(pages.rejections({"format": "json", "priorityLevel": "system"})[1]) == []
    _, talkers = pages.talkers({"top": "3"})
    assert talkers.splitlines()[1].split()[:3] == ["global-default,", "global-default,", "alice,"]
    _, levels = pages.priority_levels({"format": "json"})
    state = {level["name"]: level for level in json.loads(levels)}
    assert state["global-default"]["rejectedByReason"] == {"time-out": 1}
    assert (state["system"]["nominalLimit"], state["system"]["currentLimit"]) == (74, 117)


def test_explain() -> None:
    """Explain says which schemas were tried, why they did not match, and what the winner would do."""
    pages = Dumps(_controller())
    _, text = pages.explain(
        {"user": "alice", "groups": "dev,system:authenticated", "verb": "list", "resource": "pods", "namespace": "a"}
    )
    found = json.loads(text)
    assert (found["flowSchema"], found["priorityLevel"], found["levelType"]) == ("global-default",) * 2 + ("Queue",)
    assert [row["name"] for row in found["tried"]][:3] == ["exempt", "probes", "system-leader-election"]
    assert found["tried"][0]["rules"][0]["why"] == "no subject matches: Group system:masters"
    assert found["tried"][1]["rules"][0]["why"] == "the rule covers no resource requests"
    assert found["tried"][-1]["matches"]
    assert (found["distinguisher"], found["initialSeats"], found["limit"], found["nominal"]) == ("alice", 1, 56, 49)
    assert len(found["hand"]) == 6
    assert found["inputs"] == {"objects": "unknown", "averageBytes": "unknown"}


async def test_recording() -> None:
    """A recording starts with the configuration and has a line per request."""
    controller = FlowController(600, FlowControlMetrics(Registry()))
    controller.configure(SCHEMAS, LEVELS)
    digest = RequestDigest("alice", ("system:authenticated",), True, "get", "", "v1", "pods", "", "default", "p")
    async with controller.ticket(digest):
        pass
    content_type, text = Dumps(controller).recording({})
    header, line = map(json.loads, text.splitlines())
    assert content_type == "application/x-ndjson"
    assert (header["kind"], header["serverLimit"], len(header["flowSchemas"])) == ("FlowControlRecording", 600, 11)
    assert (line["outcome"], line["digest"]["user"], line["initialSeats"]) == ("executed", "alice", 1)

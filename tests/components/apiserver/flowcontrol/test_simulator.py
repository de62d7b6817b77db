"""The simulator's measures, and what-if held against what really happens."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

import msgspec
import pytest

from kubeglass.components.api.flowcontrol import LEVELS, SCHEMAS
from kubeglass.components.apiserver.flowcontrol.plot import draw
from kubeglass.components.apiserver.flowcontrol.records import Caller, Record
from kubeglass.components.apiserver.flowcontrol.schemas import RequestDigest
from kubeglass.components.apiserver.flowcontrol.seats import SECOND, WorkEstimate
from kubeglass.components.apiserver.flowcontrol.shufflesharding import Dealer, flow_hash
from kubeglass.components.apiserver.flowcontrol.simulator import (
    Passage,
    ScenarioError,
    World,
    jain,
    load_scenario,
    max_min_fair,
    objects_of,
    simulate,
)
from kubeglass.components.apiserver.flowcontrol.whatif import (
    RecordingError,
    Summary,
    read_recording,
    replay,
    what_if,
)

DATA: Any = json.loads((Path(__file__).parent / "data" / "queuesets.json").read_text())


@pytest.mark.parametrize("case", DATA["maxMinFairExamples"], ids=lambda c: str(c["demands"]))
def test_max_min_fair(case: Any) -> None:
    """Small demands are met, the rest is shared evenly."""
    assert max_min_fair(case["demands"], case["capacity"]) == case["allocation"]


def test_jain() -> None:
    """One is perfectly fair; one over n is one taking everything."""
    assert jain([2, 2, 2]) == 1
    assert jain([3, 0, 0]) == pytest.approx(1 / 3)


def test_open_loop() -> None:
    """A flow of a given rate sends that many requests, whatever becomes of them."""
    flow = {"name": "f", "user": "u", "requestsPerSecond": 10, "executeSeconds": 0.01}
    outcome = simulate(load_scenario({"flows": [flow], "durationSeconds": 10}))
    assert outcome.flows[0].executed == 100
    assert outcome.flows[0].average_seats == pytest.approx(0.1, rel=0.02)


def test_a_mouse_does_not_pay_for_elephants() -> None:
    """Users of many wide requests share a level with users of few narrow ones. These wait for a seat, but never behind
    what an elephant's queue will be charged for: their longest wait is shorter than the elephants' mean one."""
    elephants = [f"system:serviceaccount:zoo:elephant-{index}" for index in range(16)]
    taken = set().union(*(_hand(user) for user in elephants))
    mice = [user for user in (f"system:serviceaccount:zoo:mouse-{index}" for index in range(60)) if _hand(user) - taken]
    flow = {"groups": ["system:serviceaccounts"]}
    wide = [
        flow
        | {"name": user, "user": user, "connections": 12, "seats": 10, "executeSeconds": 0.1 + 0.007 * (7 * index % 16)}
        for index, user in enumerate(elephants)
    ]
    narrow = [
        flow | {"name": user, "user": user, "thinkSeconds": 1, "executeSeconds": 0.002, "startSeconds": index / 40}
        for index, user in enumerate(mice[:40])
    ]
    scenario = load_scenario({"flows": wide + narrow, "durationSeconds": 30, "warmupSeconds": 12})
    waits = {flow.name: flow.waits_seconds for flow in simulate(scenario).flows}
    assert max(mean(waits[user]) for user in mice[:40]) < 0.03
    assert max(max(waits[user]) for user in mice[:40]) < 0.1 < min(mean(waits[user]) for user in elephants)


def _hand(user: str) -> set[int]:
    return set(Dealer(128, 6).deal(flow_hash("service-accounts", user)))


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"flows": [{"name": "x"}]}, "user"),
        ({"flows": [{"name": "x", "user": "u", "executeSeconds": 0}]}, "infinitely many"),
        ({"flows": [], "durashun": 3}, "durashun"),
        ([], "object"),
    ],
)
def test_bad_scenarios(document: Any, says: str) -> None:
    """A scenario that cannot be run is refused with a reason."""
    with pytest.raises(ScenarioError, match=says):
        load_scenario(document)


def test_objects_are_laid_over() -> None:
    """Manifests replace and add by name; one without spec removes."""
    manifest = {"kind": "FlowSchema", "metadata": {"name": "probes"}}
    schemas, levels = objects_of([manifest], SCHEMAS, LEVELS)
    assert len(schemas) == len(SCHEMAS) - 1
    assert len(levels) == len(LEVELS)
    with pytest.raises(ScenarioError, match="neither"):
        objects_of([{"kind": "Pod", "metadata": {"name": "p"}}])


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot(tmp_path: Path, suffix: str) -> None:
    """A simulation can be looked at."""
    pytest.importorskip("matplotlib")
    scenario = load_scenario({"flows": [{"name": "f", "user": "u", "clients": 3}], "durationSeconds": 2})
    file = tmp_path / f"seats.{suffix}"
    draw(simulate(scenario), file)
    head = file.read_bytes()[:200]
    assert head.startswith(b"\x89PNG") if suffix == "png" else b"<svg" in head or b"<?xml" in head


class Client:
    """A closed-loop client that writes down what happened to it, as a server's recorder would."""

    def __init__(self, world: World, records: list[Record], user: str, number: int, execute_ms: int) -> None:
        self.world, self.records = world, records
        self.digest = RequestDigest(user, ("system:authenticated",), True, "list", "", "v1", "pods", "", "default")
        self.caller = Caller(f"10.0.0.1:{4000 + number}")
        self.execution_ns = execute_ms * 1_000_000 + number * 1017
        world.at(number * 1_000_003, self.send)

    def send(self) -> None:
        self.world.submit(self.digest, WorkEstimate(), self.execution_ns, self.ended)

    def ended(self, passage: Passage) -> None:
        executed = self.execution_ns if passage.outcome == "executed" else 0
        self.records.append(
            Record(
                *(self.digest, self.caller, passage.schema, passage.level.name, -1, "", 0, (), -1, 1, 0, 0),
                *(passage.arrived_ns, passage.waited_ns, executed, passage.outcome, False, 0, 0),
            )
        )
        pause = 20_000_000 if passage.outcome == "executed" else passage.retry_after_seconds * SECOND
        self.world.at(self.world.now + pause, self.send)


def _live(schemas: Any, levels: Any) -> list[Record]:
    """What a server with these objects would have recorded in a minute."""
    world, records = World(60, schemas, levels), []
    for number in range(80):
        Client(world, records, "elephant", number, 300)
    for number in range(80, 90):
        Client(world, records, f"mouse-{number}", number, 30)
    world.run(60 * SECOND)
    return records


def _summaries(records: list[Record]) -> dict[str, Summary]:
    summaries: dict[str, Summary] = {}
    for record in records:
        summaries.setdefault(record.digest.user, Summary()).add(record.outcome, record.waited_ns, record.priority_level)
    return summaries


LEASH = [
    {
        "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "leash"},
        "spec": {
            "type": "Limited",
            "limited": {
                "nominalConcurrencyShares": 5,
                "borrowingLimitPercent": 0,
                "limitResponse": {"type": "Queue", "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 20}},
            },
        },
    },
    {
        "kind": "FlowSchema",
        "metadata": {"name": "leash"},
        "spec": {
            "priorityLevelConfiguration": {"name": "leash"},
            "matchingPrecedence": 9000,
            "rules": [
                {
                    "subjects": [{"kind": "User", "user": {"name": "elephant"}}],
                    "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}],
                }
            ],
        },
    },
]


def _recording(records: list[Record]) -> bytes:
    header = {
        "kind": "FlowControlRecording",
        "serverLimit": 60,
        "flowSchemas": SCHEMAS,
        "priorityLevels": LEVELS,
    }
    return b"\n".join([msgspec.json.encode(header), *map(msgspec.json.encode, records)])


def test_what_if_predicts_what_a_change_does() -> None:
    """Rejections and mean waits after a change are predicted within 5 %, from traffic recorded before it."""
    recording = read_recording(_recording(_live(SCHEMAS, LEVELS)))
    changed = objects_of(LEASH, SCHEMAS, LEVELS)
    comparison = what_if(recording, *changed)
    truth = _summaries(_live(*changed))
    for user in ("elephant", "mouse-80"):
        predicted, real = comparison.after[user], truth[user]
        assert predicted.rejections == pytest.approx(real.rejections, rel=0.05), user
        assert predicted.mean_wait_seconds == pytest.approx(real.mean_wait_seconds, rel=0.05, abs=0.002), user
    assert comparison.after["elephant"].levels == {"leash"}
    assert comparison.after["elephant"].rejections > 100
    assert comparison.before["elephant"].rejections == comparison.recorded["elephant"].rejections


def test_a_replay_without_change_repeats_the_recording() -> None:
    """Replayed against its own objects, traffic waits as long as it did."""
    recording = read_recording(_recording(_live(SCHEMAS, LEVELS)))
    again = replay(recording, SCHEMAS, LEVELS, 60)
    recorded = _summaries(list(recording.records))
    assert again["elephant"].mean_wait_seconds == pytest.approx(recorded["elephant"].mean_wait_seconds, rel=0.05)
    assert again["elephant"].requests == pytest.approx(recorded["elephant"].requests, rel=0.02)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"nonsense", b'{"kind":"X","serverLimit":1,"flowSchemas":[],"priorityLevels":[]}']
)
def test_bad_recordings(data: bytes) -> None:
    """What is no recording is refused."""
    with pytest.raises(RecordingError):
        read_recording(data)

"""Who is named first, and for how long one is remembered."""

from __future__ import annotations

from kubeglass.components.apiserver.flowcontrol.records import EXECUTED, Caller, Record
from kubeglass.components.apiserver.flowcontrol.schemas import RequestDigest
from kubeglass.components.apiserver.flowcontrol.seats import MILLISECOND, SECOND
from kubeglass.components.apiserver.flowcontrol.talkers import HALF_LIFE_NS, WINDOW_NS, Talker, Talkers


def _spend(talkers: Talkers, user: str, seconds: float, now: int, waited: float = 0, outcome: str = EXECUTED) -> None:
    """A request of one seat that counts `seconds`, of which it waited some."""
    digest = RequestDigest(user, (), True, "list", "", "v1", "pods")
    waited_ns, counted_ns = round(waited * SECOND), round(seconds * SECOND)
    record = Record(
        digest=digest,
        caller=Caller("10.0.0.1:1", "kubectl"),
        flow_schema="schema",
        priority_level="level",
        rule=-1,
        distinguisher=user,
        hash_value=0,
        hand=(),
        queue=-1,
        initial_seats=1,
        final_seats=0,
        additional_latency_ns=0,
        arrived_ns=0,
        waited_ns=waited_ns,
        executed_ns=counted_ns - waited_ns - MILLISECOND,
        outcome=outcome,
        cancelled=False,
        limit=1,
        seats_in_use=1,
    )
    talkers.add(record, now)


def test_a_new_culprit_overtakes_an_old_one() -> None:
    """Whoever is heavy now leads within two seconds, before one that used a hundred times as much and has stopped."""
    talkers = Talkers(0)
    for tick in range(100):
        _spend(talkers, "yesterday", 10.0, tick * SECOND // 10)
    now = 30 * SECOND
    _spend(talkers, "today", 0.5, now)
    assert [talker.user for talker in talkers.top(2, now)] == ["today", "yesterday"]


def test_recent_work_fades_over_the_turn_of_a_window() -> None:
    """Work of the window before counts as its age says, and the totals are of both."""
    talkers = Talkers(0)
    _spend(talkers, "alice", 8.0, WINDOW_NS - 1)
    now = WINDOW_NS + 2 * HALF_LIFE_NS
    _spend(talkers, "alice", 1.0, now)
    (alice,) = talkers.top(1, now)
    assert alice.weight == 9 * SECOND
    assert abs(alice.recent / SECOND - (8 / 4 + 1)) < 0.01


def test_unfinished_requests_count() -> None:
    """A request under way is in the list before it ends."""
    talkers = Talkers(0)
    _spend(talkers, "alice", 1.0, 0)
    top = talkers.top(2, SECOND, [Talker("schema", "bob", recent=2.0 * SECOND, seat_ns=2 * SECOND)])
    assert [(talker.user, talker.seat_ns) for talker in top] == [("bob", 2 * SECOND), ("alice", SECOND - MILLISECOND)]


def test_what_a_talker_did() -> None:
    """Its requests, how many of them waited or were turned away, and what the last one was."""
    talkers = Talkers(0)
    _spend(talkers, "alice", 2.0, 0)
    _spend(talkers, "alice", 1.5, WINDOW_NS, waited=0.5)
    _spend(talkers, "alice", 0.251, WINDOW_NS, waited=0.25, outcome="time-out")
    (alice,) = talkers.top(1, WINDOW_NS)
    assert (alice.requests, alice.queued, alice.rejected, alice.wait_ns) == (3, 2, 1, 750 * MILLISECOND)
    assert alice.seat_ns == 3 * SECOND - 2 * MILLISECOND
    assert (alice.schema, alice.verb, alice.resource) == ("schema", "list", "pods")
    assert (alice.source, alice.user_agent) == ("10.0.0.1:1", "kubectl")


def test_memory_is_bounded_and_the_heavy_stay() -> None:
    """Of ten thousand users few are kept, and one with more than a thirty-second of the work is always among them."""
    talkers = Talkers(0)
    for index in range(10_000):
        _spend(talkers, f"user-{index}", 0.001, index)
        if index % 10 == 0:
            _spend(talkers, "heavy", 0.01, index)
    assert len(talkers.top(1000, 10_000)) <= 64
    assert talkers.top(1, 10_000)[0].user == "heavy"

"""How Pods wait, in virtual time."""

from __future__ import annotations

from kubeglass.components.scheduler.hints import Occurrence
from kubeglass.components.scheduler.interface import SUCCESS, Status, unresolvable
from kubeglass.components.scheduler.plugins.queueing import PrioritySort
from kubeglass.components.scheduler.queue import Nominator, SchedulingQueue
from kubeglass.components.scheduler.snapshot import PodInfo

from .conftest import pod

FIT = frozenset({"NodeResourcesFit"})


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def incoming(self, queue: str, event: str) -> None:
        self.lines.append(f"{queue} {event}")


def gated(info: PodInfo) -> Status:
    return unresolvable("gated", plugin="SchedulingGates") if info.spec.scheduling_gates else SUCCESS


def queue(log: Log | None = None) -> SchedulingQueue:
    interests = {"NodeResourcesFit": frozenset({"NodeAdd"}), "SchedulingGates": frozenset({"UnscheduledPodUpdate"})}
    return SchedulingQueue(PrioritySort().order, gated, interests, log or Log())


def test_priority_then_age() -> None:
    """Higher priority first, then first come first served."""
    waiting = queue()
    for at, (name, priority) in enumerate((("a", 0), ("b", 10), ("c", 0), ("d", 10))):
        waiting.add(pod(name, priority=priority), float(at))
    names = [popped.pod.name for _ in range(4) if (popped := waiting.pop(9.0))]
    assert names == ["b", "d", "a", "c"]
    assert waiting.pop(9.0) is None


def test_only_events_that_help_wake_a_parked_pod() -> None:
    """A Pod rejected for its size sleeps through a changed taint and is woken by a new node."""
    log = Log()
    waiting = queue(log)
    waiting.add(pod("a"), 0.0)
    popped = waiting.pop(0.0)
    assert popped is not None
    waiting.park(popped, FIT, 0.0)
    assert waiting.move(Occurrence("NodeUpdateNodeTaint"), 5.0) == 0
    assert waiting.move(Occurrence("NodeAdd"), 5.0) == 1
    assert waiting.pop(5.0) is popped and popped.attempts == 2
    assert log.lines == ["active UnschedulablePodAdd", "unschedulable ScheduleAttemptFailure", "active NodeAdd"]


def test_backoff_doubles_up_to_ten_seconds() -> None:
    """After n failures a Pod that broke waits 1, 2, 4, 8, 10, 10 … seconds."""
    waiting = queue()
    waiting.add(pod("a"), 0.0)
    now, waits = 0.0, []
    for _ in range(6):
        waiting.flush(now)
        popped = waiting.pop(now)
        assert popped is not None
        waiting.retry(popped, now)
        ready = waiting.flush(now)
        assert ready is not None
        waits.append(ready - now)
        assert waiting.pop(now) is None
        now = ready
    assert waits == [1, 2, 4, 8, 10, 10]


def test_an_idle_scheduler_does_not_let_pods_back_off() -> None:
    """A woken Pod whose backoff has not passed is taken early when nothing else is active."""
    log = Log()
    waiting = queue(log)
    waiting.add(pod("a"), 0.0)
    popped = waiting.pop(0.0)
    assert popped is not None
    waiting.park(popped, FIT, 0.0)
    waiting.move(Occurrence("NodeAdd"), 0.1)
    assert waiting.pending()["backoff"] == 1
    assert waiting.pop(0.1) is popped
    assert log.lines[-2:] == ["backoff NodeAdd", "active PopFromBackoffQ"]


def test_five_minutes_are_enough() -> None:
    """A parked Pod is tried again after five minutes, whatever happened."""
    log = Log()
    waiting = queue(log)
    waiting.add(pod("a"), 0.0)
    popped = waiting.pop(0.0)
    assert popped is not None
    waiting.park(popped, FIT, 0.0)
    assert waiting.flush(299.0) == 300.0
    waiting.flush(300.0)
    assert waiting.pop(300.0) is popped and popped.flushed
    assert log.lines[-1] == "active UnschedulableTimeout"


def test_gates_keep_a_pod_out_until_removed() -> None:
    """A gated Pod is counted as gated, ignores events, and enters when its gates are gone."""
    waiting = queue()
    waiting.add(pod("a", schedulingGates=[{"name": "x"}]), 0.0)
    assert waiting.pending() == {"active": 0, "backoff": 0, "unschedulable": 0, "gated": 1}
    assert waiting.rejections() == {"SchedulingGates": 1}
    waiting.move(Occurrence("NodeAdd"), 1.0)
    assert waiting.pop(1.0) is None
    waiting.update(pod("a"), "UnscheduledPodUpdate", 7.0)
    popped = waiting.pop(7.0)
    assert popped is not None and popped.first_active_at == 7.0


def test_a_deleted_pod_is_not_scheduled() -> None:
    """Deleting a Pod takes it out of whatever queue it is in."""
    waiting = queue()
    waiting.add(pod("a"), 0.0)
    waiting.delete("default/a")
    assert waiting.pop(1.0) is None


def test_nominations() -> None:
    """A Pod is nominated for one node at a time."""
    nominator = Nominator()
    info = pod("a")
    nominator.nominate(info, "n1")
    nominator.nominate(info, "n2")
    assert list(nominator.on("n1")) == [] and list(nominator.on("n2")) == [info]
    nominator.clear("default/a")
    assert nominator.node_of("default/a") == ""

"""The work queue: unique keys, one worker per key, ever slower retries."""

import asyncio

import pytest

from kubeglass.components.machinery.workqueue import ShutDown, WorkQueue
from kubeglass.telemetry import Telemetry


def exposed(telemetry: Telemetry) -> str:
    return telemetry.metrics.expose("text/plain")[1].decode()


async def test_a_key_waits_once(telemetry):
    """A key added twice before it is taken is handed out once."""
    queue: WorkQueue[str] = WorkQueue("test", telemetry)
    queue.add("a")
    queue.add("a")
    assert await queue.get() == "a"
    assert len(queue) == 0
    assert 'workqueue_adds_total{name="test"} 1' in exposed(telemetry)


async def test_a_key_in_work_is_queued_again_only_when_done(telemetry):
    """A key added while it is in work is handed out again, but not before its work is done."""
    queue: WorkQueue[str] = WorkQueue("test", telemetry)
    queue.add("a")
    key = await queue.get()
    queue.add("a")
    assert len(queue) == 0
    queue.done(key)
    assert await queue.get() == "a"


async def test_retries_slow_down_until_forgotten(telemetry):
    """Each failure doubles the delay; forget starts over."""
    queue: WorkQueue[str] = WorkQueue("test", telemetry)
    for _ in range(3):
        queue.add_rate_limited("a")
    assert queue.failures("a") == 3
    queue.forget("a")
    assert queue.failures("a") == 0
    assert 'workqueue_retries_total{name="test"} 3' in exposed(telemetry)


async def test_the_shortest_delay_counts(telemetry):
    """Of two delays for one key the shorter one decides when it is handed out."""
    queue: WorkQueue[str] = WorkQueue("test", telemetry)
    queue.add_after("a", 60)
    queue.add_after("a", 0.01)
    assert await asyncio.wait_for(queue.get(), 5) == "a"


async def test_shut_down_drains_then_raises(telemetry):
    """After shut_down what waits is still handed out, then get raises, and add is ignored."""
    queue: WorkQueue[str] = WorkQueue("test", telemetry)
    queue.add("a")
    queue.shut_down()
    queue.add("b")
    assert await queue.get() == "a"
    with pytest.raises(ShutDown):
        await queue.get()


async def test_metrics_follow_the_work(telemetry):
    """Depth falls when a key is taken; unfinished work is seen while it is in work and gone after."""
    queue: WorkQueue[str] = WorkQueue("test", telemetry)
    queue.add("a")
    queue.add("b")
    assert 'workqueue_depth{name="test"} 2' in exposed(telemetry)
    key = await queue.get()
    assert 'workqueue_depth{name="test"} 1' in exposed(telemetry)
    await asyncio.sleep(0.01)
    assert queue.unfinished()[0] > 0
    queue.done(key)
    assert queue.unfinished() == (0.0, 0.0)
    assert 'workqueue_work_duration_seconds_count{name="test"} 1' in exposed(telemetry)

"""How a change's trace travels: informer → queue → reconcile → what it writes, against a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.spans import Kept

from kubeglass.components.api.kinds import CONFIG_MAP, EVENT, SERVICE_ACCOUNT
from kubeglass.components.api.objects import ConfigMap, Pod, decode
from kubeglass.components.apiserver.testing import running
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.events import EventRecorder, ObjectReference
from kubeglass.components.machinery.informer import Informer
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler
from kubeglass.components.machinery.settling import settled
from kubeglass.components.machinery.workqueue import WorkQueue
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.tracing.causality import cause_of
from kubeglass.telemetry.tracing.context import SpanContext
from kubeglass.telemetry.tracing.tracer import ANNOTATION, ERROR, RecordedSpan, Tracer, use

USER = SpanContext(0xA11CE, 0xB0B)


@dataclass
class Steps:
    """A reconciler that does what the test says."""

    act: Callable[[str], Any]
    name: str = "steps-controller"
    kind: Any = CONFIG_MAP
    seen: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def reconcile(self, key: str) -> Result:
        try:
            result: Result | None = await self.act(key)
            return result or DONE
        finally:
            self.seen.put_nowait(key)


@dataclass
class World:
    client: Client
    kept: Kept
    steps: Steps
    queue: WorkQueue[str]
    informer: Informer[ConfigMap]

    async def make(self, name: str, context: SpanContext | None = USER, **data: str) -> dict[str, Any]:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        with use(context or SpanContext(1, 1)):
            return await self.client.create(CONFIG_MAP, body, "default")

    async def done(self, count: int = 1) -> None:
        """Wait until so many reconciles of keys in `default` have ended."""
        while count:
            count -= (await self.steps.seen.get()).startswith("default/")
        await asyncio.sleep(0)

    @property
    def reconciles(self) -> list[RecordedSpan]:
        found = self.kept.named("reconcile steps")
        return [span for span in found if str(span.attributes["key"]).startswith("default/")]


@asynccontextmanager
async def world(telemetry: Telemetry, act: Callable[[str], Any]) -> AsyncIterator[World]:
    """A controller of ConfigMaps on a traced server."""
    kept = Kept()
    traced = replace(telemetry, tracer=Tracer(kept))
    async with running(telemetry=traced) as server, asyncio.timeout(20), asyncio.TaskGroup() as group:
        client, steps, queue = server.client(), Steps(act), WorkQueue("steps", traced)
        informer = Informer(client, CONFIG_MAP, ConfigMap, traced)
        informer.subscribe(lambda change: queue.add(change.key))
        task = group.create_task(informer.run())
        await informer.synced.wait()
        work = group.create_task(run_reconciler(steps, queue, traced))
        try:
            yield World(client, kept, steps, queue, informer)
        finally:
            task.cancel()
            work.cancel()


async def test_a_reconcile_that_acts_is_a_child_of_the_write(telemetry: Telemetry) -> None:
    """Its span has the key, the attempt and the object; the object it made carries it on."""
    made: list[dict[str, Any]] = []

    async def act(key: str) -> None:
        if key == "default/asked":
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "made"}}
            made.append(await found.client.create(SERVICE_ACCOUNT, account, "default"))

    async with world(telemetry, act) as found:
        asked = await found.make("asked")
        await found.done()
    (span,) = found.reconciles
    assert span.context.trace_id == USER.trace_id
    assert span.parent is not None and span.parent.span_id == cause_of(asked["metadata"]).span_id  # type: ignore[union-attr]
    assert span.attributes["key"] == "default/asked" and span.attributes["attempt"] == 1
    assert span.attributes["k8s.configmap.name"] == "asked"
    carried = cause_of(made[0]["metadata"])
    assert carried is not None and carried.trace_id == USER.trace_id


async def test_a_reconcile_that_does_nothing_leaves_no_span(telemetry: Telemetry) -> None:
    """Neither for a new object nor for what happens to it later."""

    async def act(key: str) -> None:
        return None

    async with world(telemetry, act) as found:
        await found.make("idle")
        await found.done()
    assert found.reconciles == []


async def test_a_retry_belongs_to_the_same_change(telemetry: Telemetry) -> None:
    """The failed attempt is an Error, the next one its sibling, numbered."""
    tries: list[str] = []

    async def act(key: str) -> None:
        if key == "default/stubborn":
            tries.append(key)
            if len(tries) == 1:
                raise RuntimeError("not yet")
            await found.client.get(CONFIG_MAP, "stubborn", "default")

    async with world(telemetry, act) as found:
        await found.make("stubborn")
        await found.done(2)
    first, second = found.reconciles
    assert first.status == ERROR and [event.name for event in first.events or ()] == ["exception"]
    assert (first.attributes["attempt"], second.attributes["attempt"]) == (1, 2)
    assert first.parent == second.parent and second.context.trace_id == USER.trace_id


async def test_work_asked_for_again_belongs_to_the_same_change(telemetry: Telemetry) -> None:
    """A reconcile that comes back after a while is still a step of what began it."""
    times: list[str] = []

    async def act(key: str) -> Result | None:
        if key != "default/steps":
            return None
        times.append(key)
        await found.client.get(CONFIG_MAP, "steps", "default")
        return Result(0.01) if len(times) == 1 else None

    async with world(telemetry, act) as found:
        await found.make("steps")
        await found.done(2)
    assert {span.context.trace_id for span in found.reconciles} == {USER.trace_id}
    assert len(found.reconciles) == 2


async def test_merged_changes_are_links(telemetry: Telemetry) -> None:
    """Two writes before anyone reacts: the last one is the parent, the other a link."""
    gate = asyncio.Event()
    later = SpanContext(0xDEF, 0xAB)

    async def act(key: str) -> None:
        await gate.wait()
        if key == "default/merged":
            await found.client.get(CONFIG_MAP, "merged", "default")

    async with world(telemetry, act) as found:
        await found.make("blocker")
        await found.make("merged")
        with use(later):
            await found.client.patch(CONFIG_MAP, "merged", {"data": {"a": "b"}}, "default")
        while "default/merged" not in found.queue._triggers or len(found.queue._triggers["default/merged"]) < 2:
            await asyncio.sleep(0.01)
        gate.set()
        await found.done(2)
    (span,) = found.reconciles
    assert span.context.trace_id == later.trace_id
    assert [link.context.trace_id for link in span.links or ()] == [USER.trace_id]


async def test_what_was_there_before_starts_nothing(telemetry: Telemetry) -> None:
    """After a restart the first LIST is old news: what is done about it is a trace of its own."""

    async def act(key: str) -> None:
        if key == "default/old":
            await found.client.get(CONFIG_MAP, "old", "default")

    async with world(telemetry, act) as found:
        await found.make("old")
        await found.done()
        again = Informer(found.client, CONFIG_MAP, ConfigMap, replace(telemetry, tracer=Tracer(found.kept)))
        queue: WorkQueue[str] = WorkQueue("again", telemetry)
        again.subscribe(lambda change: queue.add(change.key))
        task = asyncio.ensure_future(again.run())  # noqa: TID251  # cancelled below
        await again.synced.wait()
        task.cancel()
        assert await queue.get() and queue.take_triggers("default/old") == ()


async def test_events_lead_to_the_span_and_leave_none(telemetry: Telemetry) -> None:
    """An Event carries the span's context, is an event of that span, and its own write is not traced."""
    kept = Kept()
    traced = replace(telemetry, tracer=Tracer(kept))
    async with running(telemetry=traced) as server, asyncio.timeout(10):
        client = server.client()
        recorder = EventRecorder(client, "tester", traced)
        writing = asyncio.ensure_future(recorder.run())  # noqa: TID251  # cancelled below
        with traced.tracer.span("work") as span:
            recorder.event(ObjectReference("v1", "Pod", "p", "default"), "Normal", "Happened", "it did")
        while not (await client.list(EVENT, "default")).items:
            await asyncio.sleep(0.01)
        (event,) = (await client.list(EVENT, "default")).items
        writing.cancel()
    assert event["metadata"]["annotations"][ANNOTATION].split("-")[2] == span.context.span_hex
    (work,) = kept.named("work")
    assert [each.name for each in work.events or ()] == ["Happened"]
    assert not [each for each in kept.spans if each.name.startswith("POST") and "events" in each.name]


def pod(phase: str = "Running", ready: str = "True", restart: str = "Always", **metadata: Any) -> Pod:
    conditions = [{"type": "Ready", "status": ready}]
    status = {"phase": phase, "conditions": conditions, "observedGeneration": 1}
    spec = {"containers": [], "restartPolicy": restart}
    return decode(Pod, {"metadata": {"generation": 1, **metadata}, "spec": spec, "status": status})


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (pod(), True),
        (pod(ready="False"), False),
        (pod(restart="Never"), False),
        (pod(phase="Succeeded", restart="OnFailure"), True),
        (pod(phase="Succeeded", ready="False"), True),
        (pod(generation=2), False),
        (pod(deletionTimestamp="2026-01-01T00:00:00Z"), False),
        (decode(ConfigMap, {"metadata": {"name": "c"}}), True),
    ],
)
def test_settled(view: Any, expected: bool) -> None:
    """A Pod is settled when it is Ready (over, if it is to end), for its newest generation, and not on its way out."""
    assert settled(view) is expected


def test_settled_workloads() -> None:
    """A workload is settled when all that it counts is what it wants."""
    from kubeglass.components.controllers.views import Deployment

    counts = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2, "observedGeneration": 3}

    def deployment(**status: int) -> Deployment:
        body = {"metadata": {"generation": 3}, "spec": {"replicas": 2}, "status": {**counts, **status}}
        return decode(Deployment, body)

    assert settled(deployment())
    assert not settled(deployment(availableReplicas=1))
    assert not settled(deployment(replicas=3))
    assert not settled(deployment(observedGeneration=2))

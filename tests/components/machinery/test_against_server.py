"""The machinery against a real API server: client, informer, Events, leader election, delegated authorization."""

import asyncio
from dataclasses import replace

import pytest

from kubeglass.components.api import objects
from kubeglass.components.api.errors import AlreadyExists, Conflict, Invalid, NotFound
from kubeglass.components.api.kinds import CONFIG_MAP, EVENT, LEASE, NODE
from kubeglass.components.apiserver.testing import running
from kubeglass.components.machinery.delegation import DelegatedAuthorizer
from kubeglass.components.machinery.events import EventRecorder, ObjectReference
from kubeglass.components.machinery.informer import Informer
from kubeglass.components.machinery.leases import LeaderElector, LeadershipLost, Timing
from kubeglass.components.machinery.process import start

QUICK = Timing(lease_duration_seconds=1, renew_deadline_seconds=0.6, retry_period_seconds=0.1)


def config_map(name: str, **data: str):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"a": "b"}}, "data": data}


@pytest.fixture
async def server():
    async with running() as server:
        yield server


async def arrived(condition, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


class TestClient:
    """Verbs over a Kind."""

    async def test_an_objects_life(self, server):
        """Create, read, patch, update, delete; each answers with the object as the server has it."""
        client = server.client()
        created = await client.create(CONFIG_MAP, config_map("x", k="1"), "default")
        patched = await client.patch(CONFIG_MAP, "x", {"data": {"k": "2"}}, "default")
        assert patched["data"] == {"k": "2"}
        with pytest.raises(Conflict):
            await client.update(CONFIG_MAP, created)
        await client.update(CONFIG_MAP, {**patched, "data": {"k": "3"}})
        assert (await client.get(CONFIG_MAP, "x", "default"))["data"] == {"k": "3"}
        await client.delete(CONFIG_MAP, "x", "default")
        with pytest.raises(NotFound, match='configmaps "x" not found'):
            await client.get(CONFIG_MAP, "x", "default")

    async def test_refusals_are_typed(self, server):
        """The server's reasons arrive as the same error classes, with their causes."""
        client = server.client()
        await client.create(CONFIG_MAP, config_map("x"), "default")
        with pytest.raises(AlreadyExists):
            await client.create(CONFIG_MAP, config_map("x"), "default")
        with pytest.raises(Invalid) as refused:
            await client.create(CONFIG_MAP, config_map("Not_Valid"), "default")
        assert refused.value.causes[0].field == "metadata.name"

    async def test_pages(self, server):
        """A limited LIST hands on a token that leads to the rest."""
        client = server.client()
        for number in range(5):
            await client.create(CONFIG_MAP, config_map(f"x-{number}"), "default")
        first = await client.list(CONFIG_MAP, "default", label_selector="a=b", limit=3)
        rest = await client.list(CONFIG_MAP, "default", label_selector="a=b", continue_=first.continue_)
        assert [item["metadata"]["name"] for item in first.items + rest.items] == [f"x-{n}" for n in range(5)]

    async def test_watch(self, server):
        """A watch yields what happened after a resource version, in order."""
        client = server.client()
        since = (await client.list(CONFIG_MAP, "default")).resource_version
        await client.create(CONFIG_MAP, config_map("x"), "default")
        await client.delete(CONFIG_MAP, "x", "default")
        seen = []
        async for event in client.watch(CONFIG_MAP, "default", resource_version=since, label_selector="a=b"):
            seen.append((event.type, event.object["metadata"]["name"]))
            if len(seen) == 2:
                break
        assert seen == [("ADDED", "x"), ("DELETED", "x")]


class TestInformer:
    """The local copy."""

    async def test_follows_and_tells(self, server, telemetry):
        """What is there is listed, what comes is told in order, and indices keep up."""
        client = server.client()
        await client.create(CONFIG_MAP, config_map("old", k="1"), "default")
        informer = Informer(client, CONFIG_MAP, objects.ConfigMap, telemetry, label_selector="a=b")
        informer.add_index("k", lambda view: view.data.values())
        told = []
        informer.subscribe(lambda change: told.append((change.type, change.key)))
        async with asyncio.TaskGroup() as group:
            task = await start(group, informer.run, "informer")
            assert told == [("ADDED", "default/old")]
            await client.patch(CONFIG_MAP, "old", {"data": {"k": "2"}}, "default")
            await client.create(CONFIG_MAP, config_map("new", k="2"), "default")
            await client.delete(CONFIG_MAP, "old", "default")
            await arrived(lambda: len(told) == 4)
            assert told[1:] == [
                ("MODIFIED", "default/old"),
                ("ADDED", "default/new"),
                ("DELETED", "default/old"),
            ]
            assert [view.metadata.name for view in informer.by_index("k", "2")] == ["new"]
            assert informer.get("default/old") is None
            task.cancel()

    async def test_nulls_are_absent(self, server, telemetry):
        """A null where a view has a text is read as nothing, as Go does."""
        client = server.client()
        informer = Informer(client, NODE, objects.Node, telemetry)
        async with asyncio.TaskGroup() as group:
            task = await start(group, informer.run, "informer")
            condition = {"type": "Ready", "status": "True", "lastHeartbeatTime": None}
            await client.create(NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
            await client.patch(NODE, "n", {"status": {"conditions": [condition]}}, subresource="status")
            await arrived(lambda: (node := informer.get("n")) and node.status.conditions)
            task.cancel()


async def test_a_repeated_event_is_counted(server, telemetry):
    """The same happening twice is one Event with count 2."""
    client = server.client()
    recorder = EventRecorder(client, "test", telemetry)
    about = ObjectReference("v1", "ConfigMap", "x", "default", "uid-1", "1")
    async with asyncio.TaskGroup() as group:
        task = await start(group, recorder.run, "recorder")
        recorder.event(about, "Normal", "Seen", "it was seen")
        recorder.event(replace(about, resource_version="2"), "Normal", "Seen", "it was seen")
        async with asyncio.timeout(10):
            while True:
                events = (await client.list(EVENT, "default")).items
                if [event["count"] for event in events] == [2]:
                    break
                await asyncio.sleep(0.01)
        task.cancel()
    assert events[0]["involvedObject"]["name"] == "x"
    assert events[0]["source"] == {"component": "test"}


class TestLeaderElection:
    """One leads, the other waits."""

    async def test_the_next_takes_over(self, server, telemetry):
        """A released lease is taken at once; transitions are counted."""
        one = LeaderElector(server.client(), "lock", "one", telemetry, timing=QUICK)
        other = LeaderElector(server.client(), "lock", "other", telemetry, timing=QUICK)
        await one.acquire()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(other.acquire())
            await asyncio.sleep(0.3)
            assert not waiting.done()
            await one.release()
            async with asyncio.timeout(5):
                await waiting
        lease = await server.client().get(LEASE, "lock", "kube-system")
        assert lease["spec"]["holderIdentity"] == "other"
        assert lease["spec"]["leaseTransitions"] == 1

    async def test_who_cannot_renew_stops_leading(self, server, telemetry):
        """A lease that another holder overwrote is lost within the deadline."""
        elector = LeaderElector(server.client(), "lock", "one", telemetry, timing=QUICK)
        await elector.acquire()
        client = server.client()
        thief = {"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 60}}
        await client.patch(LEASE, "lock", thief, "kube-system")
        with pytest.raises(LeadershipLost):
            async with asyncio.timeout(10):
                await elector.renew_forever()
        assert not elector.leading


async def test_delegated_authorization(server):
    """Health is open; metrics want a known user with the permission: 401, 403 and 200 as the server decides."""
    authorizer = DelegatedAuthorizer(server.client())
    assert (await authorizer({}, None, "GET", "/healthz")).status == 200
    assert (await authorizer({}, None, "GET", "/metrics")).status == 403
    assert (await authorizer({"Authorization": "Bearer nonsense"}, None, "GET", "/metrics")).status == 401

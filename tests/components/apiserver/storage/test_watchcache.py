"""What readers and watchers may rely on: consistency, paging, resume, bounded queues."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kubeglass.components.api import kinds
from kubeglass.components.api.errors import BadRequest, Expired, Invalid, Timeout
from kubeglass.components.api.fields import parse_for
from kubeglass.components.api.selectors import parse
from kubeglass.components.apiserver.storage import reads as reads_module
from kubeglass.components.apiserver.storage.memory import MemoryBackend
from kubeglass.components.apiserver.storage.reads import ListOptions, Reads
from kubeglass.components.apiserver.storage.records import Filter, framed
from kubeglass.components.apiserver.storage.watchcache import CAPACITY_MIN, WATCHER_CAPACITY, WatchCache
from kubeglass.components.apiserver.storage.watchcaches import WatchCaches
from kubeglass.logging.setup import LoggingOptions, build
from kubeglass.telemetry.metrics.registry import Registry

PODS = Filter(kinds.POD)


def pod(name: str, namespace: str = "default", node: str = "", **labels: str) -> bytes:
    body = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"nodeName": node},
    }
    return json.dumps(body, separators=(",", ":")).encode()


def key(name: str, namespace: str = "default") -> str:
    return kinds.POD.storage_key(namespace, name)


class World:
    """A memory store with running caches for pods and nodes."""

    def __init__(self) -> None:
        self.store = MemoryBackend()
        self.registry = Registry()
        self.caches = WatchCaches(self.store, self.registry, build(LoggingOptions()))
        self.reads = Reads(self.caches)

    @property
    def pods(self) -> WatchCache:
        return self.caches.of(kinds.POD)

    async def names(self, wanted: Filter = PODS, **options: object) -> list[str]:
        result = await self.reads.list(wanted, ListOptions(**options))  # type: ignore[arg-type]
        return [record.name for record in result.listing.records]


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    made = World()
    await made.caches.add([kinds.POD, kinds.NODE])
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(made.caches.run(ready.set))
        await ready.wait()
        yield made
        task.cancel()


async def test_a_read_sees_every_write_before_it() -> None:
    """get and list without a resourceVersion show a write as soon as it is acknowledged."""
    async with world() as w:
        revision = await w.store.create(key("a"), pod("a"))
        record = await w.reads.get(kinds.POD, "default", "a")
        assert record is not None
        assert json.loads(record.body(kinds.POD))["metadata"]["resourceVersion"] == str(revision)
        assert record.body(kinds.POD).startswith(b'{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"2",')
        await w.store.delete(key("a"), revision)
        assert await w.reads.get(kinds.POD, "default", "a") is None


async def test_what_was_there_before_the_start_is_listed() -> None:
    """A cache begins with the store's content, namespaces in order, and lists one namespace alone."""
    w = World()
    for namespace, name in (("b", "1"), ("a", "2"), ("a", "1")):
        await w.store.create(key(name, namespace), pod(name, namespace))
    await w.caches.add([kinds.POD])
    w.caches.revision = await w.store.current_revision()
    assert await w.names() == ["1", "2", "1"]
    assert await w.names(Filter(kinds.POD, namespace="a")) == ["1", "2"]
    assert await w.names(Filter(kinds.POD, namespace="a", name="2")) == ["2"]
    assert await w.names(Filter(kinds.POD, namespace="none")) == []


async def test_selectors_look_at_labels_and_fields() -> None:
    """Label and field selectors filter lists."""
    async with world() as w:
        await w.store.create(key("a"), pod("a", node="n1", app="web"))
        await w.store.create(key("b"), pod("b", node="n2", app="db"))
        assert await w.names(Filter(kinds.POD, labels=parse("app in (web)"))) == ["a"]
        assert await w.names(Filter(kinds.POD, fields=parse_for(kinds.POD, "spec.nodeName=n2"))) == ["b"]
        assert await w.names(Filter(kinds.POD, fields=parse_for(kinds.POD, "spec.nodeName!=n2"))) == ["a"]


async def test_the_pages_of_one_list_are_true_for_one_revision() -> None:
    """Objects changed, deleted and created between two pages appear as they were when the list began."""
    async with world() as w:
        revisions = {name: await w.store.create(key(name), pod(name)) for name in "abcde"}
        first = await w.reads.list(PODS, ListOptions(limit=2))
        assert [record.name for record in first.listing.records] == ["a", "b"]
        assert first.listing.remaining == 3
        await w.store.delete(key("d"), revisions["d"])
        await w.store.create(key("cc"), pod("cc"))
        await w.store.update(key("e"), pod("e", app="new"), revisions["e"])
        second = await w.reads.list(PODS, ListOptions(limit=10, continue_=first.continue_))
        assert [record.name for record in second.listing.records] == ["c", "d", "e"]
        assert second.listing.records[2].revision == revisions["e"]
        assert second.listing.revision == first.listing.revision
        assert second.continue_ == ""


async def test_a_continue_token_is_upstreams() -> None:
    """The token is base64 JSON with version, revision and the next key relative to the list."""
    async with world() as w:
        for name in "ab":
            await w.store.create(key(name), pod(name))
        result = await w.reads.list(Filter(kinds.POD, namespace="default"), ListOptions(limit=1))
        content = json.loads(base64.urlsafe_b64decode(result.continue_ + "=="))
        assert content == {"v": "meta.k8s.io/v1", "rv": 3, "start": "a\0"}


async def test_a_page_that_expired_offers_an_inconsistent_rest() -> None:
    """After compaction a continue token gives 410 with a token that lists what is there now."""
    async with world() as w:
        for name in "abc":
            await w.store.create(key(name), pod(name))
        first = await w.reads.list(PODS, ListOptions(limit=1))
        for number in range(CAPACITY_MIN + 1):
            revision = await w.store.create(key(f"x{number}"), pod("x"))
            await w.store.delete(key(f"x{number}"), revision)
        await w.reads.list(PODS)
        w.pods._forgotten = await w.store.current_revision()
        await w.store.compact(await w.store.current_revision())
        with pytest.raises(Expired, match="The provided continue parameter is too old") as caught:
            await w.reads.list(PODS, ListOptions(limit=1, continue_=first.continue_))
        rest = caught.value.status()["metadata"]["continue"]
        result = await w.reads.list(PODS, ListOptions(continue_=rest))
        assert [record.name for record in result.listing.records] == ["b", "c"]


@pytest.mark.parametrize(
    ("token", "text"),
    [
        ("%%%", "invalid continue token: continue key is not valid"),
        (
            base64.urlsafe_b64encode(b'{"v":"v2","rv":1,"start":"a"}').decode(),
            "does not recognize this encoded version",
        ),
        (base64.urlsafe_b64encode(b'{"v":"meta.k8s.io/v1","start":"a"}').decode(), "incorrect encoded start resource"),
        (base64.urlsafe_b64encode(b'{"v":"meta.k8s.io/v1","rv":1}').decode(), "encoded start key empty"),
    ],
)
async def test_a_bad_continue_token_is_refused(token: str, text: str) -> None:
    """400 with upstream's reason."""
    async with world() as w:
        with pytest.raises(BadRequest, match=text):
            await w.reads.list(PODS, ListOptions(continue_=token))


async def test_a_revision_may_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact lists the past, NotOlderThan waits, a future one times out with cause, nonsense is invalid."""
    monkeypatch.setattr(reads_module, "_FRESH_SECONDS", 0.01)
    async with world() as w:
        first = await w.store.create(key("a"), pod("a"))
        await w.store.create(key("b"), pod("b"))
        assert await w.names(resource_version=str(first), match="Exact") == ["a"]
        assert await w.names(resource_version=str(first), limit=5) == ["a"]
        assert await w.names(resource_version=str(first)) == ["a", "b"]
        assert await w.names(resource_version="0", limit=1) == ["a", "b"]
        with pytest.raises(Timeout, match="Timeout: Too large resource version: 99, current: 3") as caught:
            await w.names(resource_version="99")
        assert caught.value.status()["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
        with pytest.raises(Invalid, match='pods "" is invalid: resourceVersion: Invalid value: "x"'):
            await w.names(resource_version="x")
        with pytest.raises(BadRequest, match="specifying resource version is not allowed when using continue"):
            await w.names(resource_version="5", continue_="abc")


async def test_a_watch_tells_what_its_selector_sees() -> None:
    """An object that begins to match is ADDED, one that ceases is DELETED with the new resourceVersion."""
    async with world() as w:
        watcher = w.pods.watch(Filter(kinds.POD, labels=parse("app=web")), w.caches.revision)
        created = await w.store.create(key("a"), pod("a", app="db"))
        joined = await w.store.update(key("a"), pod("a", app="web"), created)
        changed = await w.store.update(key("a"), pod("a", node="n", app="web"), joined)
        left = await w.store.update(key("a"), pod("a", app="db"), changed)
        await w.reads.list(PODS)
        events = watcher.take_now()
        assert [event_type for event_type, _ in events] == ["ADDED", "MODIFIED", "DELETED"]
        line = events[2][1].frame("DELETED", None, lambda kind, record: framed(kind, record.body(kinds.POD)))
        shown = json.loads(line)
        assert shown["object"]["metadata"]["resourceVersion"] == str(left)
        assert shown["object"]["metadata"]["labels"] == {"app": "web"}
        assert shown["object"]["spec"] == {"nodeName": "n"}


async def test_a_watch_resumes_from_a_revision() -> None:
    """A watcher from an older revision first gets what it missed."""
    async with world() as w:
        first = await w.store.create(key("a"), pod("a"))
        await w.store.create(key("b"), pod("b"))
        await w.reads.list(PODS)
        watcher = w.pods.watch(PODS, first)
        assert [change.key for _, change in watcher.take_now()] == [key("b")]


async def test_a_watch_that_is_too_old_is_refused() -> None:
    """Expired names the wanted revision and the oldest one."""
    async with world() as w:
        w.pods._capacity = 2
        w.pods._clock = itertools.count(0, 100.0).__next__  # every change is long past when the next one comes
        revisions = [await w.store.create(key(name), pod(name)) for name in "abcd"]
        await w.reads.list(PODS)
        assert len(w.pods.watch(PODS, revisions[1]).take_now()) == 2
        with pytest.raises(Expired, match=rf"too old resource version: {revisions[0]} \({revisions[1]}\)"):
            w.pods.watch(PODS, revisions[0])


async def test_a_slow_watcher_is_ended_and_counted() -> None:
    """A watcher that lets its queue fill up is ended; others go on."""
    async with world() as w:
        slow, quick = (w.pods.watch(PODS, w.caches.revision) for _ in range(2))
        revision = await w.store.create(key("a"), pod("a"))
        for number in range(WATCHER_CAPACITY + 1):
            revision = await w.store.update(key("a"), pod("a", n=str(number)), revision)
            await w.reads.get(kinds.POD, "default", "a")
            quick.take_now()
        assert slow.ended
        assert not quick.ended
        assert w.pods.watcher_count == 1
        assert w.registry.value("apiserver_terminated_watchers_total", group="", resource="pods") == 1


async def test_watchers_of_one_node_get_only_its_pods() -> None:
    """Watchers that select by spec.nodeName hear of arrivals and departures on their node, and nothing else."""
    async with world() as w:
        n1, n2 = (
            w.pods.watch(Filter(kinds.POD, fields=parse_for(kinds.POD, f"spec.nodeName={node}")), w.caches.revision)
            for node in ("n1", "n2")
        )
        created = await w.store.create(key("a"), pod("a"))
        bound = await w.store.update(key("a"), pod("a", node="n1"), created)
        await w.store.delete(key("a"), bound)
        await w.reads.list(PODS)
        assert [event_type for event_type, _ in n1.take_now()] == ["ADDED", "DELETED"]
        assert n2.take_now() == ()


async def test_the_ring_grows_while_its_changes_are_young() -> None:
    """A burst enlarges the ring instead of forgetting changes that a client may still want to resume from."""
    async with world() as w:
        start = await w.store.create(key("a"), pod("a"))
        revision = start
        for number in range(CAPACITY_MIN + 10):
            revision = await w.store.update(key("a"), pod("a", n=str(number)), revision)
        await w.reads.list(PODS)
        assert len(w.pods.watch(PODS, start).take_now()) == CAPACITY_MIN + 10
        assert w.registry.value("watch_cache_capacity", group="", resource="pods") == 2 * CAPACITY_MIN
        assert w.registry.value("watch_cache_capacity_increase_total", group="", resource="pods") == 1


async def test_a_lost_history_ends_watches_and_is_read_anew() -> None:
    """When the store's log was compacted away under the stream, watchers end and reads are right again."""
    async with world() as w:
        watcher = w.pods.watch(PODS, w.caches.revision)
        for cache in (w.pods, w.caches.of(kinds.NODE)):
            cache.end()
        await w.caches._load_all()
        assert await watcher.take() == ()
        await w.store.create(key("a"), pod("a"))
        assert await w.names() == ["a"]


async def test_a_resource_added_later_is_complete() -> None:
    """A cache that joins while the stream runs has old and new objects."""
    async with world() as w:
        await w.store.create(kinds.CONFIG_MAP.storage_key("default", "old"), pod("old"))
        await w.caches.add([kinds.CONFIG_MAP])
        await w.store.create(kinds.CONFIG_MAP.storage_key("default", "new"), pod("new"))
        assert await w.names(Filter(kinds.CONFIG_MAP)) == ["new", "old"]

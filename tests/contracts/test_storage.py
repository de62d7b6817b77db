"""What every storage backend promises; run over memory, sqlite and a real etcd."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubeglass.components.apiserver.storage.backend import (
    Backend,
    Compacted,
    Event,
    FutureRevision,
    KeyExists,
    RevisionConflict,
)
from kubeglass.components.apiserver.storage.etcd import EtcdBackend, EtcdOptions
from kubeglass.components.apiserver.storage.memory import MemoryBackend
from kubeglass.components.apiserver.storage.sqlite import SqliteBackend

_numbers = itertools.count()


@pytest.fixture(params=["memory", "sqlite", "etcd"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    store: Backend
    if request.param == "memory":
        store = MemoryBackend()
    elif request.param == "sqlite":
        store = SqliteBackend(tmp_path / "store.db")
    else:
        store = EtcdBackend(EtcdOptions((request.getfixturevalue("etcd_url"),)))
    await store.start()
    yield store
    await store.close()


@pytest.fixture
def key() -> Callable[[str], str]:
    """Names keys under a prefix of this test alone, because etcd is shared by all."""
    space = f"/registry/test{next(_numbers)}/"
    return lambda name="": space + name


Key = Callable[..., str]


async def test_a_created_key_is_read_back_with_its_revisions(backend: Backend, key: Key) -> None:
    """create answers with the revision that get shows as both creation and last change."""
    revision = await backend.create(key("a"), b"one")
    entry = await backend.get(key("a"))
    assert entry is not None
    assert (entry.key, entry.value, entry.revision, entry.create_revision) == (key("a"), b"one", revision, revision)
    assert await backend.current_revision() == revision


async def test_a_missing_key_is_none(backend: Backend, key: Key) -> None:
    """get does not raise for what is not there."""
    assert await backend.get(key("none")) is None


async def test_creating_an_existing_key_is_refused_and_changes_nothing(backend: Backend, key: Key) -> None:
    """The second create raises KeyExists and the first value stays."""
    revision = await backend.create(key("a"), b"one")
    with pytest.raises(KeyExists) as caught:
        await backend.create(key("a"), b"two")
    assert caught.value.key == key("a")
    entry = await backend.get(key("a"))
    assert entry is not None
    assert (entry.value, entry.revision) == (b"one", revision)
    assert await backend.current_revision() == revision


async def test_an_update_needs_the_revision_it_replaces(backend: Backend, key: Key) -> None:
    """A stale update raises RevisionConflict with the current entry; a fresh one keeps the creation revision."""
    created = await backend.create(key("a"), b"one")
    updated = await backend.update(key("a"), b"two", created)
    with pytest.raises(RevisionConflict) as caught:
        await backend.update(key("a"), b"three", created)
    assert caught.value.current is not None
    assert (caught.value.current.value, caught.value.current.revision) == (b"two", updated)
    assert caught.value.current.create_revision == created


async def test_a_write_to_a_missing_key_conflicts_with_nothing(backend: Backend, key: Key) -> None:
    """update and delete of a key that is gone raise RevisionConflict without a current entry."""
    with pytest.raises(RevisionConflict) as update:
        await backend.update(key("a"), b"x", 1)
    with pytest.raises(RevisionConflict) as delete:
        await backend.delete(key("a"), 1)
    assert update.value.current is delete.value.current is None


async def test_a_deleted_key_is_gone_and_may_be_created_again(backend: Backend, key: Key) -> None:
    """delete takes a revision of its own; a new create gets a new creation revision."""
    created = await backend.create(key("a"), b"one")
    deleted = await backend.delete(key("a"), created)
    assert deleted > created
    assert await backend.get(key("a")) is None
    again = await backend.create(key("a"), b"two")
    entry = await backend.get(key("a"))
    assert entry is not None
    assert entry.create_revision == again > deleted


async def test_a_list_is_in_key_order_and_pages_exactly(backend: Backend, key: Key) -> None:
    """Pages joined by start_after give the whole, each says how many keys remain, siblings of the prefix stay out."""
    names = ["b/2", "a/1", "c/3", "a/2", "b/1"]
    for name in names:
        await backend.create(key(name), name.encode())
    await backend.create(key("").removesuffix("/") + "0", b"a key behind the prefix")
    whole = await backend.list(key())
    assert [entry.key for entry in whole.entries] == sorted(map(key, names))
    assert whole.remaining == 0
    first = await backend.list(key(), limit=2)
    second = await backend.list(key(), limit=2, start_after=first.entries[-1].key)
    third = await backend.list(key(), limit=2, start_after=second.entries[-1].key)
    assert (*first.entries, *second.entries, *third.entries) == whole.entries
    assert [first.remaining, second.remaining, third.remaining] == [3, 1, 0]
    assert await backend.count(key()) == 5
    assert await backend.count(key("b/")) == 2


async def test_an_empty_list_knows_its_revision(backend: Backend, key: Key) -> None:
    """A list of nothing is still true for the newest revision."""
    revision = await backend.create(key("a"), b"")
    page = await backend.list(key("nothing/"))
    assert page.entries == ()
    assert page.revision == revision


async def test_an_older_revision_can_be_read(backend: Backend, key: Key) -> None:
    """get and list at a revision show what was there then: updates, deletes and later creations undone."""
    first = await backend.create(key("a"), b"a1")
    second = await backend.create(key("b"), b"b1")
    await backend.update(key("a"), b"a2", first)
    await backend.delete(key("b"), second)
    await backend.create(key("c"), b"c1")
    page = await backend.list(key(), revision=second)
    assert [(entry.key, entry.value, entry.revision) for entry in page.entries] == [
        (key("a"), b"a1", first),
        (key("b"), b"b1", second),
    ]
    assert page.revision == second
    then = await backend.get(key("a"), revision=second)
    assert then is not None
    assert then.value == b"a1"
    assert await backend.get(key("b"), revision=first) is None
    part = await backend.list(key(), revision=second, limit=1)
    assert ([entry.key for entry in part.entries], part.remaining) == ([key("a")], 1)


async def test_a_future_revision_is_refused(backend: Backend, key: Key) -> None:
    """Reading what has not been written yet raises FutureRevision."""
    now = await backend.create(key("a"), b"")
    with pytest.raises(FutureRevision):
        await backend.get(key("a"), revision=now + 1000)
    with pytest.raises(FutureRevision):
        await backend.list(key(), revision=now + 1000)


async def test_compaction_forgets_history_but_not_what_is_current(backend: Backend, key: Key) -> None:
    """After compact, older reads and watches raise Compacted; current values, and newer history, stay readable."""
    created = await backend.create(key("a"), b"one")
    kept = await backend.create(key("keep"), b"kept")
    updated = await backend.update(key("a"), b"two", created)
    newer = await backend.update(key("a"), b"three", updated)
    await backend.compact(updated)
    with pytest.raises(Compacted):
        await backend.get(key("a"), revision=created)
    with pytest.raises(Compacted):
        await backend.list(key(), revision=created)
    with pytest.raises(Compacted):
        await anext(backend.watch(key(), created))
    entry = await backend.get(key("keep"))
    assert entry is not None
    assert (entry.value, entry.revision) == (b"kept", kept)
    then = await backend.get(key("a"), revision=updated)
    assert then is not None
    assert then.value == b"two"
    assert (await backend.list(key())).revision == newer


async def test_compacting_twice_or_backwards_is_harmless(backend: Backend, key: Key) -> None:
    """compact of an already compacted revision does nothing."""
    revision = await backend.create(key("a"), b"one")
    await backend.compact(revision)
    await backend.compact(revision)
    await backend.compact(revision - 1)
    assert await backend.get(key("a")) is not None


async def test_a_watch_replays_history_and_goes_on_live(backend: Backend, key: Key) -> None:
    """Events come once, in revision order, with the value they replaced; other prefixes stay out."""
    start = await backend.create(key("before"), b"")
    created = await backend.create(key("a"), b"one")
    await backend.create(key("").replace("/test", "/other") + "x", b"")
    stream = collect(backend, key(), start, 3)
    updated = await backend.update(key("a"), b"two", created)
    deleted = await backend.delete(key("a"), updated)
    assert await stream == [
        Event("put", key("a"), b"one", None, created, True),
        Event("put", key("a"), b"two", b"one", updated, False),
        Event("delete", key("a"), b"", b"two", deleted, False),
    ]


async def test_a_watch_that_waits_is_woken_by_a_write(backend: Backend, key: Key) -> None:
    """A watch that is up to date delivers the next write."""
    start = await backend.current_revision()
    async with asyncio.TaskGroup() as group:
        events = group.create_task(collect(backend, key(), start, 1))
        await asyncio.sleep(0)
        await backend.create(key("a"), b"one")
    assert [event.value for event in events.result()] == [b"one"]


async def test_concurrent_writers_of_one_key_lose_no_update(backend: Backend, key: Key) -> None:
    """Twenty compare-and-swap increments by five writers at once add up."""
    await backend.create(key("n"), b"0")

    async def increment() -> None:
        while True:
            entry = await backend.get(key("n"))
            assert entry is not None
            try:
                await backend.update(key("n"), b"%d" % (int(entry.value) + 1), entry.revision)
                return
            except RevisionConflict:
                continue

    async def writer() -> None:
        for _ in range(4):
            await increment()

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(writer())
    entry = await backend.get(key("n"))
    assert entry is not None
    assert entry.value == b"20"


async def test_concurrent_creates_take_distinct_revisions(backend: Backend, key: Key) -> None:
    """Writes that queue together still each have their own revision, and one duplicate fails alone."""

    async def create(name: str) -> int:
        try:
            return await backend.create(key(name), b"")
        except KeyExists:
            return 0

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(create(name)) for name in ("a", "b", "c", "a", "d")]
    revisions = [task.result() for task in tasks]
    assert revisions.count(0) == 1
    assert len(set(revisions)) == 5


async def test_a_key_with_a_time_to_live_disappears(backend: Backend, key: Key) -> None:
    """After its ttl a key is deleted, and a watch says so; an update without ttl keeps the key."""
    start = await backend.create(key("stays"), b"s", ttl_seconds=1)
    await backend.update(key("stays"), b"s", start)
    await backend.create(key("goes"), b"g", ttl_seconds=1)
    async with asyncio.timeout(20):
        while await backend.get(key("goes")) is not None:
            await asyncio.sleep(0.05)
            await backend.expire(time.time())
    assert await backend.get(key("stays")) is not None
    events = await collect(backend, key(), start, 3)
    assert (events[-1].kind, events[-1].key, events[-1].prev_value) == ("delete", key("goes"), b"g")


async def test_the_size_grows_with_what_is_stored(backend: Backend, key: Key) -> None:
    """size_bytes is positive once something is stored."""
    await backend.create(key("a"), b"x" * 10_000)
    assert await backend.size_bytes() >= 10_000


async def collect(backend: Backend, prefix: str, after: int, count: int) -> list[Event]:
    """The first `count` events of a watch; also checks that every batch says how far it reaches."""
    events: list[Event] = []
    async with asyncio.timeout(10):
        async for batch in backend.watch(prefix, after):
            events += batch.events
            assert all(event.revision <= batch.revision for event in batch.events)
            if len(events) >= count:
                break
    return events


Operations = st.lists(
    st.tuples(st.sampled_from(["create", "update", "delete", "compact"]), st.sampled_from("abc"), st.integers(0, 3)),
    max_size=30,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=Operations)
def test_sqlite_does_what_memory_does(tmp_path: Path, operations: list[tuple[str, str, int]]) -> None:
    """For any history, both stores end with the same state, the same past and the same events."""

    async def history(store: Backend) -> list[object]:
        await store.start()
        try:
            return [await step(store, *operation) for operation in operations] + await summary(store)
        finally:
            await store.close()

    path = tmp_path / f"store{next(_numbers)}.db"
    assert asyncio.run(history(SqliteBackend(path))) == asyncio.run(history(MemoryBackend()))


async def step(store: Backend, operation: str, name: str, back: int) -> object:
    """One operation with `back` as how stale the caller is; the answer or the error, as data."""
    key = f"/registry/x/{name}"
    try:
        if operation == "create":
            return await store.create(key, b"%d" % back)
        if operation == "compact":
            return await store.compact(max(1, await store.current_revision() - 3 * back))
        entry = await store.get(key)
        revision = (entry.revision if entry else 1) - (back == 3)
        if operation == "update":
            return await store.update(key, b"u%d" % back, revision)
        return await store.delete(key, revision)
    except (KeyExists, RevisionConflict) as error:
        return str(error)


async def summary(store: Backend) -> list[object]:
    """Everything that can be read: every revision's state, then the events that the log still holds."""
    last = await store.current_revision()
    states: list[object] = []
    for revision in range(1, last + 1):
        try:
            states.append(await store.list("/registry/x/", revision=revision))
        except Compacted as error:
            states.append(str(error))
    start = next((index for index, state in enumerate(states, 1) if not isinstance(state, str)), last)
    events = await collect(store, "/registry/x/", start, last - start) if last > start else []
    return [*states, *events]

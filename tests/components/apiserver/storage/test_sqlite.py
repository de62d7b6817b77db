"""What only the embedded store promises: durability, one owner, and refusing what it cannot trust."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kubeglass.components.apiserver.storage.backend import StoreCorrupt, StoreUnavailable
from kubeglass.components.apiserver.storage.sqlite import SqliteBackend

_WRITE_UNTIL_KILLED = """
import asyncio, sys
from kubeglass.components.apiserver.storage.sqlite import SqliteBackend

async def writer(store, name):
    for number in range(1_000_000):
        revision = await store.create(f"/registry/x/{name}-{number}", b"value")
        print(name, number, revision, flush=True)

async def main():
    store = SqliteBackend(sys.argv[1])
    await store.start()
    async with asyncio.TaskGroup() as group:
        for name in "abcd":
            group.create_task(writer(store, name))

asyncio.run(main())
"""


async def test_an_acknowledged_write_survives_kill_9(tmp_path: Path) -> None:
    """Every write answered before SIGKILL is there after a restart, with its revision, and no revision is reused."""
    path = tmp_path / "store.db"
    process = subprocess.Popen([sys.executable, "-c", _WRITE_UNTIL_KILLED, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    lines = [process.stdout.readline().decode().split() for _ in range(400)]
    process.send_signal(signal.SIGKILL)
    lines += [line.split() for line in process.stdout.read().decode().splitlines(keepends=True) if line.endswith("\n")]
    process.wait()

    store = SqliteBackend(path)
    await store.start()
    for name, number, revision in lines:
        entry = await store.get(f"/registry/x/{name}-{number}")
        assert entry is not None
        assert entry.revision == int(revision)
    assert await store.create("/registry/x/after", b"") > max(int(line[2]) for line in lines)
    await store.close()


async def test_a_restart_continues_revisions_and_watches(tmp_path: Path) -> None:
    """After close and start, the revision goes on and a watch replays what was written before."""
    path = tmp_path / "store.db"
    first = SqliteBackend(path)
    await first.start()
    created = await first.create("/registry/x/a", b"one")
    deleted = await first.delete("/registry/x/a", created)
    await first.compact(deleted)
    await first.close()
    second = SqliteBackend(path)
    await second.start()
    assert await second.current_revision() == deleted
    again = await second.create("/registry/x/b", b"two")
    assert again == deleted + 1
    batch = await anext(second.watch("/registry/", deleted))
    assert [event.key for event in batch.events] == ["/registry/x/b"]
    await second.close()


async def test_a_second_owner_is_refused_by_name(tmp_path: Path) -> None:
    """Two processes never share the file; the error names who holds it."""
    first = SqliteBackend(tmp_path / "store.db")
    await first.start()
    with pytest.raises(StoreUnavailable, match=rf"in use by another process \(pid {os.getpid()}\)"):
        await SqliteBackend(tmp_path / "store.db").start()
    await first.close()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _garbage(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _torn_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 : 2 * 4096] = os.urandom(4096)
    path.write_bytes(content)


def _someone_elses(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()


def _newer_format(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


@pytest.mark.parametrize("damage", [_empty, _garbage, _half, _torn_page, _someone_elses, _newer_format])
async def test_a_corrupt_store_is_refused_and_left_alone(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """StoreCorrupt names the file and what to do, and not one byte of the file changes."""
    path = tmp_path / "store.db"
    store = SqliteBackend(path)
    await store.start()
    for number in range(200):
        await store.create(f"/registry/x/{number}", b"x" * 500)
    await store.close()
    damage(path)
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match=f"the store {path} is corrupt: .*Restore the file from a backup"):
        await SqliteBackend(path).start()
    assert path.read_bytes() == before


async def test_a_log_without_its_file_is_refused(tmp_path: Path) -> None:
    """A missing file with its write-ahead log still there is not taken for a new cluster."""
    path = tmp_path / "store.db"
    path.with_name("store.db-wal").write_bytes(b"left over")
    with pytest.raises(StoreCorrupt, match="the file is missing but its write-ahead log is there"):
        await SqliteBackend(path).start()
    assert not path.exists()


async def test_an_unreadable_folder_is_named(tmp_path: Path) -> None:
    """A path that cannot be opened gives a clear error."""
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(StoreUnavailable, match=f"cannot open the store {blocked}/store.db"):
        await SqliteBackend(blocked / "store.db").start()


async def test_a_watch_older_than_memory_reads_the_file(tmp_path: Path) -> None:
    """A watch far behind the recent events gets them all from disk, in order."""
    path = tmp_path / "store.db"
    store = SqliteBackend(path)
    await store.start()
    start = await store.current_revision()
    for number in range(1200):
        await store.create(f"/registry/x/{number:04}", b"")
    await store.close()
    store = SqliteBackend(path)
    await store.start()
    seen: list[str] = []
    async for batch in store.watch("/registry/", start):
        seen += [event.key for event in batch.events]
        if len(seen) == 1200:
            break
    assert seen == [f"/registry/x/{number:04}" for number in range(1200)]
    await store.close()

"""The narrow waist of storage: a revisioned map from keys to bytes, with a log that can be watched.

Every write takes the next revision of the whole store. A reader may ask for any revision that has not been compacted.
Keys are upstream's (`/registry/pods/default/web`); values are JSON objects with `kind`, `apiVersion` and `metadata`
first and without `metadata.resourceVersion`, which `with_resource_version` splices in from the revision.
Implementations: memory.py (the readable specification), sqlite.py, etcd.py; one contract suite holds for all three.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

PREFIX = "/registry/"


@dataclass(frozen=True, slots=True)
class Entry:
    """One key as it is (or was) stored."""

    key: str
    value: bytes
    revision: int
    """The revision of the last write: the object's resourceVersion."""
    create_revision: int


@dataclass(frozen=True, slots=True)
class Event:
    """One write. For a delete, `value` is empty and `prev_value` is what was deleted."""

    kind: Literal["put", "delete"]
    key: str
    value: bytes
    prev_value: bytes | None
    revision: int
    created: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """What a watch delivers: events in order, and how far the stream has come.

    Every event of the watched prefix with a revision up to `revision` has been delivered.
    """

    events: tuple[Event, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing in key order."""

    entries: tuple[Entry, ...]
    revision: int
    """The revision the listing is true for."""
    remaining: int
    """How many further keys the listing has behind this page."""


class StorageError(Exception):
    """What a backend may raise besides the errors of its transport."""


class KeyExists(StorageError):
    """A create met an existing key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"key exists: {key}")
        self.key = key


class RevisionConflict(StorageError):
    """An update or delete expected another revision. `current` is what is there now, None when the key is gone."""

    def __init__(self, key: str, current: Entry | None) -> None:
        super().__init__(f"revision conflict: {key}")
        self.key = key
        self.current = current


class Compacted(StorageError):
    """The wanted revision is older than what the log still holds."""

    def __init__(self, wanted: int, compacted: int) -> None:
        super().__init__(f"required revision {wanted} has been compacted (oldest is {compacted})")
        self.wanted = wanted
        self.compacted = compacted


class FutureRevision(StorageError):
    """The wanted revision has not been written yet."""

    def __init__(self, wanted: int, current: int) -> None:
        super().__init__(f"required revision {wanted} is a future revision (current is {current})")
        self.wanted = wanted
        self.current = current


class StoreCorrupt(StorageError):
    """The store's files cannot be trusted. The text names the file and what to do; nothing is ever reset silently."""


class StoreUnavailable(StorageError):
    """The store cannot be reached, or did not answer in time; the write may or may not have happened."""


class Backend(Protocol):
    """A revisioned key-value store. All methods raise StoreUnavailable when the store is out of reach."""

    name: str
    """What spans call it: memory, sqlite, etcd3."""

    async def start(self) -> None:
        """Open the store. Raises StoreCorrupt."""

    async def close(self) -> None:
        """Release it; acknowledged writes are already safe."""

    async def get(self, key: str, revision: int = 0) -> Entry | None:
        """The entry now, or as of `revision`. Raises Compacted, FutureRevision."""

    async def list(self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0) -> Page:
        """Entries under `prefix` with keys greater than `start_after`. Raises Compacted, FutureRevision."""

    async def create(self, key: str, value: bytes, ttl_seconds: int = 0) -> int:
        """Write a new key; the answer is its revision. Raises KeyExists."""

    async def update(self, key: str, value: bytes, expected_revision: int, ttl_seconds: int = 0) -> int:
        """Replace what was written at `expected_revision`. Raises RevisionConflict."""

    async def delete(self, key: str, expected_revision: int) -> int:
        """Remove what was written at `expected_revision`. Raises RevisionConflict."""

    def watch(self, prefix: str, after_revision: int) -> AsyncIterator[Batch]:
        """Events newer than `after_revision`, then live, without end.

        The stream raises Compacted when the log no longer reaches back that far.
        """

    async def request_progress(self) -> None:
        """Let watches tell soon how far they have come, even if nothing happened under their prefix.

        A no-op where they always know.
        """

    async def compact(self, revision: int) -> None:
        """Forget history up to and including `revision`; what is current stays."""

    async def expire(self, now: float) -> None:
        """Delete the keys whose time to live has passed; a no-op where the store does so by itself."""

    async def current_revision(self) -> int:
        """The revision of the newest write anywhere in the store, as a linearizable read."""

    async def count(self, prefix: str) -> int:
        """How many keys lie under `prefix`."""

    async def size_bytes(self) -> int:
        """The size of the store on its medium."""


_METADATA = b'"metadata":{'


def tail_with_resource_version(value: bytes, revision: int) -> bytes:
    """A stored value from its metadata on, with the resourceVersion spliced in; kind and apiVersion are cut off."""
    start = value.index(_METADATA) + len(_METADATA)
    comma = b"" if value[start : start + 1] == b"}" else b","
    return b'"metadata":{"resourceVersion":"%d"%b%b' % (revision, comma, value[start:])


def with_resource_version(value: bytes, revision: int) -> bytes:
    """The stored value as a client sees it."""
    return value[: value.index(_METADATA)] + tail_with_resource_version(value, revision)


def prefix_end(prefix: str) -> str:
    """The first key behind all keys that start with `prefix`."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)

"""Keeps the watch caches of all resources in step with the store.

One watch over everything feeds them all: the revision that this stream has reached is true for every cache, so
a read is fresh as soon as the stream has reached the store's newest revision, and bookmarks of a quiet resource
still move on. A resource added later (a custom one) is listed while its events already wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from kubeglass.components.api.kinds import Kind
from kubeglass.components.apiserver.storage.backend import PREFIX, Backend, Compacted, Event
from kubeglass.components.apiserver.storage.feed import Signal
from kubeglass.components.apiserver.storage.instruments import ResourceInstruments
from kubeglass.components.apiserver.storage.metrics import StorageMetrics, WatchCacheMetrics
from kubeglass.components.apiserver.storage.watchcache import WatchCache
from kubeglass.logging.klog import Logger
from kubeglass.telemetry.metrics.registry import Registry

_ASK_SECONDS = 0.05
"""How long a reader waits for the stream before the store is asked how far it has come."""


class WatchCaches:
    """The caches by storage prefix, and the stream that feeds them."""

    def __init__(
        self, backend: Backend, registry: Registry, log: Logger, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.backend = backend
        self.revision = 0
        """How far the stream has come; true for every cache that is ready."""
        self._caches: dict[str, WatchCache] = {}
        self._instruments: dict[str, ResourceInstruments] = {}
        self._kinds: dict[str, Kind] = {}
        self._advanced = Signal()
        self._metrics = WatchCacheMetrics(registry)
        self._storage_metrics = StorageMetrics(registry)
        self._log = log
        self._clock = clock

    def of(self, kind: Kind) -> WatchCache:
        """The cache of a resource; all its versions share it."""
        return self._caches[kind.storage_prefix()]

    def instruments(self, kind: Kind) -> ResourceInstruments:
        return self._instruments[kind.storage_prefix()]

    def resources(self) -> list[tuple[Kind, WatchCache]]:
        """Every cached resource by one of its versions."""
        return [(self._kinds[prefix], cache) for prefix, cache in self._caches.items()]

    def has(self, kind: Kind) -> bool:
        return kind.storage_prefix() in self._caches

    async def add(self, kinds: Iterable[Kind]) -> None:
        """Begin to cache these resources; returns when they can be read."""
        added = [cache for kind in kinds if kind.storable and (cache := self._register(kind)) is not None]
        async with asyncio.TaskGroup() as group:
            for cache in added:
                group.create_task(self._load(cache))

    def remove(self, kind: Kind) -> None:
        """Stop caching a resource and end its watches."""
        prefix = kind.storage_prefix()
        cache = self._caches.pop(prefix, None)
        if cache is not None:
            del self._instruments[prefix], self._kinds[prefix]
            cache.end()

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Follow the store until cancelled. Its caches are read anew whenever the store's history was lost."""
        self.revision = await self.backend.current_revision()
        while True:
            try:
                await self._load_all()
                started()
                await self._follow()
            except Compacted as error:
                self._log.error(error, "Watch of the store lost its place, reading everything anew")
                for cache in self._caches.values():
                    cache.end()
                self.revision = await self.backend.current_revision()

    async def wait_until(self, revision: int, timeout_seconds: float) -> bool:
        """Whether the stream reaches `revision` in time."""
        deadline = time.monotonic() + timeout_seconds
        while self.revision < revision:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            try:
                async with asyncio.timeout(min(left, _ASK_SECONDS)):
                    await self._advanced.wait()
            except TimeoutError:  # perhaps the revision was spent on something that is not ours
                await self.backend.request_progress()
        return True

    def _register(self, kind: Kind) -> WatchCache | None:
        """A new cache; None when another version of the resource has one already."""
        prefix = kind.storage_prefix()
        if prefix in self._caches:
            return None
        instruments = ResourceInstruments(self._metrics, self._storage_metrics, kind.stored_group, kind.plural)
        cache = WatchCache(kind.plural, prefix, instruments, self._clock)
        self._instruments[prefix], self._caches[prefix], self._kinds[prefix] = instruments, cache, kind
        return cache

    async def _load_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for cache in self._caches.values():
                if not cache.ready:
                    group.create_task(self._load(cache))

    async def _load(self, cache: WatchCache) -> None:
        cache.begin(await self.backend.list(cache.prefix))

    async def _follow(self) -> None:
        async for batch in self.backend.watch(PREFIX, self.revision):
            for event in batch.events:
                self._feed(event)
            self.revision = max(self.revision, batch.revision)
            self._advanced.fire()

    def _feed(self, event: Event) -> None:
        """Give an event to the cache of its resource: /registry/plural/… or /registry/group/plural/…"""
        end = event.key.find("/", len(PREFIX)) + 1
        cache = self._caches.get(event.key[:end])
        if cache is None:
            cache = self._caches.get(event.key[: event.key.find("/", end) + 1])
            if cache is None:
                return
        self._instruments[cache.prefix].stored_events.inc()
        cache.apply(event)

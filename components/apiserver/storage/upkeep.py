"""What a store needs from time to time: compaction, expiry of what had a time to live, counting of objects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from kubeglass.components.apiserver.storage.backend import Backend, StorageError
from kubeglass.components.apiserver.storage.metrics import SIZE_ROWS, ObjectCountMetrics
from kubeglass.components.apiserver.storage.watchcaches import WatchCaches
from kubeglass.logging.klog import Logger
from kubeglass.telemetry.metrics.definitions import Metric
from kubeglass.telemetry.metrics.registry import Registry

COMPACTION_SECONDS = 300.0
EXPIRY_SECONDS = 1.0
COUNT_SECONDS = 60.0


class Upkeep:
    """The periodic chores of one server's store."""

    def __init__(
        self,
        backend: Backend,
        caches: WatchCaches,
        registry: Registry,
        log: Logger,
        clock: Callable[[], float],
        compaction_seconds: float = COMPACTION_SECONDS,
    ) -> None:
        self._backend = backend
        self._caches = caches
        self._log = log
        self._clock = clock
        self._compaction_seconds = compaction_seconds
        self._counts = ObjectCountMetrics(registry)
        self._size = 0
        registry.collect(SIZE_ROWS, self._sizes)

    async def run(self) -> None:
        """All chores until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._compact())
            group.create_task(self._expire())
            group.create_task(self._count())

    async def _compact(self) -> None:
        """History is kept for at least one period: what was new at the last round is compacted at this one."""
        if not self._compaction_seconds:
            return
        revision = await self._backend.current_revision()
        while True:
            await asyncio.sleep(self._compaction_seconds)
            try:
                await self._backend.compact(revision)
                revision = await self._backend.current_revision()
            except StorageError as error:
                self._log.error(error, "Endpoint compaction failed")

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(EXPIRY_SECONDS)
            try:
                await self._backend.expire(self._clock())
            except StorageError as error:
                self._log.error(error, "Expiry of stored objects failed")

    async def _count(self) -> None:
        while True:
            for kind, cache in self._caches.resources():
                self._counts.resource_objects.labels(kind.stored_group, kind.plural).set(len(cache))
                name = f"{kind.plural}.{kind.stored_group}" if kind.stored_group else kind.plural
                self._counts.storage_objects.labels(name).set(len(cache))
                size = sum(len(record.tail) for record in cache.records())
                self._counts.resource_size_estimate_bytes.labels(kind.stored_group, kind.plural).set(size)
            try:
                self._size = await self._backend.size_bytes()
            except StorageError as error:
                self._log.error(error, "Size of the store is unknown")
            await asyncio.sleep(COUNT_SECONDS)

    def _sizes(self) -> Iterable[tuple[Metric, tuple[str, ...], float]]:
        size, old = SIZE_ROWS
        yield size, ("etcd-0",), float(self._size)
        yield old, (self._backend.name,), float(self._size)

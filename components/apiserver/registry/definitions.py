"""Keeps the served kinds in step with the custom resource definitions in the store, and cleans up after one is deleted.

`refresh` is awaited after every write of a definition, so a kind is served as soon as its definition is accepted;
`follow` does the same for what other servers of the same store write, and `run` finishes deletions that wait for
objects with finalizers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from kubeglass.components.api import kinds
from kubeglass.components.api.kinds import Kind
from kubeglass.components.apiserver.admission.reader import Reader
from kubeglass.components.apiserver.registry import crd
from kubeglass.components.apiserver.registry.served import ServedKinds
from kubeglass.components.apiserver.storage.records import Filter
from kubeglass.components.apiserver.storage.watchcache import WatchCache

Object = dict[str, Any]
Serve = Callable[[Sequence[Kind]], Awaitable[None]]
"""Told the custom kinds that must be readable from now on."""

RETRY_SECONDS = 1.0


class Definitions:
    """The custom part of ServedKinds."""

    def __init__(self, reader: Reader, served: ServedKinds, serve: Serve) -> None:
        self._reader = reader
        self._served = served
        self._serve = serve
        self._known: dict[str, str] = {}
        self._written = asyncio.Event()

    async def refresh(self) -> None:
        """Serve what the store's definitions say now."""
        definitions = await self._reader.list(kinds.CUSTOM_RESOURCE_DEFINITION)
        versions = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in definitions}
        if versions == self._known:
            return
        customs = crd.custom_kinds(definitions)
        await self._serve([custom.kind for custom in customs])
        self._known = versions
        self._served.set_custom(customs)
        self._written.set()

    async def follow(self, cache: WatchCache) -> None:
        """Refresh whenever any server of this store writes a definition; until cancelled."""
        while True:
            watcher = cache.watch(Filter(kinds.CUSTOM_RESOURCE_DEFINITION), cache.revision)
            await self.refresh()
            while not watcher.ended:
                await watcher.take()
                await self.refresh()

    async def terminating(self) -> list[Object]:
        """Definitions that are being deleted and still hold their clean-up finalizer."""
        return [
            definition
            for definition in await self._reader.list(kinds.CUSTOM_RESOURCE_DEFINITION)
            if definition["metadata"].get("deletionTimestamp")
            and crd.CLEANUP_FINALIZER in (definition["metadata"].get("finalizers") or ())
        ]

    async def instances(self, definition: Object) -> list[tuple[Kind, str, str]]:
        """(kind, namespace, name) of every object of a definition."""
        custom = next(iter(crd.custom_kinds([definition])), None)
        if custom is None:
            return []
        found = await self._reader.list(custom.kind)
        return [(custom.kind, item["metadata"].get("namespace", ""), item["metadata"]["name"]) for item in found]

    async def run(self, clean: Callable[[Object], Awaitable[bool]]) -> None:
        """Look again after each refresh, and while a deletion is unfinished. `clean` deletes what one made."""
        while True:
            self._written.clear()
            await self.refresh()
            unfinished = [definition for definition in await self.terminating() if not await clean(definition)]
            try:
                async with asyncio.timeout(RETRY_SECONDS if unfinished else None):
                    await self._written.wait()
            except TimeoutError:
                continue

"""A local, always fresh copy of the objects of one kind, as typed views: list once, then follow the watch.

Readers ask `get`, `list` and `by_index`; whoever must act subscribes and gets each Change in order.
Upstream: client-go's Reflector, Store and SharedInformer. The store is touched on one loop only, without locks.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, TypeVar

from kubeglass.components.api.errors import ApiError, Gone
from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.objects import decode
from kubeglass.components.machinery.client import Client, ObjectList
from kubeglass.components.machinery.settling import settled
from kubeglass.components.machinery.transport import Unreachable
from kubeglass.logging.slowlog import told_if_slow
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.tracing.causality import Causes, Trigger, same_stamp, triggered_by
from kubeglass.telemetry.tracing.tracer import leave

_PAGE = 500
_BACKOFF_FIRST_SECONDS = 0.05
_BACKOFF_LAST_SECONDS = 30.0
_SLOW_LIST_SECONDS = 10.0
_WATCH_SECONDS = (300, 600)
"""A watch is asked to end after a random time between these, as client-go does, so servers can rebalance."""


class Meta(Protocol):
    """What an informer needs of a view's metadata."""

    @property
    def name(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def resource_version(self) -> str: ...


class View(Protocol):
    """A typed view of an object."""

    @property
    def metadata(self) -> Meta: ...


V = TypeVar("V", bound=View)


@dataclass(frozen=True, slots=True)
class Change(Generic[V]):
    """One step of one object. `old` is None for ADDED; `new` is the last known state for DELETED."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    key: str
    old: V | None
    new: V


Handler = Callable[[Change[V]], None]
IndexFunction = Callable[[V], Iterable[str]]
CallObserver = Callable[[Literal["list", "watch"], bool], None]
"""Told of each LIST page and each WATCH the server took (True) or refused (False)."""


def key_of(view: View) -> str:
    """`namespace/name`, or `name` for cluster-scoped objects."""
    meta = view.metadata
    return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name


def split_key(key: str) -> tuple[str, str]:
    """(namespace, name) of a key."""
    namespace, _, name = key.rpartition("/")
    return namespace, name


@dataclass(slots=True)
class _Index(Generic[V]):
    function: IndexFunction[V]
    keys: dict[str, set[str]] = field(default_factory=dict)

    def add(self, key: str, view: V) -> None:
        for value in self.function(view):
            self.keys.setdefault(value, set()).add(key)

    def remove(self, key: str, view: V) -> None:
        for value in self.function(view):
            members = self.keys.get(value)
            if members is not None:
                members.discard(key)
                if not members:
                    del self.keys[value]


class Store(Generic[V]):
    """The copy itself: views by key, and by any index added to it."""

    def __init__(self) -> None:
        self._views: dict[str, V] = {}
        self._indices: dict[str, _Index[V]] = {}

    def __len__(self) -> int:
        return len(self._views)

    def get(self, key: str) -> V | None:
        """The view of a key, or None."""
        return self._views.get(key)

    def list(self, namespace: str = "") -> list[V]:
        """All views, or those of one namespace."""
        if not namespace:
            return list(self._views.values())
        return [view for view in self._views.values() if view.metadata.namespace == namespace]

    def keys(self) -> Iterator[str]:
        """All keys."""
        return iter(tuple(self._views))

    def add_index(self, name: str, function: IndexFunction[V]) -> None:
        """Keep views findable by every value that `function` gives for them."""
        index = _Index(function)
        for key, view in self._views.items():
            index.add(key, view)
        self._indices[name] = index

    def by_index(self, name: str, value: str) -> Sequence[V]:
        """The views for which the index function gave `value`."""
        return [self._views[key] for key in self._indices[name].keys.get(value, ())]

    def put(self, key: str, view: V) -> V | None:
        """Store a view; the answer is the one it replaces."""
        old = self._views.get(key)
        self._views[key] = view
        for index in self._indices.values():
            if old is not None:
                index.remove(key, old)
            index.add(key, view)
        return old

    def drop(self, key: str) -> V | None:
        """Forget a key; the answer is what was stored."""
        old = self._views.pop(key, None)
        if old is not None:
            for index in self._indices.values():
                index.remove(key, old)
        return old


class Informer(Generic[V]):
    """Keeps a Store in step with the server, and tells subscribers of each Change."""

    def __init__(
        self,
        client: Client,
        kind: Kind,
        view: type[V],
        telemetry: Telemetry,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        observer: CallObserver = lambda verb, taken: None,
    ) -> None:
        self.kind = kind
        self._observer = observer
        self._client = client
        self._log = telemetry.log
        self._view = view
        self._namespace = namespace
        self._selectors = {"label_selector": label_selector, "field_selector": field_selector}
        self._store: Store[V] = Store()
        self._handlers: tuple[Handler[V], ...] = ()
        self._resource_version = ""
        self._causes = Causes(telemetry.tracer.annotation)
        self.synced = asyncio.Event()
        """Set once the first LIST is in the store."""

    # -- reading --------------------------------------------------------------------------------------------------

    def get(self, key: str) -> V | None:
        """The view of `namespace/name` (or `name`), or None."""
        return self._store.get(key)

    def list(self, namespace: str = "") -> list[V]:
        """All views, or those of one namespace."""
        return self._store.list(namespace)

    def add_index(self, name: str, function: IndexFunction[V]) -> None:
        """See Store.add_index."""
        self._store.add_index(name, function)

    def by_index(self, name: str, value: str) -> Sequence[V]:
        """See Store.by_index."""
        return self._store.by_index(name, value)

    def subscribe(self, handler: Handler[V]) -> Callable[[], None]:
        """Call `handler` with each Change from now on, and at once with all that is known as ADDED.

        A handler must not block; it usually adds a key to a work queue. The answer ends the subscription.
        """
        self._handlers = (*self._handlers, handler)
        for key in self._store.keys():
            view = self._store.get(key)
            if view is not None:
                handler(Change("ADDED", key, None, view))

        def unsubscribe() -> None:
            self._handlers = tuple(known for known in self._handlers if known is not handler)

        return unsubscribe

    @property
    def resource_version(self) -> str:
        """How far the copy has come."""
        return self._resource_version

    # -- following ------------------------------------------------------------------------------------------------

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Follow the server until cancelled; `started` is called when the first LIST is in the store."""
        leave()
        backoff = _BACKOFF_FIRST_SECONDS
        listed = False
        while True:
            try:
                if not listed:
                    await self._list()
                    listed = True
                    if not self.synced.is_set():
                        self.synced.set()
                        started()
                await self._watch()
                backoff = _BACKOFF_FIRST_SECONDS
                continue  # the server ended the watch in good order: go on where it stopped
            except Gone as error:
                listed = False
                self._log.v(4).info("Watch expired, listing anew", resource=self.kind.plural, reason=error.message)
            except (ApiError, Unreachable) as error:
                self._log.v(2).info("Failed to list or watch", resource=self.kind.plural, reason=str(error))
                await asyncio.sleep(backoff * random.uniform(0.8, 1.2))
                backoff = min(backoff * 2, _BACKOFF_LAST_SECONDS)

    async def _list(self) -> None:
        described = {"name": f"{self.kind.api_version}/{self.kind.plural}"}
        with told_if_slow(self._log, "Reflector ListAndWatch", _SLOW_LIST_SECONDS, described) as step:
            seen: set[str] = set()
            continue_ = ""
            while True:
                page = await self._page(continue_)
                for obj in page.items:
                    view = decode(self._view, obj)
                    key = key_of(view)
                    seen.add(key)
                    self._put(key, view)
                continue_ = page.continue_
                if not continue_:
                    break
            step("Objects listed", error=None)
            for key in self._store.keys():
                if key not in seen:
                    self._drop(key, None)
            step("SyncWith done")
            self._resource_version = page.resource_version
            step("Resource version updated")

    async def _page(self, continue_: str) -> ObjectList:
        try:
            page = await self._client.list(
                self.kind, self._namespace, limit=_PAGE, continue_=continue_, **self._selectors
            )
        except (ApiError, Unreachable):
            self._observer("list", False)
            raise
        self._observer("list", True)
        return page

    async def _watch(self) -> None:
        taken = False

        def opened() -> None:
            nonlocal taken
            taken = True
            self._observer("watch", True)

        try:
            await self._follow(opened)
        except (ApiError, Unreachable):
            if not taken:
                self._observer("watch", False)
            raise

    async def _follow(self, opened: Callable[[], None]) -> None:
        lines = self._client.watch_lines(
            self.kind,
            self._namespace,
            resource_version=self._resource_version,
            timeout_seconds=random.randint(*_WATCH_SECONDS),
            opened=opened,
            **self._selectors,
        )
        async for line in lines:
            view = decode(self._view, bytes(line.object))
            if line.type == "DELETED":
                self._drop(key_of(view), view)
            elif line.type != "BOOKMARK":
                self._put(key_of(view), view)
            self._resource_version = view.metadata.resource_version

    def _put(self, key: str, view: V) -> None:
        old = self._store.put(key, view)
        if old is None:
            self._tell(Change("ADDED", key, None, view))
        elif old.metadata.resource_version != view.metadata.resource_version:
            self._tell(Change("MODIFIED", key, old, view))

    def _drop(self, key: str, last: V | None) -> None:
        old = self._store.drop(key)
        final = last if last is not None else old
        if final is not None:
            self._tell(Change("DELETED", key, old, final))

    def _tell(self, change: Change[V]) -> None:
        """Tell everyone, and let them know which change of the object this is a step of."""
        token = triggered_by.set(self._trigger(change))
        try:
            for handler in self._handlers:
                handler(change)
        finally:
            triggered_by.reset(token)

    def _trigger(self, change: Change[V]) -> Trigger | None:
        if not self._causes.key:
            return None
        meta, now = change.new.metadata, asyncio.get_running_loop().time()
        before = change.old or (None if self.synced.is_set() else change.new)  # the first LIST shows old news
        at_rest = before is not None and same_stamp(before.metadata, meta, self._causes.key) and settled(before)
        reaction = self._causes.react(meta, now=now, settled=at_rest)
        gone = change.type == "DELETED"
        if gone:
            self._causes.forget(getattr(meta, "uid", ""))
        return Trigger(reaction, change.key, now, open=bool(reaction) and not gone and not settled(change.new))

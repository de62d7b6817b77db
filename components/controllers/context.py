"""What every controller is built from: shared informers, the writer, and how owners hear of their members."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.objects import LabelSelector, Resource
from kubeglass.components.api.selectors import SelectorError, from_label_selector
from kubeglass.components.controllers.ownership import controller_of, controller_uid
from kubeglass.components.controllers.writer import Writer
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.events import EventRecorder
from kubeglass.components.machinery.informer import Change, Informer, key_of
from kubeglass.components.machinery.workqueue import WorkQueue
from kubeglass.telemetry import Telemetry

R = TypeVar("R", bound=Resource)
O = TypeVar("O", bound=Resource)  # noqa: E741  # the owner's type, beside the member's

CONTROLLER = "controller"
"""Index of every shared informer: objects by the uid of their controller."""
ORPHANS = "orphans"
"""Index of every shared informer: objects without a controller, by namespace."""


class Informers:
    """One informer per kind, shared by all controllers of the process."""

    def __init__(self, client: Client, telemetry: Telemetry) -> None:
        self._client = client
        self._telemetry = telemetry
        self._informers: dict[tuple[str, str], Informer[Any]] = {}
        self._group: asyncio.TaskGroup | None = None

    def of(self, kind: Kind, view: type[R]) -> Informer[R]:
        """The informer of a kind. Who asks first decides the view; all views begin with metadata."""
        identity = (kind.group, kind.plural)
        informer = self._informers.get(identity)
        if informer is None:
            informer = Informer(self._client, kind, view, self._telemetry)
            informer.add_index(CONTROLLER, controller_uid)
            informer.add_index(ORPHANS, lambda found: () if controller_of(found.metadata) else (_space(found),))
            self._informers[identity] = informer
            if self._group is not None:
                self._start(self._group, informer)
        return cast("Informer[R]", informer)

    def known(self, kind: Kind) -> Informer[Any] | None:
        """The informer of a kind, if somebody follows it."""
        return self._informers.get((kind.group, kind.plural))

    async def run(self, started: Callable[[], None]) -> None:
        """Follow all kinds asked for, now and later; `started` is called when the first ones are in step."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            first = list(self._informers.values())
            for informer in first:
                self._start(group, informer)
            for informer in first:
                await informer.synced.wait()
            started()

    @staticmethod
    def _start(group: asyncio.TaskGroup, informer: Informer[Any]) -> None:
        group.create_task(informer.run(), name=f"informer-{informer.kind.plural}")


def _space(view: Resource) -> str:
    return view.metadata.namespace


@dataclass(frozen=True, slots=True)
class ControllerContext:
    """What a controller gets in its constructor."""

    client: Client
    informers: Informers
    writer: Writer
    recorder: EventRecorder
    telemetry: Telemetry
    options: Mapping[str, Any]

    def queue(self, name: str) -> WorkQueue[str]:
        """A work queue that is counted under `name`."""
        return WorkQueue(name, self.telemetry)


def follow(informer: Informer[R], queue: WorkQueue[str]) -> None:
    """Queue the key of every object that changes."""
    informer.subscribe(lambda change: queue.add(change.key))


def follow_members(
    members: Informer[R],
    owners: Informer[O],
    kind: Kind,
    queue: WorkQueue[str],
    selector_of: Callable[[O], LabelSelector | None] | None = None,
) -> None:
    """Queue the owner's key when a member changes; an orphan tells every owner that would adopt it."""

    def changed(change: Change[R]) -> None:
        for member in (change.old, change.new):
            if member is not None:
                _tell_owner(member, owners, kind, queue)
        if selector_of is not None and change.type != "DELETED" and controller_of(change.new.metadata) is None:
            for owner in owners.list(change.new.metadata.namespace):
                if _selects(selector_of(owner), change.new.metadata.labels):
                    queue.add(key_of(owner))

    members.subscribe(changed)


def _tell_owner(member: Resource, owners: Informer[O], kind: Kind, queue: WorkQueue[str]) -> None:
    reference = controller_of(member.metadata)
    if reference is None or reference.kind != kind.kind:
        return
    owner = owners.get(f"{member.metadata.namespace}/{reference.name}")
    if owner is not None and owner.metadata.uid == reference.uid:
        queue.add(key_of(owner))


def _selects(selector: LabelSelector | None, labels: Mapping[str, str]) -> bool:
    if selector is None or not (selector.match_labels or selector.match_expressions):
        return False
    try:
        return from_label_selector(selector).matches(labels)
    except SelectorError:
        return False


def candidates(informer: Informer[R], owner: Resource) -> list[R]:
    """What an owner may claim: what it controls, and the orphans of its namespace."""
    return [
        *informer.by_index(CONTROLLER, owner.metadata.uid),
        *informer.by_index(ORPHANS, owner.metadata.namespace),
    ]

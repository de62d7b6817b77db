"""Garbage collection: objects whose owners are gone are deleted; foreground and orphaning deletions carried out.

Follows the metadata of every resource. Decides from ownergraph.py, but asks the server before it deletes anything.
Upstream: garbage-collector-controller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from kubeglass.components.api.errors import ApiError, MethodNotAllowed, NotFound
from kubeglass.components.api.kinds import (
    CUSTOM_RESOURCE_DEFINITION,
    EVENT,
    EVENTS_EVENT,
    KINDS,
    Kind,
)
from kubeglass.components.api.objects import CustomResourceDefinition, ObjectMeta, OwnerReference, Resource, decode
from kubeglass.components.controllers.actions import Delete, Patch
from kubeglass.components.controllers.context import ControllerContext
from kubeglass.components.controllers.customkinds import kind_of
from kubeglass.components.controllers.metrics import GarbageCollectorMetrics
from kubeglass.components.controllers.ownergraph import (
    FOREGROUND,
    ORPHAN,
    Node,
    OwnerGraph,
    deletion_policy,
    judge,
)
from kubeglass.components.machinery.informer import Change
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler

_IGNORED = (EVENT, EVENTS_EVENT)
_ABSENT_LIMIT = 5000


class GarbageCollector:
    """Watches everything that can own or be owned."""

    name = "garbage-collector-controller"

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._writer = context.writer
        self._informers = context.informers
        self._telemetry = context.telemetry.named(self.name)
        self._metrics = GarbageCollectorMetrics(context.telemetry.metrics)
        self._graph = OwnerGraph()
        self._followed: dict[tuple[str, str], Kind] = {}
        self._absent: dict[str, None] = {}  # uids known to be gone, oldest first
        self.queue = context.queue("garbage_collector_attempt_to_delete")
        self.orphaning = context.queue("garbage_collector_attempt_to_orphan")
        self._definitions = context.informers.of(CUSTOM_RESOURCE_DEFINITION, CustomResourceDefinition)

    async def run(self, started: Callable[[], None]) -> None:
        """Follow kind after kind, so that a starting cluster is not asked for everything at once; then collect."""
        async with asyncio.TaskGroup() as group:
            started()
            for kind in collected_kinds():
                await self._follow(kind)
            self._definitions.subscribe(self._definition_changed)
            group.create_task(run_reconciler(self, self.queue, self._telemetry, workers=10))
            orphaner = _Orphaner(self)
            group.create_task(run_reconciler(orphaner, self.orphaning, self._telemetry, workers=5))

    async def _follow(self, kind: Kind) -> None:
        if (kind.group, kind.plural) in self._followed:
            return
        self._followed[(kind.group, kind.plural)] = kind
        informer = self._informers.of(kind, Resource)
        informer.subscribe(lambda change: self._changed(kind, change))
        try:
            async with asyncio.timeout(5.0):
                await informer.synced.wait()
        except TimeoutError:
            # A resource that is not served keeps being asked for in the background; it holds up nothing.
            self._metrics.garbagecollector_controller_resources_sync_error_total.inc()

    def _definition_changed(self, change: Change[CustomResourceDefinition]) -> None:
        kind = kind_of(change.new)
        if kind is None or change.type == "DELETED" or (kind.group, kind.plural) in self._followed:
            return
        self._followed[(kind.group, kind.plural)] = kind
        self._informers.of(kind, Resource).subscribe(lambda found: self._changed(kind, found))

    # -- the graph ------------------------------------------------------------------------------------------------

    def _changed(self, kind: Kind, change: Change[Any]) -> None:
        meta: ObjectMeta = change.new.metadata
        if change.type == "DELETED":
            self._remember_absent(meta.uid)
            owners = list(meta.owner_references)
            for dependent in self._graph.drop(meta.uid):
                self.queue.add(dependent.uid)
            for reference in owners:
                owner = self._graph.get(reference.uid)
                if owner is not None and owner.waits_for_dependents:
                    self.queue.add(owner.uid)
            return
        node, before = self._graph.put(kind, meta)
        if node.orphans_dependents and not before.orphans_dependents:
            self.orphaning.add(node.uid)
        elif node.waits_for_dependents:
            self.queue.add(node.uid)
            for dependent in self._graph.dependents(node):
                self.queue.add(dependent.uid)
        if node.owners and (not before.seen or node.owners != before.owners):
            self._check_owners(node)

    def _check_owners(self, node: Node) -> None:
        if not self._owners_are_sound(node):
            self.queue.add(node.uid)

    def _owners_are_sound(self, node: Node) -> bool:
        """Whether the graph shows every owner, and none that waits for its dependents."""
        owners = [self._graph.get(reference.uid) for reference in node.owners]
        return all(owner is not None and owner.seen and not owner.waits_for_dependents for owner in owners)

    def _remember_absent(self, uid: str) -> None:
        self._absent[uid] = None
        if len(self._absent) > _ABSENT_LIMIT:
            del self._absent[next(iter(self._absent))]

    # -- deleting -------------------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> Result:
        node = self._graph.get(key)
        if node is None or node.kind is None:
            return DONE
        if node.deleting and not node.waits_for_dependents:
            return DONE
        if not node.deleting and self._owners_are_sound(node):
            return DONE  # it was queued before its owners were known
        latest = await self.latest(node)
        if latest is None:
            for dependent in self._graph.drop(node.uid):
                self.queue.add(dependent.uid)
            return DONE
        if latest.deletion_timestamp and FOREGROUND in latest.finalizers:
            await self._await_dependents(node, latest)
            return DONE
        verdict = judge([await self._state_of(reference, node) for reference in latest.owner_references])
        if verdict.keep:
            if verdict.solid and verdict.stale:
                await self._drop_references(node, latest, verdict.stale)
            return DONE
        policy = deletion_policy(verdict, latest.finalizers, bool(node.dependents))
        self._telemetry.log.v(2).info(
            "Deleting item", item=f"{node.kind.plural}/{node.name}", namespace=node.namespace, propagationPolicy=policy
        )
        await self._writer.apply(
            [
                Delete(
                    node.kind,
                    node.name,
                    node.namespace,
                    node.uid,
                    latest.resource_version,
                    propagation_policy=policy,
                )
            ]
        )
        return DONE

    async def latest(self, node: Node) -> ObjectMeta | None:
        """The object's metadata on the server; None when it is gone (or is another of that name)."""
        assert node.kind is not None
        try:
            obj = await self._client.get(node.kind, node.name, node.namespace)
        except NotFound:
            return None
        meta = decode(Resource, obj).metadata
        return meta if meta.uid == node.uid else None

    async def _state_of(self, reference: OwnerReference, node: Node) -> tuple[OwnerReference, bool, bool]:
        """(reference, does the owner exist, does it wait for its dependents)."""
        if reference.uid in self._absent:
            return reference, False, False
        kind = self._kind_of(reference)
        if kind is None:
            return reference, True, False  # an unknown kind cannot be asked: better keep the object
        namespace = node.namespace if kind.namespaced else ""
        try:
            owner = decode(Resource, await self._client.get(kind, reference.name, namespace)).metadata
        except NotFound:
            self._remember_absent(reference.uid)
            return reference, False, False
        except (ApiError, MethodNotAllowed):
            return reference, True, False
        if owner.uid != reference.uid:
            self._remember_absent(reference.uid)
            return reference, False, False
        return reference, True, bool(owner.deletion_timestamp) and FOREGROUND in owner.finalizers

    def _kind_of(self, reference: OwnerReference) -> Kind | None:
        group = reference.api_version.rpartition("/")[0]
        return next((k for k in self._followed.values() if (k.group, k.kind) == (group, reference.kind)), None)

    async def _await_dependents(self, node: Node, latest: ObjectMeta) -> None:
        """Foreground deletion: once nothing blocks any more, the finalizer goes, and the object with it."""
        blocking = [
            dependent
            for dependent in self._graph.dependents(node)
            if any(ref.uid == node.uid and ref.block_owner_deletion for ref in dependent.owners)
        ]
        if not blocking:
            await self.drop_finalizer(node, latest, FOREGROUND)
            return
        for dependent in blocking:
            if not dependent.deleting:
                self.queue.add(dependent.uid)

    async def _drop_references(self, node: Node, latest: ObjectMeta, stale: tuple[OwnerReference, ...]) -> None:
        assert node.kind is not None
        gone = {reference.uid for reference in stale}
        kept = [_wire(reference) for reference in latest.owner_references if reference.uid not in gone]
        patch = {"metadata": {"resourceVersion": latest.resource_version, "uid": node.uid, "ownerReferences": kept}}
        await self._writer.apply([Patch(node.kind, node.name, node.namespace, patch, ignore_missing=True)])

    async def drop_finalizer(self, node: Node, latest: ObjectMeta, finalizer: str) -> None:
        """Take one finalizer from an object."""
        assert node.kind is not None
        kept = [found for found in latest.finalizers if found != finalizer]
        patch = {"metadata": {"resourceVersion": latest.resource_version, "finalizers": kept or None}}
        await self._writer.apply([Patch(node.kind, node.name, node.namespace, patch, ignore_missing=True)])

    # -- orphaning ------------------------------------------------------------------------------------------------

    async def orphan(self, uid: str) -> None:
        """Let the dependents go free, then the owner."""
        node = self._graph.get(uid)
        if node is None or node.kind is None:
            return
        latest = await self.latest(node)
        if latest is None or ORPHAN not in latest.finalizers:
            return
        for dependent in list(self._graph.dependents(node)):
            if dependent.kind is None:
                continue
            found = await self.latest(dependent)
            if found is not None:
                stale = tuple(ref for ref in found.owner_references if ref.uid == uid)
                if stale:
                    await self._drop_references(dependent, found, stale)
        await self.drop_finalizer(node, latest, ORPHAN)


class _Orphaner:
    """The second queue's reconciler."""

    name = "garbage-collector-orphaner"

    def __init__(self, collector: GarbageCollector) -> None:
        self._collector = collector

    async def reconcile(self, key: str) -> Result:
        await self._collector.orphan(key)
        return DONE


def collected_kinds() -> list[Kind]:
    """Every stored resource once, except Events."""
    found: dict[tuple[str, str], Kind] = {}
    for kind in KINDS:
        if kind.storable and kind.served and "delete" in kind.verbs and kind not in _IGNORED:
            found.setdefault((kind.group, kind.plural), kind)
    return list(found.values())


def _wire(reference: OwnerReference) -> dict[str, Any]:
    pairs = {
        "apiVersion": reference.api_version,
        "kind": reference.kind,
        "name": reference.name,
        "uid": reference.uid,
        "controller": reference.controller,
        "blockOwnerDeletion": reference.block_owner_deletion,
    }
    return {key: value for key, value in pairs.items() if value is not None}

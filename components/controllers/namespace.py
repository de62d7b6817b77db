"""Namespaces that are being deleted: their content goes first, Pods before the rest, then the finalizer.

Upstream: namespace-controller. What is left, and why, is stated in the namespace's conditions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kubeglass.components.api.errors import ApiError, MethodNotAllowed, NotFound
from kubeglass.components.api.kinds import EVENTS_EVENT, KINDS, NAMESPACE, POD, Kind
from kubeglass.components.api.objects import Namespace, encode
from kubeglass.components.controllers.actions import Patch
from kubeglass.components.controllers.arithmetic import with_condition
from kubeglass.components.controllers.context import ControllerContext
from kubeglass.components.controllers.customkinds import CustomKinds
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler

FINALIZER = "kubernetes"
_LOOK_AGAIN_SECONDS = 1.0


@dataclass(slots=True)
class Remains:
    """What a round of deletion left behind."""

    resources: dict[str, int] = field(default_factory=dict)
    finalizers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        return not self.resources and not self.failures


def conditions(namespace: Namespace, remains: Remains, now: float) -> list[dict[str, Any]]:
    """The five conditions of a terminating namespace."""
    found = [encode(condition) for condition in namespace.status.conditions]
    for type, problem, (bad, good), (bad_text, good_text) in _rows(remains):
        condition = {
            "type": type,
            "status": "True" if problem else "False",
            "reason": bad if problem else good,
            "message": bad_text if problem else good_text,
            "lastTransitionTime": clock.rfc3339(now),
        }
        old = next((each for each in found if each["type"] == type), None)
        if old is not None and old["status"] == condition["status"] and old.get("message") != condition["message"]:
            condition["lastTransitionTime"] = old["lastTransitionTime"]
            found = [condition if each is old else each for each in found]
        else:
            found = with_condition(found, condition)
    return found


def _rows(remains: Remains) -> Iterable[tuple[str, bool, tuple[str, str], tuple[str, str]]]:
    instances = [f"{name} has {count} resource instances" for name, count in sorted(remains.resources.items())]
    held = [f"{name} in {count} resource instances" for name, count in sorted(remains.finalizers.items())]
    yield (
        "NamespaceDeletionDiscoveryFailure",
        False,
        ("DiscoveryFailed", "ResourcesDiscovered"),
        ("", "All resources successfully discovered"),
    )
    yield (
        "NamespaceDeletionGroupVersionParsingFailure",
        False,
        ("GroupVersionParsingFailed", "ParsedGroupVersions"),
        ("", "All legacy kube types successfully parsed"),
    )
    yield (
        "NamespaceDeletionContentFailure",
        bool(remains.failures),
        ("ContentDeletionFailed", "ContentDeleted"),
        (
            f"Failed to delete all resource types, {len(remains.failures)} remaining: {', '.join(remains.failures)}",
            "All content successfully deleted, may be waiting on finalization",
        ),
    )
    yield (
        "NamespaceContentRemaining",
        bool(remains.resources),
        ("SomeResourcesRemain", "ContentRemoved"),
        (f"Some resources are remaining: {', '.join(instances)}", "All content successfully removed"),
    )
    yield (
        "NamespaceFinalizersRemaining",
        bool(remains.finalizers),
        ("SomeFinalizersRemain", "ContentHasNoFinalizers"),
        (
            f"Some content in the namespace has finalizers remaining: {', '.join(held)}",
            "All content-preserving finalizers finished",
        ),
    )


def deletable_kinds(custom: Sequence[Kind]) -> list[Kind]:
    """Every namespaced, stored resource once, Pods first."""
    found: dict[tuple[str, str], Kind] = {}
    for kind in (*KINDS, *custom):
        # events.k8s.io shows the objects of the core group a second time.
        if kind.namespaced and kind.storable and kind.served and "delete" in kind.verbs and kind is not EVENTS_EVENT:
            found.setdefault((kind.group, kind.plural), kind)
    return sorted(found.values(), key=lambda kind: kind is not POD)


class NamespaceController:
    """Watches namespaces."""

    name = "namespace-controller"
    kind = NAMESPACE

    def __init__(self, context: ControllerContext) -> None:
        self._client: Client = context.client
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._custom = CustomKinds(context.informers)
        self._namespaces = context.informers.of(NAMESPACE, Namespace)
        self.queue = context.queue("namespace")
        self._namespaces.subscribe(
            lambda change: self.queue.add(change.key) if change.new.metadata.deletion_timestamp else None
        )

    async def run(self, started: Callable[[], None]) -> None:
        await run_reconciler(self, self.queue, self._telemetry, workers=10, started=started)

    async def reconcile(self, key: str) -> Result:
        namespace = self._namespaces.get(key)
        if namespace is None or not namespace.metadata.deletion_timestamp:
            return DONE
        if FINALIZER not in namespace.spec.finalizers:
            return DONE
        remains = await self._delete_content(key)
        await self._state(namespace, remains)
        if not remains.nothing:
            return Result(_LOOK_AGAIN_SECONDS)
        await self._finalize(key)
        return DONE

    async def _delete_content(self, namespace: str) -> Remains:
        remains = Remains()
        for kind in deletable_kinds(self._custom.kinds()):
            await self._delete_kind(kind, namespace, remains)
            if kind is POD and remains.resources:
                break  # Pods may still need what else is in the namespace
        return remains

    async def _delete_kind(self, kind: Kind, namespace: str, remains: Remains) -> None:
        try:
            left = (await self._client.list(kind, namespace)).items
            if not left:
                return
            await self._delete_all(kind, namespace, left)
            left = (await self._client.list(kind, namespace)).items
        except (NotFound, MethodNotAllowed):
            return  # the resource is not served (any more)
        except ApiError as error:
            remains.failures.append(f"{kind.resource}: {error.message}")
            return
        if left:
            remains.resources[f"{kind.plural}.{kind.group}"] = len(left)
            for obj in left:
                remains.finalizers.update(obj["metadata"].get("finalizers") or ())

    async def _delete_all(self, kind: Kind, namespace: str, items: Sequence[Mapping[str, Any]]) -> None:
        if "deletecollection" in kind.verbs:
            options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
            body = msgspec.json.encode(options)
            await self._client.raw("DELETE", kind.path(namespace), body)
            return
        for obj in items:
            try:
                await self._client.delete(kind, obj["metadata"]["name"], namespace)
            except NotFound:
                continue

    async def _state(self, namespace: Namespace, remains: Remains) -> None:
        stated = conditions(namespace, remains, clock.now())
        if stated != [encode(found) for found in namespace.status.conditions]:
            patch = {"status": {"conditions": stated}}
            name = namespace.metadata.name
            await self._writer.apply([Patch(NAMESPACE, name, "", patch, "status", ignore_missing=True)])

    async def _finalize(self, name: str) -> None:
        try:
            latest = await self._client.get(NAMESPACE, name)
            kept = [found for found in latest["spec"].get("finalizers") or () if found != FINALIZER]
            latest["spec"]["finalizers"] = kept
            await self._client.update(NAMESPACE, latest, subresource="finalize")
        except NotFound:
            return

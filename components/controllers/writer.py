"""Carries out plans: sends each action, records the Events that go with it, and waits until its effects are visible.

A controller decides from its informers; so that it never decides twice on old news, `apply` returns only when the
informers have seen what was written (at most a few seconds). This takes the place of upstream's expectations.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubeglass.components.api.errors import AlreadyExists, ApiError, NotFound
from kubeglass.components.api.kinds import POD, Kind
from kubeglass.components.controllers.actions import (
    Action,
    Create,
    CreatePods,
    Delete,
    DeletePods,
    Emit,
    Patch,
    describe,
)
from kubeglass.components.machinery.client import Client, Object
from kubeglass.components.machinery.events import EventRecorder
from kubeglass.components.machinery.informer import Change, Informer
from kubeglass.components.machinery.transport import Unreachable
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.tracing.causality import stamp
from kubeglass.telemetry.tracing.context import current_context
from kubeglass.telemetry.tracing.tracer import current_span

ECHO_TIMEOUT_SECONDS = 5.0
_NAMESPACE_TERMINATING = "NamespaceTerminating"


@dataclass(slots=True)
class _Echo:
    """What a write must look like in the informer."""

    uid: str
    resource_version: int
    gone: bool
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def answers(self, change: Change[Any]) -> bool:
        meta = change.new.metadata
        if self.uid and meta.uid != self.uid:
            return False
        return change.type == "DELETED" or self.satisfied_by(change.new)

    def satisfied_by(self, view: Any | None) -> bool:
        """Whether what the store has now already shows the write."""
        if view is None or (self.uid and view.metadata.uid != self.uid):
            return self.gone
        if self.gone:
            return bool(view.metadata.deletion_timestamp)
        return int(view.metadata.resource_version or 0) >= self.resource_version


class Writer:
    """Does what plans say."""

    def __init__(
        self,
        client: Client,
        recorder: EventRecorder,
        telemetry: Telemetry,
        informer_of: Callable[[Kind], Informer[Any] | None],
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._log = telemetry.log
        self._annotation = telemetry.tracer.annotation
        self._informer_of = informer_of
        self._waiting: dict[tuple[Kind, str], list[_Echo]] = {}
        self._listening: set[Kind] = set()
        self._component = ""

    def speaking_as(self, component: str) -> Writer:
        """The same writer, whose Events are those of `component`."""
        twin = copy.copy(self)
        twin._component = component
        return twin

    async def apply(self, actions: Iterable[Action]) -> None:
        """Do one action after the other. The first failure ends it; what was done before is waited for all the same."""
        echoes: list[tuple[Kind, str, _Echo]] = []
        done: list[str] = []
        try:
            for action in actions:
                await self._do(action, echoes)
                done.append(describe(action))
        finally:
            if done:
                current_span().set("kubeglass.actions", done)
                self._log.v(4).info("Applied", actions=done)
            await self._hear(echoes)

    async def _do(self, action: Action, echoes: list[tuple[Kind, str, _Echo]]) -> None:
        match action:
            case Create():
                await self._create(action, echoes)
            case Patch():
                await self._patch(action, echoes)
            case Delete():
                await self._delete(action, echoes)
            case CreatePods():
                await self._create_pods(action, echoes)
            case DeletePods():
                await self._delete_pods(action, echoes)
            case Emit():
                self._say(action)

    def _say(self, event: Emit) -> None:
        self._recorder.event(event.regarding, event.type, event.reason, event.message, component=self._component)

    async def _create(self, action: Create, echoes: list[tuple[Kind, str, _Echo]]) -> None:
        namespace = action.obj["metadata"].get("namespace", "")
        try:
            created = await self._client.create(action.kind, self._handed_on(action.obj), namespace)
        except AlreadyExists:
            if not action.ignore_existing:
                raise
            return
        echoes.append(self._expect(action.kind, created))

    async def _patch(self, action: Patch, echoes: list[tuple[Kind, str, _Echo]]) -> None:
        try:
            patched = await self._client.patch(
                action.kind,
                action.name,
                self._handed_on(action.patch) if not action.subresource and _asks(action.patch) else action.patch,
                action.namespace,
                patch_type=action.patch_type,
                subresource=action.subresource,
            )
        except NotFound:
            if not action.ignore_missing:
                raise
            return
        if action.subresource in ("", "status"):
            echoes.append(self._expect(action.kind, patched))

    def _handed_on(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """What is written carries the present reconcile to whoever reacts to it."""
        context = current_context()
        if not self._annotation or context is None:
            return body
        metadata = body.get("metadata") or {}
        annotations = stamp(metadata.get("annotations"), context, self._annotation)
        return {**body, "metadata": {**metadata, "annotations": annotations}}

    async def _delete(self, action: Delete, echoes: list[tuple[Kind, str, _Echo]]) -> None:
        try:
            await self._client.delete(
                action.kind,
                action.name,
                action.namespace,
                uid=action.uid,
                resource_version=action.resource_version,
                propagation_policy=action.propagation_policy,
                grace_period_seconds=action.grace_period_seconds,
            )
        except NotFound:
            return
        echoes.append(self._expect_gone(action.kind, action.namespace, action.name, action.uid))

    # -- pods -----------------------------------------------------------------------------------------------------

    async def _create_pods(self, action: CreatePods, echoes: list[tuple[Kind, str, _Echo]]) -> None:
        """Slow start: a controller whose Pods are refused asks once, not a thousand times."""
        remaining = list(action.pods)
        batch_size = 1
        while remaining:
            batch, remaining = remaining[:batch_size], remaining[batch_size:]
            outcomes = await _all([self._create_pod(action, pod) for pod in batch])
            echoes.extend(self._expect(POD, found) for found in outcomes if isinstance(found, dict) and found)
            failures = [found for found in outcomes if isinstance(found, Exception)]
            if failures:
                raise failures[0]
            batch_size *= 2

    async def _create_pod(self, action: CreatePods, pod: Mapping[str, Any]) -> Object:
        try:
            created = await self._client.create(POD, self._handed_on(pod), pod["metadata"]["namespace"])
        except AlreadyExists:
            if "name" in pod["metadata"]:
                return {}
            raise
        except (ApiError, Unreachable) as error:
            if isinstance(error, ApiError) and any(c.reason == _NAMESPACE_TERMINATING for c in error.causes):
                return {}
            self._say(Emit(action.owner, "Warning", "FailedCreate", f"Error creating: {error}"))
            raise
        self._say(Emit(action.owner, "Normal", "SuccessfulCreate", f"Created pod: {created['metadata']['name']}"))
        return created

    async def _delete_pods(self, action: DeletePods, echoes: list[tuple[Kind, str, _Echo]]) -> None:
        outcomes = await _all([self._delete_pod(action, *pod) for pod in action.pods])
        echoes.extend(
            self._expect_gone(POD, namespace, name, uid)
            for (namespace, name, uid), outcome in zip(action.pods, outcomes, strict=True)
            if not isinstance(outcome, Exception)
        )
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _delete_pod(self, action: DeletePods, namespace: str, name: str, uid: str) -> Object:
        try:
            await self._client.delete(POD, name, namespace, uid=uid)
        except NotFound:
            return {}
        except (ApiError, Unreachable) as error:
            self._say(Emit(action.owner, "Warning", "FailedDelete", f"Error deleting: {error}"))
            raise
        self._say(Emit(action.owner, "Normal", "SuccessfulDelete", f"Deleted pod: {name}"))
        return {}

    # -- echoes ---------------------------------------------------------------------------------------------------

    def _expect(self, kind: Kind, written: Object) -> tuple[Kind, str, _Echo]:
        meta = written.get("metadata") or {}
        # An object whose last finalizer was taken is gone, whatever the answer to the write says.
        gone = bool(meta.get("deletionTimestamp")) and not meta.get("finalizers")
        echo = _Echo(meta.get("uid", ""), int(meta.get("resourceVersion") or 0), gone)
        return kind, _key(meta.get("namespace", ""), meta.get("name", "")), echo

    @staticmethod
    def _expect_gone(kind: Kind, namespace: str, name: str, uid: str) -> tuple[Kind, str, _Echo]:
        return kind, _key(namespace, name), _Echo(uid, 0, gone=True)

    async def _hear(self, echoes: Sequence[tuple[Kind, str, _Echo]]) -> None:
        waiting = []
        for kind, key, echo in echoes:
            informer = self._informer_of(kind)
            if informer is None or not informer.synced.is_set() or echo.satisfied_by(informer.get(key)):
                continue
            self._listen(kind, informer)
            self._waiting.setdefault((kind, key), []).append(echo)
            waiting.append((kind, key, echo))
        if not waiting:
            return
        try:
            async with asyncio.timeout(ECHO_TIMEOUT_SECONDS):
                for _, _, echo in waiting:
                    await echo.heard.wait()
        except TimeoutError:
            self._log.v(2).info("Informers lag behind writes", kinds=sorted({kind.plural for kind, _, _ in waiting}))
        finally:
            for kind, key, echo in waiting:
                self._forget(kind, key, echo)

    def _forget(self, kind: Kind, key: str, echo: _Echo) -> None:
        found = self._waiting.get((kind, key), [])
        if echo in found:
            found.remove(echo)
        if not found:
            self._waiting.pop((kind, key), None)

    def _listen(self, kind: Kind, informer: Informer[Any]) -> None:
        if kind in self._listening:
            return
        self._listening.add(kind)

        def heard(change: Change[Any]) -> None:
            for echo in self._waiting.get((kind, change.key), ()):
                if echo.answers(change):
                    echo.heard.set()

        informer.subscribe(heard)


def _asks(patch: Any) -> bool:
    """Whether a patch changes more than metadata."""
    return isinstance(patch, Mapping) and any(name != "metadata" for name in patch)


def _key(namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name


async def _all(work: Sequence[Any]) -> list[Any]:
    """Run everything at once; each outcome is a result or the exception."""

    async def outcome(one: Any) -> Any:
        try:
            return await one
        except (ApiError, Unreachable) as error:
            return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(outcome(one)) for one in work]
    return [task.result() for task in tasks]

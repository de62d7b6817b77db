"""Events about objects, as client-go's recorder writes them: repeated ones counted, similar ones combined, floods cut.

`EventRecorder.event` never blocks and never fails; a bounded queue (oldest kept, newest dropped and counted) feeds
one writer. `Correlator` is pure: it decides what to write from what happened before. Upstream: client-go/tools/record.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeVar

from kubeglass.components.api.errors import ApiError, NotFound
from kubeglass.components.api.kinds import EVENT
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.metrics import EventMetrics
from kubeglass.components.machinery.transport import Unreachable
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.tracing.context import current_context, format_traceparent
from kubeglass.telemetry.tracing.tracer import ANNOTATION, current_span, leave, untraced

EventType = Literal["Normal", "Warning"]

_QUEUE_LIMIT = 1000
_CACHE_LIMIT = 4096
_SIMILAR_LIMIT = 10
_SIMILAR_WINDOW_SECONDS = 600.0
_BURST = 25
_REFILL_PER_SECOND = 1 / 300
_WRITE_ATTEMPTS = 12


@dataclass(frozen=True, slots=True)
class ObjectReference:
    """What an Event is about."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = ""

    def wire(self) -> dict[str, str]:
        """The involvedObject of an Event."""
        pairs = {
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
            "apiVersion": self.api_version,
            "resourceVersion": self.resource_version,
            "fieldPath": self.field_path,
        }
        return {key: value for key, value in pairs.items() if value}


class _Meta(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def resource_version(self) -> str: ...


class Described(Protocol):
    """A typed view that knows its kind, as those in api.objects do."""

    @property
    def api_version(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def metadata(self) -> _Meta: ...


def reference_to(view: Described, field_path: str = "") -> ObjectReference:
    """The reference of a typed view."""
    meta = view.metadata
    return ObjectReference(
        view.api_version, view.kind, meta.name, meta.namespace, meta.uid, meta.resource_version, field_path
    )


@dataclass(frozen=True, slots=True)
class Happening:
    """One call of the recorder."""

    regarding: ObjectReference
    type: EventType
    reason: str
    message: str
    at: float  # seconds since the epoch
    traceparent: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    component: str = ""  # whose word it is; the recorder's own if empty


@dataclass(frozen=True, slots=True)
class Written:
    """An Event as it is on the server: enough to count it up."""

    name: str
    first_at: float
    count: int


@dataclass(slots=True)
class _Tokens:
    level: float
    at: float


@dataclass(slots=True)
class _Similar:
    messages: set[str]
    at: float


class Correlator:
    """Decides whether a happening is a new Event, one more of a known one, or too much."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[object, ...], Written] = OrderedDict()
        self._similar: OrderedDict[tuple[object, ...], _Similar] = OrderedDict()
        self._tokens: OrderedDict[tuple[object, ...], _Tokens] = OrderedDict()

    def admit(self, happening: Happening) -> Happening | None:
        """The happening to write (its message perhaps combined), or None when its object talks too much."""
        if not self._take_token(happening):
            return None
        group = (happening.component, _object(happening), happening.type, happening.reason)
        similar = self._similar.get(group)
        if similar is None or happening.at - similar.at > _SIMILAR_WINDOW_SECONDS:
            similar = _remember(self._similar, group, _Similar(set(), happening.at))
        similar.messages.add(happening.message)
        similar.at = happening.at
        if len(similar.messages) < _SIMILAR_LIMIT:
            return happening
        combined = f"(combined from similar events): {happening.message}"
        return replace(happening, message=combined)

    def known(self, happening: Happening) -> Written | None:
        """The Event that this happening repeats, if it was written before."""
        return self._known.get(_identity(happening))

    def wrote(self, happening: Happening, written: Written) -> None:
        """Remember what is on the server now."""
        _remember(self._known, _identity(happening), written)

    def forget(self, happening: Happening) -> None:
        """The Event is gone from the server."""
        self._known.pop(_identity(happening), None)

    def _take_token(self, happening: Happening) -> bool:
        speaker = (happening.component, _object(happening))
        tokens = self._tokens.get(speaker)
        if tokens is None:
            tokens = _remember(self._tokens, speaker, _Tokens(_BURST, happening.at))
        refilled = tokens.level + max(0.0, happening.at - tokens.at) * _REFILL_PER_SECOND
        tokens.level, tokens.at = min(float(_BURST), refilled), happening.at
        if tokens.level < 1:
            return False
        tokens.level -= 1
        return True


def _identity(happening: Happening) -> tuple[object, ...]:
    # Combined messages repeat one Event whatever their tail says.
    message = happening.message
    if message.startswith("(combined from similar events): "):
        message = "(combined from similar events)"
    return (
        happening.component,
        _object(happening),
        happening.regarding.field_path,
        happening.type,
        happening.reason,
        message,
    )


def _object(happening: Happening) -> tuple[str, ...]:
    """Which object it is about, whatever state that is in."""
    regarding = happening.regarding
    return regarding.api_version, regarding.kind, regarding.namespace, regarding.name, regarding.uid


_T = TypeVar("_T")


def _remember(cache: OrderedDict[tuple[object, ...], _T], key: tuple[object, ...], value: _T) -> _T:
    cache[key] = value
    cache.move_to_end(key)
    if len(cache) > _CACHE_LIMIT:
        cache.popitem(last=False)
    return value


def _noted_on_span(type: str, reason: str, message: str) -> str:
    """The Event as an event of the active span, and the span as the Event's annotation: each leads to the other."""
    context = current_context()
    if context is None or not context.sampled:
        return ""
    current_span().event(reason, type=type, message=message)
    return format_traceparent(context)


class EventRecorder:
    """Writes Events for one component; `run` must be running for anything to be written."""

    def __init__(self, client: Client, component: str, telemetry: Telemetry, host: str = "") -> None:
        self._client = client
        self._component = component
        self._host = host
        self._log = telemetry.log
        self._clean = telemetry.sanitizer.text
        self._metrics = EventMetrics(telemetry.metrics)
        self._correlator = Correlator()
        self._queue: asyncio.Queue[Happening] = asyncio.Queue(_QUEUE_LIMIT)

    def event(
        self,
        regarding: Described | ObjectReference,
        type: EventType,
        reason: str,
        message: str,
        *,
        field_path: str = "",
        component: str = "",
    ) -> None:
        """Say that something happened to an object, as `component` if given. Returns at once."""
        message = self._clean(message)
        reference = regarding if isinstance(regarding, ObjectReference) else reference_to(regarding, field_path)
        happening = Happening(
            reference, type, reason, message, clock.now(), _noted_on_span(type, reason, message), component=component
        )
        self._log.v(3).info(
            "Event occurred",
            object=f"{reference.namespace}/{reference.name}" if reference.namespace else reference.name,
            fieldPath=reference.field_path,
            kind=reference.kind,
            apiVersion=reference.api_version,
            type=type,
            reason=reason,
            message=message,
        )
        try:
            self._queue.put_nowait(happening)
        except asyncio.QueueFull:
            self._metrics.dropped("queue-full")

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Write until cancelled; what is queued then is written first, as far as the server answers."""
        leave()
        started()
        try:
            while True:
                await self._write(await self._queue.get())
        finally:
            while not self._queue.empty():
                if not await self._write_once(self._queue.get_nowait()):
                    break

    async def _write(self, happening: Happening) -> None:
        admitted = self._correlator.admit(happening)
        if admitted is None:
            self._metrics.dropped("rate-limited")
            return
        for attempt in range(_WRITE_ATTEMPTS):
            if await self._write_once(admitted):
                return
            await asyncio.sleep(min(10.0, 0.1 * 2**attempt))
        self._metrics.dropped("unreachable")

    async def _write_once(self, happening: Happening) -> bool:
        """True when there is nothing left to do for this happening.

        The writes leave no spans: in the trace the Event is an event of the span that it is about.
        """
        with untraced():
            return await self._send(happening)

    async def _send(self, happening: Happening) -> bool:
        try:
            known = self._correlator.known(happening)
            if known is not None:
                try:
                    await self._count_up(happening, known)
                    return True
                except NotFound:
                    self._correlator.forget(happening)
            await self._create(happening)
        except Unreachable:
            return False
        except ApiError as error:
            # Refused (its namespace may be going): the Event is lost, the component is not.
            self._metrics.dropped("refused")
            self._log.v(2).info("Server rejected event", reason=happening.reason, err=str(error))
        return True

    async def _create(self, happening: Happening) -> None:
        name = f"{happening.regarding.name}.{clock.now_ns():x}"
        namespace = happening.regarding.namespace or "default"
        await self._client.create(EVENT, self._body(happening, name, namespace), namespace)
        self._correlator.wrote(happening, Written(name, happening.at, 1))

    async def _count_up(self, happening: Happening, known: Written) -> None:
        count = known.count + 1
        patch = {"count": count, "lastTimestamp": clock.rfc3339(happening.at), "message": happening.message}
        namespace = happening.regarding.namespace or "default"
        await self._client.patch(EVENT, known.name, patch, namespace, patch_type="strategic")
        self._correlator.wrote(happening, Written(known.name, known.first_at, count))

    def _body(self, happening: Happening, name: str, namespace: str) -> dict[str, Any]:
        stamp = clock.rfc3339(happening.at)
        metadata: dict[str, Any] = {"name": name, "namespace": namespace}
        annotations = dict(happening.annotations)
        if happening.traceparent:
            annotations[ANNOTATION] = happening.traceparent
        if annotations:
            metadata["annotations"] = annotations
        component = happening.component or self._component
        source = {"component": component, **({"host": self._host} if self._host else {})}
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": metadata,
            "involvedObject": happening.regarding.wire(),
            "reason": happening.reason,
            "message": happening.message,
            "source": source,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "type": happening.type,
            "eventTime": None,
            "reportingComponent": component,
            "reportingInstance": self._host,
        }

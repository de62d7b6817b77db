"""The trace of a change, carried across watches by an annotation on the objects it touches. Pure.

A write that changes desired state is stamped with its context; whoever reacts asks `Causes` how its span belongs:
    first reaction to a new generation           a child of the write
    more reactions until the object is settled   children too: a rollout is many steps of one change
    a later cause of the same generation         a child if it is a step of the same trace, else a new trace with a link
    settled, resynced, or long ago               nothing: old traces do not grow
The annotation is that of KEP-5915. Which inbound contexts may become parents is upstream's rule since v1.33.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any

import msgspec

from kubeglass.telemetry.tracing.context import SpanContext, format_traceparent, parse_traceparent
from kubeglass.telemetry.tracing.tracer import ANNOTATION, Link

TRUSTED_GROUPS = frozenset({"system:masters", "system:monitoring"})
WINDOW_SECONDS = 600.0
"""How long a change that does not settle goes on growing its trace."""


def stamp(annotations: Mapping[str, str] | None, context: SpanContext | None, key: str = ANNOTATION) -> dict[str, str]:
    """`annotations` with the context of the write; unchanged (but copied) without a valid context or key."""
    stamped = dict(annotations or {})
    if key and context is not None and context.valid:
        stamped[key] = format_traceparent(context)
    return stamped


def cause_of(meta: Any, key: str = ANNOTATION) -> SpanContext | None:
    """The context an object's metadata (a mapping, or anything with `.annotations`) is stamped with."""
    annotations = _get(meta, "annotations")
    value = annotations.get(key) if key and isinstance(annotations, Mapping) else None
    return parse_traceparent(value) if isinstance(value, str) else None


def supplied(stored: Any, written: Any, key: str = ANNOTATION) -> SpanContext | None:
    """The context a writer put on the object itself, handing on its cause. None when it only kept what was stored."""
    new = cause_of(written, key)
    return None if new is None or same_span(new, cause_of(stored, key)) else new


def inbound(context: SpanContext | None, *, trusted: bool) -> tuple[SpanContext | None, tuple[Link, ...]]:
    """(parent, links) of a request span: a trusted caller's context is the parent, another's only a link."""
    if context is None:
        return None, ()
    return (context, ()) if trusted else (None, (Link(context),))


def same_span(one: SpanContext | None, other: SpanContext | None) -> bool:
    """Whether both name the same span."""
    return one is other or (
        one is not None and other is not None and (one.trace_id, one.span_id) == (other.trace_id, other.span_id)
    )


def same_stamp(one: Any, other: Any, key: str = ANNOTATION) -> bool:
    """Whether two versions of an object's metadata follow the same change."""
    return same_span(cause_of(one, key), cause_of(other, key))


class Reaction(msgspec.Struct, frozen=True):
    """How the span of a reaction belongs: pass `**reaction.arguments` to `tracer.span`. False: it belongs nowhere."""

    parent: SpanContext | None = None
    links: tuple[SpanContext, ...] = ()

    def __bool__(self) -> bool:
        return self.parent is not None or bool(self.links)

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `Tracer.span`. A span that only has links is sampled when one of them is."""
        if self.parent is not None or not self.links:
            return {"parent": self.parent, "links": self.links}
        return {"parent": None, "links": self.links, "sampled": any(link.sampled for link in self.links)}


NO_CAUSE = Reaction()


class _Seen(msgspec.Struct):
    generation: int
    cause: SpanContext | None
    since: float
    settled: bool


class Trigger(msgspec.Struct, frozen=True):
    """Why something is being looked at: the reaction to the change of one object (`about`: its key), and since when.

    `open`: the object is not yet what the change asks for; whatever is done for it until then belongs to the change.
    """

    reaction: Reaction
    about: str
    since: float
    open: bool = False


triggered_by: ContextVar[Trigger | None] = ContextVar("kubeglass_triggered_by", default=None)
"""Set while a change is told to those who follow an object; queues note it, so that work knows its cause."""


def merged(triggers: Collection[Trigger], about: str, now: float, window_seconds: float = WINDOW_SECONDS) -> Reaction:
    """One reaction to several triggers: the newest of the object itself, else the newest, is the parent."""
    fresh = [trigger for trigger in triggers if now - trigger.since <= window_seconds]
    ranked = sorted(fresh, key=lambda trigger: trigger.about == about)  # stable: the newest of its class stays last
    contexts: list[SpanContext] = []
    parent: SpanContext | None = None
    for trigger in reversed(ranked):
        if parent is None:
            parent = trigger.reaction.parent
        contexts += [*([trigger.reaction.parent] if trigger.reaction.parent else []), *trigger.reaction.links]
    links: list[SpanContext] = []
    for context in contexts:
        if not any(same_span(context, other) for other in (parent, *links)):
            links.append(context)
    return Reaction(parent, tuple(links)) if parent or links else NO_CAUSE


class Causes:
    """What one component has already reacted to, per object uid. Bounded: the least recently seen uid is forgotten."""

    def __init__(self, key: str = ANNOTATION, *, window_seconds: float = WINDOW_SECONDS, capacity: int = 16384) -> None:
        self.key = key
        self._window = window_seconds
        self._capacity = capacity
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._merged: dict[str, list[SpanContext]] = {}

    def saw(self, meta: Any) -> None:
        """Note a delivered change whose reaction may be merged with a later one's; the last becomes the parent."""
        cause = cause_of(meta, self.key)
        if cause is None:
            return
        seen = self._seen.get(_uid(meta))
        if seen is not None and (same_span(seen.cause, cause) or seen.generation > _generation(meta)):
            return
        waiting = self._merged.setdefault(_uid(meta), [])
        if not any(same_span(cause, other) for other in waiting):
            waiting.append(cause)
            del waiting[:-8]

    def react(self, meta: Any, *, now: float, settled: bool = False) -> Reaction:
        """How a reaction to this object belongs. `settled`: its status already matches this generation."""
        uid, generation, cause = _uid(meta), _generation(meta), cause_of(meta, self.key)
        merged = tuple(other for other in self._merged.pop(uid, ()) if not same_span(other, cause))
        seen = self._seen.get(uid)
        if cause is None and seen is None:
            return NO_CAUSE
        if seen is None or generation > seen.generation or (not generation and not same_span(cause, seen.cause)):
            self._remember(uid, _Seen(generation, cause, now, settled))
            return NO_CAUSE if settled or cause is None else Reaction(cause, merged)
        self._seen.move_to_end(uid)
        if cause is None:
            return NO_CAUSE
        if not same_span(cause, seen.cause):
            step = seen.cause is not None and cause.trace_id == seen.cause.trace_id
            seen.cause = cause
            if not step:
                return Reaction(None, (cause, *merged))
            seen.settled = False
        seen.settled = seen.settled or settled
        over = seen.settled or now - seen.since > self._window
        return NO_CAUSE if over else Reaction(cause)

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._seen.pop(uid, None)
        self._merged.pop(uid, None)

    def _remember(self, uid: str, seen: _Seen) -> None:
        self._seen[uid] = seen
        self._seen.move_to_end(uid)
        while len(self._seen) > self._capacity:
            self._seen.popitem(last=False)


def hand_on(obj: MutableMapping[str, Any], context: SpanContext | None, key: str = ANNOTATION) -> None:
    """Stamp the metadata of a plain object that is about to be written."""
    metadata = obj.setdefault("metadata", {})
    annotations = stamp(metadata.get("annotations"), context, key)
    if annotations:
        metadata["annotations"] = annotations


def _get(meta: Any, name: str) -> Any:
    return meta.get(name) if isinstance(meta, Mapping) else getattr(meta, name, None)


def _uid(meta: Any) -> str:
    return _get(meta, "uid") or ""


def _generation(meta: Any) -> int:
    return _get(meta, "generation") or 0

"""The trace of a change, carried across watches by an annotation on the objects it touches. Pure.

A write that changes desired state is stamped with its context; whoever reacts asks `Causes` how its span belongs:
    first reaction to a new generation           a child of the write
    more reactions until the object is settled   children too: a rollout is many steps of one change
    a later cause of the same generation         a new trace with a link to it
    settled, resynced, or long ago               nothing: old traces do not grow
The annotation is that of KEP-5915. Which inbound contexts may become parents is upstream's rule since v1.33.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, MutableMapping
from typing import Any

import msgspec

from kubeglass.telemetry.tracing.context import SpanContext, format_traceparent, parse_traceparent
from kubeglass.telemetry.tracing.tracer import Link

ANNOTATION = "tracing.k8s.io/traceparent"
TRUSTED_GROUPS = frozenset({"system:masters", "system:monitoring"})


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


def inbound(
    context: SpanContext | None, groups: Collection[str], trusted: frozenset[str] = TRUSTED_GROUPS
) -> tuple[SpanContext | None, tuple[Link, ...]]:
    """(parent, links) of a request span: the caller's context is a parent for trusted groups, else only a link."""
    if context is None:
        return None, ()
    if trusted.isdisjoint(groups):
        return None, (Link(context),)
    return context, ()


def same_span(one: SpanContext | None, other: SpanContext | None) -> bool:
    """Whether both name the same span."""
    return one is other or (
        one is not None and other is not None and (one.trace_id, one.span_id) == (other.trace_id, other.span_id)
    )


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


class Causes:
    """What one component has already reacted to, per object uid. Bounded: the least recently seen uid is forgotten."""

    def __init__(self, key: str = ANNOTATION, *, window_seconds: float = 600.0, capacity: int = 16384) -> None:
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
        if seen is None or generation > seen.generation or (not generation and not same_span(cause, seen.cause)):
            self._remember(uid, _Seen(generation, cause, now, settled))
            return NO_CAUSE if settled or cause is None else Reaction(cause, merged)
        self._seen.move_to_end(uid)
        if cause is None:
            return NO_CAUSE
        if not same_span(cause, seen.cause):
            seen.cause = cause
            return Reaction(None, (cause, *merged))
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

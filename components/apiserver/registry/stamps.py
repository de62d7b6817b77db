"""Which change an object last followed: the annotation that carries a trace across watches.

A write that asks for something new is stamped with its request's context, or with what a trusted writer hands on.
No other write moves the stamp: status, no-ops, dry runs, and clients that send an old object back leave it alone; what
an untrusted writer puts there becomes a link of the request's span. Traces' rules: telemetry's causality.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api import kinds
from kubeglass.components.api.kinds import Kind
from kubeglass.components.apiserver.registry import strategies
from kubeglass.components.apiserver.registry.context import WriteContext
from kubeglass.telemetry.tracing import causality
from kubeglass.telemetry.tracing.context import SpanContext, format_traceparent
from kubeglass.telemetry.tracing.tracer import ANNOTATION, current_span

Object = dict[str, Any]

_UNSTAMPED = frozenset({kinds.EVENT, kinds.EVENTS_EVENT, kinds.LEASE})
"""Kinds that nobody reacts to with work."""


@dataclass(frozen=True, slots=True)
class Stamps:
    """The stamping of one server. Off, the annotation is one like any other; a stale one goes with the next change."""

    key: str = ""

    def taken(self, context: WriteContext, kind: Kind, new: Object, old: Object | None) -> SpanContext | None:
        """Put back the stored stamp; the answer is the one that the writer hands on, if it may."""
        if not self.key or kind in _UNSTAMPED:
            return None
        stored = old["metadata"] if old else {}
        handed = causality.supplied(stored, new["metadata"], self.key)
        if old is None and "uid" in new["metadata"]:
            handed = None  # a copy of an exported object: its stamp is the original's
        _put(new, self.key, (stored.get("annotations") or {}).get(self.key))
        if handed is None or context.trusted:
            return handed
        current_span().link(handed)
        return None

    def stamp(
        self, context: WriteContext, kind: Kind, new: Object, old: Object | None, handed: SpanContext | None = None
    ) -> None:
        """Stamp what asks for something new."""
        if context.dry_run or kind in _UNSTAMPED:
            return
        if not self.key:
            if old is not None and _stale(new, old) and asks_anew(kind, new, old):
                _put(new, ANNOTATION, None)
            return
        cause = handed
        if cause is None and context.trace is not None and (old is None or asks_anew(kind, new, old)):
            cause = context.trace
        if cause is not None:
            _put(new, self.key, format_traceparent(cause))


def asks_anew(kind: Kind, new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether somebody has to react: the desired state, the labels others select by, or the wish to be gone changed."""
    before, after = old["metadata"], new["metadata"]
    if any(before.get(name) != after.get(name) for name in ("generation", "deletionTimestamp", "labels")):
        return True
    return bool(strategies.desired_state(kind, dict(new)) != strategies.desired_state(kind, dict(old)))


def _stale(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    stored = (old["metadata"].get("annotations") or {}).get(ANNOTATION)
    return stored is not None and (new["metadata"].get("annotations") or {}).get(ANNOTATION) == stored


def _put(obj: Object, key: str, value: str | None) -> None:
    """Set or remove the annotation, in copies: metadata may be shared with the stored object."""
    metadata = obj["metadata"]
    annotations = metadata.get("annotations")
    if (annotations or {}).get(key) == value:
        return
    changed = dict(annotations or {})
    if value is None:
        del changed[key]
    else:
        changed[key] = value
    if changed:
        metadata["annotations"] = changed
    else:
        metadata.pop("annotations")

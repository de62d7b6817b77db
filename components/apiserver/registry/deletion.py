"""What a DELETE does to an object: at once, later, or never before its finalizers are gone. Pure.

Upstream: registry/rest/delete.go (BeforeDelete) and registry/generic/registry/store.go (finalizers by propagation).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api import kinds
from kubeglass.components.api.kinds import Kind
from kubeglass.components.apiserver.registry.context import DeleteOptions
from kubeglass.components.machinery import clock

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
_ORPHANING_BY_DEFAULT = frozenset({kinds.REPLICATION_CONTROLLER})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do: remove the object now, or store `obj` (None: nothing changes)."""

    remove: bool
    obj: dict[str, Any] | None = None


def judge(kind: Kind, obj: Mapping[str, Any], options: DeleteOptions, now: float) -> Verdict:
    """The verdict on one object."""
    metadata = dict(obj["metadata"])
    finalizers = _finalizers(kind, metadata.get("finalizers") or [], options)
    changed = dict(obj)
    changed["metadata"] = metadata
    if finalizers != (metadata.get("finalizers") or []):
        _set_finalizers(metadata, finalizers)
    if kind == kinds.NAMESPACE and (obj.get("spec") or {}).get("finalizers"):
        return _terminate_namespace(changed, metadata, now)
    grace = _grace_period(kind, obj, options)
    if metadata.get("deletionTimestamp"):
        return _again(obj, changed, metadata, grace, bool(finalizers))
    if not grace and not finalizers:
        return Verdict(remove=True)
    _mark(metadata, grace, now)
    return Verdict(remove=False, obj=changed)


def finished(kind: Kind, obj: Mapping[str, Any]) -> bool:
    """Whether an updated object has nothing left to wait for and must go."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if kind == kinds.NAMESPACE and (obj.get("spec") or {}).get("finalizers"):
        return False
    return not metadata.get("deletionGracePeriodSeconds")


def _terminate_namespace(changed: dict[str, Any], metadata: dict[str, Any], now: float) -> Verdict:
    if metadata.get("deletionTimestamp"):
        return Verdict(remove=False, obj=changed)
    metadata["deletionTimestamp"] = clock.rfc3339(now)
    changed["status"] = {**(changed.get("status") or {}), "phase": "Terminating"}
    return Verdict(remove=False, obj=changed)


def _again(
    obj: Mapping[str, Any], changed: dict[str, Any], metadata: dict[str, Any], grace: int, held: bool
) -> Verdict:
    """A second DELETE can only shorten the wait."""
    before = metadata.get("deletionGracePeriodSeconds") or 0
    if grace < before:
        ends = clock.parse(metadata["deletionTimestamp"]) - before + grace
        metadata["deletionTimestamp"] = clock.rfc3339(ends)
        metadata["deletionGracePeriodSeconds"] = grace
    if not metadata["deletionGracePeriodSeconds"] and not held:
        return Verdict(remove=True)
    return Verdict(remove=False, obj=changed if changed != obj else None)


def _mark(metadata: dict[str, Any], grace: int, now: float) -> None:
    metadata["deletionTimestamp"] = clock.rfc3339(now + grace)
    metadata["deletionGracePeriodSeconds"] = grace
    if metadata.get("generation"):
        metadata["generation"] += 1


def _grace_period(kind: Kind, obj: Mapping[str, Any], options: DeleteOptions) -> int:
    """Only Pods end gracefully, and only once a node has them."""
    if kind != kinds.POD:
        return 0
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    grace = options.grace_period_seconds
    if grace is None:
        grace = spec.get("terminationGracePeriodSeconds", 30)
    return max(grace, 1) if grace < 0 else grace


def _finalizers(kind: Kind, finalizers: list[str], options: DeleteOptions) -> list[str]:
    """The finalizers after the propagation policy has added or removed the garbage collector's."""
    wanted = _propagation(kind, finalizers, options)
    kept = [finalizer for finalizer in finalizers if finalizer not in (ORPHAN, FOREGROUND)]
    return [*kept, wanted] if wanted else kept


def _propagation(kind: Kind, finalizers: list[str], options: DeleteOptions) -> str:
    if options.orphan_dependents is not None:
        return ORPHAN if options.orphan_dependents else ""
    match options.propagation_policy:
        case "Orphan":
            return ORPHAN
        case "Foreground":
            return FOREGROUND
        case "Background":
            return ""
    for finalizer in (ORPHAN, FOREGROUND):
        if finalizer in finalizers:
            return finalizer
    return ORPHAN if kind in _ORPHANING_BY_DEFAULT else ""


def _set_finalizers(metadata: dict[str, Any], finalizers: list[str]) -> None:
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)

"""Whether an object has become what its newest generation asks for, read from any typed view. Pure.

Informers use it to tell the steps of a change from what happens long after it. Kinds whose status says nothing of the
kind are settled as soon as they are written.
"""

from __future__ import annotations

from typing import Any

_PODS_AT_REST = frozenset({"Succeeded", "Failed"})
_TO_THE_END = frozenset({"Never", "OnFailure"})
_ENDED = frozenset({"Complete", "Failed"})


def settled(view: Any) -> bool:
    """Whether nobody is still at work on what the object asks for."""
    metadata, status, spec = view.metadata, getattr(view, "status", None), getattr(view, "spec", None)
    if getattr(metadata, "deletion_timestamp", None):
        return False
    if status is None or spec is None:
        return True
    observed = getattr(status, "observed_generation", None)
    if observed is not None and observed < (getattr(metadata, "generation", 0) or 0):
        return False
    if hasattr(spec, "containers"):
        runs_to_its_end = getattr(spec, "restart_policy", "") in _TO_THE_END
        return status.phase in _PODS_AT_REST or (not runs_to_its_end and _is_true(status, {"Ready"}))
    if hasattr(status, "desired_number_scheduled"):
        return _equal(status, status.desired_number_scheduled, "updated_number_scheduled", "number_available")
    if hasattr(spec, "replicas"):
        return _equal(status, spec.replicas, "replicas", "updated_replicas", "ready_replicas", "available_replicas")
    if hasattr(spec, "completions") or hasattr(spec, "parallelism"):
        return _is_true(status, _ENDED)
    return True


def _equal(status: Any, wanted: int, *names: str) -> bool:
    return all((getattr(status, name, wanted) or 0) == wanted for name in names)


def _is_true(status: Any, types: frozenset[str] | set[str]) -> bool:
    return any(condition.type in types and condition.status == "True" for condition in status.conditions)

"""What controllers ask of a Pod: is it active, ready, available; which one is best deleted; how Pods are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.objects import Pod, PodCondition, Resource
from kubeglass.components.controllers.ownership import owner_reference
from kubeglass.components.machinery import clock

POD_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def condition(pod: Pod, type: str) -> PodCondition | None:
    """A condition by type."""
    for found in pod.status.conditions:
        if found.type == type:
            return found
    return None


def is_finished(pod: Pod) -> bool:
    """Succeeded or Failed."""
    return pod.status.phase in ("Succeeded", "Failed")


def is_active(pod: Pod) -> bool:
    """Neither finished nor being deleted."""
    return not is_finished(pod) and not pod.metadata.deletion_timestamp


def is_ready(pod: Pod) -> bool:
    """Its Ready condition is True."""
    ready = condition(pod, "Ready")
    return ready is not None and ready.status == "True"


def seconds_until_available(pod: Pod, min_ready_seconds: int, now: float) -> float | None:
    """0 when available, the remaining seconds when ready but not long enough, None when not ready."""
    ready = condition(pod, "Ready")
    if ready is None or ready.status != "True":
        return None
    if min_ready_seconds == 0:
        return 0.0
    if not ready.last_transition_time:
        return float(min_ready_seconds)
    return max(0.0, clock.parse(ready.last_transition_time) + min_ready_seconds - now)


def deletion_rank(pod: Pod, neighbours: int) -> tuple[Any, ...]:
    """Sorts the Pod that hurts least first. `neighbours`: how many Pods of the same controller share its node.

    Unassigned, then Pending, then Unknown; not ready; lower deletion cost; more neighbours; ready for a shorter time;
    more restarts; younger. Upstream: controller.ActivePodsWithRanks.
    """
    ready = condition(pod, "Ready")
    return (
        bool(pod.spec.node_name),
        {"Pending": 0, "Unknown": 1}.get(pod.status.phase, 2),
        is_ready(pod),
        _deletion_cost(pod),
        -neighbours,
        -_age_key(ready.last_transition_time if ready and ready.status == "True" else ""),
        -max((status.restart_count for status in pod.status.container_statuses), default=0),
        -_age_key(pod.metadata.creation_timestamp),
    )


def _deletion_cost(pod: Pod) -> int:
    try:
        return int(pod.metadata.annotations.get(POD_DELETION_COST, "0"))
    except ValueError:
        return 0


def _age_key(stamp: str) -> float:
    # Times are compared in powers of two by upstream; the exact order within a second does not matter to anybody.
    return clock.parse(stamp) if stamp else 0.0


def pod_from_template(template: Mapping[str, Any], kind: Kind, owner: Resource, name: str = "") -> dict[str, Any]:
    """A Pod made from a raw template for a controller; without a name it gets a generated one."""
    meta = template.get("metadata") or {}
    metadata: dict[str, Any] = {
        "namespace": owner.metadata.namespace,
        "labels": dict(meta.get("labels") or {}),
        "annotations": dict(meta.get("annotations") or {}),
        "finalizers": list(meta.get("finalizers") or []),
        "ownerReferences": [owner_reference(kind, owner)],
    }
    if name:
        metadata["name"] = name
    else:
        metadata["generateName"] = f"{owner.metadata.name}-"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {key: value for key, value in metadata.items() if value},
        "spec": dict(template.get("spec") or {}),
    }

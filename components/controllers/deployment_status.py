"""The status of a Deployment: counts and the conditions Available, Progressing and ReplicaFailure. Pure.

Upstream: pkg/controller/deployment/progress.go and util/deployment_util.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kubeglass.components.api import objects
from kubeglass.components.controllers.arithmetic import condition_of, with_condition, without_condition
from kubeglass.components.controllers.deployment_sizes import Sizes
from kubeglass.components.controllers.views import Deployment, ReplicaSet
from kubeglass.components.machinery import clock

Json = dict[str, Any]

AVAILABLE, PROGRESSING, REPLICA_FAILURE = "Available", "Progressing", "ReplicaFailure"
NEW_AVAILABLE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
NO_DEADLINE = 2**31 - 1


def condition(type: str, status: str, reason: str, message: str, now: float) -> Json:
    """A DeploymentCondition as of now."""
    stamp = clock.rfc3339(now)
    return {
        "type": type,
        "status": status,
        "lastUpdateTime": stamp,
        "lastTransitionTime": stamp,
        "reason": reason,
        "message": message,
    }


def conditions_of(deployment: Deployment) -> list[Json]:
    """The conditions as raw JSON."""
    return [objects.encode(found) for found in deployment.status.conditions]


def has_deadline(deployment: Deployment) -> bool:
    """Whether progress is watched at all."""
    return deployment.spec.progress_deadline_seconds != NO_DEADLINE


def counted(
    deployment: Deployment, new: ReplicaSet | None, sets: Sequence[ReplicaSet], sizes: Sizes, now: float
) -> Json:
    """The status without what progress adds."""
    total = sum(sizes.of(each) for each in sets)
    available = sum(each.status.available_replicas for each in sets)
    status: Json = {
        "observedGeneration": deployment.metadata.generation,
        "replicas": sum(each.status.replicas for each in sets),
        "updatedReplicas": new.status.replicas if new else 0,
        "readyReplicas": sum(each.status.ready_replicas for each in sets),
        "availableReplicas": available,
        "unavailableReplicas": max(0, total - available),
        "terminatingReplicas": sum(each.status.terminating_replicas for each in sets),
        "collisionCount": deployment.status.collision_count,
    }
    if available >= deployment.spec.replicas - sizes.max_unavailable:
        found = condition(AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
    else:
        found = condition(
            AVAILABLE, "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", now
        )
    status["conditions"] = with_condition(conditions_of(deployment), found)
    return status


def progressed(
    deployment: Deployment, new: ReplicaSet | None, sets: Sequence[ReplicaSet], sizes: Sizes, now: float
) -> Json:
    """The status after a step of a rollout."""
    status = counted(deployment, new, sets, sizes, now)
    conditions: list[Json] = status["conditions"]
    if not has_deadline(deployment):
        conditions = without_condition(conditions, PROGRESSING)
    else:
        current = condition_of(conditions, PROGRESSING)
        settled = (
            current is not None
            and current.get("reason") == NEW_AVAILABLE
            and status["replicas"] == status["updatedReplicas"]
        )
        if not settled:
            conditions = _with_progress(deployment, new, status, conditions, current, now)
    failure = _failure(new, sets)
    conditions = (
        with_condition(conditions, condition(REPLICA_FAILURE, failure.status, failure.reason, failure.message, now))
        if failure
        else without_condition(conditions, REPLICA_FAILURE)
    )
    status["conditions"] = conditions
    return status


def _with_progress(
    deployment: Deployment,
    new: ReplicaSet | None,
    status: Json,
    conditions: list[Json],
    current: Mapping[str, Any] | None,
    now: float,
) -> list[Json]:
    subject = f'ReplicaSet "{new.metadata.name}"' if new else f'Deployment "{deployment.metadata.name}"'
    if is_complete(deployment, status):
        message = f"{subject} has successfully progressed."
        return with_condition(conditions, condition(PROGRESSING, "True", NEW_AVAILABLE, message, now))
    if _moved(deployment, status):
        found = condition(PROGRESSING, "True", "ReplicaSetUpdated", f"{subject} is progressing.", now)
        if current is not None and current["status"] == "True":
            found["lastTransitionTime"] = current.get("lastTransitionTime", found["lastTransitionTime"])
        return [*without_condition(conditions, PROGRESSING), found]
    if timed_out(deployment, conditions, now):
        message = f"{subject} has timed out progressing."
        return with_condition(conditions, condition(PROGRESSING, "False", TIMED_OUT, message, now))
    return conditions


def is_complete(deployment: Deployment, status: Mapping[str, Any]) -> bool:
    """Every wanted Pod is of the new template, available, and there are no others."""
    wanted = deployment.spec.replicas
    return bool(
        status["updatedReplicas"] == wanted
        and status["replicas"] == wanted
        and status["availableReplicas"] == wanted
        and status["observedGeneration"] >= deployment.metadata.generation
    )


def _moved(deployment: Deployment, status: Mapping[str, Any]) -> bool:
    old = deployment.status
    return bool(
        status["updatedReplicas"] > old.updated_replicas
        or status["replicas"] - status["updatedReplicas"] < old.replicas - old.updated_replicas
        or status["readyReplicas"] > old.ready_replicas
        or status["availableReplicas"] > old.available_replicas
    )


def timed_out(deployment: Deployment, conditions: Sequence[Mapping[str, Any]], now: float) -> bool:
    """Nothing moved for longer than the progress deadline."""
    current = condition_of(conditions, PROGRESSING)
    if current is None or current.get("reason") == NEW_AVAILABLE:
        return False
    if current.get("reason") == TIMED_OUT:
        return True
    updated = current.get("lastUpdateTime")
    return bool(updated) and clock.parse(str(updated)) + deployment.spec.progress_deadline_seconds < now


def seconds_to_deadline(deployment: Deployment, status: Mapping[str, Any], now: float) -> float | None:
    """When to look whether a rollout has got stuck; None when that cannot happen."""
    current = condition_of(status["conditions"], PROGRESSING)
    if not has_deadline(deployment) or current is None or current.get("reason") in (NEW_AVAILABLE, TIMED_OUT):
        return None
    if is_complete(deployment, status) or not current.get("lastUpdateTime"):
        return None
    deadline = clock.parse(str(current["lastUpdateTime"])) + deployment.spec.progress_deadline_seconds
    return max(0.0, deadline - now) + 1.0


def with_pause(deployment: Deployment, conditions: list[Json], now: float) -> list[Json]:
    """The conditions after a pause or a resume was noticed."""
    if not has_deadline(deployment):
        return conditions
    current = condition_of(conditions, PROGRESSING)
    if current is not None and current.get("reason") == TIMED_OUT:
        return conditions
    was_paused = current is not None and current.get("reason") == "DeploymentPaused"
    if deployment.spec.paused and not was_paused:
        found = condition(PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused", now)
    elif not deployment.spec.paused and was_paused:
        found = condition(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed", now)
    else:
        return conditions
    return with_condition(conditions, found)


def _failure(new: ReplicaSet | None, sets: Sequence[ReplicaSet]) -> objects.ReplicaSetCondition | None:
    for each in ([new] if new else []) + [found for found in sets if found is not new]:
        for found in each.status.conditions:
            if found.type == REPLICA_FAILURE:
                return found
    return None


def status_patch(deployment: Deployment, status: Json) -> Json | None:
    """The change from the stored status, or None when there is none."""
    stored = objects.encode(deployment.status)
    changed = {key: value for key, value in status.items() if stored.get(key, _EMPTY.get(key)) != value}
    return {key: (value if value != _EMPTY.get(key) else None) for key, value in changed.items()} or None


_EMPTY: Mapping[str, Any] = {
    **{wire: 0 for wire in ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas")},
    **{wire: 0 for wire in ("unavailableReplicas", "terminatingReplicas", "collisionCount")},
    "conditions": [],
}

"""The status patches the scheduler writes on Pods: PodScheduled, the nominated node, DisruptionTarget. Pure."""

from __future__ import annotations

from typing import Any

from kubeglass.components.api.objects import Pod
from kubeglass.components.machinery import clock


def pod_scheduled_patch(pod: Pod, reason: str, message: str, nominated: str, now: float) -> dict[str, Any] | None:
    """PodScheduled=False and why, and where the Pod is nominated to; None when the Pod says so already."""
    old = next((found for found in pod.status.conditions if found.type == "PodScheduled"), None)
    same = old is not None and (old.status, old.reason, old.message) == ("False", reason, message)
    status: dict[str, Any] = {}
    if not same:
        stamp = clock.rfc3339(now)
        moved = old is None or old.status != "False"
        status["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": reason,
                "message": message,
                "lastProbeTime": None,
                "lastTransitionTime": stamp if moved or old is None else old.last_transition_time,
                "observedGeneration": pod.metadata.generation,
            }
        ]
    if nominated and nominated != pod.status.nominated_node_name:
        status["nominatedNodeName"] = nominated
    return {"status": status} if status else None


def disruption_patch(victim: Pod, now: float) -> dict[str, Any]:
    """The condition a Pod gets before it is preempted."""
    scheduler = victim.spec.scheduler_name or "default-scheduler"
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": f"{scheduler}: preempting to accommodate a higher priority pod",
        "lastTransitionTime": clock.rfc3339(now),
        "observedGeneration": victim.metadata.generation,
    }
    return {"status": {"conditions": [condition]}}

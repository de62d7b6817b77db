"""autoscaling/v1 HorizontalPodAutoscalers as v2 and back: the CPU target alone has members of its own in v1."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def to_v2(obj: Object) -> Object:
    """targetCPUUtilizationPercentage becomes a metric on cpu."""
    spec = dict(obj.get("spec") or {})
    target = spec.pop("targetCPUUtilizationPercentage", None)
    if target is not None:
        spec["metrics"] = [_cpu_metric({"type": "Utilization", "averageUtilization": target}, "target")]
    status = dict(obj.get("status") or {})
    current = status.pop("currentCPUUtilizationPercentage", None)
    if current is not None:
        status["currentMetrics"] = [_cpu_metric({"averageUtilization": current}, "current")]
    return {**obj, "spec": spec, "status": status}


def from_v2(obj: Object) -> Object:
    """Other metrics than cpu utilization are not shown in v1."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    target = _utilization(spec.pop("metrics", None), "target")
    spec.pop("behavior", None)
    if target is not None:
        spec["targetCPUUtilizationPercentage"] = target
    current = _utilization(status.pop("currentMetrics", None), "current")
    status.pop("conditions", None)
    if current is not None:
        status["currentCPUUtilizationPercentage"] = current
    return {**obj, "spec": spec, "status": status}


def _cpu_metric(amount: Object, member: str) -> Object:
    return {"type": "Resource", "resource": {"name": "cpu", member: amount}}


def _utilization(metrics: Any, member: str) -> int | None:
    for metric in metrics or ():
        resource = metric.get("resource") or {}
        if metric.get("type") == "Resource" and resource.get("name") == "cpu":
            found: int | None = (resource.get(member) or {}).get("averageUtilization")
            return found
    return None

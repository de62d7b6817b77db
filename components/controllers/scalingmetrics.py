"""What one metric of an autoscaler asks for, or why it cannot tell, in upstream's words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api import quantity
from kubeglass.components.api.objects import MetricSpec, MetricTarget, Pod
from kubeglass.components.controllers.replicacount import Proposal, Unknown, Usage, propose

UsageOf = Callable[[str, str, str, str], Usage | None]
"""(namespace, Pod, resource, container or nothing) -> what is used."""

_NO_METRICS_API = {
    "Pods": ("FailedGetPodsMetric", "pods", "custom metrics API"),
    "Object": ("FailedGetObjectMetric", "object", "custom metrics API"),
    "External": ("FailedGetExternalMetric", "external", "external metrics API"),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What one metric asks for, how it is called, and its entry in the status."""

    replicas: int
    name: str
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """Why one metric gave no number: the reason of the condition, and the text."""

    reason: str
    message: str
    compute_message: str


def evaluate(spec: MetricSpec, pods: Sequence[Pod], usage_of: UsageOf, current: int, now: float) -> Measured | Failed:
    """The replicas that the metric asks for when there are `current` ones."""
    if spec.resource is not None and spec.resource.target is not None:
        return _resource(spec.resource.name, "", spec.resource.target, pods, usage_of, current, now)
    if spec.container_resource is not None and spec.container_resource.target is not None:
        found = spec.container_resource
        return _resource(found.name, found.container, spec.container_resource.target, pods, usage_of, current, now)
    if spec.type in _NO_METRICS_API:
        reason, what, api = _NO_METRICS_API[spec.type]
        text = f"unable to fetch metrics from {api}: the server could not find the requested resource"
        return Failed(reason, text, f"failed to get {what} metric value: {text}")
    text = f'unknown metric source type "{spec.type}"'
    return Failed("InvalidMetricSourceType", text, text)


def _resource(
    resource: str,
    container: str,
    target: MetricTarget,
    pods: Sequence[Pod],
    usage_of: UsageOf,
    current: int,
    now: float,
) -> Measured | Failed:
    known = {
        pod.metadata.name: usage_of(pod.metadata.namespace, pod.metadata.name, resource, container) for pod in pods
    }
    usages = {name: usage for name, usage in known.items() if usage is not None}
    try:
        if not usages:
            raise Unknown(
                f"unable to get metrics for resource {resource}: no metrics returned from resource metrics API"
            )
        proposal = resource_proposal(resource, container, target, pods, usages, current, now)
    except Unknown as unknown:
        what = "utilization" if target.average_utilization is not None else "usage"
        text = f"failed to get {resource} {what}: {unknown}"
        owner = f"{resource} container" if container else f"{resource} resource"
        reason = "FailedGetContainerResourceMetric" if container else "FailedGetResourceMetric"
        return Failed(reason, text, f"failed to get {owner} metric value: {text}")
    return _measured(resource, container, proposal)


def _measured(resource: str, container: str, proposal: Proposal) -> Measured:
    average = quantity.from_milli(proposal.average) if resource == "cpu" else quantity.from_int(proposal.average)
    current: dict[str, Any] = {"averageValue": str(average)}
    name = f"{resource} container resource" if container else f"{resource} resource"
    if proposal.utilization is not None:
        current["averageUtilization"] = proposal.utilization
        name += " utilization (percentage of request)"
    if container:
        entry = {"name": resource, "container": container, "current": current}
        return Measured(proposal.replicas, name, {"type": "ContainerResource", "containerResource": entry})
    return Measured(proposal.replicas, name, {"type": "Resource", "resource": {"name": resource, "current": current}})


def resource_proposal(
    resource: str,
    container: str,
    target: MetricTarget,
    pods: Sequence[Pod],
    usages: Mapping[str, Usage],
    current: int,
    now: float,
) -> Proposal:
    """What a resource metric asks for, by utilization of the requests or by mean value. Raises Unknown."""
    is_cpu = resource == "cpu"
    average = sum(usage.value for usage in usages.values()) // len(usages)
    if target.average_utilization is None:
        wanted = quantity.parse(target.average_value)
        goal = wanted.milli_value() if is_cpu else wanted.value()
        by_value = propose(
            current,
            pods,
            usages,
            lambda values: sum(values.values()) / len(values) / goal,
            lambda name: goal,
            is_cpu=is_cpu,
            now=now,
        )
        return Proposal(by_value, average)
    requests = {pod.metadata.name: _request(pod, resource, container) for pod in pods}
    percent = target.average_utilization

    def utilization(values: Mapping[str, int]) -> int:
        total = sum(requests[name] for name in values)
        if total == 0:
            raise Unknown("no metrics returned matched known pods")
        return sum(values.values()) * 100 // total

    replicas = propose(
        current,
        pods,
        usages,
        lambda values: utilization(values) / percent,
        lambda name: requests[name] * max(100, percent) // 100,
        is_cpu=is_cpu,
        now=now,
    )
    return Proposal(replicas, average, utilization({name: usage.value for name, usage in usages.items()}))


def _request(pod: Pod, resource: str, container: str) -> int:
    total = 0
    sidecars = [found for found in pod.spec.init_containers if found.restart_policy == "Always"]
    for found in (*pod.spec.containers, *sidecars):
        if container not in ("", found.name):
            continue
        text = found.resources.requests.get(resource)
        if text is None:
            raise Unknown(f"missing request for {resource} in container {found.name} of Pod {pod.metadata.name}")
        amount = quantity.parse(text)
        total += amount.milli_value() if resource == "cpu" else amount.value()
    return total

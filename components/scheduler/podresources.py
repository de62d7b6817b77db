"""kube_pod_resource_request and kube_pod_resource_limit, computed when /metrics/resources is scraped. Pure.

Upstream: pkg/scheduler/metrics/resources. Terminal Pods and zero amounts are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kubeglass.components.api import quantity
from kubeglass.components.api.objects import Pod
from kubeglass.components.api.quantity import Quantity
from kubeglass.components.scheduler.metrics import KUBE_POD_RESOURCE_LIMIT, KUBE_POD_RESOURCE_REQUEST
from kubeglass.telemetry.metrics.definitions import Metric

_BYTES = ("memory", "storage", "ephemeral-storage")


def samples(pods: Iterable[Pod]) -> Iterator[tuple[Metric, tuple[str, ...], float]]:
    """One series per Pod, resource and row."""
    for pod in pods:
        if pod.status.phase in ("Succeeded", "Failed"):
            continue
        priority = "" if pod.spec.priority is None else str(pod.spec.priority)
        identity = (pod.metadata.namespace, pod.metadata.name, pod.spec.node_name, pod.spec.scheduler_name, priority)
        for row, field in ((KUBE_POD_RESOURCE_REQUEST, "requests"), (KUBE_POD_RESOURCE_LIMIT, "limits")):
            for name, amount in _effective(pod, field).items():
                if amount:
                    yield row, (*identity, name, unit_of(name)), amount.as_float()


def unit_of(resource: str) -> str:
    """cores, bytes, integer, or nothing for what has no unit."""
    if resource == "cpu":
        return "cores"
    if resource in _BYTES or resource.startswith("hugepages-"):
        return "bytes"
    return "integer" if resource.startswith("attachable-volumes-") or resource == "pods" else ""


def _effective(pod: Pod, field: str) -> dict[str, Quantity]:
    """max(all containers and sidecars, each init container with the sidecars before it), plus overhead."""
    zero = quantity.from_int(0)
    total: dict[str, Quantity] = {}
    sidecars: dict[str, Quantity] = {}
    peak: dict[str, Quantity] = {}
    for container in pod.spec.init_containers:
        for name, text in getattr(container.resources, field).items():
            amount = sidecars.get(name, zero) + quantity.parse(text)
            peak[name] = max(peak.get(name, zero), amount)
            if container.restart_policy == "Always":
                sidecars[name] = amount
    for container in pod.spec.containers:
        for name, text in getattr(container.resources, field).items():
            total[name] = total.get(name, zero) + quantity.parse(text)
    for name in (*sidecars, *peak):
        together = total.get(name, zero) + sidecars.get(name, zero) if name in sidecars else total.get(name, zero)
        peak[name] = max(peak.get(name, zero), together)
    total |= peak
    for name, text in pod.spec.overhead.items():
        if field == "requests" or name in total:
            total[name] = total.get(name, zero) + quantity.parse(text)
    return total

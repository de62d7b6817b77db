"""/metrics/resources: what every Pod that is not finished asks for and may use, as the scheduler sums it.

Follows k8s.io/kubernetes/pkg/scheduler/metrics/resources. A stand-by has no Pods and shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from kubeglass.components.api import podresources
from kubeglass.components.api.objects import Pod
from kubeglass.components.scheduler.metrics import KUBE_POD_RESOURCE_LIMIT, KUBE_POD_RESOURCE_REQUEST, RESOURCE_ROWS
from kubeglass.telemetry.metrics.families import Sample
from kubeglass.telemetry.metrics.registry import Registry

_BYTES = frozenset({"memory", "storage", "ephemeral-storage"})
_NATIVE_PREFIX = "kubernetes.io/"


def collect_pod_resources(registry: Registry, pods: Callable[[], Iterable[Pod]]) -> None:
    """Show the Pods in `registry`, asked for at each scrape."""
    registry.collect(RESOURCE_ROWS, lambda: _samples(pods()))


def _samples(pods: Iterable[Pod]) -> Iterator[Sample]:
    for pod in pods:
        if pod.status.phase in ("Succeeded", "Failed"):
            continue
        for row, amounts in (
            (KUBE_POD_RESOURCE_REQUEST, podresources.requests(pod.spec)),
            (KUBE_POD_RESOURCE_LIMIT, podresources.limits(pod.spec)),
        ):
            for resource, amount in amounts.items():
                if amount:
                    value = amount.milli_value() / 1000 if resource == "cpu" else amount.value()
                    yield row, _labels(pod, resource), value


def _labels(pod: Pod, resource: str) -> tuple[str, ...]:
    spec = pod.spec
    priority = "" if spec.priority is None else str(spec.priority)
    meta = pod.metadata
    return meta.namespace, meta.name, spec.node_name, spec.scheduler_name, priority, resource, unit_of(resource)


def unit_of(resource: str) -> str:
    """The `unit` label: cores, bytes, integer, or "" for what cannot be told."""
    if resource == "cpu":
        return "cores"
    if resource in _BYTES or resource.startswith("hugepages-"):
        return "bytes"
    extended = "/" in resource and _NATIVE_PREFIX not in resource
    return "integer" if extended or resource.startswith("attachable-volumes-") else ""

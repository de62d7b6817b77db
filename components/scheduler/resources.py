"""/metrics/resources: what every Pod that is not finished asks for and may use, as the scheduler sums it.

Follows k8s.io/kubernetes/pkg/scheduler/metrics/resources. A stand-by has no Pods and shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from kubeglass.components.api.objects import Container, Pod, PodSpec
from kubeglass.components.scheduler.metrics import KUBE_POD_RESOURCE_LIMIT, KUBE_POD_RESOURCE_REQUEST, RESOURCE_ROWS
from kubeglass.components.scheduler.snapshot import amount, pod_requests
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
            (KUBE_POD_RESOURCE_REQUEST, pod_requests(pod.spec)),
            (KUBE_POD_RESOURCE_LIMIT, pod_limits(pod.spec)),
        ):
            for resource, value in amounts.items():
                if value:
                    yield row, _labels(pod, resource), value / 1000 if resource == "cpu" else value


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


def pod_limits(spec: PodSpec) -> dict[str, int]:
    """As requests are summed; overhead counts only beside a limit, and a limit at Pod level replaces the sum."""
    together = _sum(container for container in (*spec.containers, *_sidecars(spec)))
    running: dict[str, int] = {}
    for container in spec.init_containers:
        peak = _added(running, container)
        if container.restart_policy == "Always":
            running = peak
        together = {name: max(together.get(name, 0), peak.get(name, 0)) for name in {**together, **peak}}
    if spec.resources is not None:
        together |= {name: amount(name, text) for name, text in spec.resources.limits.items()}
    for name, text in spec.overhead.items():
        if name in together:
            together[name] += amount(name, text)
    return together


def _sidecars(spec: PodSpec) -> list[Container]:
    return [container for container in spec.init_containers if container.restart_policy == "Always"]


def _sum(containers: Iterable[Container]) -> dict[str, int]:
    total: dict[str, int] = {}
    for container in containers:
        total = _added(total, container)
    return total


def _added(amounts: dict[str, int], container: Container) -> dict[str, int]:
    limits = {name: amount(name, text) for name, text in container.resources.limits.items()}
    return {name: amounts.get(name, 0) + limits.get(name, 0) for name in {**amounts, **limits}}

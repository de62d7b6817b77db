"""/metrics/resources says what Pods ask for and may use."""

from __future__ import annotations

from typing import Any

import pytest

from kubeglass.components.api.objects import Pod, decode
from kubeglass.components.scheduler.resources import collect_pod_resources, unit_of
from kubeglass.telemetry.metrics.registry import Registry


def _container(name: str, requests: dict[str, str], limits: dict[str, str], **rest: Any) -> dict[str, Any]:
    return {"name": name, "image": "x", "resources": {"requests": requests, "limits": limits}, **rest}


def _pod(phase: str = "Running", **spec: Any) -> Pod:
    document = {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"nodeName": "n1", "schedulerName": "default-scheduler", "priority": 7, **spec},
        "status": {"phase": phase},
    }
    return decode(Pod, document)


def _lines(*pods: Pod) -> list[str]:
    registry = Registry().companion()
    collect_pod_resources(registry, lambda: pods)
    return [line for line in registry.expose()[1].decode().splitlines() if not line.startswith("#")]


def test_containers_add_up_and_the_largest_init_container_counts() -> None:
    """cpu in cores, memory in bytes; an init container only where it asks for more than all others together."""
    pod = _pod(
        containers=[_container("a", {"cpu": "250m", "memory": "1Mi"}, {"cpu": "1"}), _container("b", {"cpu": "1"}, {})],
        initContainers=[_container("i", {"cpu": "100m", "memory": "2Mi"}, {"cpu": "3"})],
    )
    labels = 'namespace="shop",node="n1",pod="web",priority="7",resource="{}",scheduler="default-scheduler",unit="{}"'
    cores, memory = labels.format("cpu", "cores"), labels.format("memory", "bytes")
    assert _lines(pod) == [
        f"kube_pod_resource_limit{{{cores}}} 3",
        f"kube_pod_resource_request{{{cores}}} 1.25",
        f"kube_pod_resource_request{{{memory}}} 2.097152e+06",
    ]


def test_sidecars_and_overhead_count() -> None:
    """A restartable init container runs beside the others; overhead is added to limits there are."""
    pod = _pod(
        containers=[_container("a", {}, {"memory": "1Mi"})],
        initContainers=[_container("side", {}, {"memory": "1Mi"}, restartPolicy="Always")],
        overhead={"memory": "1Mi", "cpu": "1"},
    )
    limits = [line for line in _lines(pod) if "limit{" in line]
    assert len(limits) == 1
    assert limits[0].endswith(f" {3 * 2**20 / 1e6:.6f}e+06")


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_finished_pods_are_left_out(phase: str) -> None:
    """Only Pods that still need their resources."""
    assert _lines(_pod(phase, containers=[_container("a", {"cpu": "1"}, {})])) == []


@pytest.mark.parametrize(
    ("resource", "unit"),
    [
        ("cpu", "cores"),
        ("memory", "bytes"),
        ("ephemeral-storage", "bytes"),
        ("hugepages-2Mi", "bytes"),
        ("nvidia.com/gpu", "integer"),
        ("attachable-volumes-csi", "integer"),
        ("pods", ""),
    ],
)
def test_units(resource: str, unit: str) -> None:
    """As upstream tells them."""
    assert unit_of(resource) == unit

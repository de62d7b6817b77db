"""What a Pod asks for as a whole: containers, sidecars, init containers, its own word and its overhead."""

from __future__ import annotations

from typing import Any

import pytest

from kubeglass.components.api import podresources
from kubeglass.components.api.objects import PodSpec, decode


def container(cpu: str, limit: str = "", **more: Any) -> dict[str, Any]:
    limits = {"limits": {"cpu": limit}} if limit else {}
    return {"name": "c", "resources": {"requests": {"cpu": cpu}, **limits}, **more}


def sidecar(cpu: str) -> dict[str, Any]:
    return container(cpu, restartPolicy="Always")


def spec(*containers: dict[str, Any], init: tuple[dict[str, Any], ...] = (), **more: Any) -> PodSpec:
    return decode(PodSpec, {"containers": list(containers), "initContainers": list(init), **more})


@pytest.mark.parametrize(
    ("found", "cpu"),
    [
        (spec(container("100m"), container("200m")), "300m"),
        (spec(container("100m"), init=(container("250m"),)), "250m"),
        (spec(container("100m"), init=(container("50m"), sidecar("20m"))), "120m"),
        (spec(container("100m"), init=(sidecar("20m"), container("250m"))), "270m"),
        (spec(container("100m"), init=(container("250m"), sidecar("20m"))), "250m"),
        (spec(container("100m"), overhead={"cpu": "5m"}), "105m"),
        (spec(container("100m"), resources={"requests": {"cpu": "1"}}, overhead={"cpu": "5m"}), "1005m"),
        (spec(container("0"), init=(sidecar("0"),)), "0"),
    ],
    ids=["sum", "init", "sidecar", "init beside sidecar", "init before sidecar", "overhead", "its own word", "nothing"],
)
def test_requests(found: PodSpec, cpu: str) -> None:
    """Init containers run one after the other, sidecars on; overhead comes on top of whatever counts."""
    assert {name: str(amount) for name, amount in podresources.requests(found).items()} == {"cpu": cpu}


def test_overhead_widens_only_what_is_limited() -> None:
    """A Pod without a limit on memory has none because of its overhead."""
    limited = podresources.limits(spec(container("100m", "200m"), overhead={"cpu": "5m", "memory": "1Mi"}))
    assert {name: str(amount) for name, amount in limited.items()} == {"cpu": "205m"}


def test_a_pod_speaks_only_for_what_pods_can() -> None:
    """cpu, memory and huge pages; a device is its container's."""
    own = {"requests": {"memory": "1Gi", "hugepages-2Mi": "4Mi", "example.com/gpu": "2"}}
    assert set(podresources.requests(spec(container("1"), resources=own))) == {"cpu", "memory", "hugepages-2Mi"}


def test_what_quotas_charge() -> None:
    """requests.cpu is also cpu; a device has only the long name."""
    found = container("1", "2")
    found["resources"]["requests"]["example.com/gpu"] = "1"
    assert {name: str(amount) for name, amount in podresources.charged(spec(found)).items()} == {
        "cpu": "1", "requests.cpu": "1", "limits.cpu": "2", "requests.example.com/gpu": "1",
    }  # fmt: skip

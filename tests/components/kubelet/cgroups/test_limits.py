"""Which groups there are and what they may use: upstream's names and ResourceConfigForPod."""

from __future__ import annotations

from typing import Any

import pytest

from kubeglass.components.api.objects import Pod, decode
from kubeglass.components.kubelet.cgroups.limits import node_limits, pod_group, pod_limits, quality_limits
from kubeglass.components.kubelet.runtime.shim.cgroup import Limits, files_v1, files_v2

MIB = 1 << 20


def pod(*containers: dict[str, Any], **spec: Any) -> Pod:
    """A Pod whose containers have these resources."""
    named = [{"name": f"c{index}", "resources": resources} for index, resources in enumerate(containers)]
    return decode(Pod, {"metadata": {"uid": "u"}, "spec": {"containers": named, **spec}})


def asks(cpu: str = "", memory: str = "") -> dict[str, str]:
    return {name: text for name, text in (("cpu", cpu), ("memory", memory)) if text}


GUARANTEED = {"limits": asks("100m", "64Mi"), "requests": asks("100m", "64Mi")}
INIT = [{"name": "i", "resources": {"requests": asks("600m"), "limits": asks("1", "256Mi")}}]
SIDECAR = [{"name": "s", "restartPolicy": "Always", "resources": {"requests": asks("200m")}}]


@pytest.mark.parametrize(
    ("found", "name", "limits"),
    [
        (pod({}), "/kubepods/besteffort/podu", Limits(2)),
        (pod(GUARANTEED), "/kubepods/podu", Limits(102, 10_000, 64 * MIB)),
        (pod(GUARANTEED, GUARANTEED), "/kubepods/podu", Limits(204, 20_000, 128 * MIB)),
        (pod({"requests": asks("250m")}), "/kubepods/burstable/podu", Limits(256)),
        (pod({"requests": asks("1m")}), "/kubepods/burstable/podu", Limits(2)),
        (pod({"requests": asks("500m"), "limits": asks("1")}), "/kubepods/burstable/podu", Limits(512, 100_000)),
        (pod({"requests": asks(memory="1Mi"), "limits": asks(memory="2Mi")}), "/kubepods/burstable/podu",
         Limits(2, None, 2 * MIB)),
        (pod({"limits": asks("1m", "1Mi"), "requests": asks("0")}), "/kubepods/burstable/podu", Limits(2, 1000, MIB)),
        (pod(GUARANTEED, {"requests": asks("100m")}), "/kubepods/burstable/podu", Limits(204)),
    ],
    ids=["nothing", "guaranteed", "two", "request", "least", "cpu", "memory", "quota", "one-without"],
)  # fmt: skip
def test_a_pods_group(found: Pod, name: str, limits: Limits) -> None:
    """Shares from requests always; quota and memory only where every container is limited."""
    assert pod_group(found) == name
    assert pod_limits(found) == limits


def test_init_containers_count_as_they_run() -> None:
    """An init container beside nothing, a sidecar beside all; one without a limit leaves the Pod without."""
    assert pod_limits(pod({"requests": asks("250m"), "limits": asks("500m", "64Mi")}, initContainers=INIT)) == Limits(
        614, 100_000, 256 * MIB
    )
    assert pod_limits(pod(GUARANTEED, initContainers=SIDECAR)) == Limits(307)


def test_overhead_and_the_pods_own_words() -> None:
    """Overhead is added to what is asked and to what is limited; resources of the Pod stand for its containers'."""
    assert pod_limits(pod(GUARANTEED, overhead=asks("100m", "1Mi"))) == Limits(204, 20_000, 65 * MIB)
    own = {"requests": asks("1"), "limits": asks("2", "1Gi")}
    assert pod_limits(pod({"requests": asks("100m")}, resources=own)) == Limits(1024, 200_000, 1024 * MIB)


def test_the_groups_above() -> None:
    """The node's size; the sum of Burstable requests; the least."""
    assert node_limits(4, 1 << 34, 32_768) == Limits(4096, None, 1 << 34, 32_768)
    assert quality_limits([250, 500]) == {
        "/kubepods/burstable": Limits(768),
        "/kubepods/besteffort": Limits(2),
    }
    assert quality_limits([]) == {"/kubepods/burstable": Limits(2), "/kubepods/besteffort": Limits(2)}


def test_files_of_both_versions() -> None:
    """What is written, in the words of version 1 and 2; what is not limited is not written."""
    limits = Limits(1024, 50_000, MIB, 100)
    assert dict(files_v1(limits)) == {
        "memory.limit_in_bytes": "1048576", "cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000",
        "cpu.shares": "1024", "pids.max": "100",
    }  # fmt: skip
    assert dict(files_v2(limits)) == {
        "memory.max": "1048576", "cpu.max": "50000 100000", "cpu.weight": "39", "pids.max": "100",
    }  # fmt: skip
    assert dict(files_v1(Limits(cpu_shares=2))) == {"cpu.shares": "2"}
    assert dict(files_v2(Limits(cpu_quota=-1))) == {"cpu.max": "max 100000"}

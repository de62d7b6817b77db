"""Which control groups a node has, and what each may use. Pure; upstream: pkg/kubelet/cm, driver cgroupfs.

/kubepods             what the node has, and the Pods of class Guaranteed:   /kubepods/podUID
/kubepods/burstable   the CPU its Pods request together                      /kubepods/burstable/podUID
/kubepods/besteffort  the least CPU, when others want it                     /kubepods/besteffort/podUID
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kubeglass.components.api import quantity
from kubeglass.components.api.objects import Pod
from kubeglass.components.api.qos import qos_class
from kubeglass.components.kubelet import pod_resources
from kubeglass.components.kubelet.cgroups.hierarchy import TOP
from kubeglass.components.kubelet.runtime.shim.cgroup import MIN_SHARES, Limits, quota, shares

BURSTABLE, BEST_EFFORT = f"/{TOP}/burstable", f"/{TOP}/besteffort"
PARENTS: Mapping[str, str] = {"Guaranteed": f"/{TOP}", "Burstable": BURSTABLE, "BestEffort": BEST_EFFORT}
POD_PREFIX = "pod"


def quality(pod: Pod) -> str:
    """The Pod's quality-of-service class."""
    return pod.status.qos_class or qos_class(pod)


def pod_group(pod: Pod) -> str:
    """The name of a Pod's group."""
    return f"{PARENTS[quality(pod)]}/{POD_PREFIX}{pod.metadata.uid}"


def pod_limits(pod: Pod) -> Limits:
    """What a Pod may use: its requests as shares; as limits the sum of its containers', once every one has one."""
    requests, limits = pod_resources.requests(pod), pod_resources.limits(pod)
    if quality(pod) == "BestEffort":
        return Limits(cpu_shares=MIN_SHARES)
    everything = quality(pod) == "Guaranteed"
    return Limits(
        cpu_shares=shares(requests.get("cpu", 0)),
        cpu_quota=quota(limits.get("cpu", 0)) if everything or _all_limit(pod, "cpu") else None,
        memory=limits.get("memory", 0) if everything or _all_limit(pod, "memory") else None,
    )


def wider(one: Limits, other: Limits) -> Limits:
    """The greater of each; no limit is the greatest."""

    def greater(mine: int | None, theirs: int | None) -> int | None:
        return None if mine is None or theirs is None else max(mine, theirs)

    return Limits(
        greater(one.cpu_shares, other.cpu_shares),
        greater(one.cpu_quota, other.cpu_quota),
        greater(one.memory, other.memory),
        greater(one.pids, other.pids),
    )


def _all_limit(pod: Pod, resource: str) -> bool:
    """Whether all containers have a limit, or the Pod itself."""
    together = pod.spec.resources.limits.get(resource, "0") if pod.spec.resources else "0"
    own = (c.resources.limits.get(resource, "0") for c in (*pod.spec.containers, *pod.spec.init_containers))
    return bool(quantity.parse(together)) or all(quantity.parse(text) for text in own)


def node_limits(cpus: int, memory_bytes: int, pids: int) -> Limits:
    """Of all Pods together."""
    return Limits(cpu_shares=shares(cpus * 1000), memory=memory_bytes, pids=pids)


def quality_limits(burstable_milli: Iterable[int]) -> Mapping[str, Limits]:
    """Of the two classes that have a group, from the CPU requests of the Burstable Pods."""
    return {BURSTABLE: Limits(cpu_shares=shares(sum(burstable_milli))), BEST_EFFORT: Limits(cpu_shares=MIN_SHARES)}

"""Eviction of Pods that write more than they may: an emptyDir's sizeLimit, limits on ephemeral-storage.

Looks every ten seconds, as k8s.io/kubernetes/pkg/kubelet/eviction does, whose texts and signals these are. Pressure of
the node itself evicts nobody: the machine is not the cluster's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kubeglass.components.api import quantity
from kubeglass.components.api.objects import Pod
from kubeglass.components.kubelet.metrics import EvictionMetrics
from kubeglass.components.kubelet.runtime.procstats import directory_bytes
from kubeglass.components.kubelet.runtime.runtime import ContainerStats, Runtime
from kubeglass.logging.klog import Logger

PERIOD_SECONDS = 10.0
EMPTY_DIR, POD, CONTAINER = "emptydirfs.limit", "ephemeralpodfs.limit", "ephemeralcontainerfs.limit"


class Excess(NamedTuple):
    """Which limit a Pod exceeds, as signal and message."""

    signal: str
    message: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes a Pod has written, by volume (emptyDirs on disk) and by container (its files and logs)."""

    volumes: Mapping[str, int]
    containers: Mapping[str, int]


def excess(pod: Pod, usage: Usage) -> Excess | None:
    """The first limit that is exceeded, in upstream's order: emptyDirs, the whole Pod, single containers."""
    for volume in pod.spec.volumes:
        limit = volume.empty_dir.size_limit if volume.empty_dir is not None else ""
        if limit and _bytes(limit) and usage.volumes.get(volume.name, 0) > _bytes(limit):
            return Excess(EMPTY_DIR, f'Usage of EmptyDir volume "{volume.name}" exceeds the limit "{limit}". ')
    limits = {c.name: c.resources.limits.get("ephemeral-storage", "") for c in pod.spec.containers}
    total = sum(map(_bytes, limits.values()))
    if limits and all(limits.values()) and sum(usage.volumes.values()) + sum(usage.containers.values()) > total:
        text = (
            f"Pod ephemeral local storage usage exceeds the total limit of containers {_canonical(limits.values())}. "
        )
        return Excess(POD, text)
    for name, limit in limits.items():
        if limit and usage.containers.get(name, 0) > _bytes(limit):
            return Excess(CONTAINER, f'Container {name} exceeded its local ephemeral storage limit "{limit}". ')
    return None


class Evictions:
    """Looks at every Pod of the node and has `evict` end those that exceed a limit."""

    def __init__(
        self,
        runtime: Runtime,
        pods: Callable[[], Iterable[Pod]],
        volume_path: Callable[[Pod, str], Path],
        evict: Callable[[Pod, str], None],
        metrics: EvictionMetrics,
        log: Logger,
    ) -> None:
        self._runtime = runtime
        self._pods = pods
        self._volume_path = volume_path
        self._evict = evict
        self._metrics = metrics
        self._log = log

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            await self.look()

    async def look(self) -> None:
        """One round over the Pods that have a limit; usage is measured in a thread, since it walks directories."""
        limited = [pod for pod in self._pods() if pod.status.phase in ("Pending", "Running") and _has_limit(pod)]
        if not limited:
            return
        stats = await self._runtime.list_container_stats()
        for pod in limited:
            usage = await asyncio.to_thread(self._usage, pod, stats)
            found = excess(pod, usage)
            if found is not None:
                self._log.info("Eviction manager: pod is evicted successfully", pod=pod.key)
                self._metrics.evictions.labels(found.signal).inc()
                self._evict(pod, found.message)

    def _usage(self, pod: Pod, stats: Iterable[ContainerStats]) -> Usage:
        disks = [volume.name for volume in pod.spec.volumes if volume.empty_dir is not None]
        own = [found for found in stats if found.container.pod_uid == pod.metadata.uid]
        return Usage(
            {name: directory_bytes(self._volume_path(pod, name)) for name in disks},
            {found.container.name: found.fs_usage_bytes + _log_bytes(found) for found in own},
        )


def _has_limit(pod: Pod) -> bool:
    return any(volume.empty_dir is not None and volume.empty_dir.size_limit for volume in pod.spec.volumes) or any(
        "ephemeral-storage" in container.resources.limits for container in pod.spec.containers
    )


def _log_bytes(stats: ContainerStats) -> int:
    path = stats.container.log_path
    return directory_bytes(Path(path).parent) if path else 0


def _bytes(text: str) -> int:
    return quantity.parse(text).value() if text else 0


def _canonical(quantities: Iterable[str]) -> str:
    total = quantity.parse("0")
    for text in quantities:
        total = quantity.parse(text) + total
    return str(total)

"""What containers use: /metrics/cadvisor, /metrics/resource, /stats/summary; from runtime, control groups and /proc.

A scrape first calls `refresh`, then the registries read what it found. Pods of the loopback network share the host's
interfaces, so network figures exist for the machine (id="/") only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kubeglass import GIT_VERSION
from kubeglass.components.api import quantity
from kubeglass.components.api.objects import Pod
from kubeglass.components.kubelet import container_metrics as rows
from kubeglass.components.kubelet import machine
from kubeglass.components.kubelet.cgroups.manager import PodGroups
from kubeglass.components.kubelet.configuration import KubeletConfig
from kubeglass.components.kubelet.observed import spec_of
from kubeglass.components.kubelet.runtime.procstats import directory_bytes
from kubeglass.components.kubelet.runtime.runtime import Container, ContainerStats, Runtime
from kubeglass.components.machinery import clock
from kubeglass.telemetry.metrics.families import Sample
from kubeglass.telemetry.metrics.registry import Registry

_NO_LABELS = ("", "", "", "", "")
_CPU_PERIOD_MICROSECONDS = 100_000
_COUNTED: Mapping[Any, str] = {
    rows.CPU_USER_SECONDS_TOTAL: "cpu_user_seconds",
    rows.CPU_SYSTEM_SECONDS_TOTAL: "cpu_system_seconds",
    rows.CPU_CFS_PERIODS_TOTAL: "periods",
    rows.CPU_CFS_THROTTLED_PERIODS_TOTAL: "throttled_periods",
    rows.CPU_CFS_THROTTLED_SECONDS_TOTAL: "throttled_seconds",
    rows.MEMORY_MAPPED_FILE: "memory_mapped_file",
    rows.MEMORY_MAX_USAGE_BYTES: "memory_max_usage",
    rows.MEMORY_TOTAL_ACTIVE_FILE_BYTES: "memory_active_file",
    rows.MEMORY_TOTAL_INACTIVE_FILE_BYTES: "memory_inactive_file",
    rows.MEMORY_FAILCNT: "memory_failures",
}
"""What only control groups tell."""
_Figure = tuple[Any, tuple[str, ...], float]
_TIMELESS = frozenset(
    {
        rows.START_TIME_SECONDS, rows.RESOURCE_CONTAINER_START_TIME_SECONDS, rows.RESOURCE_SCRAPE_ERROR,
        rows.SCRAPE_ERROR, rows.MACHINE_SCRAPE_ERROR, rows.CADVISOR_VERSION_INFO, *rows.SPEC_ROWS,
    }
)  # fmt: skip


class _Usage:
    """Figures of a container, or of all of a group: `counted` for the group itself, else what its members add up to."""

    def __init__(self, members: Sequence[ContainerStats], counted: Mapping[str, float] = {}) -> None:
        self.members = members
        self.counted = counted

    def total(self, name: str, otherwise: Callable[[ContainerStats], float]) -> float:
        """One figure, by its name in shim/cgroup.py and as the members have it."""
        found = self.counted.get(name)
        return sum(map(otherwise, self.members)) if found is None else found

    def kernels(self, name: str) -> float | None:
        """One that only the kernel counts."""
        if name in self.counted:
            return self.counted[name]
        found = [stats.counted[name] for stats in self.members if name in stats.counted]
        return sum(found) if found else None

    @property
    def cpu_seconds(self) -> float:
        return self.total("cpu_seconds", lambda s: s.cpu_usage_seconds)

    @property
    def working_set(self) -> float:
        return self.total("memory_working_set", lambda s: s.memory_working_set_bytes)

    @property
    def swap(self) -> float:
        return self.total("memory_swap", lambda s: s.memory_swap_bytes)


class OomKills:
    """Which containers of which Pods were killed for their memory. A killed container is seldom there when Prometheus
    comes, so its Pod and its successors count on: that is why the counter can be seen to rise.
    """

    def __init__(self) -> None:
        self._killed: dict[str, dict[str, str]] = {}  # Pod UID → container id → container name

    def note(self, containers: Iterable[Container], pods: Mapping[str, Pod]) -> None:
        """Look at what the runtime has; Pods that are gone are forgotten."""
        for container in containers:
            if container.reason == "OOMKilled":
                self._killed.setdefault(container.pod_uid, {})[container.id] = container.name
        self._killed = {uid: killed for uid, killed in self._killed.items() if uid in pods}

    def of(self, pod_uid: str, name: str = "") -> int:
        """How many of a Pod, or of its containers with that name."""
        return sum(name in ("", one) for one in self._killed.get(pod_uid, {}).values())


class Cadvisor:
    """The figures of one node."""

    def __init__(
        self,
        config: KubeletConfig,
        runtime: Runtime,
        pods: Callable[[], Sequence[Pod]],
        groups: PodGroups,
        metrics: Registry,
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._pods = pods
        self._groups = groups
        self._stats: Sequence[ContainerStats] = ()
        self._measured_ms = 0
        self._by_uid: dict[str, Pod] = {}
        self._counted: dict[str, Mapping[str, float]] = {}  # by Pod uid
        self._oom_kills = OomKills()
        self.cadvisor = metrics.companion()
        self.resource = metrics.companion()
        self.cadvisor.collect(
            (
                *rows.CPU_ROWS, *rows.MEMORY_ROWS, *rows.FS_ROWS, *rows.NETWORK_ROWS, *rows.PROCESS_ROWS,
                *rows.SPEC_ROWS, *rows.MACHINE_ROWS,
            ),
            lambda: self._stamped(self._cadvisor_samples()),
        )  # fmt: skip
        self.resource.collect(rows.RESOURCE_ROWS, lambda: self._stamped(self._resource_samples()))

    async def refresh(self) -> None:
        """Measure every container now."""
        self._stats = await self._runtime.list_container_stats()
        self._measured_ms = int(clock.now() * 1000)
        self._by_uid = {pod.metadata.uid: pod for pod in self._pods()}
        self._oom_kills.note(await self._runtime.list_containers(), self._by_uid)
        self._counted = {}
        for uid, pod in self._by_uid.items():
            self._counted[uid] = self._groups.figures(pod)
            await asyncio.sleep(0)  # some files per Pod: others get their turn

    def _stamped(self, samples: Iterable[_Figure]) -> Iterator[Sample]:
        """What was measured carries the time of measuring; what was configured does not."""
        for row, labels, value in samples:
            yield (row, labels, value) if row in _TIMELESS else (row, labels, value, self._measured_ms)

    # -- /metrics/cadvisor ----------------------------------------------------------------------------------------

    def _cadvisor_samples(self) -> Iterator[_Figure]:
        yield from self._machine_samples()
        for stats in self._stats:
            pod = self._by_uid.get(stats.container.pod_uid)
            if pod is not None:
                yield from self._container_samples(pod, stats)
        for uid, pod in self._by_uid.items():
            yield from self._pod_samples(uid, pod)
        for name, counted in self._groups.top_figures().items():
            yield from _usage_samples((name, *_NO_LABELS), _Usage((), counted))

    def _container_samples(self, pod: Pod, stats: ContainerStats) -> Iterator[_Figure]:
        container, meta = stats.container, pod.metadata
        group = f"{self._groups.name(pod)}/{container.id}"
        labels = (group, container.id, container.image, meta.name, meta.namespace, container.name)
        device = machine.device(self._config.root_dir)
        yield from _usage_samples(labels, _Usage([stats]))
        yield rows.OOM_EVENTS_TOTAL, labels, self._oom_kills.of(container.pod_uid, container.name)
        for row, value in (
            (rows.FS_READS_TOTAL, stats.reads),
            (rows.FS_WRITES_TOTAL, stats.writes),
            (rows.FS_READS_BYTES_TOTAL, stats.read_bytes),
            (rows.FS_WRITES_BYTES_TOTAL, stats.write_bytes),
            (rows.FS_USAGE_BYTES, stats.fs_usage_bytes),
        ):
            yield row, (*labels, device), value
        disk = machine.disk(self._config.root_dir)
        yield rows.FS_LIMIT_BYTES, (*labels, device), disk.capacity
        yield rows.START_TIME_SECONDS, labels, container.started_at / 1e9
        yield rows.LAST_SEEN, labels, float(int(clock.now()))
        yield from _spec_samples(labels, pod, container.name)

    def _pod_samples(self, uid: str, pod: Pod) -> Iterator[_Figure]:
        usage = self._usage(uid)
        labels = (self._groups.name(pod), "", "", pod.metadata.name, pod.metadata.namespace, "")
        yield rows.OOM_EVENTS_TOTAL, labels, self._oom_kills.of(uid)
        if usage.members or usage.counted:
            yield from _usage_samples(labels, usage)

    def _usage(self, uid: str) -> _Usage:
        own = [stats for stats in self._stats if stats.container.pod_uid == uid]
        return _Usage(own, self._counted.get(uid, {}))

    def _machine_samples(self) -> Iterator[_Figure]:
        root = ("/", *_NO_LABELS)
        memory = machine.memory()
        yield rows.CPU_USAGE_SECONDS_TOTAL, (*root, "total"), machine.cpu_seconds()
        yield rows.MEMORY_USAGE_BYTES, root, memory.total - memory.free
        yield rows.MEMORY_WORKING_SET_BYTES, root, memory.total - memory.available
        yield rows.MEMORY_CACHE, root, memory.cached
        yield rows.MEMORY_SWAP, root, memory.swap_total - memory.swap_free
        yield rows.LAST_SEEN, root, float(int(clock.now()))
        yield rows.START_TIME_SECONDS, root, machine.boot_time()
        disk, device = machine.disk(self._config.root_dir), machine.device(self._config.root_dir)
        yield rows.FS_LIMIT_BYTES, (*root, device), disk.capacity
        yield rows.FS_USAGE_BYTES, (*root, device), disk.capacity - disk.available
        yield rows.FS_INODES_TOTAL, (*root, device), disk.inodes
        yield rows.FS_INODES_FREE, (*root, device), disk.inodes_free
        for interface, counts in machine.network():
            for row, value in zip(rows.NETWORK_ROWS, counts, strict=True):
                yield row, (*root, interface), value
        identity = (machine.machine_id(), machine.system_uuid(), machine.boot_id())
        yield rows.MACHINE_CPU_CORES, identity, machine.cpu_count()
        yield rows.MACHINE_CPU_PHYSICAL_CORES, identity, machine.topology().physical_cores
        yield rows.MACHINE_CPU_SOCKETS, identity, machine.topology().sockets
        yield rows.MACHINE_MEMORY_BYTES, identity, memory.total
        yield rows.MACHINE_SWAP_BYTES, identity, memory.swap_total
        yield rows.MACHINE_SCRAPE_ERROR, (), 0
        yield rows.SCRAPE_ERROR, (), 0
        kernel = Path("/proc/sys/kernel/osrelease").read_text().strip()
        yield rows.CADVISOR_VERSION_INFO, (kernel, machine.os_image(), "", GIT_VERSION, ""), 1

    # -- /metrics/resource ----------------------------------------------------------------------------------------

    def _resource_samples(self) -> Iterator[_Figure]:
        memory = machine.memory()
        yield rows.NODE_CPU_USAGE_SECONDS_TOTAL, (), machine.cpu_seconds()
        yield rows.NODE_MEMORY_WORKING_SET_BYTES, (), memory.total - memory.available
        yield rows.NODE_SWAP_USAGE_BYTES, (), memory.swap_total - memory.swap_free
        yield rows.RESOURCE_SCRAPE_ERROR, (), 0
        for stats in self._stats:
            pod = self._by_uid.get(stats.container.pod_uid)
            if pod is None:
                continue
            labels = (stats.container.name, pod.metadata.name, pod.metadata.namespace)
            yield rows.RESOURCE_CONTAINER_CPU_USAGE_SECONDS_TOTAL, labels, stats.cpu_usage_seconds
            yield rows.RESOURCE_CONTAINER_MEMORY_WORKING_SET_BYTES, labels, stats.memory_working_set_bytes
            yield rows.RESOURCE_CONTAINER_SWAP_USAGE_BYTES, labels, stats.memory_swap_bytes
            yield rows.RESOURCE_CONTAINER_START_TIME_SECONDS, labels, stats.container.started_at / 1e9
        for uid, pod in self._by_uid.items():
            usage = self._usage(uid)
            if usage.members:
                labels2 = (pod.metadata.name, pod.metadata.namespace)
                yield rows.POD_CPU_USAGE_SECONDS_TOTAL, labels2, usage.cpu_seconds
                yield rows.POD_MEMORY_WORKING_SET_BYTES, labels2, usage.working_set
                yield rows.POD_SWAP_USAGE_BYTES, labels2, usage.swap

    # -- /stats/summary -------------------------------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        """The Summary of k8s.io/kubelet/pkg/apis/stats/v1alpha1."""
        now, memory, disk = clock.now_rfc3339(), machine.memory(), machine.disk(self._config.root_dir)
        file_system = {
            "time": now,
            "availableBytes": disk.available,
            "capacityBytes": disk.capacity,
            "usedBytes": disk.capacity - disk.available,
            "inodesFree": disk.inodes_free,
            "inodes": disk.inodes,
            "inodesUsed": disk.inodes - disk.inodes_free,
        }
        interfaces = [
            {"name": name, "rxBytes": c[0], "rxErrors": c[2], "txBytes": c[4], "txErrors": c[6]}
            for name, c in machine.network()
        ]
        running, allowed = machine.process_ids()
        return {
            "node": {
                "nodeName": self._config.node_name,
                "startTime": clock.rfc3339(machine.boot_time()),
                "cpu": {"time": now, "usageCoreNanoSeconds": int(machine.cpu_seconds() * 1e9)},
                "memory": {
                    "time": now,
                    "availableBytes": memory.available,
                    "usageBytes": memory.total - memory.free,
                    "workingSetBytes": memory.total - memory.available,
                },
                "network": {"time": now, "name": interfaces[0]["name"] if interfaces else "", "interfaces": interfaces},
                "fs": file_system,
                "rlimit": {"time": now, "maxpid": allowed, "curproc": running},
            },
            "pods": [self._pod_summary(uid, pod, now, file_system) for uid, pod in self._by_uid.items()],
        }

    def _pod_summary(self, uid: str, pod: Pod, now: str, file_system: dict[str, Any]) -> dict[str, Any]:
        usage = self._usage(uid)
        own = usage.members
        disk = {key: file_system[key] for key in ("time", "availableBytes", "capacityBytes")}
        volumes = directory_bytes(self._config.pods_dir / uid)
        return {
            "podRef": {"name": pod.metadata.name, "namespace": pod.metadata.namespace, "uid": uid},
            "startTime": pod.status.start_time or None,
            "containers": [_container_summary(stats, now, disk) for stats in own],
            "cpu": {"time": now, "usageCoreNanoSeconds": int(usage.cpu_seconds * 1e9)},
            "memory": {"time": now, "workingSetBytes": int(usage.working_set)},
            "ephemeral-storage": {**disk, "usedBytes": volumes + sum(stats.fs_usage_bytes for stats in own)},
            "process_stats": {"process_count": sum(stats.processes for stats in own)},
        }


def _container_summary(stats: ContainerStats, now: str, disk: dict[str, Any]) -> dict[str, Any]:
    log_bytes = directory_bytes(Path(stats.container.log_path).parent) if stats.container.log_path else 0
    return {
        "name": stats.container.name,
        "startTime": clock.rfc3339(stats.container.started_at / 1e9),
        "cpu": {"time": now, "usageCoreNanoSeconds": int(stats.cpu_usage_seconds * 1e9)},
        "memory": {
            "time": now,
            "usageBytes": stats.memory_working_set_bytes,
            "workingSetBytes": stats.memory_working_set_bytes,
            "rssBytes": stats.memory_rss_bytes,
            "pageFaults": stats.page_faults,
            "majorPageFaults": stats.major_page_faults,
        },
        "rootfs": {**disk, "usedBytes": stats.fs_usage_bytes},
        "logs": {**disk, "usedBytes": log_bytes},
    }


def _usage_samples(labels: tuple[str, ...], usage: _Usage) -> Iterator[_Figure]:
    """The figures of a container, or of a Pod or a class together."""
    yield rows.CPU_USAGE_SECONDS_TOTAL, (*labels, "total"), usage.cpu_seconds
    for row, name in _COUNTED.items():
        if (value := usage.kernels(name)) is not None:
            yield row, labels, value
    yield (
        rows.MEMORY_USAGE_BYTES,
        labels,
        usage.total("memory_usage", lambda s: s.counted.get("memory_usage", s.memory_working_set_bytes)),
    )
    yield rows.MEMORY_WORKING_SET_BYTES, labels, usage.working_set
    yield rows.MEMORY_RSS, labels, usage.total("memory_rss", lambda s: s.memory_rss_bytes)
    yield rows.MEMORY_CACHE, labels, usage.total("memory_cache", lambda s: s.memory_cache_bytes)
    yield rows.MEMORY_SWAP, labels, usage.swap
    faults = (
        ("pgfault", usage.total("page_faults", lambda s: s.page_faults)),
        ("pgmajfault", usage.total("major_page_faults", lambda s: s.major_page_faults)),
    )
    for kind, count in faults:
        for scope in ("container", "hierarchy"):
            yield rows.MEMORY_FAILURES_TOTAL, (*labels, kind, scope), count
    if usage.members:
        yield rows.PROCESSES, labels, sum(s.processes for s in usage.members)
        yield rows.THREADS, labels, sum(s.threads for s in usage.members)
        yield rows.SOCKETS, labels, sum(s.sockets for s in usage.members)
        yield rows.FILE_DESCRIPTORS, labels, sum(s.file_descriptors for s in usage.members)


def _spec_samples(labels: tuple[str, ...], pod: Pod, name: str) -> Iterator[_Figure]:
    spec = spec_of(pod, name)
    if spec is None:
        return
    request, limit = spec.resources.requests.get("cpu", "0"), spec.resources.limits.get("cpu", "0")
    shares = max(2, quantity.parse(request).milli_value() * 1024 // 1000)
    yield rows.SPEC_CPU_SHARES, labels, shares
    yield rows.SPEC_CPU_PERIOD, labels, _CPU_PERIOD_MICROSECONDS
    if quota := quantity.parse(limit).milli_value():
        yield rows.SPEC_CPU_QUOTA, labels, quota * _CPU_PERIOD_MICROSECONDS // 1000
    yield rows.SPEC_MEMORY_LIMIT_BYTES, labels, quantity.parse(spec.resources.limits.get("memory", "0")).value()

"""What a running container uses: counted by its control group where it has one, added up from /proc elsewhere."""

from __future__ import annotations

import time
from pathlib import Path

from kubeglass.components.kubelet.runtime.procstats import directory_bytes, tree_usage
from kubeglass.components.kubelet.runtime.runtime import Container, ContainerStats
from kubeglass.components.kubelet.runtime.shim.cgroup import Group


class Statistics:
    """The figures of containers; remembers how far each one's processor time had come."""

    def __init__(self) -> None:
        self._cpu: dict[str, float] = {}

    def forget(self, container_id: str) -> None:
        """The container is gone."""
        self._cpu.pop(container_id, None)

    def measure(self, container: Container, group: Group, root: Path) -> ContainerStats:
        """Now; `root` is the container's own file tree."""
        usage, counted = tree_usage(container.pid), group.figures()
        # A process that nobody waited for takes its CPU time with it; a counter must not fall.
        cpu = max(counted.get("cpu_seconds", usage.cpu_seconds), self._cpu.get(container.id, 0.0))
        self._cpu[container.id] = cpu

        def kernel(name: str, otherwise: int) -> int:
            return int(counted.get(name, otherwise))

        return ContainerStats(
            container=container,
            timestamp=time.time_ns(),
            cpu_usage_seconds=cpu,
            memory_working_set_bytes=kernel("memory_working_set", usage.rss_bytes + usage.cache_bytes),
            memory_rss_bytes=kernel("memory_rss", usage.rss_bytes),
            memory_cache_bytes=kernel("memory_cache", usage.cache_bytes),
            memory_swap_bytes=kernel("memory_swap", usage.swap_bytes),
            page_faults=kernel("page_faults", usage.page_faults),
            major_page_faults=kernel("major_page_faults", usage.major_page_faults),
            read_bytes=usage.read_bytes,
            write_bytes=usage.write_bytes,
            reads=usage.reads,
            writes=usage.writes,
            fs_usage_bytes=directory_bytes(root),
            processes=usage.processes,
            threads=usage.threads,
            file_descriptors=usage.file_descriptors,
            sockets=usage.sockets,
            counted=counted,
        )

"""Resource use of a process tree, from /proc. One pass over a container's processes gives all its figures."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from kubeglass.components.kubelet.runtime.shim.memory import tree

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGESIZE")


@dataclass(slots=True)
class TreeUsage:
    """Sums over the living processes of a tree (and, for CPU and faults, over the children they waited for)."""

    cpu_seconds: float = 0.0
    rss_bytes: int = 0
    cache_bytes: int = 0
    swap_bytes: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    read_bytes: int = 0
    write_bytes: int = 0
    reads: int = 0
    writes: int = 0
    processes: int = 0
    threads: int = 0
    file_descriptors: int = 0
    sockets: int = 0


def tree_usage(pid: int) -> TreeUsage:
    """What the tree below `pid` uses; processes that end meanwhile are left out."""
    usage = TreeUsage()
    for member in tree(pid):
        try:
            _add_stat(usage, member)
            _add_memory(usage, member)
            _add_io(usage, member)
            _add_descriptors(usage, member)
        except (OSError, IndexError, ValueError):
            continue
    return usage


def _add_stat(usage: TreeUsage, pid: int) -> None:
    fields = _read(pid, "stat").rpartition(")")[2].split()  # from field 3, state
    usage.cpu_seconds += sum(int(value) for value in fields[11:15]) / _TICKS
    usage.page_faults += int(fields[7]) + int(fields[8])
    usage.major_page_faults += int(fields[9]) + int(fields[10])
    usage.threads += int(fields[17])
    usage.processes += 1


def _add_memory(usage: TreeUsage, pid: int) -> None:
    for line in _read(pid, "status").splitlines():
        key, _, value = line.partition(":")
        if key in ("RssAnon", "RssShmem"):
            usage.rss_bytes += int(value.split()[0]) * 1024
        elif key == "RssFile":
            usage.cache_bytes += int(value.split()[0]) * 1024
        elif key == "VmSwap":
            usage.swap_bytes += int(value.split()[0]) * 1024


def _add_io(usage: TreeUsage, pid: int) -> None:
    try:
        lines = _read(pid, "io").splitlines()
    except OSError:  # another user's process
        return
    values = {key: int(value) for key, _, value in (line.partition(":") for line in lines)}
    usage.reads += values["syscr"]
    usage.writes += values["syscw"]
    usage.read_bytes += values["read_bytes"]
    usage.write_bytes += values["write_bytes"]


def _add_descriptors(usage: TreeUsage, pid: int) -> None:
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    usage.file_descriptors += len(names)
    for name in names:
        try:
            usage.sockets += os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")
        except OSError:
            continue


def _read(pid: int, file: str) -> str:
    return Path(f"/proc/{pid}/{file}").read_text()


def directory_bytes(path: Path) -> int:
    """Disk space used below a directory, on its own file system."""
    total = 0
    try:
        device = path.lstat().st_dev
    except OSError:
        return 0
    pending = [str(path)]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if status.st_dev != device:
                continue
            total += status.st_blocks * 512
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
    return total

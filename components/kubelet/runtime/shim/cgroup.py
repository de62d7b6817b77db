"""Control groups of containers, version 1 (cgroupfs) and 2: limits the kernel keeps, figures it counts. Stdlib only.

One group per container, below the group of whoever probes: kubeglass/NODE/…/podUID/CONTAINER in each hierarchy; the
last one to go takes the empty groups above along. Where groups cannot be made (no privilege, read-only mounts) `probe`
says so, and limits are kept by looking instead.
See cgroups(7), Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

ROOT = "kubeglass"
PERIOD_MICROSECONDS = 100_000
_V1_CONTROLLERS = ("memory", "cpu", "cpuacct", "pids")
_V2_CONTROLLERS = ("memory", "cpu", "pids")
_REMOVE_SECONDS = 0.5
_MAKE_ATTEMPTS = 5


def probe(node: str) -> list[str]:
    """The folder of a node in each hierarchy in which groups can be made; none where limits are not permitted."""
    for find in (_v1_bases, _v2_bases):
        bases = find(f"{ROOT}/{node}")
        if bases and _works(bases):
            return bases
    return []


def _v1_bases(base: str) -> list[str]:
    """One folder per mounted hierarchy that has a controller of interest (cpu and cpuacct may share one)."""
    own = _own_groups()
    found: dict[str, None] = {}
    for kind, point, options in _mounts():
        for controller in _V1_CONTROLLERS if kind == "cgroup" else ():
            if controller in options:
                found[f"{_existing(point, own.get(controller, ''))}/{base}"] = None
    return list(found)


def _v2_bases(base: str) -> list[str]:
    """The unified hierarchy, below its mount point: a group with processes cannot hand controllers down."""
    return [f"{point}/{base}" for kind, point, _ in _mounts() if kind == "cgroup2"]


def _mounts() -> Iterator[tuple[str, str, list[str]]]:
    with open("/proc/self/mounts") as stream:
        for line in stream:
            fields = line.split()
            yield fields[2], fields[1], fields[3].split(",")


def _own_groups() -> dict[str, str]:
    """Controller → path of this process's group."""
    with open("/proc/self/cgroup") as stream:
        rows = [line.rstrip("\n").split(":", 2) for line in stream]
    return {controller: path for _, controllers, path in rows for controller in controllers.split(",")}


def _existing(point: str, path: str) -> str:
    """The group of this process as a folder; the mount point itself where a container shows only part of the tree."""
    folder = f"{point}{path.rstrip('/')}"
    return folder if os.path.isdir(folder) else point


def _is_v1(folder: str) -> bool:
    return not os.path.exists(f"{folder}/cgroup.controllers")


def _delegate(folder: str) -> None:
    """Hand the controllers down to `folder` and to what is made below it. Raises OSError."""
    wanted = " ".join(f"+{name}" for name in _V2_CONTROLLERS)
    chain = [folder]
    while os.path.exists(f"{os.path.dirname(chain[-1])}/cgroup.controllers"):
        chain.append(os.path.dirname(chain[-1]))
    for group in reversed(chain):
        _write(f"{group}/cgroup.subtree_control", wanted)


def _works(bases: list[str]) -> bool:
    """Whether memory can be limited there."""
    trial = Group([f"{folder}/probe" for folder in bases])
    try:
        trial.create({"memory_limit_bytes": 1 << 30})
        return trial.limits_memory
    except OSError:
        return False
    finally:
        trial.remove()


class Group:
    """The group of one container: the same path in each hierarchy."""

    def __init__(self, folders: list[str]) -> None:
        self.folders = folders

    @property
    def limits_memory(self) -> bool:
        """Whether the kernel keeps a memory limit here."""
        return any(self._find(name) for name in ("memory.limit_in_bytes", "memory.max"))

    def create(self, spec: dict[str, Any]) -> None:
        """Make the group with the limits of a container: memory_limit_bytes, cpu_limit_milli, cpu_request_milli."""
        for folder in self.folders:
            _make(folder)
        for file, value in limits(spec):
            if path := self._find(file):
                _write(path, value)

    def join(self) -> None:
        """Move the calling process in; its children are born there. Raises OSError."""
        for folder in self.folders:
            _write(f"{folder}/cgroup.procs", "0")

    def oom_kills(self) -> int:
        """How often the kernel killed a process of the group for memory."""
        for name in ("memory.oom_control", "memory.events"):
            if path := self._find(name):
                return _keyed(path).get("oom_kill", 0)
        return 0

    def remove(self) -> None:
        """Delete the group, and those above that are empty now; its processes may take a moment to be gone."""
        deadline = time.monotonic() + _REMOVE_SECONDS
        for folder in self.folders:
            while os.path.isdir(folder):
                try:
                    os.rmdir(folder)
                except OSError:
                    if time.monotonic() > deadline:
                        break
                    time.sleep(0.005)
            _remove_empty_parents(folder)

    def figures(self) -> dict[str, float]:
        """What the kernel counted; what it does not count is missing."""
        found: dict[str, float] = {}
        _cpu_figures(self, found)
        _memory_figures(self, found)
        return found

    def _find(self, file: str) -> str:
        """The path of a file in whichever hierarchy has it, or ""."""
        return next((f"{folder}/{file}" for folder in self.folders if os.path.exists(f"{folder}/{file}")), "")

    def number(self, file: str) -> int | None:
        """The single number in a file; None without the file, or for `max`."""
        path = self._find(file)
        try:
            with open(path) as stream:
                return int(stream.read())
        except (OSError, ValueError):
            return None

    def keyed(self, file: str) -> dict[str, int]:
        """The `key number` lines of a file."""
        path = self._find(file)
        return _keyed(path) if path else {}


def limits(spec: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(file, value) of each limit, for both versions. Pure; shares and weights as upstream converts them."""
    memory, quota = spec.get("memory_limit_bytes") or 0, spec.get("cpu_limit_milli") or 0
    shares = max(2, (spec.get("cpu_request_milli") or 0) * 1024 // 1000)
    if memory:
        yield "memory.limit_in_bytes", str(memory)
        yield "memory.memsw.limit_in_bytes", str(memory)
        yield "memory.max", str(memory)
        yield "memory.swap.max", "0"
        yield "memory.oom.group", "1"
    if quota:
        microseconds = max(1000, quota * PERIOD_MICROSECONDS // 1000)
        yield "cpu.cfs_period_us", str(PERIOD_MICROSECONDS)
        yield "cpu.cfs_quota_us", str(microseconds)
        yield "cpu.max", f"{microseconds} {PERIOD_MICROSECONDS}"
    yield "cpu.shares", str(shares)
    yield "cpu.weight", str(1 + (shares - 2) * 9999 // 262142)


def _cpu_figures(group: Group, found: dict[str, float]) -> None:
    nanoseconds, statistics = group.number("cpuacct.usage"), group.keyed("cpu.stat")
    if nanoseconds is not None:
        ticks = os.sysconf("SC_CLK_TCK")
        parts = group.keyed("cpuacct.stat")
        found |= {
            "cpu_seconds": nanoseconds / 1e9,
            "cpu_user_seconds": parts.get("user", 0) / ticks,
            "cpu_system_seconds": parts.get("system", 0) / ticks,
            "throttled_seconds": statistics.get("throttled_time", 0) / 1e9,
        }
    elif "usage_usec" in statistics:
        found |= {
            "cpu_seconds": statistics["usage_usec"] / 1e6,
            "cpu_user_seconds": statistics["user_usec"] / 1e6,
            "cpu_system_seconds": statistics["system_usec"] / 1e6,
            "throttled_seconds": statistics.get("throttled_usec", 0) / 1e6,
        }
    if "nr_periods" in statistics:
        found |= {"periods": statistics["nr_periods"], "throttled_periods": statistics["nr_throttled"]}


def _memory_figures(group: Group, found: dict[str, float]) -> None:
    usage = group.number("memory.usage_in_bytes")
    statistics = group.keyed("memory.stat")
    if usage is None:
        usage = group.number("memory.current")
    if usage is None or not statistics:
        return
    v1 = "total_rss" in statistics

    def stat(old: str, new: str) -> int:
        return statistics.get(f"total_{old}" if v1 else new, 0)

    inactive = stat("inactive_file", "inactive_file")
    found |= {
        "memory_usage": usage,
        "memory_working_set": max(0, usage - inactive),
        "memory_rss": stat("rss", "anon"),
        "memory_cache": stat("cache", "file"),
        "memory_mapped_file": stat("mapped_file", "file_mapped"),
        "memory_active_file": stat("active_file", "active_file"),
        "memory_inactive_file": inactive,
        "memory_swap": stat("swap", "swap") if v1 else (group.number("memory.swap.current") or 0),
        "page_faults": stat("pgfault", "pgfault"),
        "major_page_faults": stat("pgmajfault", "pgmajfault"),
        "memory_max_usage": (group.number("memory.max_usage_in_bytes") if v1 else group.number("memory.peak")) or 0,
        "memory_failures": (group.number("memory.failcnt") if v1 else group.keyed("memory.events").get("max")) or 0,
        "oom_kills": group.oom_kills(),
    }


def remove_tree(folder: str) -> None:
    """Delete what is left of a node: groups that have no process. Never raises."""
    for path, _, _ in os.walk(folder, topdown=False):
        try:
            os.rmdir(path)
        except OSError:
            pass
    _remove_empty_parents(folder)


def _make(folder: str) -> None:
    """Make a group; again if a neighbour took the empty groups above away meanwhile. Raises OSError."""
    for attempt in range(_MAKE_ATTEMPTS):
        try:
            os.makedirs(folder, exist_ok=True)
            break
        except FileNotFoundError:
            if attempt == _MAKE_ATTEMPTS - 1:
                raise
    if not _is_v1(folder):
        _delegate(os.path.dirname(folder))


def _remove_empty_parents(folder: str) -> None:
    """Up to and with ROOT."""
    while os.path.basename(folder) != ROOT and folder != "/":
        folder = os.path.dirname(folder)
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            continue
        except OSError:
            return


def _keyed(path: str) -> dict[str, int]:
    try:
        with open(path) as stream:
            rows = [line.split() for line in stream]
    except OSError:
        return {}
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].lstrip("-").isdecimal()}


def _write(path: str, text: str) -> None:
    with open(path, "w") as stream:
        stream.write(text)

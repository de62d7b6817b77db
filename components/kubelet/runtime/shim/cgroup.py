"""Control groups, version 1 (cgroupfs) and 2: limits the kernel keeps, figures it counts. Stdlib only.

A group is the same path in each hierarchy of version 1, or one folder of version 2. Whoever makes a group ends it; the
groups above are others' (a container's group lies in that of its Pod, which is the kubelet's: cgroups/manager.py).
See cgroups(7), Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

PERIOD_MICROSECONDS = 100_000
MIN_SHARES, MAX_SHARES = 2, 262_144
_MIN_QUOTA_MICROSECONDS = 1000
_V2_CONTROLLERS = ("memory", "cpu", "pids")
_REMOVE_SECONDS = 0.5
_MAKE_ATTEMPTS = 5


class Limits(NamedTuple):
    """What a group may use; None leaves a value as it is. The quota is microseconds of each period, memory bytes."""

    cpu_shares: int | None = None
    cpu_quota: int | None = None
    memory: int | None = None
    pids: int | None = None
    whole: bool = False  # a container's: swap does not stretch its memory, and all of it is killed


def shares(milli: int) -> int:
    """A CPU request in the words of version 1."""
    return min(MAX_SHARES, max(MIN_SHARES, milli * 1024 // 1000))


def quota(milli: int) -> int:
    """A CPU limit, at least what the kernel takes; none for 0."""
    return max(_MIN_QUOTA_MICROSECONDS, milli * PERIOD_MICROSECONDS // 1000) if milli else -1


def container_limits(spec: dict[str, Any]) -> Limits:
    """Of memory_limit_bytes, cpu_limit_milli, cpu_request_milli; 0 is no limit. Pure."""
    milli = spec.get("cpu_limit_milli") or 0
    return Limits(
        cpu_shares=shares(spec.get("cpu_request_milli") or 0),
        cpu_quota=quota(milli) if milli else None,
        memory=spec.get("memory_limit_bytes") or None,
        whole=True,
    )


def files_v1(limits: Limits) -> Iterator[tuple[str, str]]:
    """(file, value) in the words of version 1. Pure."""
    if limits.memory is not None:
        yield "memory.limit_in_bytes", str(limits.memory)
        if limits.whole:
            yield "memory.memsw.limit_in_bytes", str(limits.memory)
    if limits.cpu_quota is not None:
        yield "cpu.cfs_period_us", str(PERIOD_MICROSECONDS)
        yield "cpu.cfs_quota_us", str(limits.cpu_quota)
    if limits.cpu_shares is not None:
        yield "cpu.shares", str(limits.cpu_shares)
    if limits.pids is not None:
        yield "pids.max", str(limits.pids)


def files_v2(limits: Limits) -> Iterator[tuple[str, str]]:
    """The same in those of version 2; weights as upstream converts shares. Pure."""
    if limits.memory is not None:
        yield "memory.max", str(limits.memory)
        if limits.whole:
            yield "memory.swap.max", "0"
            yield "memory.oom.group", "1"
    if limits.cpu_quota is not None:
        yield "cpu.max", f"{limits.cpu_quota if limits.cpu_quota > 0 else 'max'} {PERIOD_MICROSECONDS}"
    if limits.cpu_shares is not None:
        yield "cpu.weight", str(1 + (limits.cpu_shares - MIN_SHARES) * 9999 // (MAX_SHARES - MIN_SHARES))
    if limits.pids is not None:
        yield "pids.max", str(limits.pids)


class Group:
    """The group of one container: the same path in each hierarchy."""

    def __init__(self, folders: list[str]) -> None:
        self.folders = folders

    @property
    def limits_memory(self) -> bool:
        """Whether the kernel keeps a memory limit here."""
        return any(self._find(name) for name in ("memory.limit_in_bytes", "memory.max"))

    @property
    def exists(self) -> bool:
        """Whether it was made, in every hierarchy."""
        return bool(self.folders) and all(map(os.path.isdir, self.folders))

    def create(self, limits: Limits) -> None:
        """Make the group, and those above where they are missing. Raises OSError."""
        for folder in self.folders:
            _make(folder)
        self.set(limits)

    def set(self, limits: Limits) -> None:
        """Limit the group; what this kernel has no file for is passed over. Raises OSError."""
        refused = []
        for file, value in (files_v2 if self._unified else files_v1)(limits):
            if path := self._find(file):
                try:
                    _write(path, value)
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                    refused.append((path, value))
        for path, value in refused:  # memory alone may never exceed memory with swap, on the way up either
            _write(path, value)

    @property
    def _unified(self) -> bool:
        return any(_is_unified(folder) for folder in self.folders[:1])

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

    def end(self) -> bool:
        """Kill what still runs in the group and below it, and delete them; False: that takes another moment."""
        return all([_end(folder) for folder in self.folders])

    def remove(self) -> None:
        """`end`, and wait for it a little."""
        deadline = time.monotonic() + _REMOVE_SECONDS
        while not self.end() and time.monotonic() < deadline:
            time.sleep(0.005)

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


def _make(folder: str) -> None:
    """Make a group; again if somebody took an empty group above away meanwhile. Raises OSError."""
    for attempt in range(_MAKE_ATTEMPTS):
        try:
            os.makedirs(folder, exist_ok=True)
            break
        except FileNotFoundError:
            if attempt == _MAKE_ATTEMPTS - 1:
                raise
    if _is_unified(folder):
        _delegate(os.path.dirname(folder))


def _is_unified(folder: str) -> bool:
    """Whether a group is of version 2."""
    return os.path.exists(f"{folder}/cgroup.controllers")


def _delegate(folder: str) -> None:
    """Version 2: hand the controllers down to `folder` and to what is made below it. Raises OSError."""
    wanted = " ".join(f"+{name}" for name in _V2_CONTROLLERS)
    chain = [folder]
    while _is_unified(os.path.dirname(chain[-1])):
        chain.append(os.path.dirname(chain[-1]))
    for group in reversed(chain):
        _write(f"{group}/cgroup.subtree_control", wanted)


def _end(folder: str) -> bool:
    for path, _, _ in os.walk(folder, topdown=False):
        for pid in _processes(path):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        try:
            os.rmdir(path)
        except OSError:
            pass
    return not os.path.isdir(folder)


def _processes(folder: str) -> list[int]:
    """Those of a group; of another pid namespace the kernel says 0, which to kill(2) is the caller's own group."""
    try:
        with open(f"{folder}/cgroup.procs") as stream:
            return [pid for pid in map(int, stream) if pid > 0]
    except OSError:
        return []


def _keyed(path: str) -> dict[str, int]:
    try:
        with open(path) as stream:
            rows = [line.split() for line in stream]
    except OSError:
        return {}
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].lstrip("-").isdecimal()}


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)

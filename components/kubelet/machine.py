"""What the machine under the node has and uses, read from /proc, /etc and the file system. Plain values; no state."""

from __future__ import annotations

import os
import platform
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Disk:
    """One file system, in bytes and inodes."""

    capacity: int
    available: int
    inodes: int
    inodes_free: int


@dataclass(frozen=True, slots=True)
class Memory:
    """In bytes."""

    total: int
    available: int
    free: int
    cached: int
    swap_total: int
    swap_free: int


def memory() -> Memory:
    """The memory of the machine."""
    values = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        key, _, rest = line.partition(":")
        values[key] = int(rest.split()[0]) * 1024
    return Memory(
        total=values["MemTotal"],
        available=values.get("MemAvailable", values["MemFree"]),
        free=values["MemFree"],
        cached=values.get("Cached", 0),
        swap_total=values.get("SwapTotal", 0),
        swap_free=values.get("SwapFree", 0),
    )


def disk(path: Path) -> Disk:
    """The file system that holds `path`."""
    status = os.statvfs(path)
    unit = status.f_frsize
    return Disk(status.f_blocks * unit, status.f_bavail * unit, status.f_files, status.f_ffree)


@cache
def device(path: Path) -> str:
    """The block device behind `path`, as /proc/self/mountinfo names it."""
    number = os.stat(path).st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[2] == wanted:
            return fields[fields.index("-") + 2]
    return ""


def cpu_count() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Topology:
    """What the processors are made of."""

    sockets: int
    physical_cores: int


@cache
def topology() -> Topology:
    """From /proc/cpuinfo; a machine that does not say counts every processor as a core of one socket."""
    cores = []
    for block in Path("/proc/cpuinfo").read_text().strip().split("\n\n"):
        lines = (line.partition(":") for line in block.splitlines())
        values = {key.strip(): value.strip() for key, _, value in lines}
        if "processor" in values:
            cores.append((values.get("physical id", "0"), values.get("core id", values["processor"])))
    return Topology(len({socket for socket, _ in cores}), len(set(cores)))


def cpu_seconds() -> float:
    """Processor time the whole machine spent working since boot."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    busy = sum(fields[:3]) + sum(fields[5:8])  # user nice system, irq softirq steal; not idle and iowait
    return busy / os.sysconf("SC_CLK_TCK")


def process_ids() -> tuple[int, int]:
    """(running, allowed)."""
    running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    return running, int(Path("/proc/sys/kernel/pid_max").read_text())


def boot_time() -> float:
    """Seconds since the epoch."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0


def network() -> list[tuple[str, tuple[int, ...]]]:
    """Per interface: received bytes, packets, errors, drops; then the same sent."""
    rows = []
    for line in Path("/proc/self/net/dev").read_text().splitlines()[2:]:
        name, _, rest = line.partition(":")
        fields = [int(field) for field in rest.split()]
        rows.append((name.strip(), (*fields[0:4], *fields[8:12])))
    return rows


@cache
def boot_id() -> str:
    return _first_line("/proc/sys/kernel/random/boot_id")


@cache
def machine_id() -> str:
    return _first_line("/etc/machine-id") or uuid.uuid5(uuid.NAMESPACE_DNS, platform.node()).hex


@cache
def system_uuid() -> str:
    return _first_line("/sys/class/dmi/id/product_uuid") or str(uuid.UUID(machine_id()))


@cache
def os_image() -> str:
    """PRETTY_NAME of os-release."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            lines = Path(path).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("PRETTY_NAME="):
                return line.partition("=")[2].strip('"')
    return "Linux"


@cache
def architecture() -> str:
    """Go's name of the processor architecture."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}.get(machine, machine)


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().split("\n", 1)[0].strip()
    except OSError:
        return ""


def cgroup_version() -> int:
    """2 where the unified hierarchy is mounted, else 1."""
    return 2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1

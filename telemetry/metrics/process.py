"""What the operating system knows of this process, read from /proc at scrape time: process_* and the runtime's figures.

Names are those of the Prometheus client libraries (no stability prefix). Go's runtime metrics have no meaning here but
two: `go_goroutines` counts asyncio tasks and `go_threads` OS threads, because dashboards read them;
docs/decisions says why. Python's own figures carry Python's own names.
"""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from kubeglass.telemetry.metrics.definitions import NONE, Counter, Gauge, Metric
from kubeglass.telemetry.metrics.families import Sample
from kubeglass.telemetry.metrics.registry import Registry

CPU_SECONDS: Final = Counter(
    "process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", stability=NONE
)
OPEN_FDS: Final = Gauge("process_open_fds", "Number of open file descriptors.", stability=NONE)
MAX_FDS: Final = Gauge("process_max_fds", "Maximum number of open file descriptors.", stability=NONE)
VIRTUAL_BYTES: Final = Gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", stability=NONE)
VIRTUAL_MAX_BYTES: Final = Gauge(
    "process_virtual_memory_max_bytes", "Maximum amount of virtual memory available in bytes.", stability=NONE
)
RESIDENT_BYTES: Final = Gauge("process_resident_memory_bytes", "Resident memory size in bytes.", stability=NONE)
START_TIME_SECONDS: Final = Gauge(
    "process_start_time_seconds", "Start time of the process since unix epoch in seconds.", stability=NONE
)
RECEIVED_BYTES: Final = Counter(
    "process_network_receive_bytes_total", "Number of bytes received by the process over the network.", stability=NONE
)
SENT_BYTES: Final = Counter(
    "process_network_transmit_bytes_total", "Number of bytes sent by the process over the network.", stability=NONE
)
GOROUTINES: Final = Gauge("go_goroutines", "Number of asyncio tasks that currently exist.", stability=NONE)
THREADS: Final = Gauge("go_threads", "Number of OS threads of the process.", stability=NONE)
PYTHON_INFO: Final = Gauge(
    "python_info",
    "Python platform information.",
    ("implementation", "major", "minor", "patchlevel", "version"),
    stability=NONE,
)
GC_COLLECTIONS: Final = Counter(
    "python_gc_collections_total", "Number of times this generation was collected.", ("generation",), stability=NONE
)
GC_COLLECTED: Final = Counter(
    "python_gc_objects_collected_total", "Objects collected during gc.", ("generation",), stability=NONE
)
GC_UNCOLLECTABLE: Final = Counter(
    "python_gc_objects_uncollectable_total", "Uncollectable objects found during GC.", ("generation",), stability=NONE
)

PROCESS_ROWS: Final[tuple[Metric, ...]] = (
    CPU_SECONDS, OPEN_FDS, MAX_FDS, VIRTUAL_BYTES, VIRTUAL_MAX_BYTES, RESIDENT_BYTES, START_TIME_SECONDS,
    RECEIVED_BYTES, SENT_BYTES, GOROUTINES, THREADS,
)  # fmt: skip
PYTHON_ROWS: Final[tuple[Metric, ...]] = (PYTHON_INFO, GC_COLLECTIONS, GC_COLLECTED, GC_UNCOLLECTABLE)
ROWS: Final[tuple[Metric, ...]] = (*PROCESS_ROWS, *PYTHON_ROWS)

_UNLIMITED: Final = float(2**64 - 1)  # what Go's client shows for "unlimited"


def collect_process(registry: Registry) -> None:
    """Expose this process in `registry`."""
    registry.collect(PROCESS_ROWS, process_samples)
    registry.collect(PYTHON_ROWS, python_samples)


def process_samples(proc: Path = Path("/proc/self")) -> Iterable[Sample]:
    """One sample per figure the kernel gives; what cannot be read is left out."""
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    yield CPU_SECONDS, (), (int(fields[11]) + int(fields[12])) / ticks
    yield THREADS, (), int(fields[17])
    yield START_TIME_SECONDS, (), round(_boot_seconds() + int(fields[19]) / ticks, 2)
    yield VIRTUAL_BYTES, (), int(fields[20])
    yield RESIDENT_BYTES, (), int(fields[21]) * resource.getpagesize()
    yield OPEN_FDS, (), len(os.listdir(proc / "fd")) - 1  # the listing itself holds one open
    yield MAX_FDS, (), _limit(resource.RLIMIT_NOFILE)
    yield VIRTUAL_MAX_BYTES, (), _limit(resource.RLIMIT_AS)
    yield from _network(proc)
    if (tasks := _tasks()) is not None:
        yield GOROUTINES, (), tasks


def python_samples() -> Iterable[Sample]:
    """The interpreter and its garbage collector."""
    major, minor, patch = platform.python_version_tuple()
    values = (platform.python_implementation(), major, minor, patch, platform.python_version())
    yield PYTHON_INFO, values, 1
    for generation, figures in enumerate(gc.get_stats()):
        label = (str(generation),)
        yield GC_COLLECTIONS, label, figures["collections"]
        yield GC_COLLECTED, label, figures["collected"]
        yield GC_UNCOLLECTABLE, label, figures["uncollectable"]


def started_unix_seconds(proc: Path = Path("/proc/self")) -> float:
    """When this process started."""
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    return _boot_seconds() + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _boot_seconds() -> int:
    with open("/proc/stat") as stat:
        return next(int(line.split()[1]) for line in stat if line.startswith("btime "))


def _limit(kind: int) -> float:
    soft, _ = resource.getrlimit(kind)
    return _UNLIMITED if soft == resource.RLIM_INFINITY else soft


def _network(proc: Path) -> Iterable[Sample]:
    """Bytes through the interfaces of the process's network namespace, as Go's client sums them."""
    try:
        lines = (proc / "net/dev").read_text().splitlines()[2:]
    except OSError:
        return
    figures = [line.partition(":")[2].split() for line in lines]
    yield RECEIVED_BYTES, (), sum(int(line[0]) for line in figures)
    yield SENT_BYTES, (), sum(int(line[8]) for line in figures)


def _tasks() -> int | None:
    """Unfinished tasks of the running loop; None outside a loop."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return None

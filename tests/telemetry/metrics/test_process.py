"""process_* as the kernel and psutil see this process."""

from __future__ import annotations

import asyncio
import os
import resource

import psutil
import pytest

from kubeglass.telemetry.metrics.process import collect_process, started_unix_seconds
from kubeglass.telemetry.metrics.registry import Registry


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    collect_process(registry)
    return registry


def test_the_process_is_the_one_psutil_sees(registry: Registry) -> None:
    """CPU, memory, start time, threads and descriptors agree with an independent reader."""
    seen = psutil.Process()
    cpu = seen.cpu_times()
    assert registry.value("process_cpu_seconds_total") == pytest.approx(cpu.user + cpu.system, abs=0.5)
    assert registry.value("process_resident_memory_bytes") == pytest.approx(seen.memory_info().rss, rel=0.1)
    assert registry.value("process_virtual_memory_bytes") == pytest.approx(seen.memory_info().vms, rel=0.1)
    assert registry.value("process_start_time_seconds") == pytest.approx(seen.create_time(), abs=1.5)
    assert started_unix_seconds() == pytest.approx(seen.create_time(), abs=1.5)
    assert registry.value("go_threads") == seen.num_threads()
    assert registry.value("process_open_fds") == seen.num_fds() - 1  # psutil counts its own listing
    assert registry.value("process_max_fds") == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_open_files_move_the_count(registry: Registry) -> None:
    """One more descriptor is one more."""
    before = registry.value("process_open_fds") or 0
    descriptor = os.open(os.devnull, os.O_RDONLY)
    try:
        assert registry.value("process_open_fds") == before + 1
    finally:
        os.close(descriptor)


async def test_goroutines_are_asyncio_tasks(registry: Registry) -> None:
    """Every unfinished task of the loop counts, the present one included."""
    before = registry.value("go_goroutines") or 0
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(asyncio.Event().wait())
        assert registry.value("go_goroutines") == before + 1
        waiting.cancel()


def test_outside_a_loop_there_are_no_tasks_to_count(registry: Registry) -> None:
    """No invented value."""
    assert registry.value("go_goroutines") is None


def test_no_stability_prefix(registry: Registry) -> None:
    """HELP is as in the client libraries."""
    page = registry.expose()[1]
    assert b"# HELP process_open_fds Number of open file descriptors.\n# TYPE process_open_fds gauge\n" in page

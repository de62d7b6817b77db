"""Control groups: limits the kernel keeps, figures it counts, and nothing left of them."""

import asyncio
import os
from pathlib import Path

import pytest

from kubeglass.components.kubelet.cgroups.hierarchy import locate
from kubeglass.components.kubelet.runtime.images import Catalog
from kubeglass.components.kubelet.runtime.process import ProcessRuntime
from kubeglass.components.kubelet.runtime.runtime import ContainerConfig, ContainerState, SandboxConfig
from kubeglass.components.kubelet.runtime.shim import cgroup
from kubeglass.components.kubelet.runtime.shims import stop_all

MIB = 1 << 20


class TestLimits:
    """What is written for a container, before any file is touched."""

    def test_both_versions(self):
        """A memory and a cpu limit in the words of version 1 and 2; swap does not help out."""
        limits = cgroup.container_limits(
            {"memory_limit_bytes": 64 * MIB, "cpu_limit_milli": 500, "cpu_request_milli": 250}
        )
        assert dict(cgroup.files_v1(limits)) == {
            "memory.limit_in_bytes": "67108864", "memory.memsw.limit_in_bytes": "67108864",
            "cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000", "cpu.shares": "256",
        }  # fmt: skip
        assert dict(cgroup.files_v2(limits)) == {
            "memory.max": "67108864", "memory.swap.max": "0", "memory.oom.group": "1",
            "cpu.max": "50000 100000", "cpu.weight": "10",
        }  # fmt: skip

    def test_no_limits(self):
        """Without limits only the smallest share is set."""
        limits = cgroup.container_limits({})
        assert dict(cgroup.files_v1(limits)) == {"cpu.shares": "2"}
        assert dict(cgroup.files_v2(limits)) == {"cpu.weight": "1"}

    def test_a_tiny_quota_is_one_the_kernel_takes(self):
        """One millicore is raised to the kernel's least quota of a millisecond."""
        assert cgroup.container_limits({"cpu_limit_milli": 1}).cpu_quota == 1000


@pytest.fixture
def parents(tmp_path):
    """A Pod's group in each hierarchy, ended afterwards with what runs there."""
    folder = tmp_path / "nodes" / "n"
    folder.mkdir(parents=True)
    roots = locate(folder, "")
    if not roots:
        pytest.skip("this host lets nobody make control groups (needs root and writable /sys/fs/cgroup)")
    yield [f"{root}/kubepods/burstable/poduid-1" for root in roots]
    stop_all(tmp_path)
    assert not [root for root in roots if os.path.exists(root)]


@pytest.fixture
async def node(tmp_path, parents):
    """A runtime whose containers have control groups."""
    runtime = ProcessRuntime(tmp_path / "nodes" / "n", Catalog.load())
    await runtime.start()
    yield runtime
    await runtime.close()


async def run(node: ProcessRuntime, parents: list[str], script: str, **limits) -> str:
    sandbox = await node.run_pod_sandbox(SandboxConfig("uid-1", "default", "p"), "127.0.0.1")
    config = ContainerConfig("c", "busybox", command=("python3", "-c", script), cgroup_parents=parents, **limits)
    await node.pull_image("busybox")
    container = await node.create_container(sandbox, config)
    await node.start_container(container)
    return container


async def ended(node: ProcessRuntime, container: str):
    async with asyncio.timeout(20):
        while (status := await node.container_status(container)).state is not ContainerState.EXITED:
            await asyncio.sleep(0.02)
    return status


async def test_memory_limit_is_the_kernels(node, parents):
    """A burst far quicker than any polling is stopped: OOMKilled, exit code 137, and the group is gone."""
    container = await run(node, parents, "x = bytearray(256 << 20)", memory_limit_bytes=48 * MIB)
    status = await ended(node, container)
    assert (status.exit_code, status.reason) == (137, "OOMKilled")
    assert not [parent for parent in parents if Path(parent, container).exists()]


async def test_an_ordinary_failure_is_none(node, parents):
    """A container within its limit that fails is Error."""
    container = await run(node, parents, "raise SystemExit(3)", memory_limit_bytes=256 * MIB)
    status = await ended(node, container)
    assert (status.exit_code, status.reason) == (3, "Error")


async def test_cpu_limit_throttles(node, parents):
    """A busy loop with a tenth of a processor gets a tenth, and the throttling is counted."""
    container = await run(node, parents, "while True: pass", cpu_limit_milli=100)
    async with asyncio.timeout(20):
        while not (stats := (await node.list_container_stats())[0].counted).get("throttled_periods", 0) > 5:
            await asyncio.sleep(0.1)
    assert stats["throttled_seconds"] > 0
    assert stats["cpu_seconds"] <= 0.011 * (stats["periods"] + 3)
    await node.stop_container(container, 0)


async def test_exec_is_counted_with_its_container(node, parents):
    """What runs by exec is in the container's groups, so it is limited with it."""
    container = await run(node, parents, "import time; time.sleep(60)", memory_limit_bytes=64 * MIB)
    result = await node.exec_sync(container, ["cat", "/proc/self/cgroup"], 10)
    assert container in result.stdout.decode()
    await node.stop_container(container, 0)

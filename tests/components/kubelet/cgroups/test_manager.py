"""The groups of a node's Pods, on a hierarchy of version 2 that is only folders: made, changed, ended, cleaned up."""

from __future__ import annotations

import errno
import io
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.telemetry.metrics.moments import Moments

from kubeglass.components.api.objects import Pod, decode
from kubeglass.components.kubelet.cgroups import hierarchy, manager
from kubeglass.components.kubelet.cgroups.manager import CgroupError, PodGroups
from kubeglass.components.kubelet.configuration import KubeletConfig
from kubeglass.components.kubelet.metrics import CgroupMetrics
from kubeglass.components.kubelet.runtime.shim import cgroup
from kubeglass.components.kubelet.runtime.shim.cgroup import Group, Limits
from kubeglass.components.machinery.process import ConfigError
from kubeglass.logging.setup import LoggingOptions, build
from kubeglass.telemetry.metrics.registry import Registry

DURATION = "kubelet_cgroup_manager_duration_seconds_count"
FILES = ("cgroup.controllers", "cpu.weight", "cpu.max", "memory.max", "pids.max", "cgroup.procs")


def pod(uid: str, **resources: Any) -> Pod:
    containers = [{"name": "c", "resources": resources}]
    return decode(Pod, {"metadata": {"uid": uid}, "spec": {"containers": containers}})


BURSTABLE = pod("burst", requests={"cpu": "500m"}, limits={"cpu": "1"})
BEST_EFFORT = pod("best")


class Kernel:
    """What the kernel does as a group is made and deleted; `busy` ones have processes that take their time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.busy = False

    def make(self, folder: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for file in FILES:
            Path(folder, file).touch()

    def end(self, folder: str) -> bool:
        if not self.busy:
            shutil.rmtree(folder, ignore_errors=True)
        return not Path(folder).exists()

    def read(self, group: str, file: str) -> str:
        return (self.root / group / file).read_text()

    def groups(self) -> set[str]:
        return {str(found.relative_to(self.root)) for found in self.root.rglob("*") if found.is_dir()}


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel(tmp_path / "root")
    kernel.root.mkdir()
    monkeypatch.setattr(cgroup, "_make", kernel.make)
    monkeypatch.setattr(cgroup, "_end", kernel.end)
    monkeypatch.setattr(hierarchy, "locate", lambda root_dir, cgroup_root: [str(kernel.root)])
    return kernel


class Node:
    """Groups with their registry, and the Pods that are active."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.registry = Registry()
        self.active: list[Pod] = []
        config = KubeletConfig(node_name="n", node_ip="127.0.0.1", root_dir=folder, **changes)
        log = build(LoggingOptions(), stream=io.StringIO())
        self.groups = PodGroups(config, lambda: self.active, CgroupMetrics(self.registry), log)


@pytest.fixture
def node(kernel: Kernel, tmp_path: Path) -> Node:
    node = Node(tmp_path)
    node.groups.start()
    return node


def test_the_groups_above_are_made_at_the_start(node: Node, kernel: Kernel, tmp_path: Path) -> None:
    """Once created, the second kubelet sets them again."""
    assert kernel.groups() == {"kubepods", "kubepods/burstable", "kubepods/besteffort"}
    assert kernel.read("kubepods", "memory.max").isdecimal()
    assert kernel.read("kubepods/besteffort", "cpu.weight") == "1"
    assert node.registry.value(DURATION, operation_type="create") == 3
    second = Node(tmp_path)
    second.groups.start()
    assert second.registry.value(DURATION, operation_type="update") == 3


async def test_the_life_of_a_pods_group(node: Node, kernel: Kernel) -> None:
    """Made once, changed with the Pod's resources, ended with it; its class has what its Pods request."""
    node.active = [BURSTABLE]
    moments = Moments(node.registry)
    await node.groups.ensure(BURSTABLE)
    await node.groups.ensure(BURSTABLE)
    moments.assert_moved(f'{DURATION}{{operation_type="create"}} +1\n{DURATION}{{operation_type="update"}} +3')
    group = "kubepods/burstable/podburst"
    assert kernel.read(group, "cpu.max") == "100000 100000"
    assert kernel.read(group, "memory.max") == ""
    assert kernel.read("kubepods/burstable", "cpu.weight") == kernel.read(group, "cpu.weight") == "20"
    resized = pod("burst", requests={"cpu": "1"}, limits={"cpu": "2"})
    node.active = [resized]
    await node.groups.ensure(resized)
    moments.assert_moved(f'{DURATION}{{operation_type="create"}} +1\n{DURATION}{{operation_type="update"}} +4')
    assert (kernel.read(group, "cpu.max"), kernel.read(group, "cpu.weight")) == ("200000 100000", "39")
    node.active = []
    node.groups.update_shares()
    assert kernel.read("kubepods/burstable", "cpu.weight") == "1"
    await node.groups.end(resized)
    await node.groups.end(resized)
    moments.assert_moved(f'{DURATION}{{operation_type="destroy"}} +1')
    assert group not in kernel.groups()


async def test_an_echo_of_the_status_is_no_update(node: Node) -> None:
    """A Pod that comes again with an equal spec is left alone."""
    await node.groups.ensure(BURSTABLE)
    moments = Moments(node.registry)
    await node.groups.ensure(msgspec.json.decode(msgspec.json.encode(BURSTABLE), type=Pod))
    moments.assert_moved(f"{DURATION} +0")


async def test_a_busy_group_is_tried_again(node: Node, kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as one attempt however often it is tried; an attempt that fails is told of."""
    monkeypatch.setattr(manager, "_WAITS_SECONDS", (0.001, 0.001))
    await node.groups.ensure(BEST_EFFORT)
    kernel.busy = True
    moments = Moments(node.registry)
    with pytest.raises(CgroupError, match="failed to delete cgroup paths for /kubepods/besteffort/podbest"):
        await node.groups.end(BEST_EFFORT)
    moments.assert_moved(f'{DURATION}{{operation_type="destroy"}} +1')
    kernel.busy = False
    await node.groups.end(BEST_EFFORT)
    assert "kubepods/besteffort/podbest" not in kernel.groups()


async def test_a_change_is_tried_again(node: Node, kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel refuses a quota below that of a group that is just gone; a moment later it takes it."""
    await node.groups.ensure(BURSTABLE)
    refusals, write = [1, 1], cgroup._write  # each attempt tries an EINVAL a second time itself

    def refuse_first(path: str, text: str) -> None:
        if path.endswith("cpu.max") and refusals:
            refusals.pop()
            raise OSError(errno.EINVAL, "Invalid argument", path)
        write(path, text)

    monkeypatch.setattr(cgroup, "_write", refuse_first)
    moments = Moments(node.registry)
    await node.groups.ensure(pod("burst", requests={"cpu": "500m"}, limits={"cpu": "600m"}))
    moments.assert_moved(f'{DURATION}{{operation_type="update"}} +2')
    assert kernel.read("kubepods/burstable/podburst", "cpu.max") == "60000 100000"


async def test_groups_of_unknown_pods_go(node: Node, kernel: Kernel) -> None:
    """Whatever a kubelet before left of Pods that are gone; those that are there stay."""
    await node.groups.ensure(BURSTABLE)
    kernel.make(f"{kernel.root}/kubepods/podgone/container")
    moments = Moments(node.registry)
    node.groups.clean_up({"burst"})
    moments.assert_moved(f'{DURATION}{{operation_type="destroy"}} +1')
    assert "kubepods/podgone" not in kernel.groups()
    assert "kubepods/burstable/podburst" in kernel.groups()


async def test_a_group_that_cannot_be_made(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt is timed, and its failure is told in words fit for an event."""

    def refuse(folder: str) -> None:
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(cgroup, "_make", refuse)
    moments = Moments(node.registry)
    with pytest.raises(CgroupError, match=r"failed to create container for /kubepods/besteffort/podbest : .*denied"):
        await node.groups.ensure(BEST_EFFORT)
    moments.assert_moved(f'{DURATION}{{operation_type="create"}} +1')


async def test_without_a_group_per_pod(kernel: Kernel, tmp_path: Path) -> None:
    """--cgroups-per-qos=false: containers are where the runtime puts them, and nothing is timed."""
    node = Node(tmp_path, cgroups_per_qos=False)
    node.groups.start()
    await node.groups.ensure(BURSTABLE)
    await node.groups.end(BURSTABLE)
    assert node.groups.folders(BURSTABLE) == (f"{kernel.root}/k8s.io",)
    assert node.groups.name(BURSTABLE) == "/k8s.io"
    assert kernel.groups() == set()
    assert node.registry.value(DURATION, operation_type="create") is None


async def test_where_nothing_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is silently left out; Pods are still named as they would be."""
    monkeypatch.setattr(hierarchy, "locate", lambda root_dir, cgroup_root: [])
    node = Node(tmp_path)
    node.groups.start()
    await node.groups.ensure(BURSTABLE)
    node.groups.update_shares()
    node.groups.clean_up(())
    await node.groups.end(BURSTABLE)
    assert (node.groups.folders(BURSTABLE), node.groups.figures(BURSTABLE)) == ((), {})
    assert node.groups.name(BURSTABLE) == "/kubepods/burstable/podburst"
    assert DURATION.encode() not in node.registry.expose()[1]


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    """--cgroup-root has to exist, as upstream says."""
    if not hierarchy._points():
        pytest.skip("this host has no control groups at all")
    node = Node(tmp_path, cgroup_root="/surely/absent")
    with pytest.raises(ConfigError, match=r'invalid configuration: cgroup-root \["surely/absent"\] doesn\'t exist'):
        node.groups.start()


@pytest.fixture
def roots(tmp_path: Path) -> Iterator[list[str]]:
    """The node's root in this host's real hierarchies, ended afterwards."""
    found = list(hierarchy.locate(tmp_path, ""))
    if not found:
        pytest.skip("this host lets nobody make control groups (needs root and writable /sys/fs/cgroup)")
    yield found
    hierarchy.remove(tmp_path / "cgroups.json")
    assert not any(Path(root).exists() for root in found)


def test_what_runs_in_a_group_ends_with_it(roots: list[str], tmp_path: Path) -> None:
    """Processes in it and in groups below it are killed."""
    group = Group([f"{root}/kubepods/podu/container" for root in roots])
    group.create(Limits())
    process = subprocess.Popen(["sleep", "100"], preexec_fn=group.join)
    above = Group([f"{root}/kubepods/podu" for root in roots])
    deadline = time.monotonic() + 5
    while not above.end():
        assert time.monotonic() < deadline
        process.poll()
    assert process.wait(5) == -9


def test_limits_move_in_both_directions(roots: list[str]) -> None:
    """Memory alone may not exceed memory with swap at any moment: up and down both work."""
    group = Group([f"{root}/kubepods/podu" for root in roots])
    for mebibytes in (64, 256, 32):
        spec = {"memory_limit_bytes": mebibytes << 20, "cpu_limit_milli": mebibytes}
        group.create(cgroup.container_limits(spec))
        limit = group.number("memory.limit_in_bytes") or group.number("memory.max")
        assert limit == mebibytes << 20


def test_the_next_kubelet_finds_the_same_root(roots: list[str], tmp_path: Path) -> None:
    """What was kept counts, while groups can be made there; else the search begins again."""
    assert hierarchy.locate(tmp_path, "") == roots
    (tmp_path / "cgroups.json").write_text('["/proc/nowhere/kubeglass/x"]')
    assert hierarchy.locate(tmp_path, "") == roots

"""A Pod's resources change while it runs: what is decided, and what a real container is given."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from kubeglass.components.api.objects import Pod, decode
from kubeglass.components.kubelet.actions import ProbeVerdicts, compute
from kubeglass.components.kubelet.observed import Observed, observe
from kubeglass.components.kubelet.resizing import summary
from kubeglass.components.kubelet.runtime.runtime import (
    Container,
    ContainerState,
    Resources,
    Sandbox,
    SandboxConfig,
    SandboxState,
)

MIB = 1 << 20
WELL = ProbeVerdicts(lambda container: None, lambda container: None, lambda spec, container: True)
BEFORE, AFTER = {"cpu": "100m", "memory": "64Mi"}, {"cpu": "200m", "memory": "96Mi"}


def wanted(resources: dict[str, Any], **container: Any) -> Pod:
    main = {"name": "main", "image": "busybox", "resources": resources, **container}
    return decode(Pod, {"metadata": {"uid": "u", "name": "p", "generation": 2}, "spec": {"containers": [main]}})


def running(resources: Resources) -> Observed:
    """A Pod whose container runs with these."""
    sandbox = Sandbox("s", SandboxConfig("u", "default", "p"), SandboxState.READY, 1)
    container = Container(
        "c", "s", "u", "main", "busybox", "sha256:1", 0, ContainerState.RUNNING, 1, resources=resources
    )
    return observe("u", [sandbox], [container])


RUNS = Resources(100, 100, 64 * MIB)


def test_what_runs_as_wanted_is_left_alone() -> None:
    """Another spelling of the same amount is no change."""
    actions = compute(wanted({"limits": {"cpu": "0.1", "memory": "65536Ki"}, "requests": BEFORE}), running(RUNS), WELL)
    assert (actions.resize, actions.kill, actions.resizes) == ([], [], False)


def test_a_running_container_is_resized() -> None:
    """In place, unless its policy for a resource that changes says otherwise."""
    resources = {"limits": AFTER, "requests": AFTER}
    [resize] = compute(wanted(resources), running(RUNS), WELL).resize
    assert resize.resources == Resources(200, 200, 96 * MIB)
    restart = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    actions = compute(wanted(resources, resizePolicy=restart), running(RUNS), WELL)
    assert [kill.message for kill in actions.kill] == ["Container main resize requires restart"]
    assert (actions.resize, actions.resizes) == ([], True)
    only_cpu = {"limits": {**BEFORE, "cpu": "1"}, "requests": BEFORE}
    assert not compute(wanted(only_cpu, resizePolicy=restart), running(RUNS), WELL).kill


def test_events_show_resources_and_generation() -> None:
    """As upstream's JSON: limits before requests, then the Pod's generation."""
    assert summary(wanted({"limits": AFTER, "requests": BEFORE})) == (
        '{"containers":[{"name":"main","resources":{"limits":{"cpu":"200m","memory":"96Mi"},'
        '"requests":{"cpu":"100m","memory":"64Mi"}}}],"generation":2}'
    )


def manifest(resources: dict[str, Any]) -> dict[str, Any]:
    main = {"name": "main", "image": "busybox", "command": ["sleep", "100"], "resources": resources}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "spec": {"containers": [main]}}


def given(kubelet: Any, container: Container) -> tuple[str, str]:
    """CPU quota and memory limit of a container and of its Pod: (container's, Pod's) as `quota/limit`."""
    folders = [Path(parent) for parent in container.cgroup_parents]

    def read(*names: str, below: str) -> str:
        return next((folder / below / name).read_text() for folder in folders for name in names
                    if (folder / below / name).exists()).split()[0]  # fmt: skip

    def both(below: str) -> str:
        quota = read("cpu.cfs_quota_us", "cpu.max", below=below)
        return f"{quota}/{read('memory.limit_in_bytes', 'memory.max', below=below)}"

    return both(container.id), both(".")


@pytest.mark.parametrize("path", [(BEFORE, AFTER), (AFTER, BEFORE), (BEFORE, {"cpu": "50m", "memory": "96Mi"})])
async def test_the_kernel_is_told(node: Any, api: Any, path: tuple[dict[str, str], dict[str, str]]) -> None:
    """Up, down, and one up while the other goes down: container and Pod have it, the process is the same one."""
    async with node.running() as kubelet:
        if not kubelet._groups.per_pod:
            pytest.skip("this host lets nobody make control groups (needs root and writable /sys/fs/cgroup)")
        api.apply(manifest({"limits": path[0], "requests": path[0]}))
        await api.until(lambda: api.pod("p")["status"]["phase"] == "Running")
        [before] = await kubelet.runtime.list_containers()
        resized = copy.deepcopy(api.pod("p"))
        resized["spec"]["containers"][0]["resources"] = {"limits": path[1], "requests": path[1]}
        api.put("/api/v1/namespaces/default/pods/p", resized, created=False)
        await api.until(lambda: api.events("ResizeCompleted"))
        [after] = await kubelet.runtime.list_containers()
        milli, mebibytes = int(path[1]["cpu"][:-1]), int(path[1]["memory"][:-2])
        assert given(kubelet, after) == (f"{milli * 100}/{mebibytes * MIB}",) * 2
        assert (after.pid, after.id) == (before.pid, before.id)
        assert not api.events("FailedToCreatePodContainer")
    async with node.running() as kubelet:  # the next kubelet knows
        [adopted] = await kubelet.runtime.list_containers()
        assert adopted.resources == Resources(milli, milli, mebibytes * MIB)


async def test_a_restart_where_the_policy_asks_for_one(node: Any, api: Any) -> None:
    """Less memory for a container that must restart: its Pod's group stays wide until it has."""
    async with node.running() as kubelet:
        first = manifest({"limits": AFTER, "requests": AFTER})
        policies = [{"resourceName": name, "restartPolicy": "RestartContainer"} for name in ("cpu", "memory")]
        first["spec"]["containers"][0]["resizePolicy"] = policies
        first["spec"]["terminationGracePeriodSeconds"] = 1
        api.apply(first)
        await api.until(lambda: api.pod("p")["status"]["phase"] == "Running")
        resized = copy.deepcopy(api.pod("p"))
        resized["spec"]["containers"][0]["resources"] = {"limits": BEFORE, "requests": BEFORE}
        api.put("/api/v1/namespaces/default/pods/p", resized, created=False)
        status = await api.until(lambda: (s := api.pod("p")["status"]["containerStatuses"][0])["restartCount"] and s)
        assert status["restartCount"] == 1
        current = max(await kubelet.runtime.list_containers(), key=lambda found: found.attempt)
        assert current.resources == RUNS
        if kubelet._groups.per_pod:
            assert given(kubelet, current) == (f"10000/{64 * MIB}",) * 2
        assert not api.events("FailedToCreatePodContainer")

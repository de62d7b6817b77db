"""The contract of container runtimes: every implementation keeps it; what one lacks it says in CAPABILITIES."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from kubeglass.components.kubelet.runtime.images import Catalog
from kubeglass.components.kubelet.runtime.process import ProcessRuntime
from kubeglass.components.kubelet.runtime.runtime import (
    ContainerConfig,
    ContainerState,
    ExecTimeoutError,
    Mount,
    NotFoundError,
    Resources,
    Runtime,
    SandboxConfig,
    SandboxState,
    StartContainerError,
)
from kubeglass.components.kubelet.runtime.shims import stop_all
from kubeglass.components.kubelet.runtime.simulated import SimulatedRuntime


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def event_loop_policy(request: Any) -> asyncio.AbstractEventLoopPolicy:
    """Tests run on the standard loop, components on uvloop."""
    return uvloop.EventLoopPolicy() if request.param == "uvloop" else asyncio.DefaultEventLoopPolicy()


CAPABILITIES = {"process": {"programs", "survives"}, "simulated": set()}


@pytest.fixture(params=["process", "simulated"])
async def runtime(request: Any, tmp_path: Path) -> AsyncIterator[Runtime]:
    made: Any = SimulatedRuntime(Catalog.load()) if request.param == "simulated" else process_runtime(tmp_path)
    await made.start()
    yield made
    for sandbox in await made.list_pod_sandboxes():
        await made.remove_pod_sandbox(sandbox.id)
    await made.close()


def process_runtime(folder: Path) -> ProcessRuntime:
    return ProcessRuntime(folder / "nodes/n", Catalog.load())


def needs(runtime: Runtime, capability: str) -> None:
    if capability not in CAPABILITIES[runtime.name]:
        pytest.skip(f"the {runtime.name} runtime has no {capability}")


def pod(uid: str = "uid-1", **more: Any) -> SandboxConfig:
    return SandboxConfig(pod_uid=uid, pod_namespace="default", pod_name="p", hostname="p", **more)


def sh(script: str, folder: Path, **more: Any) -> ContainerConfig:
    log = str(folder / "log/0.log")
    return ContainerConfig(name="c", image="busybox:1", command=("sh", "-c", script), log_path=log, **more)


async def until(what: Any, seconds: float = 10) -> Any:
    async with asyncio.timeout(seconds):
        while not (value := await what()):
            await asyncio.sleep(0.01)
        return value


async def exited(runtime: Runtime, container_id: str) -> Any:
    async def ended() -> Any:
        status = await runtime.container_status(container_id)
        return status if status.state is ContainerState.EXITED else None

    return await until(ended)


async def test_life_of_a_container(runtime: Runtime, tmp_path: Path) -> None:
    """Created, running, exited, removed; the sandbox likewise; stopping and removing twice does no harm."""
    sandbox = await runtime.run_pod_sandbox(pod(), "127.128.1.9")
    [found] = await runtime.list_pod_sandboxes()
    assert (found.id, found.state, found.ip) == (sandbox, SandboxState.READY, "127.128.1.9")
    container = await runtime.create_container(sandbox, sh("sleep 100", tmp_path, attempt=2))
    status = await runtime.container_status(container)
    assert (status.state, status.attempt, status.pod_uid) == (ContainerState.CREATED, 2, "uid-1")
    await runtime.start_container(container)
    assert (await runtime.container_status(container)).state is ContainerState.RUNNING
    await runtime.stop_container(container, 0)
    status = await runtime.container_status(container)
    assert status.state is ContainerState.EXITED
    assert status.started_at <= status.finished_at
    await runtime.stop_container(container, 0)
    await runtime.stop_pod_sandbox(sandbox)
    await runtime.stop_pod_sandbox(sandbox)
    assert (await runtime.list_pod_sandboxes())[0].state is SandboxState.NOT_READY
    await runtime.remove_container(container)
    with pytest.raises(NotFoundError):
        await runtime.container_status(container)
    await runtime.remove_pod_sandbox(sandbox)
    await runtime.remove_pod_sandbox(sandbox)
    assert not await runtime.list_pod_sandboxes()


async def test_images(runtime: Runtime) -> None:
    """An image is absent until pulled, then present under its full name; an unknown one is refused with advice."""
    assert await runtime.image_status("nginx") is None
    pulled = await runtime.pull_image("nginx")
    assert pulled.names == ("docker.io/library/nginx:latest",)
    assert await runtime.image_status("docker.io/library/nginx:latest") == pulled
    assert await runtime.list_images() == (pulled,)
    with pytest.raises(NotFoundError, match=r"images\.yaml"):
        await runtime.pull_image("example.com/unknown:1")


async def test_events_tell_of_the_end(runtime: Runtime, tmp_path: Path) -> None:
    """The end of a container is announced with its pod."""
    sandbox = await runtime.run_pod_sandbox(pod(), "127.128.1.9")
    container = await runtime.create_container(sandbox, sh("sleep 100", tmp_path))
    await runtime.start_container(container)
    await runtime.stop_container(container, 0)
    async with asyncio.timeout(5):
        async for event in runtime.events():
            if (event.pod_uid, event.container_id) == ("uid-1", container):
                return


async def test_exit_codes_and_signals(runtime: Runtime, tmp_path: Path) -> None:
    """An exit code is kept; an end by signal is 128 + signal; 0 is Completed, all else Error."""
    needs(runtime, "programs")
    sandbox = await runtime.run_pod_sandbox(pod(), "127.128.1.9")
    for script, code, reason in (
        ("exit 0", 0, "Completed"),
        ("exit 42", 42, "Error"),
        ("sh -c 'kill -9 $$'; exit 1", 1, "Error"),
    ):
        container = await runtime.create_container(sandbox, sh(script, tmp_path))
        await runtime.start_container(container)
        status = await exited(runtime, container)
        assert (status.exit_code, status.reason) == (code, reason)
    container = await runtime.create_container(sandbox, sh("sleep 100", tmp_path))
    await runtime.start_container(container)
    os.kill((await runtime.container_status(container)).pid, 9)
    assert (await exited(runtime, container)).exit_code == 137


async def test_output_is_logged_in_cri_format(runtime: Runtime, tmp_path: Path) -> None:
    """stdout and stderr land in the log; a line over 16 KiB is cut into partial records."""
    needs(runtime, "programs")
    sandbox = await runtime.run_pod_sandbox(pod(), "127.128.1.9")
    script = "echo out; echo err >&2; head -c 40000 /dev/zero | tr '\\0' x; echo"
    container = await runtime.create_container(sandbox, sh(script, tmp_path))
    await runtime.start_container(container)
    await exited(runtime, container)
    rows = [line.split(" ", 3) for line in (tmp_path / "log/0.log").read_text().splitlines()]
    stdout = [(row[2], len(row[3])) for row in rows if row[1] == "stdout"]
    assert stdout == [("F", 3), ("P", 16384), ("P", 16384), ("F", 40000 - 2 * 16384)]
    assert [row[2:] for row in rows if row[1] == "stderr"] == [["F", "err"]]


async def test_logs_rotate(runtime: Runtime, tmp_path: Path) -> None:
    """A log over its size goes on in a new file; of the old ones only so many are kept; no line is lost between."""
    needs(runtime, "programs")
    sandbox = await runtime.run_pod_sandbox(pod(), "127.128.1.9")
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; sleep 1.1; echo last; sleep 1.1; echo end"
    container = await runtime.create_container(sandbox, sh(script, tmp_path, log_max_bytes=20_000, log_max_files=3))
    await runtime.start_container(container)
    await exited(runtime, container)
    files = sorted(path.name for path in (tmp_path / "log").iterdir())
    assert files[0] == "0.log"
    assert 1 < len(files) <= 3
    assert (tmp_path / "log/0.log").read_text().endswith(" stdout F end\n")


async def test_missing_program(runtime: Runtime, tmp_path: Path) -> None:
    """A program that is not there fails the start and leaves exit code 128 with reason StartError."""
    needs(runtime, "programs")
    sandbox = await runtime.run_pod_sandbox(pod(), "127.128.1.9")
    container = await runtime.create_container(
        sandbox, ContainerConfig(name="c", image="busybox", command=("/no/such",))
    )
    with pytest.raises(StartContainerError, match='exec: "/no/such": stat /no/such: no such file or directory'):
        await runtime.start_container(container)
    status = await runtime.container_status(container)
    assert (status.state, status.exit_code, status.reason) == (ContainerState.EXITED, 128, "StartError")


async def test_exec(runtime: Runtime, tmp_path: Path) -> None:
    """A command runs inside the container: its files, its process ids, its host name; a slow one is killed."""
    needs(runtime, "programs")
    sandbox = await runtime.run_pod_sandbox(pod(), "127.128.1.9")
    container = await runtime.create_container(sandbox, sh("echo inside > /tmp/f; sleep 100", tmp_path))
    await runtime.start_container(container)
    result = await runtime.exec_sync(
        container, ["sh", "-c", "sleep 0.1; cat /tmp/f; hostname; echo err >&2; exit 5"], 5
    )
    assert (result.exit_code, result.stdout, result.stderr) == (5, b"inside\np\n", b"err\n")
    with pytest.raises(ExecTimeoutError):
        await runtime.exec_sync(container, ["sleep", "100"], 0.2)


async def test_mounts(runtime: Runtime, tmp_path: Path) -> None:
    """Volumes appear at any path, read-only ones refuse writes, and nothing is created on the host for it."""
    needs(runtime, "programs")
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/f").write_text("content\n")
    host = str(tmp_path / "volume")
    mounts = (Mount(host, "/data/deep"), Mount(host, "/usr/share/kubeglass-test/html", read_only=True))
    sandbox = await runtime.run_pod_sandbox(pod(), "127.128.1.9")
    script = "cat /data/deep/f; touch /data/deep/new; touch /usr/share/kubeglass-test/html/x || echo refused; sleep 100"
    container = await runtime.create_container(sandbox, sh(script, tmp_path, mounts=mounts))
    await runtime.start_container(container)

    async def logged() -> bool:
        return "refused" in (tmp_path / "log/0.log").read_text()

    await until(logged)
    assert (tmp_path / "volume/new").exists()
    assert not Path("/data/deep").exists()
    assert not Path("/usr/share/kubeglass-test").exists()


async def test_memory_limit(runtime: Runtime, tmp_path: Path) -> None:
    """A container over its memory limit is killed as OOMKilled with exit code 137."""
    needs(runtime, "programs")
    sandbox = await runtime.run_pod_sandbox(pod(), "127.128.1.9")
    script = "x=$(head -c 60000000 /dev/zero | tr '\\0' x); sleep 100"
    container = await runtime.create_container(sandbox, sh(script, tmp_path, memory_limit_bytes=20_000_000))
    await runtime.start_container(container)
    status = await exited(runtime, container)
    assert (status.exit_code, status.reason) == (137, "OOMKilled")


async def test_resources_change_while_it_runs(runtime: Runtime, tmp_path: Path) -> None:
    """The container has them from then on, and goes on running."""
    sandbox = await runtime.run_pod_sandbox(pod(), "127.128.1.9")
    container = await runtime.create_container(sandbox, sh("sleep 100", tmp_path, cpu_request_milli=100))
    await runtime.start_container(container)
    assert (await runtime.container_status(container)).resources == Resources(100)
    await runtime.update_container_resources(container, Resources(200, 400, 1 << 30))
    status = await runtime.container_status(container)
    assert (status.resources, status.state) == (Resources(200, 400, 1 << 30), ContainerState.RUNNING)


async def test_a_limit_that_comes_later_counts(runtime: Runtime, tmp_path: Path) -> None:
    """A container that was not limited is, and exceeds it."""
    needs(runtime, "programs")
    sandbox = await runtime.run_pod_sandbox(pod(), "127.128.1.9")
    script = "x=$(head -c 60000000 /dev/zero | tr '\\0' x); sleep 100"
    container = await runtime.create_container(sandbox, sh(script, tmp_path))
    await runtime.start_container(container)
    await runtime.update_container_resources(container, Resources(memory_limit_bytes=20_000_000))
    assert (await exited(runtime, container)).reason == "OOMKilled"


async def test_stats(runtime: Runtime, tmp_path: Path) -> None:
    """A busy container has used processor time and memory, and counts its processes."""
    needs(runtime, "programs")
    sandbox = await runtime.run_pod_sandbox(pod(), "127.128.1.9")
    container = await runtime.create_container(sandbox, sh("while :; do :; done & sleep 100", tmp_path))
    await runtime.start_container(container)

    async def busy() -> Any:
        [stats] = await runtime.list_container_stats()
        return stats if stats.cpu_usage_seconds > 0.05 else None

    stats = await until(busy)
    assert stats.processes == 3
    assert stats.memory_rss_bytes > 0


async def test_user(runtime: Runtime, tmp_path: Path) -> None:
    """runAsUser and runAsGroup are what the program sees."""
    needs(runtime, "programs")
    sandbox = await runtime.run_pod_sandbox(pod(), "127.128.1.9")
    container = await runtime.create_container(sandbox, sh("id -u; id -g", tmp_path, uid=1000, gid=2000))
    await runtime.start_container(container)
    await exited(runtime, container)
    assert [line.split()[-1] for line in (tmp_path / "log/0.log").read_text().splitlines()] == ["1000", "2000"]


async def test_whole_process_trees_end(runtime: Runtime, tmp_path: Path) -> None:
    """Stopping a container leaves no process of it, not even one that made a session of its own."""
    needs(runtime, "programs")
    marker = f"987{os.getpid()}"
    sandbox = await runtime.run_pod_sandbox(pod(), "127.128.1.9")
    container = await runtime.create_container(sandbox, sh(f"setsid sleep {marker} & sleep {marker}", tmp_path))
    await runtime.start_container(container)

    async def both() -> bool:
        return len(processes(marker)) >= 2

    await until(both)
    await runtime.stop_container(container, 0)

    async def none() -> bool:
        return not processes(marker)

    await until(none)


def processes(word: str) -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and word in (folder / "cmdline").read_text().split("\0"):
                found.append(folder.name)
        except OSError:
            continue
    return found


async def test_pods_survive_their_owner(tmp_path: Path) -> None:
    """kill -9 of the process that started a pod leaves the pod running; the next owner has it, and stop_all ends it."""
    script = f"""
import asyncio, os, signal
from pathlib import Path
from kubeglass.components.kubelet.runtime.images import Catalog
from kubeglass.components.kubelet.runtime.process import ProcessRuntime
from kubeglass.components.kubelet.runtime.runtime import ContainerConfig, SandboxConfig

async def main():
    runtime = ProcessRuntime(Path({str(tmp_path / "nodes/n")!r}), Catalog.load())
    await runtime.start()
    sandbox = await runtime.run_pod_sandbox(SandboxConfig("uid-1", "default", "p"), "127.128.1.9")
    config = ContainerConfig(name="c", image="busybox", command=("sh", "-c", "while :; do echo x; sleep 0.05; done"),
                             log_path={str(tmp_path / "log/0.log")!r})
    await runtime.start_container(await runtime.create_container(sandbox, config))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    assert await owner.wait() == -9
    size = (tmp_path / "log/0.log").stat().st_size

    async def grown() -> bool:
        return (tmp_path / "log/0.log").stat().st_size > size

    await until(grown)
    runtime = process_runtime(tmp_path)
    await runtime.start()
    [container] = await runtime.list_containers()
    assert container.state is ContainerState.RUNNING
    assert (await runtime.exec_sync(container.id, ["echo", "adopted"], 5)).stdout == b"adopted\n"
    assert stop_all(tmp_path) == 1
    assert (await exited(runtime, container.id)).exit_code == 137
    with pytest.raises(ProcessLookupError):
        os.kill(container.pid, 0)
    assert stop_all(tmp_path) == 0
    await runtime.close()

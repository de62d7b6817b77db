"""Shim processes from outside: starting them, telling whether they live, ending them all.

A shim holds a lock on shim.pid in its sandbox directory for as long as it lives; the kernel lets go of it with the
process, so a stale pid is never mistaken for a shim.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import kubeglass
from kubeglass.components.kubelet.cgroups import hierarchy
from kubeglass.components.kubelet.runtime.runtime import RuntimeCallError
from kubeglass.components.kubelet.runtime.shim.spawn import Isolation

_SHIM = Path(kubeglass.__file__).parent / "components/kubelet/runtime/shim/main.py"
STOP_SECONDS = 5.0


class ShimStarter:
    """The preloaded process that forks shims; started on first use, and again if it died."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self.isolation = Isolation(namespaces=False, user_namespace=False)

    async def ensure(self) -> asyncio.subprocess.Process:
        """The running starter. `isolation` is known afterwards."""
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                os.path.realpath(sys.executable),
                "-I",
                "-S",
                str(_SHIM),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            assert self._process.stdout is not None
            line = await self._process.stdout.readline()
            if not line:
                raise RuntimeCallError("the shim starter ended at once")
            self.isolation = Isolation(**json.loads(line))
        return self._process

    async def fork(self, directory: Path) -> None:
        """Start a shim for a sandbox directory; it listens when this returns. Raises RuntimeCallError."""
        async with self._lock:
            process = await self.ensure()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{directory}\n".encode())
            answer = (await process.stdout.readline()).decode().strip()
        if not answer.startswith("ok "):
            raise RuntimeCallError(f"cannot start the sandbox process: {answer.removeprefix('error ')}")

    async def close(self) -> None:
        """End the starter; the shims it forked go on."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        await process.wait()


def stop_all(data_dir: Path, log: Callable[[str], None] = lambda text: None) -> int:
    """End every shim of every node below a data dir, with all their processes. Returns how many there were."""
    directories = [folder for folder in data_dir.glob("nodes/*/sandboxes/*") if alive(folder)]
    for directory in directories:
        _signal_shim(directory, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for directory in directories:
        while alive(directory) and time.monotonic() < deadline:
            time.sleep(0.01)
        if alive(directory):
            log(f"sandbox process of {directory.name} did not end in time; killed")
            kill_shim(directory)
    for record in data_dir.glob("nodes/*/cgroups.json"):
        hierarchy.remove(record)
    return len(directories)


def alive(directory: Path) -> bool:
    """Whether the shim of a sandbox directory lives: it holds a lock on its pid file."""
    try:
        fd = os.open(directory / "shim.pid", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _signal_shim(directory: Path, number: int) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.kill(int((directory / "shim.pid").read_text()), number)


def kill_shim(directory: Path) -> None:
    """Its containers follow by parent-death signal."""
    if alive(directory):
        _signal_shim(directory, signal.SIGKILL)

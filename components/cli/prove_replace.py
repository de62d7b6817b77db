"""A component that runs otherwise than planned for a while: by another way to the API server, or with a wrong clock."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from kubeglass.components.cli import processes
from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.lookup import CommandError
from kubeglass.components.cli.plan import HOST, Process
from kubeglass.logging.goduration import parse_duration

_START_SECONDS = 60.0
_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.05
_LIBRARY = "libfaketimeMT.so.1"
_LIBRARY_FOLDERS = ("lib/*/faketime", "lib/faketime", "lib64/faketime", "local/lib/faketime")
_PROGRAM = """
import os
for name in ("LD_PRELOAD", "FAKETIME_SHARED"):  # for this process only: not for what it starts
    os.environ.pop(name, None)
from kubeglass.__main__ import main
raise SystemExit(main())
"""


@contextmanager
def replaced(data: DataDir, process: Process, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """End a component and run it as `process` says, until the context is left; then it is gone: `kubeglass up` brings
    back what was planned. Raises CommandError when it does not come up.
    """
    running = processes.running(data.pid(process.name))
    if running is not None:
        processes.stop([running], _GRACE_SECONDS)
    with data.log(process.name).open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, process.component, *process.flags],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    processes.write_record(data.pid(process.name), child.pid)
    try:
        _await(child, process, data)
        yield
    finally:
        processes.stop([child.pid], _GRACE_SECONDS)
        child.wait()
        for name in (f"faketime_shm_{child.pid}", f"sem.faketime_sem_{child.pid}"):  # what its library leaves
            Path("/dev/shm", name).unlink(missing_ok=True)


def _await(child: subprocess.Popen[bytes], process: Process, data: DataDir) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while child.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(process.listens[0], timeout=1):
            return
        time.sleep(_POLL_SECONDS)
    raise CommandError(f"{process.name} did not come up again; see {data.log(process.name)}")


@contextmanager
def rewired(process: Process, data: DataDir, port: int) -> Iterator[Process]:
    """The component with a kubeconfig that leads to another port. Raises CommandError when it has none."""
    flag = next((flag for flag in process.flags if flag.startswith("--kubeconfig=")), None)
    if flag is None:
        raise CommandError(f"{process.name} is no client of the API server; it cannot be cut off from it")
    planned = Path(flag.removeprefix("--kubeconfig="))
    lines = [
        f"    server: https://{HOST}:{port}" if line.strip().startswith("server:") else line
        for line in planned.read_text().splitlines()
    ]
    other = data.pki / f"{planned.stem}.wire.conf"  # beside the certificates, which it names by relative paths
    try:
        other.touch(mode=0o600)
        other.write_text("\n".join(lines) + "\n")
        yield replace(process, flags=tuple(f"--kubeconfig={other}" if one == flag else one for one in process.flags))
    finally:
        other.unlink(missing_ok=True)


def skewed(by: str, usr: Path = Path("/usr")) -> Mapping[str, str]:
    """The environment of a process whose wall clock is wrong. Raises CommandError when libfaketime is not there."""
    found = [library for folder in _LIBRARY_FOLDERS for library in usr.glob(f"{folder}/{_LIBRARY}")]
    if not found:
        raise CommandError("a wrong clock needs libfaketime; install it with: apt-get install faketime")
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME": f"{parse_duration(by) / 1e9:+.3f}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }

"""Finding the processes of Pods on this host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def with_environment(name: str, value: str) -> Iterator[int]:
    """Processes that have NAME=VALUE in their environment."""
    wanted = f"{name}={value}".encode()
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                variables = (process / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if wanted in variables:
                yield int(process.name)

"""The running processes of a cluster, found by their records in the data dir and told apart from reused pids."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec


class Record(msgspec.Struct, frozen=True):
    """What a pid file holds: the pid and when (clock ticks since boot) that process started."""

    pid: int
    started: int


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rsplit(")", 1)[1].split()
    return None if fields[0] == "Z" else int(fields[19])


def write_record(file: Path, pid: int) -> None:
    """Remember a process that was just started."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(Record(pid, start_ticks(pid) or 0)))
    temporary.replace(file)


def running(file: Path) -> int | None:
    """The pid that the file tells of, if that very process still runs."""
    try:
        record = msgspec.json.decode(file.read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError):
        return None
    return record.pid if start_ticks(record.pid) == record.started else None


def stop(pids: Iterable[int], grace_seconds: float) -> list[int]:
    """End processes: SIGTERM, then SIGKILL after the grace. The answer is who had to be killed."""
    waiting = {}
    for pid in pids:
        try:
            waiting[os.pidfd_open(pid)] = pid
        except ProcessLookupError:
            continue
    _signal(waiting, signal.SIGTERM)
    _wait(waiting, grace_seconds)
    killed = list(waiting.values())
    _signal(waiting, signal.SIGKILL)
    _wait(waiting, 5.0)
    for descriptor in waiting:
        os.close(descriptor)
    return killed


def _signal(waiting: dict[int, int], number: signal.Signals) -> None:
    for descriptor in waiting:
        try:
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            continue


def _wait(waiting: dict[int, int], seconds: float) -> None:
    """Wait until all have ended or the time is over; those that ended leave `waiting`."""
    deadline = time.monotonic() + seconds
    poll = select.poll()
    for descriptor in waiting:
        poll.register(descriptor, select.POLLIN)
    while waiting and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            poll.unregister(descriptor)
            pid = waiting.pop(descriptor)
            os.close(descriptor)
            _reap(pid)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


@dataclass(frozen=True, slots=True)
class Holder:
    """Who listens on a port, as far as the system tells."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.command})"


def holder_of(address: str, port: int) -> Holder | None:
    """The process that listens on address:port, or on that port of all addresses."""
    inodes = _listening_inodes(address, port)
    if not inodes:
        return None
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and _has_socket(entry, inodes):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            return Holder(int(entry.name), command or (entry / "comm").read_text().strip())
    return None


def _listening_inodes(address: str, port: int) -> set[str]:
    wanted = {_hex_address(address), "00000000"}
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        local, _, local_port = fields[1].partition(":")
        if fields[3] == "0A" and int(local_port, 16) == port and local in wanted:
            inodes.add(fields[9])
    return inodes


def _hex_address(address: str) -> str:
    return "".join(f"{int(octet):02X}" for octet in reversed(address.split(".")))


def _has_socket(process: Path, inodes: set[str]) -> bool:
    try:
        return any(
            os.readlink(descriptor).removeprefix("socket:[").removesuffix("]") in inodes
            for descriptor in (process / "fd").iterdir()
        )
    except OSError:
        return False

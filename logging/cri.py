"""Container logs in CRI format: `TIMESTAMP STREAM TAG TEXT`, one line each, rotated as the kubelet rotates them.

Standard library only, so that a container's supervisor can use it without loading anything
else. Keeps the contract of rotation.py's Follower. Upstream: kuberuntime/logs, container_log_manager.
"""

from __future__ import annotations

import gzip
import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

Stream = Literal["stdout", "stderr"]

DEFAULT_MAX_BYTES = 10 * 1024 * 1024
DEFAULT_MAX_FILES = 5
MAX_LINE_BYTES = 16 * 1024
"""A longer line is cut into several records, all but the last tagged P (partial)."""


class LogLine(NamedTuple):
    """One record of a container log."""

    timestamp: str
    stream: str
    partial: bool
    text: bytes


def timestamp(nanoseconds: int) -> str:
    """RFC 3339 in UTC with nine decimals, as container runtimes stamp lines."""
    second, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime(f"%Y-%m-%dT%H:%M:%S.{rest:09d}Z", time.gmtime(second))


def records(nanoseconds: int, stream: Stream, line: bytes, *, complete: bool = True) -> bytes:
    """The record or records of one output line (without its newline); not `complete` when its end is still to come."""
    head = f"{timestamp(nanoseconds)} {stream} ".encode()
    whole = len(line) <= MAX_LINE_BYTES
    if whole and complete:
        return b"%bF %b\n" % (head, line)
    pieces = [line[at : at + MAX_LINE_BYTES] for at in range(0, len(line), MAX_LINE_BYTES)] or [b""]
    last = b"F" if complete else b"P"
    tags = [b"P"] * (len(pieces) - 1) + [last]
    return b"".join(b"%b%b %b\n" % (head, tag, piece) for tag, piece in zip(tags, pieces, strict=True))


def parse(record: bytes) -> LogLine:
    """One record of a log file. Raises ValueError when it is none."""
    parts = record.removesuffix(b"\n").split(b" ", 3)
    if len(parts) < 3 or parts[1] not in (b"stdout", b"stderr"):
        raise ValueError(f"not a CRI log line: {record[:80]!r}")
    tags = parts[2].split(b":")
    text = parts[3] if len(parts) == 4 else b""
    return LogLine(parts[0].decode(), parts[1].decode(), tags[0] == b"P", text)


class LineSplitter:
    """Turns the chunks of an output stream into records; a line without an end is held until it has one."""

    def __init__(self, stream: Stream, clock: Callable[[], int] = time.time_ns) -> None:
        self._stream: Stream = stream
        self._clock = clock
        self._held = b""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The records that a chunk completes. A held line over the limit is passed on in parts."""
        *lines, self._held = (self._held + chunk).split(b"\n")
        for line in lines:
            yield records(self._clock(), self._stream, line)
        while len(self._held) >= MAX_LINE_BYTES:
            part, self._held = self._held[:MAX_LINE_BYTES], self._held[MAX_LINE_BYTES:]
            yield records(self._clock(), self._stream, part, complete=False)

    def end(self) -> Iterator[bytes]:
        """The last line, when the stream ended without a newline."""
        if self._held:
            held, self._held = self._held, b""
            yield records(self._clock(), self._stream, held, complete=False)


class ContainerLog:
    """The log file of one container; a full one is renamed to `NAME.YYYYMMDD-HHMMSS`, older ones are compressed."""

    def __init__(
        self,
        path: str,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_files: int = DEFAULT_MAX_FILES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._clock = clock
        self._open()

    def write(self, data: bytes) -> None:
        """Append whole records, in a new file when they would not fit. Raises OSError."""
        if self._size and self._size + len(data) > self._max_bytes:
            self.rotate()
        while data:
            written = os.write(self._fd, data)
            self._size += written
            data = data[written:]

    def rotate(self) -> None:
        """Start a new file; within the second of the last rotation nothing happens, so that names never collide."""
        rotated = f"{self.path}.{time.strftime('%Y%m%d-%H%M%S', time.gmtime(self._clock()))}"
        if os.path.exists(rotated) or os.path.exists(f"{rotated}.gz"):
            return
        full = self._fd
        os.rename(self.path, rotated)
        self._open()
        os.close(full)
        self._tidy()

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _open(self) -> None:
        os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._fd).st_size

    def _tidy(self) -> None:
        """Delete what is too old, compress all rotated files but the newest."""
        old = rotated_names(self.path)
        surplus = max(len(old) - max(self._max_files - 1, 1), 0)
        for name in old[:surplus]:
            os.unlink(name)
        for name in old[surplus:-1]:
            if not name.endswith(".gz"):
                _compress(name)


def rotated_names(path: str) -> list[str]:
    """The rotated files of a container log, oldest first."""
    directory, base = os.path.split(path)
    prefix = f"{base}."
    names = [name for name in os.listdir(directory or ".") if name.startswith(prefix) and not name.endswith(".tmp")]
    return [os.path.join(directory, name) for name in sorted(names)]


def _compress(path: str) -> None:
    """Replace a file by its gzip, which keeps the file's time: readers recognise it by that."""
    facts = os.stat(path)
    draft = f"{path}.tmp"
    with open(path, "rb") as plain, gzip.open(draft, "wb") as packed:
        shutil.copyfileobj(plain, packed)
    os.utime(draft, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    os.rename(draft, f"{path}.gz")
    os.unlink(path)

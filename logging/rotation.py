"""Log files that are rotated between records, and a reader that follows them without losing or repeating one.

The contract between the two: a writer renames the full file to `NAME.STAMP` (stamps sort in time),
then creates NAME anew, and never writes to the renamed file again. cri.py keeps it too.
"""

from __future__ import annotations

import gzip
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

DEFAULT_MAX_BYTES = 100 * 1024 * 1024
DEFAULT_MAX_AGE_SECONDS = 86_400.0
DEFAULT_MAX_FILES = 5
READ_BYTES = 1 << 20


class RotatingFile:
    """Appends whole records to a file; starts a new one when a record would not fit or the file is too old.

    `max_files` counts the current file. A limit of 0 is no limit. A record is one `write`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_age_seconds: float = DEFAULT_MAX_AGE_SECONDS,
        max_files: int = DEFAULT_MAX_FILES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = Path(path)
        self._max_bytes = max_bytes
        self._max_age_seconds = max_age_seconds
        self._max_files = max_files
        self._clock = clock
        self._lock = threading.Lock()
        self._last_stamp = ""
        self._fd = -1
        self._open()

    def write(self, data: bytes, /) -> None:
        """Append one record. Raises OSError when the file system refuses."""
        with self._lock:
            if self._size and self._is_full(len(data)):
                self._rotate()
            while data:
                written = os.write(self._fd, data)
                self._size += written
                data = data[written:]

    def close(self) -> None:
        """Close the file; a later write raises OSError."""
        with self._lock:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        facts = os.fstat(self._fd)
        self._size = facts.st_size
        self._expires = self._clock() + self._max_age_seconds if self._max_age_seconds else float("inf")

    def _is_full(self, incoming: int) -> bool:
        return (0 < self._max_bytes < self._size + incoming) or self._clock() >= self._expires

    def _rotate(self) -> None:
        full = self._fd
        os.rename(self.path, f"{self.path}.{self._stamp()}")
        self._open()
        os.close(full)
        old = rotated_files(self.path) if self._max_files else []
        surplus = max(len(old) - (self._max_files - 1), 0)
        for path in old[:surplus]:
            path.unlink(missing_ok=True)

    def _stamp(self) -> str:
        stamp = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y%m%d-%H%M%S.%f")
        if stamp <= self._last_stamp:
            head, _, fraction = self._last_stamp.rpartition(".")
            stamp = f"{head}.{int(fraction) + 1:06d}"
        self._last_stamp = stamp
        return stamp


def rotated_files(path: Path) -> list[Path]:
    """The rotated files of a log, oldest first, compressed or not; the current one is not among them."""
    prefix = f"{path.name}."
    with os.scandir(path.parent) as entries:
        names = {entry.name for entry in entries if entry.name.startswith(prefix) and entry.name[len(prefix)].isdigit()}
    complete = [name for name in names if not name.endswith(".tmp") and _stem(name) not in names - {name}]
    return [path.parent / name for name in sorted(complete)]


def _stem(name: str) -> str:
    """The name a rotated file had before it was compressed."""
    return name.removesuffix(".gz")


class Follower:
    """Reads a rotated log record by record, from its oldest file (or only what is new) across every rotation.

    `poll` never waits. `gaps` counts the files that were deleted before they could be read.
    """

    def __init__(self, path: str | os.PathLike[str], *, from_start: bool = True) -> None:
        self.path = Path(path)
        self.gaps = 0
        self._file: BinaryIO | None = None
        self._passed = ""  # the last rotated file that was read to its end,
        self._is_passed = False  # which may be the one that is still open
        self._partial = b""
        self._from_start = from_start

    def poll(self) -> Iterator[bytes]:
        """The records written since the last call, each with its newline."""
        if self._file is None and not self._begin():
            return
        while True:
            yield from self._records()
            successor = self._successor()
            if successor is None:
                return
            yield from self._records()
            if self._partial:
                yield self._partial
                self._partial = b""
            self._enter(successor)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> bool:
        """Open the file to start with; the current one before the others are listed, so that none slips between."""
        if not self.path.parent.is_dir():
            return False
        try:
            current: BinaryIO | None = self.path.open("rb", buffering=0)
        except FileNotFoundError:
            current = None
        older = rotated_files(self.path)
        if self._from_start and older:
            if current is not None:
                current.close()
            self._file = _open_any(older[0])
        elif current is not None:
            self._file = current
            own = _identity(current)
            names = [_stem(path.name) for path in itertools.takewhile(lambda path: _identity_of(path) != own, older)]
            self._passed = names[-1] if names else ""
            current.seek(0, os.SEEK_SET if self._from_start else os.SEEK_END)
        return self._file is not None

    def _records(self) -> Iterator[bytes]:
        """Whole records up to the end of the file that is open."""
        assert self._file is not None
        while data := self._file.read(READ_BYTES):
            data = self._partial + data
            end = data.rfind(b"\n") + 1
            self._partial = data[end:]
            yield from data[:end].splitlines(keepends=True) if b"\r" not in data else _lines(data[:end])

    def _successor(self) -> Path | None:
        """The file written after the one that is open, None while that is still written to."""
        assert self._file is not None
        own = _identity(self._file)
        if _identity_of(self.path) in (own, None):
            return None
        later = self._later()
        if later and not self._is_passed:
            if self._is_open(later[0], own):
                self._passed = _stem(later.pop(0).name)
            else:
                self.gaps += 1
            self._is_passed = True
        return later[0] if later else self.path

    def _later(self) -> list[Path]:
        """The rotated files that may not have been read yet: the open one, when it is rotated, and those after it."""
        return [path for path in rotated_files(self.path) if _stem(path.name) > self._passed]

    def _is_open(self, path: Path, own: tuple[int, int]) -> bool:
        """Whether a rotated file is the open one, be it by now compressed."""
        assert self._file is not None
        if _identity_of(path) == own:
            return True
        return path.suffix == ".gz" and _modified(path) == os.fstat(self._file.fileno()).st_mtime_ns

    def _enter(self, path: Path) -> None:
        """Go on with `path`, or with the file that took its place while it was being opened."""
        assert self._file is not None
        try:
            file = _open_any(path)
            later = self._later()
            if path == self.path and later and _identity_of(later[0]) != _identity(file):
                file.close()
                file = _open_any(later[0])
        except FileNotFoundError:
            return
        self._file.close()
        self._file = file
        self._is_passed = False


def _lines(data: bytes) -> Iterator[bytes]:
    """Lines that end in LF only: a CR belongs to the record."""
    start = 0
    while start < len(data):
        end = data.index(b"\n", start) + 1
        yield data[start:end]
        start = end


def _open_any(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]  # one in all but name
    return path.open("rb", buffering=0)


def _identity(file: BinaryIO) -> tuple[int, int]:
    facts = os.fstat(file.fileno())
    return facts.st_dev, facts.st_ino


def _identity_of(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return facts.st_dev, facts.st_ino


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return -1

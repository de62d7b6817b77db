"""The CRI log format: `2026-11-22T03:34:04.788195422Z stdout F line`. Stdlib only; reading is kubelet/logs.py.

A line longer than 16 KiB is written in pieces tagged P (partial), the last one F (full). An unfinished line waits
for its end, or for the end of the stream.
"""

from __future__ import annotations

import os
import time

MAX_PIECE_BYTES = 16 * 1024


def timestamp(ns: int) -> bytes:
    """RFC 3339 with nanoseconds, trailing zeros dropped as Go's RFC3339Nano does."""
    seconds, fraction = divmod(ns, 1_000_000_000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    digits = f".{fraction:09d}".rstrip("0").rstrip(".")
    return f"{stamp}{digits}Z".encode()


class LineSplitter:
    """Bytes of one stream in, whole log lines out. Pure."""

    def __init__(self, stream: str) -> None:
        self._full = b" " + stream.encode() + b" F "
        self._partial = b" " + stream.encode() + b" P "
        self._rest = b""

    def feed(self, data: bytes, now_ns: int) -> bytes:
        """The log text that `data` completes."""
        stamp = timestamp(now_ns)
        *lines, rest = (self._rest + data).split(b"\n")
        out: list[bytes] = []
        for line in lines:
            while len(line) > MAX_PIECE_BYTES:
                out += (stamp, self._partial, line[:MAX_PIECE_BYTES], b"\n")
                line = line[MAX_PIECE_BYTES:]
            out += (stamp, self._full, line, b"\n")
        while len(rest) > MAX_PIECE_BYTES:
            out += (stamp, self._partial, rest[:MAX_PIECE_BYTES], b"\n")
            rest = rest[MAX_PIECE_BYTES:]
        self._rest = rest
        return b"".join(out)

    def finish(self, now_ns: int) -> bytes:
        """The log text of a last line that has no newline."""
        line, self._rest = self._rest, b""
        return timestamp(now_ns) + self._full + line + b"\n" if line else b""


class LogFile:
    """An append-only log that can be reopened after its file was moved away. A full disk loses lines, not the pod."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = self._open()

    def _open(self) -> int:
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def write(self, text: bytes) -> None:
        """Append whole lines."""
        if not text:
            return
        try:
            os.write(self._fd, text)
        except OSError:
            pass

    def reopen(self) -> None:
        """Continue in a new file of the same name."""
        fresh = self._open()
        os.close(self._fd)
        self._fd = fresh

    def close(self) -> None:
        """No more lines will come."""
        os.close(self._fd)

"""Where finished lines go: one stream, or information and errors apart, with a buffer for the former.

A line is never torn between two writes and writing never raises: what cannot be written is
counted as lost. Answers to component-base/logs/api/v1 (split streams, info buffer).
"""

from __future__ import annotations

import io
import os
import select
import threading
from typing import BinaryIO, Protocol, TextIO

from kubeglass.logging.goquote import encode_line
from kubeglass.logging.record import Severity


class ByteSink(Protocol):
    """Takes whole lines as bytes: a descriptor, a rotating file, a list in a test."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`. Raises OSError when it cannot."""
        ...


class Descriptor:
    """Unbuffered writes to a file descriptor; waits when a non-blocking one is full."""

    __slots__ = ("_lock", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._lock = threading.Lock()

    def write(self, data: bytes, /) -> None:
        """Write all of `data`; the usual single system call needs no lock."""
        try:
            written = os.write(self.fd, data)
        except BlockingIOError:
            written = 0
        if written != len(data):
            self._write_rest(data[written:])

    def _write_rest(self, data: bytes) -> None:
        with self._lock:
            while data:
                select.select((), (self.fd,), ())
                try:
                    data = data[os.write(self.fd, data) :]
                except BlockingIOError:
                    continue


class TextStream:
    """A text stream that has no descriptor of its own, such as a captured stderr."""

    __slots__ = ("stream",)

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, data: bytes, /) -> None:
        """Write and flush, so that lines of other writers to the stream keep their order."""
        self.stream.write(data.decode("utf-8", "replace"))
        self.stream.flush()


def byte_sink(stream: TextIO | BinaryIO) -> ByteSink:
    """The most direct way to write to a stream."""
    try:
        return Descriptor(stream.fileno())
    except (OSError, AttributeError, io.UnsupportedOperation):
        return stream if isinstance(stream, io.BytesIO) else TextStream(stream)  # type: ignore[arg-type]  # not bytes


class SingleStream:
    """Every line to one place, unbuffered: upstream's default, to stderr."""

    __slots__ = ("_write", "lost")

    def __init__(self, sink: ByteSink) -> None:
        self._write = sink.write
        self.lost = 0

    def write(self, severity: Severity, line: str) -> None:
        try:
            self._write(line.encode())
        except UnicodeEncodeError:
            self.write_bytes(encode_line(line))
        except (OSError, ValueError):
            self.lost += 1

    def write_bytes(self, data: bytes) -> None:
        """Write a line that is already bytes."""
        try:
            self._write(data)
        except (OSError, ValueError):
            self.lost += 1

    def flush(self) -> None:
        """Nothing is held back."""


class SplitStreams:
    """Information to one place through a buffer of `buffer_bytes`, everything else to another at once.

    What is buffered is passed on when the buffer is full, on `flush`, and `flush_seconds` after it was put in.
    """

    __slots__ = ("_buffer", "_buffered", "_capacity", "_errors", "_flush_seconds", "_info", "_lock", "lost")

    def __init__(self, info: ByteSink, errors: ByteSink, buffer_bytes: int = 0, flush_seconds: float = 5.0) -> None:
        self._info = info
        self._errors = errors
        self._capacity = buffer_bytes
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._flush_seconds = flush_seconds
        self._lock = threading.Lock()
        self.lost = 0

    def write(self, severity: Severity, line: str) -> None:
        data = encode_line(line)
        with self._lock:
            if severity != "I":
                self._pass_on(self._errors, data, 1)
                return
            if self._buffered + len(data) > self._capacity:
                self._empty()
            if len(data) > self._capacity:
                self._pass_on(self._info, data, 1)
                return
            if not self._buffer:
                self._flush_later()
            self._buffer.append(data)
            self._buffered += len(data)

    def flush(self) -> None:
        """Pass on what the buffer holds."""
        with self._lock:
            self._empty()

    def _flush_later(self) -> None:
        """A line has been put into the empty buffer: it must not lie there for ever."""
        timer = threading.Timer(self._flush_seconds, self.flush)
        timer.daemon = True
        timer.start()

    def _empty(self) -> None:
        if self._buffer:
            held, self._buffer, self._buffered = self._buffer, [], 0
            self._pass_on(self._info, b"".join(held), len(held))

    def _pass_on(self, sink: ByteSink, data: bytes, lines: int) -> None:
        try:
            sink.write(data)
        except (OSError, ValueError):
            self.lost += lines

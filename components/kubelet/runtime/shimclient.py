"""The kubelet's end of a shim: one control connection with calls and events, one more per exec or attach.

The wire is described in shim/sandbox.py.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import struct
import termios
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from kubeglass.components.kubelet.runtime.runtime import NotFoundError, RuntimeCallError, StartContainerError

_ERRORS: Mapping[str, type[RuntimeCallError]] = {"StartError": StartContainerError, "NotFound": NotFoundError}
_READ_BYTES = 65536


class ShimGoneError(RuntimeCallError):
    """The shim of a sandbox ended; so did the sandbox."""


def _raise(error: Mapping[str, str]) -> None:
    raise _ERRORS.get(error["code"], RuntimeCallError)(error["message"])


async def _connect(directory: Path) -> socket.socket:
    """A connected socket; by way of a directory descriptor, since socket paths are limited to 107 bytes."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{folder}/shim.sock")
    except OSError as error:
        sock.close()
        raise ShimGoneError(f"the sandbox process is gone: {error.strerror}") from error
    finally:
        os.close(folder)
    return sock


class ShimClient(asyncio.Protocol):
    """Calls to one shim. `on_exit` hears every container that ends, `on_lost` the end of the shim itself."""

    def __init__(self, on_exit: Callable[[dict[str, Any]], None], on_lost: Callable[[], None]) -> None:
        self._on_exit = on_exit
        self._on_lost = on_lost
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._sequence = 0
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None
        self.lost = asyncio.Event()

    @classmethod
    async def connect(
        cls, directory: Path, on_exit: Callable[[dict[str, Any]], None], on_lost: Callable[[], None]
    ) -> ShimClient:
        """Raises ShimGoneError."""
        sock = await _connect(directory)
        client = cls(on_exit, on_lost)
        await asyncio.get_running_loop().create_unix_connection(lambda: client, sock=sock)
        return client

    async def call(self, name: str, **values: Any) -> Any:
        """One call. Raises what the shim answered, or ShimGoneError."""
        if self._transport is None or self.lost.is_set():
            raise ShimGoneError("the sandbox process is gone")
        self._sequence += 1
        future = asyncio.get_running_loop().create_future()
        self._pending[self._sequence] = future
        self._transport.write(json.dumps({"id": self._sequence, "call": name, **values}).encode() + b"\n")
        return await future

    def close(self) -> None:
        """Hang up; the shim goes on."""
        self._on_lost = lambda: None
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's do not derive from asyncio's

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._receive(json.loads(line))

    def _receive(self, message: dict[str, Any]) -> None:
        if "event" in message:
            self._on_exit(message["status"])
            return
        future = self._pending.pop(message["id"], None)
        if future is None or future.done():
            return
        if "error" in message:
            try:
                _raise(message["error"])
            except RuntimeCallError as error:
                future.set_exception(error)
        else:
            future.set_result(message["result"])

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        for future in self._pending.values():
            if not future.done():
                future.set_exception(ShimGoneError("the sandbox process is gone"))
        self._pending.clear()
        self._on_lost()


class ShimStreams:
    """The streams of an exec or attach: descriptors that the shim passed, read and written here directly."""

    def __init__(self, sock: socket.socket, descriptors: list[int], tty: bool, resizable: bool) -> None:
        self.tty = tty
        self._socket = sock
        self._resizable = resizable
        self._stdin = descriptors[0]
        if len(descriptors) == 1:  # an exec's terminal: everything over one descriptor
            self._outputs = {1: os.dup(descriptors[0])}
        else:
            self._outputs = {1: descriptors[1], 2: descriptors[2]}
        for fd in (self._stdin, *self._outputs.values()):
            os.set_blocking(fd, False)

    async def read(self, stream: int) -> bytes:
        """The next bytes, b"" at the end."""
        fd = self._outputs.get(stream)
        while fd is not None and fd >= 0:
            try:
                return os.read(fd, _READ_BYTES)
            except BlockingIOError:
                await _ready(fd, writing=False)
            except OSError:  # a terminal whose last process is gone
                return b""
        return b""

    async def write(self, data: bytes) -> None:
        """All of `data` into stdin; dropped once the process closed it."""
        view = memoryview(data)
        while view and self._stdin >= 0:
            try:
                view = view[os.write(self._stdin, view) :]
            except BlockingIOError:
                await _ready(self._stdin, writing=True)
            except OSError:
                self.close_stdin()

    def close_stdin(self) -> None:
        """End of input. A terminal gets the end-of-file character instead."""
        if self._stdin < 0:
            return
        if self.tty and len(self._outputs) == 1:
            try:
                os.write(self._stdin, b"\x04")
            except OSError:
                pass
            return
        os.close(self._stdin)
        self._stdin = -1

    def resize(self, width: int, height: int) -> None:
        """Tell the terminal its size."""
        if self._resizable and self._stdin >= 0:
            fcntl.ioctl(self._stdin, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    async def wait(self) -> int:
        """The exit code; 137 when the shim ended first."""
        line = b""
        while not line.endswith(b"\n"):
            data = await asyncio.get_running_loop().sock_recv(self._socket, 4096)
            if not data:
                return 137
            line += data
        return int(json.loads(line.splitlines()[0]).get("exit_code", 0))

    def close(self) -> None:
        """Give everything back; the shim kills an exec that still runs."""
        for fd in (self._stdin, *self._outputs.values()):
            if fd >= 0:
                os.close(fd)
        self._stdin = -1
        self._outputs = {}
        self._socket.close()


async def open_streams(directory: Path, call: str, tty: bool, **values: Any) -> ShimStreams:
    """An exec or attach on a connection of its own. Raises what the shim answered."""
    loop = asyncio.get_running_loop()
    sock = await _connect(directory)
    try:
        await loop.sock_sendall(sock, json.dumps({"id": 1, "call": call, "tty": tty, **values}).encode() + b"\n")
        await _ready(sock.fileno(), writing=False)
        data, descriptors, _, _ = socket.recv_fds(sock, _READ_BYTES, 3)
        if not data:
            raise ShimGoneError("the sandbox process is gone")
        answer = json.loads(data)
        if "error" in answer:
            _raise(answer["error"])
    except BaseException:
        sock.close()
        raise
    is_terminal = tty or bool(answer["result"].get("tty"))
    return ShimStreams(sock, list(descriptors), is_terminal, resizable=is_terminal)


async def _ready(fd: int, *, writing: bool) -> None:
    """Wait until a descriptor can be read or written."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    copy = os.dup(fd)  # a descriptor of our own: two waiters on one number would replace each other

    def done() -> None:
        if not future.done():
            future.set_result(None)

    (loop.add_writer if writing else loop.add_reader)(copy, done)
    try:
        await future
    finally:
        (loop.remove_writer if writing else loop.remove_reader)(copy)
        os.close(copy)

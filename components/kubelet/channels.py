"""exec and attach over a WebSocket: the channel protocols that Kubernetes streams with.

v5.channel.k8s.io (v4 and a message that closes one channel), v4.channel.k8s.io, and base64.channel.k8s.io. The first
byte of a message is its channel: 0 stdin, 1 stdout, 2 stderr, 3 the final Status, 4 terminal size, 255 close (v5).
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from kubeglass.components.kubelet.runtime.runtime import ProcessStreams

PROTOCOLS = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "base64.channel.k8s.io",
    "channel.k8s.io",
)
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams a client asked for."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


def exit_status(code: int) -> dict[str, Any]:
    """The Status that says how a command ended."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failure_status(message: str) -> dict[str, Any]:
    """The Status of a command that could not be run at all."""
    return {"metadata": {}, "status": "Failure", "message": message, "reason": "InternalError", "code": 500}


class Channels:
    """Messages with a channel number, over one WebSocket."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self._base64 = "base64" in (socket.ws_protocol or "")

    @property
    def has_status(self) -> bool:
        """Whether the protocol carries a Status; the oldest ones send plain text instead."""
        return (self._socket.ws_protocol or "").startswith(("v4", "v5"))

    async def send(self, channel: int, data: bytes) -> None:
        if self._base64:
            await self._socket.send_str(f"{channel}{base64.b64encode(data).decode()}")
        else:
            await self._socket.send_bytes(bytes([channel]) + data)

    async def send_status(self, status: dict[str, Any]) -> None:
        if self.has_status:
            await self.send(ERROR, msgspec.json.encode(status))
        elif status["status"] != "Success":
            await self.send(ERROR, str(status.get("message", "")).encode())

    async def receive(self) -> tuple[int, bytes] | None:
        """The next message; None at the end."""
        while True:
            message = await self._socket.receive()
            if message.type is WSMsgType.BINARY and message.data:
                return message.data[0], message.data[1:]
            if message.type is WSMsgType.TEXT and message.data:
                return int(message.data[0]), base64.b64decode(message.data[1:])
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                return None


async def stream(channels: Channels, process: ProcessStreams, wanted: Wanted) -> None:
    """Carry everything between a client and a process until the process ends or the client goes."""
    await channels.send(STDOUT, b"")  # tells the client that the stream is up
    async with asyncio.TaskGroup() as group:
        outputs = [
            group.create_task(_output(channels, process, number))
            for number, asked in ((STDOUT, wanted.stdout), (STDERR, wanted.stderr and not wanted.tty))
            if asked
        ]
        reader = group.create_task(_input(channels, process, wanted))
        ended = group.create_task(process.wait())
        done, _ = await asyncio.wait((reader, ended), return_when=asyncio.FIRST_COMPLETED)
        if ended in done:
            await asyncio.wait(outputs, timeout=5) if outputs else None
            await channels.send_status(exit_status(ended.result()))
        for task in (reader, ended, *outputs):
            task.cancel()


async def _output(channels: Channels, process: ProcessStreams, number: int) -> None:
    try:
        while data := await process.read(number):
            await channels.send(number, data)
    except ConnectionError:
        return


async def _input(channels: Channels, process: ProcessStreams, wanted: Wanted) -> None:
    """Ends when the client hangs up."""
    while (message := await channels.receive()) is not None:
        channel, data = message
        if channel == STDIN and wanted.stdin:
            await process.write(data)
        elif channel == RESIZE and wanted.tty:
            _resize(process, data)
        elif channel == CLOSE and data[:1] == bytes([STDIN]):
            process.close_stdin()


def _resize(process: ProcessStreams, data: bytes) -> None:
    try:
        size = msgspec.json.decode(data)
        process.resize(int(size["Width"]), int(size["Height"]))
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, OSError):
        return

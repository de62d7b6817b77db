"""Port forwarding over a WebSocket: v4.channel.k8s.io with two channels per port, and SPDY/3.1 in a tunnel.

Channel 2n carries the data of the nth port, 2n+1 its error text; each opens with the port as two bytes, little endian.
kubectl tunnels SPDY (SPDY/3.1+portforward.k8s.io); spdy.py reads its frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from aiohttp import WSMsgType, web

from kubeglass.components.kubelet.spdy import Session, Stream
from kubeglass.components.machinery.loopback import host_port

CHANNEL_PROTOCOLS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io")
TUNNEL_PROTOCOL = "SPDY/3.1+portforward.k8s.io"
_READ_BYTES = 64 * 1024


async def connect(address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to a port of a pod. Raises OSError."""
    return await asyncio.open_connection(address, host_port(port))


def _refused(port: int, pod: str, error: OSError) -> str:
    why = (error.strerror or str(error)).lower()
    return f"error forwarding port {port} to pod {pod}, uid : failed to connect to localhost:{port}: {why}"


async def forward_channels(socket: web.WebSocketResponse, address: str, pod: str, ports: Sequence[int]) -> None:
    """Serve the ports of a channel request until the client hangs up."""
    for index, port in enumerate(ports):
        for channel in (2 * index, 2 * index + 1):
            await socket.send_bytes(bytes([channel]) + port.to_bytes(2, "little"))
    writers: dict[int, asyncio.StreamWriter] = {}
    async with asyncio.TaskGroup() as group:
        tasks = []
        for index, port in enumerate(ports):
            try:
                reader, writers[2 * index] = await connect(address, port)
            except OSError as error:
                await socket.send_bytes(bytes([2 * index + 1]) + _refused(port, pod, error).encode())
                continue
            tasks.append(group.create_task(_to_channel(socket, 2 * index, reader)))
        await _from_channels(socket, writers)
        for task in tasks:
            task.cancel()
    for writer in writers.values():
        writer.close()


async def _to_channel(socket: web.WebSocketResponse, channel: int, reader: asyncio.StreamReader) -> None:
    try:
        while data := await reader.read(_READ_BYTES):
            await socket.send_bytes(bytes([channel]) + data)
    except OSError:
        return


async def _from_channels(socket: web.WebSocketResponse, writers: dict[int, asyncio.StreamWriter]) -> None:
    async for message in socket:
        if message.type is not WSMsgType.BINARY:
            break
        writer = writers.get(message.data[0]) if message.data else None
        if writer is not None:
            writer.write(message.data[1:])
            await writer.drain()


async def forward_tunnel(socket: web.WebSocketResponse, address: str, pod: str) -> None:
    """Serve a SPDY session inside the WebSocket: each forwarded connection is an error and a data stream."""
    async with asyncio.TaskGroup() as group:
        session = Session(socket.send_bytes)
        forwards: dict[str, Stream] = {}

        def opened(stream: Stream) -> None:
            kind, request = stream.headers.get("streamtype", ""), stream.headers.get("requestid", "")
            if kind == "error":
                forwards[request] = stream
            elif kind == "data":
                error_stream = forwards.pop(request, None)
                group.create_task(_forward_stream(stream, error_stream, address, pod))

        await _read_tunnel(socket, session, opened)
        session.close()


async def _read_tunnel(socket: web.WebSocketResponse, session: Session, opened: Callable[[Stream], None]) -> None:
    async for message in socket:
        if message.type is not WSMsgType.BINARY:
            break
        for stream in await session.feed(message.data):
            opened(stream)


async def _forward_stream(stream: Stream, error_stream: Stream | None, address: str, pod: str) -> None:
    """One forwarded connection."""
    port = int(stream.headers.get("port", "0"))
    try:
        reader, writer = await connect(address, port)
    except OSError as error:
        if error_stream is not None:
            await error_stream.write(_refused(port, pod, error).encode())
            await error_stream.end()
        await stream.reset()
        return
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_upstream(stream, writer))
            while data := await reader.read(_READ_BYTES):
                await stream.write(data)
            await stream.end()
            if error_stream is not None:
                await error_stream.end()
    except* OSError:
        await stream.reset()
    finally:
        writer.close()


async def _upstream(stream: Stream, writer: asyncio.StreamWriter) -> None:
    while data := await stream.read():
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()

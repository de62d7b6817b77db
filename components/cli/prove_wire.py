"""The wire between a component and the API server, with a way to cut it: a TCP relay on loopback, on a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kubeglass.components.cli.plan import HOST

_CHUNK_BYTES = 65536


class Wire:
    """Carries connections to one port. While it is cut nothing arrives and nobody is told, as when packets get lost:
    open connections hang, new ones do too, and what was sent arrives once the wire is whole. Made by `wire_to`.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._whole = asyncio.Event()
        self._whole.set()
        self._ended = asyncio.Event()
        self._ready = threading.Event()
        self.port = 0

    def cut(self) -> None:
        """From now on nothing passes."""
        self._loop.call_soon_threadsafe(self._whole.clear)

    def mend(self) -> None:
        """Everything passes again."""
        self._loop.call_soon_threadsafe(self._whole.set)

    def run(self) -> None:
        """The thread's work, until `end`."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    def await_ready(self) -> None:
        """Until `port` is known."""
        self._ready.wait()

    def end(self) -> None:
        """Hang up everything."""
        self._loop.call_soon_threadsafe(self._ended.set)

    async def _serve(self) -> None:
        connections: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            task.add_done_callback(connections.discard)
            with suppress(OSError, asyncio.CancelledError):  # cancelled by `end`, which is how a wire ends
                await self._carry(reader, writer)
            writer.close()

        server = await asyncio.start_server(accept, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._ended.wait()
        server.close()
        for task in connections:
            task.cancel()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Both directions of one connection; when one ends, both do."""
        await self._whole.wait()
        far_reader, far_writer = await asyncio.open_connection(HOST, self._target_port)
        try:
            async with asyncio.TaskGroup() as group:
                ways = [
                    group.create_task(self._pass_on(reader, far_writer)),
                    group.create_task(self._pass_on(far_reader, writer)),
                ]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
        finally:
            far_writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                await self._whole.wait()
                writer.write(data)
                await writer.drain()


@contextmanager
def wire_to(target_port: int) -> Iterator[Wire]:
    """A wire to a loopback port; its own port is `wire.port`."""
    wire = Wire(target_port)
    thread = threading.Thread(target=wire.run, name="wire")
    thread.start()
    wire.await_ready()
    try:
        yield wire
    finally:
        wire.end()
        thread.join()

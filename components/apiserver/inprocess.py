"""The apiserver as its own client: requests go straight into the filter chain, without a socket.

Who calls is given; the default is upstream's loopback identity. A machinery Client takes this Transport, so that
flow control's configuration, the server's own bookkeeping and tests read and write as everyone else does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from multidict import CIMultiDict

from kubeglass.components.api.user import ALL_AUTHENTICATED, MASTERS, UserInfo
from kubeglass.components.apiserver.measure import LOOPBACK_USER
from kubeglass.components.apiserver.wire import Handler, Pause, Request, Stream, Tunnel, decoded_path, too_large
from kubeglass.components.machinery import transport
from kubeglass.components.machinery.transport import Reply, Unreachable

LOOPBACK = UserInfo(LOOPBACK_USER, groups=(MASTERS, ALL_AUTHENTICATED))
_WAITING_CHUNKS = 64
"""How many writes of a stream may wait for their reader; the writer waits when it is full."""


class InProcess:
    """A Transport into a handler of this process."""

    host = "localhost:6443"

    def __init__(self, handler: Callable[[], Handler], user: UserInfo | None = LOOPBACK) -> None:
        self._handler = handler
        self._user = user

    async def request(
        self, method: str, path: str, *, headers: Mapping[str, str], body: bytes | None, timeout_seconds: float
    ) -> Reply:
        exchange = _Exchange(body or b"")
        request = self._request(method, path, headers, exchange)
        try:
            async with asyncio.timeout(timeout_seconds):
                response = await self._handler()(request)
        except (TimeoutError, ConnectionError) as error:
            raise Unreachable(f"the apiserver did not answer in this process: {error}") from error
        if response.sent:
            return Reply(exchange.status, exchange.headers, exchange.drained())
        sent = {**request.response_headers, **response.headers, "Content-Type": response.content_type}
        return Reply(response.status, CIMultiDict(sent), response.body)

    @asynccontextmanager
    async def stream(self, method: str, path: str, *, headers: Mapping[str, str]) -> AsyncIterator[transport.Stream]:
        exchange = _Exchange(b"")
        request = self._request(method, path, headers, exchange)

        async def serve() -> None:
            try:
                response = await self._handler()(request)
                if not response.sent:
                    await exchange.open(response.status, {"Content-Type": response.content_type, **response.headers})
                    await exchange.write(response.body)
            finally:
                await exchange.end()

        async with asyncio.TaskGroup() as group:
            task = group.create_task(serve())
            await exchange.opened.wait()
            try:
                yield transport.Stream(exchange.status, exchange.headers, exchange.lines())
            finally:
                task.cancel()

    async def close(self) -> None:
        """Nothing is open."""

    def _request(self, method: str, target: str, headers: Mapping[str, str], exchange: _Exchange) -> Request:
        path, _, query = target.partition("?")
        request = Request(
            method=method,
            path=decoded_path(path),
            query_string=query,
            headers=CIMultiDict(headers),
            peer="127.0.0.1:0",
            exchange=exchange,
            received=time.monotonic(),
            received_ns=time.time_ns(),
            host=self.host,
        )
        if self._user is not None:
            request.user, request.vouched = self._user, True
        return request


class _Exchange:
    """A connection without a socket."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(_WAITING_CHUNKS)
        self._ended = False
        self.opened = asyncio.Event()
        self.status = 0
        self.headers: Mapping[str, str] = {}

    async def read(self, limit: int) -> bytes:
        if len(self._body) > limit:
            raise too_large(limit)
        return self._body

    async def open(self, status: int, headers: Mapping[str, str]) -> Stream:
        self.status, self.headers = status, CIMultiDict(headers)
        self.opened.set()
        return self

    async def send(self, status: int, headers: Mapping[str, str], body: bytes, pause: Pause) -> int:
        await self.open(status, headers)
        await self.write(body)
        return len(body)

    async def write(self, data: bytes) -> None:
        await self._chunks.put(data)

    async def end(self) -> None:
        """Nothing more will be written."""
        self._ended = True
        self.opened.set()
        if self._chunks.empty():
            self._chunks.put_nowait(None)  # wakes a reader that waits

    def take_over(self) -> Tunnel:
        raise ConnectionError("an in-process request has no connection to take over")

    def drained(self) -> bytes:
        """What was written and fits the queue."""
        chunks = []
        while not self._chunks.empty():
            chunks.append(self._chunks.get_nowait() or b"")
        return b"".join(chunks)

    async def lines(self) -> AsyncIterator[bytes]:
        """Each line without its newline."""
        rest = b""
        while not (self._ended and self._chunks.empty()):
            chunk = await self._chunks.get()
            if chunk is None:
                break
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line
        if rest:
            yield rest

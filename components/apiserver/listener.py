"""Sockets ⇄ Request and Response: aiohttp's low-level server, TLS with optional client certificates, gzip, streams.

Nothing here knows Kubernetes. A connection that is taken over (exec, port-forward) becomes raw bytes both ways, so that
whatever client and kubelet agreed on passes unseen.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any

from aiohttp import HttpVersion10, web
from aiohttp.helpers import rfc822_formatted_time
from multidict import CIMultiDict

from kubeglass.components.apiserver.wire import (
    LARGE_BODY_BYTES,
    Handler,
    Pause,
    Request,
    Stream,
    Tunnel,
    decoded_path,
    too_large,
)

_GZIP_BYTES = 128 * 1024
_GZIP_LEVEL = 1
_KEEPALIVE_SECONDS = 180.0
_HIGH_WATER_BYTES = 256 * 1024
"""How much may wait for a slow reader of a stream before its writer waits too."""
_TUNNEL_BYTES = 256 * 1024
_WITHOUT_BODY = frozenset({204, 304})


class PortInUse(OSError):
    """Another socket listens there; the text says where, and who if the system tells."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Where a listener really listens."""

    host: str
    port: int


@asynccontextmanager
async def listen(
    handler: Handler, host: str, port: int, ssl_context: ssl.SSLContext | None, shutdown_seconds: float = 1.0
) -> AsyncIterator[Bound]:
    """Serve until the block is left. Port 0 picks a free one. Raises PortInUse."""
    server = _Server(handler)
    runner = web.ServerRunner(server, shutdown_timeout=shutdown_seconds)
    await runner.setup()
    try:
        site = web.SockSite(runner, _bind(host, port), ssl_context=ssl_context, backlog=1024)
        await site.start()
        bound = runner.addresses[0]
        yield Bound(bound[0], bound[1])
    finally:
        await runner.cleanup()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortInUse(f"failed to listen on {host}:{port}: {error.strerror}") from error
    return listener


@dataclass(frozen=True, slots=True)
class _Peer:
    """Who is at the other end of a connection: `host:port`, and the certificate of the TLS handshake."""

    address: str = ""
    certificate: bytes | None = None

    @classmethod
    def of(cls, transport: asyncio.Transport) -> _Peer:
        peer, tls = transport.get_extra_info("peername"), transport.get_extra_info("ssl_object")
        return cls(f"{peer[0]}:{peer[1]}" if peer else "", tls.getpeercert(binary_form=True) if tls else None)


class _Server(web.Server):
    """Turns each aiohttp request into a Request and its Response back."""

    def __init__(self, handler: Handler) -> None:
        super().__init__(
            self._handle,
            access_log=None,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            handler_cancellation=True,
            auto_decompress=False,
        )
        self._handler = handler
        self._peers: dict[web.RequestHandler, _Peer] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        self._peers[handler] = _Peer.of(transport)
        super().connection_made(handler, transport)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self._peers.pop(handler, None)
        super().connection_lost(handler, exc)

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        exchange = _HttpExchange(http)
        request = self._request(http, exchange)
        try:
            response = await self._handler(request)
        except ConnectionError:
            return exchange.sent or _Gone()
        if exchange.sent is not None:
            if not response.sent and http.transport is not None:  # cut short by its deadline: nothing can be taken back
                http.transport.abort()
            return exchange.sent
        return _Whole(response.status, request.answer_headers(response), response.body)

    def _request(self, http: web.BaseRequest, exchange: _HttpExchange) -> Request:
        peer = self._peers.get(http.protocol, _NOBODY)
        path, _, query = http.raw_path.partition("?")
        headers = http.headers
        return Request(
            method=http.method,
            path=decoded_path(path),
            query_string=query,
            headers=headers,
            peer=peer.address,
            exchange=exchange,
            received=time.monotonic(),
            received_ns=time.time_ns(),
            client_certificate=peer.certificate,
            host=headers.get("Host", ""),
        )


_NOBODY = _Peer()


class _Gone(web.StreamResponse):
    """Nothing is sent here: nobody is left to read it, or the bytes have gone out another way. aiohttp must close."""

    async def prepare(self, request: web.BaseRequest) -> Any:
        self._keep_alive = False
        return None

    async def write_eof(self, data: Any = b"") -> None:
        return None


class _Whole(web.StreamResponse):
    """An answer of known length as one write: head and body, without aiohttp's many steps."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self._code = status
        self._fields = headers
        self._bytes = body
        self._request: web.BaseRequest | None = None

    @property
    def keep_alive(self) -> bool | None:
        return self._request is not None and self._request.keep_alive

    async def prepare(self, request: web.BaseRequest) -> Any:
        self._request = request
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        body = b"" if self._code in _WITHOUT_BODY else self._bytes
        head = self._head(request, len(body))
        transport.write(head if request.method == "HEAD" else head + body)

    async def write_eof(self, data: Any = b"") -> None:
        assert self._request is not None
        await self._request.protocol._drain_helper()

    def _head(self, request: web.BaseRequest, length: int) -> bytes:
        lines = [f"{name}: {value}" for name, value in self._fields.items()]
        if self._code not in _WITHOUT_BODY:
            lines.append(f"Content-Length: {length}")
        if not request.keep_alive:
            lines.append("Connection: close")
        elif request.version == HttpVersion10:
            lines.append("Connection: keep-alive")
        said = "\r\n".join(lines)
        if said.count("\n") >= len(lines) or said.count("\r") >= len(lines):
            raise ValueError("a header must not contain a line break")
        head = f"{_status_line(self._code)}{said}\r\nDate: {rfc822_formatted_time()}\r\n\r\n"
        return head.encode("utf-8", "surrogateescape")


@cache
def _status_line(status: int) -> str:
    try:
        return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
    except ValueError:
        return f"HTTP/1.1 {status} \r\n"


async def _compressed(http: web.BaseRequest, headers: CIMultiDict[str], body: bytes) -> bytes:
    """The body, gzipped in a thread when it is large and the client can read that."""
    if len(body) < _GZIP_BYTES or "Content-Encoding" in headers or not _accepts_gzip(http.headers):
        return body
    headers["Content-Encoding"] = "gzip"
    headers["Vary"] = "Accept-Encoding"
    return await asyncio.to_thread(_gzip, body)


def _gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


def _accepts_gzip(headers: Mapping[str, str]) -> bool:
    return any(part.strip().partition(";")[0] == "gzip" for part in headers.get("Accept-Encoding", "").split(","))


class _HttpExchange:
    """The connection side of one aiohttp request."""

    def __init__(self, http: web.BaseRequest) -> None:
        self._http = http
        self.sent: web.StreamResponse | None = None

    async def read(self, limit: int) -> bytes:
        if (self._http.content_length or 0) > limit:
            raise too_large(limit)
        chunks: list[bytes] = []
        size = 0
        async for chunk in self._http.content.iter_any():
            size += len(chunk)
            if size > limit:
                raise too_large(limit)
            chunks.append(chunk)
        return b"".join(chunks)

    async def open(self, status: int, headers: Mapping[str, str]) -> Stream:
        response = web.StreamResponse(status=status, headers=CIMultiDict(headers))
        response.enable_chunked_encoding()
        await response.prepare(self._http)
        self.sent = response
        if self._http.transport is not None:
            self._http.transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        return response

    async def send(self, status: int, headers: Mapping[str, str], body: bytes, pause: Pause) -> int:
        own = CIMultiDict(headers)
        body = await _compressed(self._http, own, body)
        response = web.StreamResponse(status=status, headers=own)
        response.content_length = len(body)
        self.sent = response
        await response.prepare(self._http)
        whole = memoryview(body)
        for first in range(0, len(whole), LARGE_BODY_BYTES):
            await pause()
            await response.write(whole[first : first + LARGE_BODY_BYTES])
        await response.write_eof()
        return len(body)

    def take_over(self) -> Tunnel:
        self.sent = _Gone()
        return _RawTunnel(self._http)


class _RawTunnel:
    """The bytes of a connection behind its request head. Reading pauses the socket when nobody takes them."""

    def __init__(self, http: web.BaseRequest) -> None:
        transport = http.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        self._transport = transport
        self._drain = http.protocol._drain_helper
        self._chunks: list[bytes] = []
        self._size = 0
        self._ended = False
        self._arrived = asyncio.Event()
        http.protocol.set_parser(self)  # type: ignore[arg-type]  # has the one method aiohttp calls

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Called by aiohttp with what arrives on an upgraded connection."""
        self._chunks.append(bytes(data))
        self._size += len(data)
        if self._size > _TUNNEL_BYTES:
            self._transport.pause_reading()
        self._arrived.set()
        return False, b""

    def feed_eof(self) -> None:
        self._ended = True
        self._arrived.set()

    def set_exception(self, error: BaseException, cause: BaseException | None = None) -> None:
        self.feed_eof()

    async def read(self) -> bytes:
        while not self._chunks:
            if self._ended or self._transport.is_closing():
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        data = b"".join(self._chunks)
        self._chunks.clear()
        if self._size > _TUNNEL_BYTES:
            self._transport.resume_reading()
        self._size = 0
        return data

    async def write(self, data: bytes) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError("the client has gone")
        self._transport.write(data)
        await self._drain()

"""SPDY/3.1 frames as kubectl's port forwarding uses them: enough of a server for streams opened by the client.

Draft draft-mbelshe-httpbis-spdy-00 with its 3.1 changes. No server push, no priorities, no flow control (clients of
this protocol keep none); header blocks share one zlib stream per direction, primed with the draft's dictionary.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping

_VERSION = 3
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY = 1, 2, 3, 6, 7
_FIN = 1
_CANCEL = 5
_MAX_DATA_BYTES = 1 << 16
_QUEUED_BLOCKS = 256

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _sized(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(4, "big") + data


DICTIONARY = b"".join(_sized(word.replace("_", " ")) for word in _WORDS.split()) + _TAIL.encode()


class Stream:
    """One stream of a session. Reading ends with b""."""

    def __init__(self, session: Session, number: int, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self._session = session
        self._number = number
        self._incoming: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED_BLOCKS)  # full: the session reads no further
        self._ended = False

    async def read(self) -> bytes:
        if self._ended and self._incoming.empty():
            return b""
        return await self._incoming.get()

    async def write(self, data: bytes) -> None:
        for at in range(0, len(data), _MAX_DATA_BYTES):
            await self._session.send_data(self._number, data[at : at + _MAX_DATA_BYTES], fin=False)

    async def end(self) -> None:
        """No more data from here."""
        await self._session.send_data(self._number, b"", fin=True)

    async def reset(self) -> None:
        """Give the stream up, in both directions."""
        await self._session.send_reset(self._number)

    async def deliver(self, data: bytes, *, fin: bool) -> None:
        """What the peer sent."""
        if data:
            await self._incoming.put(data)
        if fin:
            self.finish()

    def finish(self) -> None:
        """The peer sends no more."""
        self._ended = True
        if not self._incoming.full():
            self._incoming.put_nowait(b"")


class Session:
    """One SPDY connection, as its server. Feed it bytes; it calls `send` with bytes."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._send = send
        self._buffer = b""
        self._streams: dict[int, Stream] = {}
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    async def feed(self, data: bytes) -> list[Stream]:
        """Take bytes from the peer; the streams they open."""
        self._buffer += data
        opened = []
        while len(self._buffer) >= 8:
            length = int.from_bytes(self._buffer[5:8], "big")
            if len(self._buffer) < 8 + length:
                break
            head, body = self._buffer[:8], self._buffer[8 : 8 + length]
            self._buffer = self._buffer[8 + length :]
            stream = await self._frame(head, body)
            if stream is not None:
                opened.append(stream)
        return opened

    async def _frame(self, head: bytes, body: bytes) -> Stream | None:
        if not head[0] & 0x80:
            stream = self._streams.get(int.from_bytes(head[:4], "big"))
            if stream is not None:
                await stream.deliver(body, fin=bool(head[4] & _FIN))
            return None
        kind = int.from_bytes(head[2:4], "big")
        if kind == _SYN_STREAM:
            return await self._syn_stream(head[4], body)
        if kind == _RST_STREAM:
            stream = self._streams.pop(int.from_bytes(body[:4], "big"), None)
            if stream is not None:
                stream.finish()
        elif kind == _PING:
            await self._control(_PING, 0, body)
        return None

    async def _syn_stream(self, flags: int, body: bytes) -> Stream:
        number = int.from_bytes(body[:4], "big") & 0x7FFFFFFF
        headers = _read_headers(self._inflate.decompress(body[10:]))
        stream = self._streams[number] = Stream(self, number, headers)
        if flags & _FIN:
            stream.finish()
        block = self._deflate.compress((0).to_bytes(4, "big")) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        await self._control(_SYN_REPLY, 0, number.to_bytes(4, "big") + block)
        return stream

    async def send_data(self, number: int, data: bytes, *, fin: bool) -> None:
        await self._send(number.to_bytes(4, "big") + bytes([_FIN if fin else 0]) + len(data).to_bytes(3, "big") + data)

    async def send_reset(self, number: int) -> None:
        self._streams.pop(number, None)
        await self._control(_RST_STREAM, 0, number.to_bytes(4, "big") + _CANCEL.to_bytes(4, "big"))

    async def _control(self, kind: int, flags: int, body: bytes) -> None:
        head = (0x8000 | _VERSION).to_bytes(2, "big") + kind.to_bytes(2, "big")
        await self._send(head + bytes([flags]) + len(body).to_bytes(3, "big") + body)

    def close(self) -> None:
        """The connection is gone: every stream ends."""
        for stream in self._streams.values():
            stream.finish()
        self._streams.clear()


def _read_headers(block: bytes) -> dict[str, str]:
    """Name-value pairs; names are lower case."""
    count, at = int.from_bytes(block[:4], "big"), 4
    headers = {}
    for _ in range(count):
        pair = []
        for _ in range(2):
            length = int.from_bytes(block[at : at + 4], "big")
            pair.append(block[at + 4 : at + 4 + length].decode("latin-1"))
            at += 4 + length
        headers[pair[0].lower()] = pair[1]
    return headers

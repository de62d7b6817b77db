"""The HTTP seam of the client: a request goes in, a reply or a stream of lines comes out.

`NetworkTransport` speaks HTTPS; a test may hand the client any other Transport.
Lower-level failures leave as Unreachable, so callers know one vocabulary.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from kubeglass.components.machinery.access import Access

MAX_LINE_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 256 * 1024


class Unreachable(Exception):
    """The server gave no answer: refused, reset, timed out, or broke TLS. The text names the cause and the server."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer still arriving: one line (without its newline) per item."""

    status: int
    headers: Mapping[str, str]
    lines: AsyncIterator[bytes]

    async def read(self) -> bytes:
        """The rest of the answer, joined; for error bodies."""
        return b"\n".join([line async for line in self.lines])


class Transport(Protocol):
    """Where requests go."""

    host: str

    async def request(
        self, method: str, path: str, *, headers: Mapping[str, str], body: bytes | None, timeout_seconds: float
    ) -> Reply:
        """Send one request and read the whole answer. Raises Unreachable."""
        ...

    def stream(self, method: str, path: str, *, headers: Mapping[str, str]) -> AbstractAsyncContextManager[Stream]:
        """Send one request and read the answer line by line. Raises Unreachable."""
        ...

    async def close(self) -> None:
        """Give back every connection."""
        ...


class NetworkTransport:
    """HTTPS (or HTTP) with connection reuse, on the running loop."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._session: aiohttp.ClientSession | None = None
        self.host = access.server.split("://", 1)[-1]

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            ssl_context = self._access.ssl_context()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=ssl_context if ssl_context else True, limit=0, keepalive_timeout=90),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=True,
                skip_auto_headers=("User-Agent", "Content-Type", "Accept"),
            )
        return self._session

    def _headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        token = self._access.token
        return {**headers, "Authorization": f"Bearer {token.reveal()}"} if token else headers

    def _unreachable(self, error: BaseException) -> Unreachable:
        why = str(error) or type(error).__name__
        return Unreachable(f"cannot reach {self._access.server}: {why}")

    async def request(
        self, method: str, path: str, *, headers: Mapping[str, str], body: bytes | None, timeout_seconds: float
    ) -> Reply:
        from yarl import URL

        url = URL(self._access.server + path, encoded=True)
        try:
            async with self._open().request(
                method,
                url,
                headers=self._headers(headers),
                data=body,
                timeout=aiohttp.ClientTimeout(total=timeout_seconds),
                allow_redirects=False,
            ) as response:
                return Reply(response.status, response.headers, await response.read())
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error

    @asynccontextmanager
    async def stream(self, method: str, path: str, *, headers: Mapping[str, str]) -> AsyncIterator[Stream]:
        from yarl import URL

        url = URL(self._access.server + path, encoded=True)
        try:
            async with self._open().request(
                method, url, headers=self._headers(headers), read_bufsize=_CHUNK_BYTES, allow_redirects=False
            ) as response:
                yield Stream(response.status, response.headers, self._lines(response))
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error

    async def _lines(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        rest = b""
        async for chunk in response.content.iter_any():
            *whole, rest = (rest + chunk).split(b"\n") if rest else chunk.split(b"\n")
            for line in whole:
                yield line
            if len(rest) > MAX_LINE_BYTES:
                raise Unreachable(f"{self._access.server} sent a line of more than {MAX_LINE_BYTES} bytes")
        if rest:
            yield rest

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

"""A whole API server in the test's own loop, spoken to over real TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import pytest

from kubeglass.components.apiserver.testing import RunningServer, running
from kubeglass.components.machinery.access import Access


@dataclass
class Answer:
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Api:
    """An HTTP client for one user of a running server."""

    def __init__(self, server: RunningServer, session: aiohttp.ClientSession, access: Access) -> None:
        self.server = server
        self.session = session
        self.access = access
        self.ssl = access.ssl_context()

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """A request; `body` is sent as JSON unless it is bytes; `Content_Type` and its like name headers."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes | None) else msgspec.json.encode(body)
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        url = self.server.url + path
        async with self.session.request(method, url, data=data, headers=sent, ssl=self.ssl) as response:
            return Answer(response.status, response.headers, await response.read())

    def stream(self, path: str, **headers: str) -> Any:
        """An open GET."""
        return self.session.get(self.server.url + path, headers=headers, ssl=self.ssl)


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Api]:
    """A server and its administrator."""
    async with running(**options) as server, aiohttp.ClientSession(auto_decompress=False) as session:
        yield Api(server, session, server.access())


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """A server with an empty memory store, and its administrator."""
    async with serving() as made:
        yield made

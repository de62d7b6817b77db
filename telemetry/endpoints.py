"""The HTTP(S) server of a component's own pages: who may see them, and how they leave block by block.

Plain HTTP or TLS; with `ssl.CERT_OPTIONAL` a client certificate reaches `authorize`. 401 and 403 are Status objects,
worded as k8s.io/apiserver words them. What the pages say is decided in pages.py.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import msgspec
from aiohttp import web

from kubeglass.telemetry.pages import Answer, Asked, Pages

OPEN_PATHS: Final = ("/healthz", "/livez", "/readyz")
_MAX_BODY: Final = 1 << 16
_PIECE_BYTES: Final = 1 << 14


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a caller may: 200, 401 or 403, the sentence for the Status, and who the caller is."""

    status: int = 200
    message: str = ""
    user: str = ""


Authorize = Callable[[Mapping[str, str], bytes | None, str, str], Awaitable[Decision]]
"""(headers, peer certificate as DER, method, path) → Decision."""

ExtraRoute = Callable[[Asked], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Serving:
    """A listening server: the address it got and its scheme."""

    host: str
    port: int
    scheme: str

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


@asynccontextmanager
async def serve(
    pages: Pages,
    host: str,
    port: int,
    *,
    ssl_context: ssl.SSLContext | None = None,
    authorize: Authorize | None = None,
    open_paths: Iterable[str] = OPEN_PATHS,
    extra_routes: Mapping[str, ExtraRoute] | None = None,
) -> AsyncIterator[Serving]:
    """Serve `pages` until the block is left. Port 0 picks a free one; `extra_routes` are exact paths.

    Without `authorize` everything is open, as on kube-proxy's metrics address.
    """
    routes = _Routes(pages, authorize, tuple(open_paths), extra_routes or {})
    server = web.Server(routes.handle, access_log=None)
    runner = web.ServerRunner(server)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=ssl_context)
        await site.start()
        bound = runner.addresses[0]
        yield Serving(bound[0], bound[1], "https" if ssl_context else "http")
    finally:
        await runner.cleanup()


class _Routes:
    """Authorizes, asks the pages, writes the answer."""

    def __init__(
        self,
        pages: Pages,
        authorize: Authorize | None,
        open_paths: tuple[str, ...],
        extra: Mapping[str, ExtraRoute],
    ) -> None:
        self._pages = pages
        self._authorize = authorize
        self._open_paths = open_paths
        self._extra = extra

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        refused = await self._refusal(request)
        if refused is not None:
            return refused
        asked = await _asked(request)
        extra = self._extra.get(asked.path)
        answer = await extra(asked) if extra else await self._pages.answer(asked)
        if answer is None:
            return web.Response(status=404, text="404 page not found\n")
        return await _send(request, answer)

    async def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        if self._authorize is None or self._is_open(request.path):
            return None
        decision = await self._authorize(request.headers, _peer_certificate(request), request.method, request.path)
        return None if decision.status == 200 else _status(decision, request)

    def _is_open(self, path: str) -> bool:
        return any(path == allowed or path.startswith(f"{allowed}/") for allowed in self._open_paths)


async def _asked(request: web.BaseRequest) -> Asked:
    body = await request.content.read(_MAX_BODY) if request.can_read_body else b""
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Asked(request.method, request.path, request.query_string, headers, body)


async def _send(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """Write one answer: a short one at once, a long one block by block."""
    response = web.StreamResponse(status=answer.status, headers={**answer.headers, "Content-Type": answer.content_type})
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    if isinstance(answer.blocks, tuple):
        return web.Response(status=answer.status, headers=response.headers, body=b"".join(answer.blocks))
    try:
        await response.prepare(request)
        await _write(response, answer.blocks)
    except ConnectionResetError:
        pass  # the caller left
    return response


async def _write(response: web.StreamResponse, blocks: Iterable[bytes]) -> None:
    """Write the blocks in larger pieces, giving way to other requests after each block."""
    waiting = bytearray()
    for block in blocks:
        waiting += block
        if len(waiting) >= _PIECE_BYTES:
            await response.write(bytes(waiting))
            waiting.clear()
        await asyncio.sleep(0)
    await response.write(bytes(waiting))
    await response.write_eof()


def _peer_certificate(request: web.BaseRequest) -> bytes | None:
    transport = request.transport
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    certificate: bytes | None = tls.getpeercert(binary_form=True) if tls is not None else None
    return certificate


def _status(decision: Decision, request: web.BaseRequest) -> web.Response:
    """The Status object of a refusal."""
    if decision.status == 401:
        reason, message = "Unauthorized", "Unauthorized"
    else:
        verb = {"GET": "get", "HEAD": "head"}.get(request.method, request.method.lower())
        denied = f'forbidden: User "{decision.user}" cannot {verb} path "{request.path}"'
        reason, message = "Forbidden", f"{denied}: {decision.message}" if decision.message else denied
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        **({"details": {}} if decision.status == 403 else {}),
        "code": decision.status,
    }
    headers = {"X-Content-Type-Options": "nosniff"} if decision.status == 403 else {}
    return web.Response(
        status=decision.status,
        body=msgspec.json.encode(body) + b"\n",
        content_type="application/json",
        headers=headers,
    )

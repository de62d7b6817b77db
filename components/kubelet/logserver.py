"""`/logs/` of the kubelet: the files of the node's log folder as Go's FileServer shows them, and log queries.

What a query means is decided in nodelogs.py; this is only how HTTP asks for it. Upstream: Kubelet.ServeLogs.
"""

from __future__ import annotations

import asyncio
import html
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from kubeglass.components.kubelet.configuration import KubeletConfig
from kubeglass.components.kubelet.nodelogs import BadNodeLogQuery, NodeLogQuery, ServiceLog, boot_time, parse, validate

_PLAIN = "text/plain; charset=utf-8"
_BLOCK_BYTES = 64 * 1024
_PATH_CHARACTERS = "/$&+,:;=@~"
"""What Go leaves unescaped in the path of a URL."""


class LogServer:
    """The logs of one node."""

    def __init__(self, config: KubeletConfig, now: Callable[[], float]) -> None:
        self._root = config.root_dir / "log"
        self._services = {name: ServiceLog(name, path, config.node_name) for name, path in config.service_logs.items()}
        self._now = now

    async def answer(self, request: web.BaseRequest, rest: tuple[str, ...]) -> web.StreamResponse:
        """GET /logs/…"""
        if request.method not in ("GET", "HEAD"):
            return _text(405, "Method Not Allowed")
        path = "/".join(rest)
        try:
            query = parse({name: request.query.getall(name) for name in request.query})
            if query is None:
                return self._file(path, slash=request.path.endswith("/"))
            if path:
                return _text(406, "path not allowed in query mode")
            validate(query, self._unreadable)
        except BadNodeLogQuery as error:
            return _text(error.status, str(error))
        if query.files:
            return self._file(query.files[0].strip("/"), slash=False)
        return await self._stream(request, self._query(query))

    async def _stream(self, request: web.BaseRequest, blocks: Iterator[bytes]) -> web.StreamResponse:
        """Blocks that are read, and waited for, in a thread."""
        response = web.StreamResponse(headers={"Content-Type": "text/plain;charset=UTF-8"})
        response.enable_chunked_encoding()
        if request.headers.get("Accept-Encoding") == "gzip":
            response.enable_compression(web.ContentCoding.gzip)
        await response.prepare(request)
        following = partial(next, blocks, b"")
        while block := await asyncio.to_thread(following):
            await response.write(block)
        await response.write_eof()
        return response

    def _query(self, query: NodeLogQuery) -> Iterator[bytes]:
        """The answer to a query for services: known ones from their journal, others from their files."""
        for name in (name for name in query.services if name in self._services):
            yield from self._journal(self._services[name], query)
        unknown = [name for name in query.services if name not in self._services]
        if unknown and query.has_options:
            names = f"[{' '.join(unknown)}]"
            yield (
                f"\noptions present and query resolved to log files for {names}\ntry without specifying options\n"
            ).encode()
            return
        for name in unknown:
            yield from self._found(name)

    def _journal(self, service: ServiceLog, query: NodeLogQuery) -> Iterator[bytes]:
        block = bytearray()
        empty = True
        for line in service.lines(query, self._now(), boot_time()):
            empty = False
            block += line
            if len(block) >= _BLOCK_BYTES:
                yield bytes(block)
                block.clear()
        if block:
            yield bytes(block)
        if empty and query.boot:
            yield (
                f"Data from the specified boot ({query.boot}) is not available: No such boot ID in journal\n"
            ).encode()
        elif empty:
            yield b"-- No entries --\n"

    def _found(self, service: str) -> Iterator[bytes]:
        """The first of the files a service's log may be in."""
        for name in (service, f"{service}.log", f"{service}/{service}.log"):
            path = self._inside(name)
            if path is not None and path.is_file():
                try:
                    with path.open("rb") as file:
                        while block := file.read(_BLOCK_BYTES):
                            yield block
                except OSError as error:
                    yield f"\nerror getting log for {service}: {_go_error('open', path, error)}\n".encode()
                return
        yield f"\nlog not found for {service}\n".encode()

    # -- files ------------------------------------------------------------------------------------------------------

    def _inside(self, name: str) -> Path | None:
        """A path below the log folder, None for one that leads outside."""
        root = self._root.resolve()
        path = root.joinpath(name.lstrip("/")).resolve()
        return path if path.is_relative_to(root) else None

    def _unreadable(self, name: str) -> str:
        path = self._inside(name)
        if path is None:
            return f"stat {self._root / name.strip('/')}: no such file or directory"
        try:
            path.stat()
        except OSError as error:
            return _go_error("stat", path, error)
        return ""

    def _file(self, name: str, *, slash: bool) -> web.StreamResponse:
        path = self._inside(name)
        if path is None or not path.exists():
            return _text(404, "404 page not found")
        if path.is_dir():
            return _listing(path) if slash or not name else _moved(f"{path.name}/")
        if slash:
            return _moved(f"../{path.name}")
        kind = "application/x-gzip" if path.suffix == ".gz" else _PLAIN
        return web.FileResponse(path, headers={"Content-Type": kind})


def _listing(path: Path) -> web.Response:
    """A folder as Go's FileServer lists it."""
    with os.scandir(path) as entries:
        names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in entries)
    rows = "".join(f'<a href="{quote(name, _PATH_CHARACTERS)}">{html.escape(name, quote=True)}</a>\n' for name in names)
    page = f'<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n{rows}</pre>\n'
    return web.Response(text=page, content_type="text/html", charset="utf-8")


def _moved(location: str) -> web.Response:
    return web.Response(status=301, headers={"Location": quote(location, _PATH_CHARACTERS)})


def _text(status: int, message: str) -> web.Response:
    """As Go's http.Error says it."""
    headers = {"Content-Type": _PLAIN, "X-Content-Type-Options": "nosniff"}
    return web.Response(status=status, body=f"{message}\n".encode(), headers=headers)


def _go_error(operation: str, path: Path, error: OSError) -> str:
    reason = (error.strerror or str(error)).lower()
    return f"{operation} {path}: {reason}"

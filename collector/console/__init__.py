"""The console: one page at the query port that searches traces and draws them. Plain files, nothing from elsewhere.

The addresses are Jaeger's (`/search`, `/trace/ID`, `/dependencies`), so links made for its UI open here too.
"""

from __future__ import annotations

from importlib import resources

from aiohttp import web

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def add_routes(router: web.UrlDispatcher) -> None:
    """Register the page and its files."""
    files = {
        entry.name: entry.read_bytes()
        for entry in resources.files(__name__).iterdir()
        if any(entry.name.endswith(ending) for ending in _TYPES)
    }

    def send(name: str) -> web.Response:
        ending = name[name.rindex(".") :]
        return web.Response(body=files[name], content_type=_TYPES[ending], charset="utf-8", headers=_HEADERS)

    async def page(request: web.Request) -> web.Response:
        return send("index.html")

    async def file(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in files:
            raise web.HTTPNotFound
        return send(name)

    for path in ("/", "/search", "/trace/{trace}", "/dependencies"):
        router.add_get(path, page)
    router.add_get("/console/{name}", file)

"""The query API of a trace backend, as Jaeger's: the legacy JSON API (Grafana's data source) and v3 (OTLP).

| ours only                    |                                                        |
| GET /api/traces/{id}/logs    | the log records of a trace, in Jaeger's envelope       |
Parameters are read in queryparams.py, documents made in jaeger.py; texts and status codes are jaeger-query's.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from kubeglass.collector import jaeger, otlp, queryparams
from kubeglass.collector.graph import Edge, ServiceGraph
from kubeglass.collector.matching import KINDS
from kubeglass.collector.queryparams import BadParameter
from kubeglass.collector.store import Store

Handler = Callable[[web.Request], Awaitable[web.Response]]

_NOT_FOUND = "trace not found"


class NotFound(Exception):
    """No such trace."""


class QueryApi:
    """Handlers over one store."""

    def __init__(self, store: Store, graph: ServiceGraph) -> None:
        self._store = store
        self._graph = graph

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register both generations."""
        for path, handler in (
            ("/api/services", self.services),
            ("/api/services/{service}/operations", self.operation_names),
            ("/api/operations", self.operations),
            ("/api/traces", self.search),
            ("/api/traces/{trace}", self.trace),
            ("/api/traces/{trace}/logs", self.logs),
            ("/api/dependencies", self.dependencies),
        ):
            router.add_get(path, _legacy(handler))
        for path, handler in (
            ("/api/v3/services", self.services_v3),
            ("/api/v3/operations", self.operations_v3),
            ("/api/v3/traces", self.search_v3),
            ("/api/v3/traces/{trace}", self.trace_v3),
        ):
            router.add_get(path, _v3(handler))

    async def services(self, request: web.Request) -> Any:
        names = await self._store.services()
        return jaeger.envelope(names, total=len(names))

    async def operation_names(self, request: web.Request) -> Any:
        names = sorted({name for name, _ in await self._store.operations(request.match_info["service"])})
        return jaeger.envelope(names, total=len(names))

    async def operations(self, request: web.Request) -> Any:
        service = request.query.get("service", "")
        if not service:
            raise BadParameter("parameter 'service' is required")
        found = await self._operations(service, request.query.get("spanKind", ""))
        return jaeger.envelope(found, total=len(found))

    async def search(self, request: web.Request) -> Any:
        ids = [queryparams.trace_id(text) for text in request.query.getall("traceID", [])]
        if not ids:
            ids = await self._store.search(queryparams.legacy_search(request.query, time.time_ns()))
        traces = [await self._trace(trace) for trace in ids]
        missing = [
            {"msg": _NOT_FOUND, "traceID": jaeger.trace_hex(trace)}
            for trace, found in zip(ids, traces, strict=True)
            if not found["spans"]
        ]
        return jaeger.envelope([found for found in traces if found["spans"]], errors=missing or None)

    async def trace(self, request: web.Request) -> Any:
        found = await self._trace(queryparams.trace_id(request.match_info["trace"]))
        if not found["spans"]:
            raise NotFound(_NOT_FOUND)
        return jaeger.envelope([found])

    async def logs(self, request: web.Request) -> Any:
        records = jaeger.logs(await self._store.logs(queryparams.trace_id(request.match_info["trace"])))
        return jaeger.envelope(records, total=len(records))

    async def dependencies(self, request: web.Request) -> Any:
        start, end = queryparams.dependency_range(request.query)
        edges = await self._graph.edges(start, end)
        service = request.query.get("service", "")
        return jaeger.envelope(
            [_dependency(edge, calls) for edge, calls in sorted(edges.items()) if not service or service in edge]
        )

    async def services_v3(self, request: web.Request) -> Any:
        return {"services": await self._store.services()}

    async def operations_v3(self, request: web.Request) -> Any:
        kind = request.query.get("spanKind") or request.query.get("span_kind", "")
        found = await self._operations(request.query.get("service", ""), kind)
        return {"operations": [{**entry, "spanKind": entry["spanKind"] or "internal"} for entry in found]}

    async def search_v3(self, request: web.Request) -> Any:
        return await self._result_v3(await self._store.search(queryparams.v3_search(request.query)))

    async def trace_v3(self, request: web.Request) -> Any:
        try:
            trace = queryparams.trace_id(request.match_info["trace"])
        except BadParameter as error:
            raise BadParameter(f"malformed parameter trace_id: {error}") from None
        return await self._result_v3([trace])

    async def _result_v3(self, ids: list[bytes]) -> Any:
        segments = [segment for trace in ids for segment in await self._store.trace(trace)]
        if not segments:
            raise NotFound("No traces found")
        return {"result": otlp.to_json(jaeger.otlp_traces(segments))}

    async def _trace(self, trace: bytes) -> jaeger.Json:
        return jaeger.trace(trace, await self._store.trace(trace))

    async def _operations(self, service: str, kind: str) -> list[jaeger.Json]:
        return [
            {"name": name, "spanKind": word}
            for name, number in await self._store.operations(service)
            if (word := KINDS[number] if 0 < number < len(KINDS) else "") == kind or not kind
        ]


def _legacy(handler: Callable[[web.Request], Awaitable[Any]]) -> Handler:
    async def respond(request: web.Request) -> web.Response:
        try:
            return _json(200, await handler(request))
        except BadParameter as error:
            return _json(400, jaeger.envelope(None, errors=[{"code": 400, "msg": str(error)}]))
        except NotFound as error:
            return _json(404, jaeger.envelope(None, errors=[{"code": 404, "msg": str(error)}]))

    return respond


def _v3(handler: Callable[[web.Request], Awaitable[Any]]) -> Handler:
    async def respond(request: web.Request) -> web.Response:
        try:
            return _json(200, await handler(request))
        except BadParameter as error:
            return _v3_error(400, str(error))
        except NotFound as error:
            return _v3_error(404, str(error))

    return respond


def _json(status: int, document: Any) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(document), content_type="application/json")


def _v3_error(status: int, message: str) -> web.Response:
    """As Go's http.Error sends it: text, for all that it is JSON."""
    body = msgspec.json.encode({"error": {"httpCode": status, "message": message}}).decode()
    return web.Response(status=status, text=body + "\n", headers={"X-Content-Type-Options": "nosniff"})


def _dependency(edge: Edge, calls: int) -> jaeger.Json:
    return {"parent": edge.parent, "child": edge.child, "callCount": calls}

"""GET and LIST: choose the form, read from the caches, splice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import msgspec
import yaml

from kubeglass.components.api import errors
from kubeglass.components.api.kinds import Kind
from kubeglass.components.apiserver import negotiation, views
from kubeglass.components.apiserver.handlers import options
from kubeglass.components.apiserver.handlers.handling import about_type, handling, serializing
from kubeglass.components.apiserver.negotiation import PARTIAL, PARTIAL_LIST, TABLE, Media
from kubeglass.components.apiserver.requestinfo import truthy
from kubeglass.components.apiserver.storage.reads import Reads
from kubeglass.components.apiserver.views import Convert, Steps, Tables, View
from kubeglass.components.apiserver.wire import Request, Response
from kubeglass.telemetry.tracing.tracer import Fixed, Tracer

ONE = frozenset({TABLE, PARTIAL})
MANY = frozenset({TABLE, PARTIAL_LIST})
_PRETTY_AGENTS = ("curl", "Wget", "Mozilla/5.0")


@dataclass(frozen=True, slots=True)
class Forms:
    """How objects may be shown: tables, conversions between versions, fields of custom resources."""

    tables: Tables
    conversion: Callable[[Kind], Convert | None]
    selectable: Callable[[Kind], Mapping[str, str]]

    def view(self, request: Request, kind: Kind, media: Media) -> View:
        include = request.param("includeObject") if media.shape == TABLE else ""
        return views.choose(kind, media, self.tables, self.conversion(kind), include)


class Reader:
    """The read verbs of every resource."""

    def __init__(self, reads: Reads, forms: Forms, tracer: Tracer) -> None:
        self._reads = reads
        self._forms = forms
        self._tracer = tracer

    async def get(self, request: Request, kind: Kind) -> Response:
        info = request.info
        media = negotiation.accept(request.headers.get("Accept", ""), ONE)
        with handling(self._tracer, "Get", request) as span:
            span.event("About to process Get options")
            version = request.param("resourceVersion") if request.query_string else ""
            namespace = info.namespace if kind.namespaced else ""
            span.event("About to Get from storage")
            about = _about_get(kind.storage_key(namespace, info.name), version)
            with self._tracer.span("cacher.Get", shared=(request.identity, about)):
                record = await self._reads.get(kind, namespace, info.name, version)
            if record is None:
                raise errors.not_found(kind.plural, kind.group, info.name)
            span.event("About to write a response")
            with serializing(self._tracer, request, media):
                response = rendered(request, media, self._forms.view(request, kind, media).one(record))
            span.event("Writing http response done")
            return response

    async def list(self, request: Request, kind: Kind) -> Response:
        media = negotiation.accept(request.headers.get("Accept", ""), MANY)
        wanted = options.wanted(request, kind, self._forms.selectable(kind))
        with handling(self._tracer, "List", request) as span:
            span.event("About to List from storage")
            with self._tracer.span("cacher.GetList", shared=(request.identity, about_type(kind))) as cacher:
                result = await self._reads.list(wanted, options.list_options(request))
                count = len(result.listing.records)
                cacher.event("Listed items from cache", count=count)
            span.event("Listing from storage done")
            with serializing(self._tracer, request, media):
                body = await _stepwise(
                    self._forms.view(request, kind, media).many(result.listing, result.continue_), request
                )
                response = rendered(request, media, body)
            span.event("Writing http response done", count=count)
            return response


@lru_cache(maxsize=2048)
def _about_get(key: str, version: str) -> Fixed:
    return Fixed({"key": key, "resource-version": version})


async def _stepwise(steps: Steps[bytes], request: Request) -> bytes:
    """The result of long work, done in turns with other requests."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            body: bytes = done.value
            return body
        await request.pause()


def rendered(request: Request, media: Media, body: bytes, status: int = 200) -> Response:
    """A JSON body in the encoding that was asked for: JSON, indented JSON, or YAML."""
    if media.yaml:
        text = yaml.dump(msgspec.json.decode(body), Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper))
        return Response(status, text.encode(), media.content_type)
    if _pretty(request):
        body = msgspec.json.format(body, indent=2)
    return Response(status, body if body.endswith(b"\n") else body + b"\n", media.content_type)


def _pretty(request: Request) -> bool:
    if request.query_string and "pretty" in request.query:
        return truthy(request.query, "pretty")
    return request.headers.get("User-Agent", "").startswith(_PRETTY_AGENTS)

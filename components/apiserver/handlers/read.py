"""GET and LIST: choose the form, read from the caches, splice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import yaml

from kubeglass.components.api import errors
from kubeglass.components.api.kinds import Kind
from kubeglass.components.apiserver import negotiation, views
from kubeglass.components.apiserver.handlers import options
from kubeglass.components.apiserver.negotiation import PARTIAL, PARTIAL_LIST, TABLE, Media
from kubeglass.components.apiserver.requestinfo import truthy
from kubeglass.components.apiserver.storage.reads import Reads
from kubeglass.components.apiserver.views import Convert, Steps, Tables, View
from kubeglass.components.apiserver.wire import Request, Response
from kubeglass.telemetry.tracing.tracer import Tracer

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
        with self._tracer.span("Get", attributes=handler_attributes(request)) as span:
            span.event("About to Get from storage")
            version = request.param("resourceVersion") if request.query_string else ""
            record = await self._reads.get(kind, info.namespace if kind.namespaced else "", info.name, version)
            if record is None:
                raise errors.not_found(kind.plural, kind.group, info.name)
            span.event("About to write a response")
            return rendered(request, media, self._forms.view(request, kind, media).one(record))

    async def list(self, request: Request, kind: Kind) -> Response:
        media = negotiation.accept(request.headers.get("Accept", ""), MANY)
        wanted = options.wanted(request, kind, self._forms.selectable(kind))
        with self._tracer.span("List", attributes=handler_attributes(request)) as span:
            result = await self._reads.list(wanted, options.list_options(request))
            span.event("Listing from storage done")
            body = await _stepwise(
                self._forms.view(request, kind, media).many(result.listing, result.continue_), request
            )
            span.event("Writing http response done", count=len(result.listing.records))
            return rendered(request, media, body)


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


def handler_attributes(request: Request) -> Mapping[str, object]:
    """What upstream's handler spans say about their request."""
    info = request.info
    return {
        "accept": request.headers.get("Accept", ""),
        "audit-id": request.audit_id,
        "client": request.peer.rpartition(":")[0],
        "api-group": info.group,
        "api-version": info.version,
        "name": info.name,
        "subresource": info.subresource,
        "namespace": info.namespace,
        "protocol": "HTTP/1.1",
        "resource": info.resource,
        "scope": info.scope,
        "url": request.path,
        "user-agent": _cut(request.headers.get("User-Agent", "")),
        "verb": info.verb.upper(),
    }


def _cut(agent: str) -> str:
    return agent if len(agent) <= 1024 else agent[:1024] + "...TRUNCATED"


def _pretty(request: Request) -> bool:
    if request.query_string and "pretty" in request.query:
        return truthy(request.query, "pretty")
    return request.headers.get("User-Agent", "").startswith(_PRETTY_AGENTS)

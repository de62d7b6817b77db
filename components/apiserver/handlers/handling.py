"""The span of a handler (Create, Get, List …), with upstream's attributes, and that of writing its answer.

A refusal (404, 409, 422 …) is an answer, not a failure: only what the server did wrong makes these spans errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from kubeglass.components.api.errors import ApiError
from kubeglass.components.apiserver.negotiation import Media
from kubeglass.components.apiserver.wire import Request
from kubeglass.telemetry.tracing.tracer import Span, Tracer

_AGENT_LIMIT = 1024


@contextmanager
def handling(tracer: Tracer, name: str, request: Request) -> Iterator[Span]:
    """The handler's span around its work."""
    refusal: ApiError | None = None
    with tracer.span(name, attributes=_attributes(request) if tracer.enabled else None) as span:
        try:
            yield span
        except ApiError as error:
            if error.code >= 500:
                raise
            refusal = error
    if refusal is not None:
        raise refusal


def serializing(tracer: Tracer, request: Request, media: Media) -> Span:
    """The span of turning the answer into bytes."""
    if not tracer.enabled:
        return tracer.span("SerializeObject")
    attributes = {
        "audit-id": request.audit_id,
        "method": request.method,
        "url": request.path,
        "protocol": "HTTP/1.1",
        "mediaType": media.content_type,
        "encoder": "yaml" if media.yaml else "json",
    }
    return tracer.span("SerializeObject", attributes=attributes)


def _attributes(request: Request) -> Mapping[str, object]:
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
    return agent if len(agent) <= _AGENT_LIMIT else agent[:_AGENT_LIMIT] + "...TRUNCATED"

"""The span of a handler (Create, Get, List …), with upstream's attributes, and that of writing its answer.

A refusal (404, 409, 422 …) is an answer, not a failure: only what the server did wrong makes these spans errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from kubeglass.components.api.errors import ApiError
from kubeglass.components.apiserver.measure import reported_verb
from kubeglass.components.apiserver.negotiation import Media
from kubeglass.components.apiserver.wire import Request
from kubeglass.telemetry.tracing.tracer import Fixed, Span, Tracer

_AGENT_LIMIT = 1024


@contextmanager
def handling(tracer: Tracer, name: str, request: Request) -> Iterator[Span]:
    """The handler's span around its work."""
    refusal: ApiError | None = None
    with _span(tracer, name, request) as span:
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
    own = {"audit-id": request.audit_id, "url": request.path}
    return tracer.span("SerializeObject", shared=(_about_encoder(request.method, media),), attributes=own)


def _span(tracer: Tracer, name: str, request: Request) -> Span:
    if not tracer.enabled:
        return tracer.span(name)
    info, headers = request.info, request.headers
    about = _about_question(
        headers.get("Accept", ""), request.peer.rpartition(":")[0], headers.get("User-Agent", ""),
        reported_verb(request), info.group, info.version, info.resource, info.subresource, info.namespace, info.scope,
    )  # fmt: skip
    own = {"audit-id": request.audit_id, "name": info.name, "url": request.path}
    return tracer.span(name, shared=(about,), attributes=own)


@lru_cache(maxsize=1024)
def _about_question(
    accept: str, client: str, agent: str, verb: str, group: str, version: str, resource: str, subresource: str,
    namespace: str, scope: str,
) -> Fixed:  # fmt: skip
    """What the spans of a client's questions about one resource have in common."""
    return Fixed(
        {
            "accept": accept,
            "client": client,
            "api-group": group,
            "api-version": version,
            "subresource": subresource,
            "namespace": namespace,
            "protocol": "HTTP/1.1",
            "resource": resource,
            "scope": scope,
            "user-agent": _cut(agent),
            "verb": verb,
        }
    )


@lru_cache(maxsize=64)
def _about_encoder(method: str, media: Media) -> Fixed:
    encoder = "yaml" if media.yaml else "json"
    return Fixed({"method": method, "protocol": "HTTP/1.1", "mediaType": media.content_type, "encoder": encoder})


def _cut(agent: str) -> str:
    return agent if len(agent) <= _AGENT_LIMIT else agent[:_AGENT_LIMIT] + "...TRUNCATED"

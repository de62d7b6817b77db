"""The span of a handler (Create, Get, List …), with upstream's attributes, and that of writing its answer.

A refusal (404, 409, 422 …) is an answer, not a failure: only what the server did wrong makes these spans errors.
"""

from __future__ import annotations

from functools import lru_cache

from kubeglass.components.api.errors import ApiError
from kubeglass.components.api.kinds import Kind
from kubeglass.components.apiserver.measure import reported_verb
from kubeglass.components.apiserver.negotiation import Media
from kubeglass.components.apiserver.wire import Request
from kubeglass.telemetry.tracing.tracer import Fixed, Span, Tracer

_AGENT_LIMIT = 1024


class _Handling:
    """A span around work whose refusals do not count as failures."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> Span:
        return self._span.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ApiError) and error.code < 500:
            kind = error = trace = None
        self._span.__exit__(kind, error, trace)


def handling(tracer: Tracer, name: str, request: Request) -> _Handling:
    """The span of a handler's work."""
    if not tracer.enabled:
        return _Handling(tracer.span(name))
    info, headers = request.info, request.headers
    about = _about_question(
        headers.get("Accept", ""), request.peer.rpartition(":")[0], headers.get("User-Agent", ""),
        reported_verb(request), info.group, info.version, info.resource, info.subresource, info.namespace, info.scope,
    )  # fmt: skip
    return _Handling(tracer.span(name, shared=(about, request.identity, _about_object(info.name, request.path))))


def serializing(tracer: Tracer, request: Request, media: Media, name: str = "SerializeObject") -> Span:
    """The span of turning the answer into bytes."""
    if not tracer.enabled:
        return tracer.span(name)
    about = _about_encoder(request.method, media.content_type, media.yaml)
    return tracer.span(name, shared=(about, request.identity, _about_url(request.path)))


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


@lru_cache(maxsize=2048)
def _about_object(name: str, path: str) -> Fixed:
    return Fixed({"name": name, "url": path})


@lru_cache(maxsize=2048)
def _about_url(path: str) -> Fixed:
    return Fixed({"url": path})


@lru_cache(maxsize=64)
def _about_encoder(method: str, media_type: str, yaml: bool) -> Fixed:
    encoder = "yaml" if yaml else "json"
    return Fixed({"method": method, "protocol": "HTTP/1.1", "mediaType": media_type, "encoder": encoder})


def _cut(agent: str) -> str:
    return agent if len(agent) <= _AGENT_LIMIT else agent[:_AGENT_LIMIT] + "...TRUNCATED"


@lru_cache(maxsize=256)
def about_type(kind: Kind) -> Fixed:
    """The `type` of the watch cache's spans: upstream's group and resource, `deployments.apps`."""
    return Fixed({"type": f"{kind.plural}.{kind.group}" if kind.group else kind.plural})

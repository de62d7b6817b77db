"""The request span: whose trace it belongs to, its name, and what it says. Upstream: otelhttp as "KubernetesAPI".

A caller's context becomes the parent for members of the trusted groups (upstream's rule since v1.33) and for the
cluster's own components, whose requests carry a change on; for everybody else it is a link.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

from kubeglass.components.api.semantics import about_resource
from kubeglass.components.api.user import UserInfo
from kubeglass.components.apiserver import requestinfo
from kubeglass.components.apiserver.requestinfo import RequestInfo
from kubeglass.components.apiserver.wire import Filter, Handler, Request, Response
from kubeglass.telemetry.tracing import causality
from kubeglass.telemetry.tracing.causality import TRUSTED_GROUPS
from kubeglass.telemetry.tracing.context import extract, format_traceparent
from kubeglass.telemetry.tracing.nest import nest
from kubeglass.telemetry.tracing.tracer import SERVER, Fixed, Tracer

TRACE_HEADER = "Traceparent"
_SCOPE = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
_COMPONENTS = frozenset({"system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy"})
_NODES = "system:nodes"


def trusts(user: UserInfo, groups: Collection[str] = TRUSTED_GROUPS) -> bool:
    """Whether the context that `user` hands on, in a header or on an object, is taken as the cause."""
    return user.name in _COMPONENTS or _NODES in user.groups or not frozenset(groups).isdisjoint(user.groups)


def tracing(tracer: Tracer, trusted_groups: Collection[str] = TRUSTED_GROUPS) -> Filter:
    """The filter that opens the span. Without a configuration headers only pass through."""
    outside, inside = tracer.named(_SCOPE), tracer
    trusted = frozenset(trusted_groups)

    async def trace(request: Request, inner: Handler) -> Response:
        remote = extract(request.headers)
        if not tracer.enabled:
            if remote is None:
                return await inner(request)
            with outside.span("", parent=remote):
                return await inner(request)
        request.trusted = trusts(request.user, trusted)
        parent, links = causality.inbound(remote, trusted=request.trusted)
        name, asked = _about_question(request.method, request.path, request.query_string)
        connection = _about_connection(request.host, request.peer, request.headers.get("User-Agent", ""))
        span = outside.span(
            name,
            kind=SERVER,
            shared=(connection, asked, request.identity),
            parent=parent,
            links=links,
            start_ns=request.received_ns or None,
        )
        request.trace = span.context
        request.response_headers[TRACE_HEADER] = format_traceparent(span.context)
        if not span.recording:
            with span:
                return await inner(request)
        request.nest = nest(span)
        with request.nest:
            body_size = int(request.headers.get("Content-Length", 0) or 0)
            if request.authenticated_ns[0]:
                began, ended = request.authenticated_ns
                inside.inside(span, "authentication", began).end(ended)
            try:
                response = await inner(request)
            except BaseException:
                span.set("http.request.body.size", body_size)
                raise
            span.share(_about_answer(body_size, response.status, response.body_size))
            if response.status >= 500:
                span.error("")
            return response

    return trace


def span_name(method: str, info: RequestInfo) -> str:
    """`GET /api/v1/namespaces/{:namespace}/pods/{:name}/log`; only the method for other paths."""
    if not info.is_resource:
        return method
    return _resource_span_name(
        method, info.api_prefix, info.group, info.version, bool(info.namespace), info.resource, bool(info.name),
        info.subresource,
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _resource_span_name(
    method: str, prefix: str, group: str, version: str, namespaced: bool, resource: str, named: bool, subresource: str
) -> str:
    parts = [prefix, *filter(None, (group,)), version]
    if namespaced:
        parts += ["namespaces", "{:namespace}"]
    parts += [resource, *(["{:name}"] if named else []), *filter(None, (subresource,))]
    return f"{method} /" + "/".join(parts)


@lru_cache(maxsize=2048)
def _about_question(method: str, path: str, query_string: str) -> tuple[str, Fixed]:
    """The name of the span, and what all who ask the same have in common."""
    info = requestinfo.remembered(method, path, query_string)
    said = {
        "http.request.method": method,
        "url.path": path,
        "http.target": f"{path}?{query_string}" if query_string else path,
    }
    if info.is_resource:
        said.update(about_resource(info.resource, info.namespace, info.name))
    return span_name(method, info), Fixed(said)


@lru_cache(maxsize=1024)
def _about_answer(asked: int, status: int, answered: int) -> Fixed:
    """What is known of a request in the end: status, and the sizes of bodies in bytes."""
    return Fixed(
        {
            "http.request.body.size": asked,
            "http.response.status_code": status,
            "http.response.body.size": answered,
        }
    )


@lru_cache(maxsize=1024)
def _about_connection(host: str, peer: str, agent: str) -> Fixed:
    """What the request spans of one connection have in common."""
    address, _, port = peer.rpartition(":")
    server, _, server_port = host.rpartition(":")
    return Fixed(
        {
            "server.address": server or host,
            "server.port": int(server_port) if server_port.isdigit() else 443,
            "url.scheme": "https",
            "network.peer.address": address,
            "network.peer.port": int(port) if port.isdigit() else 0,
            "client.address": address,
            "user_agent.original": agent,
            "network.protocol.version": "1.1",
        }
    )

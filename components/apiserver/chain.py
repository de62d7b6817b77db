"""The filter chain: CHAIN is the ordered tuple, outermost first, that is folded once into one handler.

A filter is a callable around the next handler; what it needs it gets from `Parts` when the chain is built.
Folding measures: a link with an upstream name gets a span (which encloses everything behind it, as upstream's do) and a
row of apiserver_request_filter_duration_seconds (its own time only). No filter measures itself.
Order as in k8s.io/apiserver/pkg/server/config.go, DefaultBuildHandlerChain. The filters are in filters.py.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from kubeglass.components.apiserver import filters
from kubeglass.components.apiserver.filters import Parts
from kubeglass.components.apiserver.wire import Filter, Handler, Request, Response
from kubeglass.logging import httplog
from kubeglass.logging.values import Duration
from kubeglass.telemetry.metrics.instruments import HistogramChild
from kubeglass.telemetry.tracing.nest import Nest
from kubeglass.telemetry.tracing.tracer import Tracer

_SLOW_SECONDS = httplog.SLOW_FILTER_NANOSECONDS / 1e9
_SCOPE = "k8s.op/apiserver/pkg/endpoints/filterlatency"  # upstream's spelling


@dataclass(frozen=True, slots=True)
class Link:
    """One place in the chain."""

    name: str
    build: Callable[[Parts], Filter | None]
    """None leaves the place empty, as when the access log is off."""
    measured_as: str = ""
    """Upstream's name for the filter's span and latency row; "" where upstream has none."""
    spans: bool = True


CHAIN: tuple[Link, ...] = (
    Link("panic recovery", filters.panic_recovery),
    Link("request info", filters.request_info),
    Link("access log", filters.access_log),
    Link("deadline", filters.deadline),
    # The request span begins behind authentication, which decides whether the caller's trace is trusted; it draws the
    # authentication span itself, as its child, so that the trace is one.
    Link("authentication", filters.authentication, "authentication", spans=False),
    Link("tracing", filters.tracing),
    Link("audit", filters.audit, "audit"),
    Link("impersonation", filters.impersonation, "impersonation"),
    Link("flow control", filters.flow_control, "priorityandfairness"),
    Link("authorization", filters.authorization, "authorization"),
)


def build(parts: Parts, handler: Handler, chain: Sequence[Link] = CHAIN) -> Handler:
    """The chain around the handler."""
    tracer = parts.telemetry.tracer.named(_SCOPE)
    for link in reversed(chain):
        filter_ = link.build(parts)
        if filter_ is None:
            continue
        if link.measured_as:
            row = parts.recorder.rows.request_filter_duration_seconds.labels(link.measured_as)
            handler = _measured(link, filter_, handler, row, tracer)
        else:
            handler = _around(filter_, handler)
    return handler


def _around(filter_: Filter, inner: Handler) -> Handler:
    def handle(request: Request) -> Awaitable[Response]:
        return filter_(request, inner)

    return handle


def _measured(link: Link, filter_: Filter, inner: Handler, row: HistogramChild, tracer: Tracer) -> Handler:
    """The filter with its latency row and span. When a filter began stands in the request until it passes on."""
    clock = time.monotonic

    def observe(request: Request) -> None:
        seconds = clock() - request.filter_began
        request.filter_began = 0.0
        row.observe(seconds)
        if seconds > _SLOW_SECONDS:
            request.log_values[f"fl_{link.measured_as}"] = str(Duration.of_seconds(seconds))

    def pass_on(request: Request) -> Awaitable[Response]:
        observe(request)
        return inner(request)

    async def timed(request: Request) -> Response:
        request.filter_began = clock()
        try:
            return await filter_(request, pass_on)
        finally:
            if request.filter_began:  # it answered by itself
                observe(request)

    async def traced(request: Request, nest: Nest) -> Response:
        failure: Exception | None = None
        nest.enter(tracer.inside(nest.innermost, link.measured_as))
        request.filter_began = clock()
        try:
            return await filter_(request, pass_on)
        except Exception as error:
            failure = error
            raise
        finally:
            if request.filter_began:
                observe(request)
            nest.leave(failure)

    def handle(request: Request) -> Awaitable[Response]:
        return timed(request) if request.nest is None else traced(request, request.nest)

    return handle if link.spans and tracer.enabled else timed

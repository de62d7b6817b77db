"""The filter chain: each filter, then CHAIN, the ordered tuple that is folded once into one handler.

A filter is a callable around the next handler; what it needs it gets from `Parts` when the chain is built.
Folding measures: a link with an upstream name gets a span (which encloses everything behind it, as upstream's do) and a
row of apiserver_request_filter_duration_seconds (its own time only). No filter measures itself.
Order as in k8s.io/apiserver/pkg/server/config.go, DefaultBuildHandlerChain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kubeglass.components.apiserver.wire import Filter, Handler, Request, Response


@dataclass(frozen=True, slots=True)
class Link:
    """One place in the chain."""

    name: str
    build: Callable[..., Filter]
    measured_as: str = ""
    """Upstream's name for the filter's span and latency row; "" where upstream has none."""


def wrap(filter_: Filter, inner: Handler) -> Handler:
    """A filter around a handler is a handler."""

    async def handle(request: Request) -> Response:
        return await filter_(request, inner)

    return handle


def fold(filters: Sequence[Filter], handler: Handler) -> Handler:
    """The filters around the handler, the first outermost."""
    for filter_ in reversed(filters):
        handler = wrap(filter_, handler)
    return handler

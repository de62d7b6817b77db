"""From RequestInfo to the handler that answers, and the one place where errors become Status objects and requests are
counted.

Routes come from the kinds that are served right now: a resource's verb, one of its subresources, or one of the other
paths. What is not there is 404, what is there but cannot be done that way is 405.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from kubeglass.components.api.errors import ApiError, InternalError, MethodNotAllowed
from kubeglass.components.api.kinds import Kind
from kubeglass.components.apiserver.measure import RequestRecorder
from kubeglass.components.apiserver.registry.served import ServedKinds
from kubeglass.components.apiserver.storage.backend import StoreUnavailable
from kubeglass.components.apiserver.wire import Handler, Request, Response, error_response, text_response

KindHandler = Callable[[Request, Kind], Awaitable[Response]]
_ANY_NAME = frozenset({"create", "list", "watch", "deletecollection"})
_VERB_NAMES: Mapping[str, str] = {"proxy": "get"}
NOT_FOUND_TEXT = "404 page not found\n"


@dataclass(frozen=True, slots=True)
class Path:
    """A route outside the resources: an exact path, or with `prefix` everything below it."""

    path: str
    handler: Handler
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Routes:
    """Everything that can be asked for."""

    verbs: Mapping[str, KindHandler]
    """get, list, watch, create, update, patch, delete, deletecollection of stored resources."""
    subresources: Mapping[tuple[str, str], KindHandler]
    """(plural, subresource), or ("", subresource) for any resource."""
    review: KindHandler
    """Kinds that are only ever created."""
    paths: Sequence[Path]


class Dispatcher:
    """The innermost handler of the chain."""

    def __init__(self, served: ServedKinds, routes: Routes, recorder: RequestRecorder) -> None:
        self._served = served
        self._routes = routes
        self._recorder = recorder
        self._exact = {path.path: path.handler for path in routes.paths if not path.prefix}
        self._prefixes = [path for path in routes.paths if path.prefix]

    @property
    def paths(self) -> list[str]:
        """Every path outside the resources, for the index at /."""
        return sorted(path.path.rstrip("/") or "/" for path in self._routes.paths)

    async def __call__(self, request: Request) -> Response:
        """Answer, count, and turn an ApiError into its Status. What has no route is not counted, as upstream."""
        long_running = request.info.long_running
        if long_running:
            self._recorder.long_running(request, 1)
        response: Response | None = None
        try:
            response = await self._route(request)
        except ApiError as error:
            request.failure = error
            response = error_response(error)
        except StoreUnavailable as error:
            request.failure = failure = InternalError(f"Internal error occurred: {error}")
            response = error_response(failure)
        finally:
            if long_running:
                self._recorder.long_running(request, -1)
            if response is None and request.streamed_status:  # the client ended the stream, as clients do
                response = Response(request.streamed_status, sent=True)
            if response is not None:
                self._recorder.done(request, response, time.monotonic() - request.received)
        return response or text_response(NOT_FOUND_TEXT, 404)

    async def _route(self, request: Request) -> Response | None:
        """The handler's response, None where there is no route."""
        info = request.info
        if not info.is_resource:
            handler = self._path(request.path)
            return await handler(request) if handler else None
        kind = self._served.find(info.group, info.version, info.resource)
        if kind is None or not _is_addressed(kind, request):
            return None
        if info.subresource:
            return await self._subresource(request, kind)
        verb = _VERB_NAMES.get(info.verb, info.verb)
        if verb not in kind.verbs or (verb == "create" and info.name):
            raise not_allowed()
        handle = self._routes.verbs[verb] if kind.storable else self._routes.review
        return await handle(request, kind)

    async def _subresource(self, request: Request, kind: Kind) -> Response | None:
        name = request.info.subresource
        subresource = kind.subresource(name)
        if subresource is None:
            return None
        if request.info.verb not in subresource.verbs:
            raise not_allowed()
        routes = self._routes.subresources
        handle = routes.get((kind.plural, name)) or routes[("", name)]
        return await handle(request, kind)

    def _path(self, path: str) -> Handler | None:
        handler = self._exact.get(path) or self._exact.get(path.rstrip("/"))
        if handler is not None:
            return handler
        return next((route.handler for route in self._prefixes if path.startswith(route.path)), None)


def not_allowed() -> MethodNotAllowed:
    """What exists, but not for this method."""
    return MethodNotAllowed("the server does not allow this method on the requested resource")


def _is_addressed(kind: Kind, request: Request) -> bool:
    """Whether the URL has the form the kind's scope asks for."""
    info = request.info
    if not kind.namespaced:
        return not info.namespace or (kind.plural == "namespaces" and info.namespace == info.name)
    return (
        bool(info.namespace)
        or (info.verb in _ANY_NAME and info.verb not in ("create", "deletecollection"))
        or (not kind.storable)
    )

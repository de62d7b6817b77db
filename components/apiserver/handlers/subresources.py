"""Subresources over HTTP: the restricted updates (status, finalize, …), and scale, binding, eviction, token.

What they do is decided in registry/subresources.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api import patch as patches
from kubeglass.components.api.errors import BadRequest
from kubeglass.components.api.kinds import Kind
from kubeglass.components.apiserver import negotiation
from kubeglass.components.apiserver.dispatch import KindHandler, not_allowed
from kubeglass.components.apiserver.handlers import bodies
from kubeglass.components.apiserver.handlers.handling import handling
from kubeglass.components.apiserver.handlers.read import Reader
from kubeglass.components.apiserver.handlers.write import Writer, delete_options, document_of, write_context
from kubeglass.components.apiserver.registry.context import WriteContext
from kubeglass.components.apiserver.registry.subresources import Subresources
from kubeglass.components.apiserver.wire import Request, Response, json_response

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SubresourceHandlers:
    """The subresources that are answered here."""

    reader: Reader
    writer: Writer
    actions: Subresources

    def routes(self) -> Mapping[tuple[str, str], KindHandler]:
        """By (plural, subresource); "" for any resource."""
        restricted = ("status", "finalize", "approval", "ephemeralcontainers", "resize")
        return {
            **{("", name): self.restricted for name in restricted},
            ("", "scale"): self.scale,
            ("pods", "binding"): self.binding,
            ("pods", "eviction"): self.eviction,
            ("serviceaccounts", "token"): self.token,
        }

    async def restricted(self, request: Request, kind: Kind) -> Response:
        """A view of the whole object of which an update may change a part."""
        match request.info.verb:
            case "get":
                return await self.reader.get(request, kind)
            case "update":
                return await self.writer.update(request, kind)
            case "patch":
                return await self.writer.patch(request, kind)
        raise not_allowed()

    async def scale(self, request: Request, kind: Kind) -> Response:
        namespace, name = request.info.namespace, request.info.name
        with handling(self.writer.tracer, request.info.verb.capitalize(), request):
            if request.info.verb == "get":
                return json_response(await self.actions.get_scale(kind, namespace, name))
            context, change = await self._scale_change(request)
            return json_response(await self.actions.update_scale(context, kind, namespace, name, change))

    async def _scale_change(self, request: Request) -> tuple[WriteContext, Callable[[Object], Object]]:
        """Who writes, and what becomes of the Scale."""
        body, content_type = await request.body(), request.headers.get("Content-Type", "")
        if request.info.verb == "update":
            context = write_context(request, "UpdateOptions")
            wanted = bodies.parsed(body, content_type, "Scale", context)
            return context, lambda _: wanted
        form = negotiation.patch_type(content_type)
        context = write_context(request, "PatchOptions", applying=form == "apply")
        document = document_of(body, yaml_too=form == "apply")

        def change(current: Object) -> Object:
            apply = patches.apply_json_patch if form == "json" else patches.apply_merge_patch
            patched = apply(current, document)
            if not isinstance(patched, dict):
                raise BadRequest("the patched document is not an object")
            return patched

        return context, change

    async def binding(self, request: Request, kind: Kind) -> Response:
        context = write_context(request, "CreateOptions")
        with handling(self.writer.tracer, "Create", request):
            binding = await bodies.received(request, "Binding", context)
            answer = await self.actions.bind(context, request.info.namespace, request.info.name, binding)
            return json_response(answer, 201)

    async def eviction(self, request: Request, kind: Kind) -> Response:
        context = write_context(request, "CreateOptions")
        info = request.info
        with handling(self.writer.tracer, "Create", request):
            eviction = await bodies.received(request, "Eviction", context)
            options = delete_options(eviction.get("deleteOptions") or {}, request)
            answer = await self.actions.evict(context, info.namespace, info.name, options, context.dry_run)
            return json_response(answer, 201)

    async def token(self, request: Request, kind: Kind) -> Response:
        context = write_context(request, "CreateOptions")
        with handling(self.writer.tracer, "Create", request):
            wanted = await bodies.received(request, "TokenRequest", context)
            answer = await self.actions.token(context, request.info.namespace, request.info.name, wanted)
            return json_response(answer, 201)

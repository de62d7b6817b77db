"""CREATE, UPDATE, PATCH, DELETE and the deletion of collections: read the body and the options, ask the store, answer.

What a write means is decided in registry/; here is only how HTTP asks for it. Option texts follow metav1 validation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import yaml

from kubeglass.components.api.errors import BadRequest, Cause, invalid
from kubeglass.components.api.kinds import Kind
from kubeglass.components.apiserver import negotiation
from kubeglass.components.apiserver.handlers import bodies, options
from kubeglass.components.apiserver.handlers.handling import handling, serializing
from kubeglass.components.apiserver.handlers.options import integer
from kubeglass.components.apiserver.handlers.read import ONE, Forms, rendered
from kubeglass.components.apiserver.measure import RequestRecorder
from kubeglass.components.apiserver.registry import patching, receiving
from kubeglass.components.apiserver.registry.context import DeleteOptions, FieldValidation, WriteContext
from kubeglass.components.apiserver.registry.served import ServedKinds
from kubeglass.components.apiserver.registry.store import Store
from kubeglass.components.apiserver.requestinfo import truthy
from kubeglass.components.apiserver.storage.reads import Reads
from kubeglass.components.apiserver.storage.records import Record
from kubeglass.components.apiserver.storage.watchcache import Listing
from kubeglass.components.apiserver.views import ObjectView, list_head
from kubeglass.components.apiserver.wire import ANONYMOUS, Request, Response, json_response
from kubeglass.telemetry.tracing.tracer import Span, Tracer

Object = dict[str, Any]
_VALIDATIONS = ("", "Ignore", "Strict", "Warn")
_POLICIES = ("", "Background", "Foreground", "Orphan")
_MANAGER_LIMIT = 128
_RETURNS_DELETED = frozenset(
    {"pods", "podtemplates", "resourcequotas", "persistentvolumes", "persistentvolumeclaims", "serviceaccounts",
     "services"}
)  # fmt: skip
"""Resources whose deletion answers with the object instead of a Status."""


@dataclass(frozen=True, slots=True)
class Writer:
    """The write verbs of every stored resource."""

    store: Store
    reads: Reads
    served: ServedKinds
    forms: Forms
    recorder: RequestRecorder
    tracer: Tracer
    written: Callable[[Kind], Awaitable[None]]
    """Told of every finished write of a kind, before the client is."""

    async def create(self, request: Request, kind: Kind) -> Response:
        context = write_context(request, "CreateOptions")
        with handling(self.tracer, "Create", request) as span:
            obj = await self._object(request, kind.kind, context, span)
            span.event("About to store object in database")
            body = await self.store.create(context, kind, self._namespace(request, kind), obj)
            span.event("Write to database call succeeded", len=len(body))
            await self.written(kind)
            return self._answer(request, kind, body, 201)

    async def update(self, request: Request, kind: Kind) -> Response:
        context = write_context(request, "UpdateOptions")
        with handling(self.tracer, "Update", request) as span:
            obj = await self._object(request, kind.kind, context, span)
            return await self._change(request, kind, context, lambda current: obj, span)

    async def patch(self, request: Request, kind: Kind) -> Response:
        form = negotiation.patch_type(request.headers.get("Content-Type", ""))
        context = write_context(request, "PatchOptions", applying=form == "apply")
        with handling(self.tracer, "Patch", request) as span:
            change = self._patch(kind, form, await self._body(request, span), request, context)
            span.event("About to apply patch")
            return await self._change(request, kind, context, change, span, may_create=form == "apply")

    async def delete(self, request: Request, kind: Kind) -> Response:
        with handling(self.tracer, "Delete", request) as span:
            asked, context = await self._delete_options(request, span)
            span.event("About to delete object from database")
            namespace, name = self._namespace(request, kind), request.info.name
            body, gone = await self.store.delete(context, kind, namespace, name, asked)
            span.event("Object deleted from database")
            await self.written(kind)
            if gone and kind.plural not in _RETURNS_DELETED:
                return deleted_status(kind, msgspec.json.decode(body))
            return self._answer(request, kind, body, 200)

    async def delete_collection(self, request: Request, kind: Kind) -> Response:
        with handling(self.tracer, "Delete", request) as span:
            asked, context = await self._delete_options(request, span)
            wanted = options.wanted(request, kind, self.served.selectable(kind))
            result = await self.reads.list(wanted, options.list_options(request))
            names = [(record.namespace, record.name) for record in result.listing.records]
            bodies = await self.store.delete_collection(context, kind, self._namespace(request, kind), names, asked)
            listing = Listing((), await self.reads.current(kind))
            body = list_head(kind.list_name, kind.api_version, listing, "") + b'"items":[' + b",".join(bodies) + b"]}"
            return Response(200, body + b"\n")

    async def _change(
        self,
        request: Request,
        kind: Kind,
        context: WriteContext,
        change: Callable[[Object | None], Object],
        span: Span,
        may_create: bool | None = None,
    ) -> Response:
        span.event("About to store object in database")
        body, created = await self.store.update(
            context,
            kind,
            self._namespace(request, kind),
            request.info.name,
            change,
            request.info.subresource,
            may_create,
        )
        span.event("Object stored in database", len=len(body))
        await self.written(kind)
        return self._answer(request, kind, body, 201 if created else 200)

    def _answer(self, request: Request, kind: Kind, body: bytes, status: int) -> Response:
        """The written object in the form the client wants."""
        media = negotiation.accept(request.headers.get("Accept", ""), ONE)
        if media.shape or kind.stored_api_version != kind.api_version:
            view = self.forms.view(request, kind, media)
            plain = ObjectView(kind)
            if view != plain:
                body = view.one(_record(kind, body))
        with serializing(self.tracer, request, media):
            return rendered(request, media, body, status)

    async def _body(self, request: Request, span: Span) -> bytes:
        body = await request.body()
        self.recorder.body_read(request, len(body))
        span.event("limitedReadBody succeeded", len=len(body))
        return body

    async def _object(self, request: Request, kind_name: str, context: WriteContext, span: Span) -> Object:
        body = await self._body(request, span)
        span.event("About to convert to expected version")
        obj = bodies.parsed(body, request.headers.get("Content-Type", ""), kind_name, context)
        span.event("Conversion done")
        return obj

    def _patch(
        self, kind: Kind, form: str, body: bytes, request: Request, context: WriteContext
    ) -> Callable[[Object | None], Object]:
        """The change that a patch makes to the current object."""
        document = document_of(body, yaml_too=form == "apply")
        if form == "apply":
            return patching.apply_change(
                kind,
                self.served.struct(kind),
                document,
                request.info.name,
                context,
                force=truthy(request.query, "force"),
                subresource=request.info.subresource,
            )
        if form == "json":
            return patching.json_change(document)
        if form == "merge":
            return patching.merge_change(document)
        if kind.custom:
            raise negotiation.unknown_patch(custom=True)
        return patching.strategic_change(document, self.served.struct(kind))

    async def _delete_options(self, request: Request, span: Span) -> tuple[DeleteOptions, WriteContext]:
        body = await self._body(request, span) if request.method == "DELETE" else b""
        given = _delete_body(body, request.headers.get("Content-Type", ""))
        span.event("Decoded delete options")
        return delete_options(given, request), write_context(request, "DeleteOptions", given.get("dryRun"))

    @staticmethod
    def _namespace(request: Request, kind: Kind) -> str:
        return request.info.namespace if kind.namespaced else ""


def write_context(
    request: Request, options_kind: str, dry_run_in_body: object = None, *, applying: bool = False
) -> WriteContext:
    """Who writes, and how. Raises Invalid with the texts of metav1 validation."""
    query = request.query
    causes: list[Cause] = []
    dry_run = query.get("dryRun") or (dry_run_in_body if isinstance(dry_run_in_body, list) else [])
    causes += [_unsupported("dryRun", value, ("All",)) for value in dry_run if value != "All"]
    validation = request.param("fieldValidation")
    if validation not in _VALIDATIONS:
        causes.append(_unsupported("fieldValidation", validation, _VALIDATIONS))
    manager = request.param("fieldManager")
    if len(manager) > _MANAGER_LIMIT:
        causes.append(Cause("FieldValueTooLong", "Too long: may not be more than 128 bytes", "fieldManager"))
    if applying and not manager:
        causes.append(Cause("FieldValueRequired", "Required value: is required for apply patch", "fieldManager"))
    if options_kind == "PatchOptions" and not applying and "force" in query:
        text = "Forbidden: may not be specified for non-apply patch"
        causes.append(Cause("FieldValueForbidden", text, "force"))
    if causes:
        raise invalid(options_kind, "meta.k8s.io", "", causes)
    return WriteContext(
        user=request.user,
        dry_run=bool(dry_run),
        field_manager=manager or _manager_of(request.headers.get("User-Agent", "")),
        field_validation=cast(FieldValidation, validation or "Warn"),
        applying=applying,
        warnings=request.warnings,
        annotations=request.annotations,
        trace=request.trace,
        trusted=request.trusted,
    )


def delete_options(given: Mapping[str, Any], request: Request) -> DeleteOptions:
    """Body and query together; the body wins. Raises Invalid."""
    query = request.query
    grace = given.get("gracePeriodSeconds")
    if grace is None and "gracePeriodSeconds" in query:
        grace = integer(request, "gracePeriodSeconds")
    orphan = given.get("orphanDependents")
    if orphan is None and "orphanDependents" in query:
        orphan = truthy(query, "orphanDependents")
    policy = given.get("propagationPolicy") or request.param("propagationPolicy")
    causes: list[Cause] = []
    if policy not in _POLICIES:
        causes.append(_unsupported("propagationPolicy", policy, ("Background", "Foreground", "Orphan", "nil")))
    if policy and orphan is not None:
        text = "Invalid value: " + f'"{policy}": orphanDependents and deletionPropagation cannot be both set'
        causes.append(Cause("FieldValueInvalid", text, "propagationPolicy"))
    if causes:
        raise invalid("DeleteOptions", "meta.k8s.io", "", causes)
    conditions = given.get("preconditions") or {}
    return DeleteOptions(
        grace_period_seconds=grace,
        propagation_policy=policy,
        uid=conditions.get("uid") or "",
        resource_version=conditions.get("resourceVersion") or "",
        orphan_dependents=orphan,
    )


def deleted_status(kind: Kind, obj: Mapping[str, Any]) -> Response:
    """The success Status of a deletion."""
    metadata = obj["metadata"]
    details = {"name": metadata["name"], "group": kind.group, "kind": kind.plural, "uid": metadata.get("uid", "")}
    return json_response(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": {name: value for name, value in details.items() if value},
        }
    )


def _record(kind: Kind, body: bytes) -> Record:
    """A written object as a record, for views that are not the plain one."""
    metadata = msgspec.json.decode(body)["metadata"]
    tail = body[body.index(b'"metadata":{') :]
    key = kind.storage_key(metadata.get("namespace", ""), metadata["name"])
    revision = int(metadata.get("resourceVersion") or 0)
    return Record(key, len(kind.storage_prefix()), tail, revision)


def document_of(body: bytes, *, yaml_too: bool) -> Any:
    """A patch as a value. Raises BadRequest."""
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        if yaml_too:
            try:
                return yaml.load(body, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            except yaml.YAMLError as problem:
                raise BadRequest(f"error decoding YAML: {receiving.yaml_problem(problem)}") from problem
        raise BadRequest(f"error decoding patch: {error}") from error


def _delete_body(body: bytes, content_type: str) -> Mapping[str, Any]:
    if not body.strip():
        return {}
    return bodies.parsed(body, content_type, "DeleteOptions", WriteContext(ANONYMOUS))


def _unsupported(field: str, value: object, known: tuple[str, ...]) -> Cause:
    shown = ", ".join(f'"{each}"' for each in known)
    return Cause("FieldValueNotSupported", f'Unsupported value: "{value}": supported values: {shown}', field)


def _manager_of(agent: str) -> str:
    return agent.partition("/")[0][:_MANAGER_LIMIT]

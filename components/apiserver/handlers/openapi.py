"""/openapi/v2 and /openapi/v3: types and operations of everything that is served, for kubectl explain and validation.

Documents are built when first asked for and kept until the served kinds change. Types and their texts come from the
schema table (api/schema), custom ones from their definitions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec

from kubeglass import GIT_VERSION
from kubeglass.components.api.kinds import FLOW_SCHEMA, Kind
from kubeglass.components.api.schema import types
from kubeglass.components.api.schema.older import older_version
from kubeglass.components.api.schema.texts import descriptions
from kubeglass.components.apiserver.registry.served import CustomKind, ServedKinds
from kubeglass.components.apiserver.wire import Request, Response, text_response

Json = dict[str, Any]

_V2_PREFIX = "#/definitions/"
_V3_PREFIX = "#/components/schemas/"
_DELETE_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_STATUS = "io.k8s.apimachinery.pkg.apis.meta.v1.Status"
_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
_LIST_PARAMETERS = (
    ("allowWatchBookmarks", "boolean"), ("continue", "string"), ("fieldSelector", "string"),
    ("labelSelector", "string"), ("limit", "integer"), ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"), ("sendInitialEvents", "boolean"), ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
)  # fmt: skip
_WRITE_PARAMETERS = (("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"))
_DELETE_PARAMETERS = (
    ("dryRun", "string"), ("gracePeriodSeconds", "integer"), ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
)  # fmt: skip
_QUERY = {
    "list": _LIST_PARAMETERS,
    "create": _WRITE_PARAMETERS,
    "update": _WRITE_PARAMETERS,
    "patch": (*_WRITE_PARAMETERS, ("force", "boolean")),
    "delete": _DELETE_PARAMETERS,
    "deletecollection": (*_DELETE_PARAMETERS, *_LIST_PARAMETERS[:-1]),
    "get": (),
}
_METHODS = {
    "list": "get", "get": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete",
    "deletecollection": "delete",
}  # fmt: skip
_ACTIONS = {
    "list": "list", "get": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete",
    "deletecollection": "deletecollection",
}  # fmt: skip

_PROTOBUF_V2 = "com.github.proto-openapi.spec.v2"
_PROTOBUF_CONTENT_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


class OpenApi:
    """Handlers of the OpenAPI paths."""

    def __init__(self, served: ServedKinds) -> None:
        self._served = served
        self._documents: dict[str, tuple[str, bytes]] = {}
        served.on_change(self._documents.clear)

    async def v2(self, request: Request) -> Response:
        """/openapi/v2: one document of everything. As protobuf, which kubectl asks for before it validates a List on
        its own side, it has no definitions: clients then skip what they do not find and leave it to the server."""
        if _PROTOBUF_V2 in request.headers.get("Accept", ""):
            return Response(200, _protobuf_document(), _PROTOBUF_CONTENT_TYPE, {"Vary": "Accept-Encoding, Accept"})
        return _answer(request, *self._document("v2", self._build_v2))

    async def v3(self, request: Request) -> Response:
        """/openapi/v3: where the document of each group version is."""
        return _answer(request, *self._document("v3", self._build_index))

    async def v3_group_version(self, request: Request) -> Response:
        """/openapi/v3/api/v1, /openapi/v3/apis/GROUP/VERSION."""
        path = request.path.removeprefix("/openapi/v3/").strip("/")
        if path not in self._group_versions():
            return text_response("404 page not found\n", 404)
        etag, body = self._document(f"v3/{path}", lambda: self._build_v3(path))
        response = _answer(request, etag, body)
        asked = parse_qs(request.query_string).get("hash", [""])[0]
        if asked == etag and response.status == 200:
            response.headers["Cache-Control"] = "public, immutable"
        return response

    def _document(self, name: str, build: Any) -> tuple[str, bytes]:
        found = self._documents.get(name)
        if found is None:
            body = msgspec.json.encode(build())
            found = self._documents[name] = (hashlib.sha512(body).hexdigest().upper(), body)
        return found

    def _group_versions(self) -> Mapping[str, tuple[str, str]]:
        groups = self._served.table.groups()
        return {
            (f"apis/{group}/{version}" if group else f"api/{version}"): (group, version)
            for group, versions in groups.items()
            for version in versions
        }

    def _build_index(self) -> Json:
        paths = {}
        for path in self._group_versions():
            etag, _ = self._document(f"v3/{path}", lambda path=path: self._build_v3(path))
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={etag}"}
        return {"paths": paths}

    def _build_v2(self) -> Json:
        texts = descriptions()
        versions = self._served.table.groups()[FLOW_SCHEMA.group]
        definitions = {
            name: _described(name, raw, texts)
            for name, raw in types.builtin().definitions.items()
            if older_version(name) in ("", *versions)
        }
        for custom in self._served.customs:
            definitions[custom_name(custom.kind)] = _custom_definition(custom)
        return {
            "swagger": "2.0",
            "info": _info(),
            "paths": {path: item for row in self._served.table.rows for path, item in paths_of(row, _operation_v2)},
            "definitions": definitions,
        }

    def _build_v3(self, path: str) -> Json:
        rows = self._served.table.of(*self._group_versions()[path])
        schemas: Json = {}
        texts = descriptions()
        for row in rows:
            custom = self._served.custom(row)
            if custom is not None:
                schemas[custom_name(row)] = _custom_definition(custom)
            for name in (definition_name(row), definition_name(row, row.list_name), _DELETE_OPTIONS, _STATUS, _META):
                _collect(name, schemas, texts)
        document = {
            "openapi": "3.0.0",
            "info": _info(),
            "paths": {where: item for row in rows for where, item in paths_of(row, _operation_v3)},
            "components": {"schemas": schemas},
        }
        moved: Json = _moved_references(document)
        return moved


def definition_name(row: Kind, kind: str = "") -> str:
    """The name of a kind's definition."""
    if row.custom:
        return custom_name(row) if not kind else custom_name(row) + "List"
    return types.builtin().definition_of(row.api_version, kind or row.kind) or ""


def custom_name(row: Kind) -> str:
    """`com.example.v1.CronTab`."""
    return ".".join([*reversed(row.group.split(".")), row.version, row.kind])


def paths_of(row: Kind, operation: Any) -> Iterator[tuple[str, Json]]:
    """(path, path item) of a kind's collection, objects and subresources."""
    base = row.path("{namespace}" if row.namespaced else "")
    collection = [verb for verb in ("list", "create", "deletecollection") if verb in row.verbs]
    if collection:
        yield base, {_METHODS[verb]: operation(row, verb, "") for verb in collection}
    if row.namespaced and "list" in row.verbs:
        yield row.path(), {"get": operation(row, "list", "", all_namespaces=True)}
    single = [verb for verb in ("get", "update", "patch", "delete") if verb in row.verbs]
    if single:
        yield f"{base}/{{name}}", {_METHODS[verb]: operation(row, verb, "") for verb in single}
    for sub in row.subresources:
        if sub.kind.endswith("Options"):
            continue
        verbs = {_METHODS[verb]: operation(row, verb, sub.name) for verb in sub.verbs}
        yield f"{base}/{{name}}/{sub.name}", verbs


def _operation_v2(row: Kind, verb: str, subresource: str, all_namespaces: bool = False) -> Json:
    parameters: list[Json] = [
        {"name": name, "in": "query", "type": kind, "uniqueItems": True} for name, kind in _QUERY[verb]
    ]
    parameters += [
        {"name": name, "in": "path", "required": True, "type": "string", "uniqueItems": True}
        for name in _path_parameters(row, verb, subresource, all_namespaces)
    ]
    if verb in ("create", "update", "patch"):
        schema = {"$ref": _V2_PREFIX + definition_name(row)} if verb != "patch" else {"type": "object"}
        parameters.append({"name": "body", "in": "body", "required": True, "schema": schema})
    found = _operation(row, verb, subresource, all_namespaces)
    return found | {
        "consumes": list(_patches(row)) if verb == "patch" else ["*/*"],
        "produces": ["application/json", "application/yaml"],
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "schema": {"$ref": _V2_PREFIX + _answer_type(row, verb)}}},
    }


def _operation_v3(row: Kind, verb: str, subresource: str, all_namespaces: bool = False) -> Json:
    parameters: list[Json] = [
        {"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": True}} for name, kind in _QUERY[verb]
    ]
    parameters += [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "uniqueItems": True}}
        for name in _path_parameters(row, verb, subresource, all_namespaces)
    ]
    found = _operation(row, verb, subresource, all_namespaces)
    if verb in ("create", "update", "patch"):
        schema = {"$ref": _V2_PREFIX + definition_name(row)} if verb != "patch" else {"type": "object"}
        media = _patches(row) if verb == "patch" else ("*/*",)
        found["requestBody"] = {"required": True, "content": {name: {"schema": schema} for name in media}}
    answer = {"schema": {"$ref": _V2_PREFIX + _answer_type(row, verb)}}
    content = {"application/json": answer, "application/yaml": answer}
    return found | {"parameters": parameters, "responses": {"200": {"description": "OK", "content": content}}}


def _patches(row: Kind) -> tuple[str, ...]:
    """kubectl reads from here that custom resources have no strategic merge patch."""
    return tuple(media for media in _PATCHES if not (row.custom and "strategic" in media))


def _operation(row: Kind, verb: str, subresource: str, all_namespaces: bool) -> Json:
    scope = "Namespaced" if row.namespaced and not all_namespaces else ""
    group = "".join(part.capitalize() for part in row.group.removesuffix(".k8s.io").split(".")) or "Core"
    tail = subresource.capitalize() + ("ForAllNamespaces" if all_namespaces else "")
    collection = "Collection" if verb == "deletecollection" else ""
    action = "delete" if verb == "deletecollection" else _METHODS_TO_NAMES.get(verb, verb)
    return {
        "description": f"{action} {row.kind}",
        "operationId": f"{action}{group}{row.version.capitalize()}{collection}{scope}{row.kind}{tail}",
        "tags": [f"{(group[0].lower() + group[1:])}_{row.version}"],
        "x-kubernetes-action": _ACTIONS[verb],
        "x-kubernetes-group-version-kind": {"group": row.group, "version": row.version, "kind": row.kind},
    }


_METHODS_TO_NAMES = {"get": "read", "update": "replace"}


def _path_parameters(row: Kind, verb: str, subresource: str, all_namespaces: bool) -> Iterable[str]:
    if subresource or verb in ("get", "update", "patch", "delete"):
        yield "name"
    if row.namespaced and not all_namespaces:
        yield "namespace"


def _answer_type(row: Kind, verb: str) -> str:
    if verb in ("delete", "deletecollection"):
        return _STATUS
    return definition_name(row, row.list_name) if verb == "list" and not row.custom else definition_name(row)


def _described(name: str, raw: Mapping[str, Any], texts: Mapping[str, Mapping[str, str]]) -> Json:
    """A definition with its documentation put back."""
    words = texts.get(name, {})
    found: Json = {"description": words[""], **raw} if "" in words else dict(raw)
    if "properties" in raw:
        found["properties"] = {
            field: {"description": words[field], **member} if field in words else member
            for field, member in raw["properties"].items()
        }
    return found


def _custom_definition(custom: CustomKind) -> Json:
    row = custom.kind
    found: Json = dict(custom.openapi)
    found["properties"] = {
        **(found.get("properties") or {}),
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"$ref": _V2_PREFIX + _META},
    }
    gvk = {"group": row.group, "version": row.version, "kind": row.kind}
    return found | {"type": "object", "x-kubernetes-group-version-kind": [gvk]}


def _collect(name: str, schemas: Json, texts: Mapping[str, Mapping[str, str]]) -> None:
    """A definition and everything it refers to."""
    if not name or name in schemas or name not in types.builtin().definitions:
        return
    schemas[name] = _described(name, types.builtin().definitions[name], texts)
    for reference in _references(schemas[name]):
        _collect(reference, schemas, texts)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "$ref" and isinstance(item, str):
                yield item.rpartition("/")[2]
            else:
                yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def _moved_references(value: Any) -> Any:
    """v3 keeps definitions elsewhere, and wraps a reference that has neighbours in allOf."""
    if isinstance(value, list):
        return [_moved_references(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    found = {key: _moved_references(item) for key, item in value.items() if key != "$ref"}
    reference = value.get("$ref")
    if not isinstance(reference, str):
        return found if "$ref" not in value else {**found, "$ref": _moved_references(reference)}
    moved = {"$ref": _V3_PREFIX + reference.removeprefix(_V2_PREFIX)}
    return {**found, "allOf": [moved], "default": {}} if found else moved


def _info() -> Json:
    return {"title": "Kubernetes", "version": GIT_VERSION}


def _answer(request: Request, etag: str, body: bytes) -> Response:
    headers = {"ETag": f'"{etag}"', "Vary": "Accept-Encoding, Accept"}
    if request.headers.get("If-None-Match", "").strip('"') == etag:
        return Response(304, b"", headers=headers)
    return Response(200, body, headers=headers)


def _protobuf_document() -> bytes:
    """An openapi.v2.Document with its head only: swagger (1), info (2) with title (1) and version (2)."""
    info = _text_field(1, "Kubernetes") + _text_field(2, GIT_VERSION)
    return _text_field(1, "2.0") + bytes((2 << 3 | 2, len(info))) + info


def _text_field(number: int, text: str) -> bytes:
    return bytes((number << 3 | 2, len(text))) + text.encode()

"""What this server serves, as clients ask for it: /api, /apis, their groups and versions, and /version.

Both forms: one document per group version, and the aggregated list (apidiscovery.k8s.io v2 and v2beta1) with an ETag.
Everything is derived from the served kinds and kept until they change.
"""

from __future__ import annotations

import base64
import hashlib
import platform
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from kubeglass import GIT_VERSION, KUBERNETES_VERSION
from kubeglass.components.api.kinds import Kind, Subresource
from kubeglass.components.apiserver.registry.served import ServedKinds
from kubeglass.components.apiserver.wire import Request, Response, json_response, text_response

Json = dict[str, Any]

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
_VERSIONS = ("v2", "v2beta1")
_MAJOR, _MINOR = KUBERNETES_VERSION.removeprefix("v").split(".")[:2]


class Discovery:
    """Handlers of the discovery paths."""

    def __init__(self, served: ServedKinds, build_date: str = "2026-06-10T00:00:00Z") -> None:
        self._served = served
        self._build_date = build_date
        self._aggregated: dict[tuple[bool, str], tuple[str, bytes]] = {}
        served.on_change(self._aggregated.clear)

    async def core_versions(self, request: Request) -> Response:
        """/api."""
        if (version := wants_aggregated(request)) is not None:
            return self._aggregate(request, True, version)
        addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": request.host}]
        return json_response({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses})

    async def groups(self, request: Request) -> Response:
        """/apis."""
        if (version := wants_aggregated(request)) is not None:
            return self._aggregate(request, False, version)
        listed = [_group(name, versions) for name, versions in self._named_groups()]
        return json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": listed})

    async def below(self, request: Request) -> Response:
        """/api/v1, /apis/GROUP and /apis/GROUP/VERSION."""
        prefix, *parts = request.path.strip("/").split("/")
        groups = self._served.table.groups()
        if prefix == "apis" and len(parts) == 1 and parts[0] in groups:
            return json_response({"kind": "APIGroup", "apiVersion": "v1", **_group(parts[0], groups[parts[0]])})
        group, version = ("", parts[0]) if prefix == "api" else (parts[0], parts[1] if len(parts) == 2 else "")
        rows = self._served.table.of(group, version) if len(parts) == (1 if prefix == "api" else 2) else ()
        return (
            json_response(resource_list(group, version, rows)) if rows else text_response("404 page not found\n", 404)
        )

    async def version(self, request: Request) -> Response:
        """/version."""
        return json_response(
            {
                "major": _MAJOR,
                "minor": _MINOR,
                "emulationMajor": _MAJOR,
                "emulationMinor": _MINOR,
                "minCompatibilityMajor": _MAJOR,
                "minCompatibilityMinor": str(int(_MINOR) - 1),
                "gitVersion": GIT_VERSION,
                "gitCommit": "",
                "gitTreeState": "clean",
                "buildDate": self._build_date,
                "goVersion": f"python{platform.python_version()}",
                "compiler": platform.python_implementation().lower(),
                "platform": f"linux/{_architecture()}",
            }
        )

    def _named_groups(self) -> list[tuple[str, Sequence[str]]]:
        return [(name, versions) for name, versions in self._served.table.groups().items() if name]

    def _aggregate(self, request: Request, core: bool, version: str) -> Response:
        etag, body = self._aggregated_body(core, version)
        headers = {"ETag": f'"{etag}"', "Vary": "Accept", "Cache-Control": "public, max-age=0"}
        if request.headers.get("If-None-Match", "").strip('"') == etag:
            return Response(304, b"", AGGREGATED.format(version=version), headers)
        return Response(200, body, AGGREGATED.format(version=version), headers)

    def _aggregated_body(self, core: bool, version: str) -> tuple[str, bytes]:
        found = self._aggregated.get((core, version))
        if found is None:
            groups = self._served.table.groups()
            wanted = [("", groups[""])] if core else self._named_groups()
            items = [self._group_discovery(name, versions) for name, versions in wanted]
            body = msgspec.json.encode(
                {
                    "kind": "APIGroupDiscoveryList",
                    "apiVersion": f"apidiscovery.k8s.io/{version}",
                    "metadata": {},
                    "items": items,
                }
            )
            found = self._aggregated[core, version] = (hashlib.sha512(body).hexdigest().upper(), body + b"\n")
        return found

    def _group_discovery(self, group: str, versions: Sequence[str]) -> Json:
        metadata: Json = {"creationTimestamp": None}
        return {
            "metadata": {"name": group, **metadata} if group else metadata,
            "versions": [
                {
                    "version": version,
                    "resources": [_resource_discovery(row) for row in self._served.table.of(group, version)],
                    "freshness": "Current",
                }
                for version in versions
            ],
        }


def wants_aggregated(request: Request) -> str | None:
    """The apidiscovery version that the client prefers, None for the old form."""
    for clause in request.headers.get("Accept", "").split(","):
        parts = dict(part.strip().partition("=")[::2] for part in clause.split(";")[1:])
        if parts.get("g") == "apidiscovery.k8s.io" and parts.get("as") == "APIGroupDiscoveryList":
            if parts.get("v") in _VERSIONS:
                return parts["v"]
        elif clause.partition(";")[0].strip() in ("application/json", "*/*"):
            return None
    return None


def resource_list(group: str, version: str, rows: Iterable[Kind]) -> Json:
    """The APIResourceList of one group version."""
    group_version = f"{group}/{version}" if group else version
    resources = [entry for row in rows for entry in _entries(row)]
    head: Json = {"kind": "APIResourceList"} | ({"apiVersion": "v1"} if group else {})
    return head | {"groupVersion": group_version, "resources": resources}


def _group(name: str, versions: Sequence[str]) -> Json:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _entries(row: Kind) -> Iterable[Json]:
    entry: Json = {
        "name": row.plural,
        "singularName": row.singular,
        "namespaced": row.namespaced,
        "kind": row.kind,
        "verbs": list(row.verbs),
    }
    if row.short_names:
        entry["shortNames"] = list(row.short_names)
    if row.categories:
        entry["categories"] = list(row.categories)
    if row.storable:
        entry["storageVersionHash"] = storage_version_hash(row)
    yield entry
    for sub in row.subresources:
        found: Json = {"name": f"{row.plural}/{sub.name}", "singularName": "", "namespaced": row.namespaced}
        if sub.kind and (sub.group, sub.version) != (row.group, row.version):
            found |= {"group": sub.group, "version": sub.version}
        yield found | {"kind": sub.kind or row.kind, "verbs": list(sub.verbs)}


def storage_version_hash(row: Kind) -> str:
    """Eight base64 characters that change when the stored version does."""
    group_version_kind = f"{row.stored_group}/{row.storage_version or row.version}/{row.kind}"
    return base64.b64encode(hashlib.sha256(group_version_kind.encode()).digest()).decode()[:10] + "="


def _resource_discovery(row: Kind) -> Json:
    found: Json = {
        "resource": row.plural,
        "responseKind": {"group": row.group, "version": row.version, "kind": row.kind},
        "scope": "Namespaced" if row.namespaced else "Cluster",
        "singularResource": row.singular,
        "verbs": list(row.verbs),
    }
    if row.short_names:
        found["shortNames"] = list(row.short_names)
    if row.categories:
        found["categories"] = list(row.categories)
    if row.subresources:
        found["subresources"] = [_subresource_discovery(row, sub) for sub in row.subresources]
    return found


def _subresource_discovery(row: Kind, sub: Subresource) -> Json:
    group, version = (sub.group, sub.version) if sub.kind else (row.group, row.version)
    return {
        "subresource": sub.name,
        "responseKind": {"group": group, "version": version, "kind": sub.kind or row.kind},
        "verbs": list(sub.verbs),
    }


def _architecture() -> str:
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)

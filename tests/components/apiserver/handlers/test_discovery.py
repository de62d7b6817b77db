from typing import Any, cast

import msgspec
import pytest

from kubeglass.components.api import kinds
from kubeglass.components.apiserver.handlers.discovery import Discovery
from kubeglass.components.apiserver.handlers.openapi import OpenApi
from kubeglass.components.apiserver.registry.served import ServedKinds
from kubeglass.components.apiserver.wire import Request, Response

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


def request(path: str, query: str = "", **headers: str) -> Request:
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return Request("GET", path, query, named, "127.0.0.1:1", cast(Any, None), 0.0, host="127.0.0.1:6443")


def body(response: Response) -> Any:
    assert response.status == 200
    return msgspec.json.decode(response.body)


async def test_resources_of_a_version() -> None:
    """/apis/apps/v1 lists deployments with their short names, and scale as a kind of another group."""
    listed = body(await Discovery(ServedKinds()).below(request("/apis/apps/v1")))
    assert (listed["kind"], listed["groupVersion"]) == ("APIResourceList", "apps/v1")
    by_name = {entry["name"]: entry for entry in listed["resources"]}
    deployments = by_name["deployments"]
    assert (deployments["kind"], deployments["singularName"], deployments["namespaced"]) == (
        "Deployment",
        "deployment",
        True,
    )
    assert deployments["shortNames"] == ["deploy"] and deployments["categories"] == ["all"]
    assert deployments["verbs"] == list(kinds.STORED_VERBS)
    scale = by_name["deployments/scale"]
    assert (scale["group"], scale["version"], scale["kind"]) == ("autoscaling", "v1", "Scale")


async def test_groups_and_unknown_paths() -> None:
    """/apis names every group with its preferred version; an unknown group is 404."""
    discovery = Discovery(ServedKinds())
    groups = {group["name"]: group for group in body(await discovery.groups(request("/apis")))["groups"]}
    assert groups["apps"]["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}
    assert body(await discovery.below(request("/apis/apps")))["kind"] == "APIGroup"
    assert (await discovery.below(request("/apis/nonsense/v1"))).status == 404
    core = body(await discovery.core_versions(request("/api")))
    assert core["serverAddressByClientCIDRs"] == [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:6443"}]


async def test_aggregated_discovery_has_an_etag() -> None:
    """One document for all groups, in the media type asked for, and 304 while nothing changed."""
    discovery = Discovery(ServedKinds())
    response = await discovery.groups(request("/apis", accept=AGGREGATED))
    assert response.content_type == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    found = {item["metadata"]["name"]: item for item in body(response)["items"]}
    deployments = next(r for r in found["apps"]["versions"][0]["resources"] if r["resource"] == "deployments")
    assert deployments["responseKind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert [sub["subresource"] for sub in deployments["subresources"]] == ["scale", "status"]
    again = await discovery.groups(request("/apis", accept=AGGREGATED, if_none_match=response.headers["ETag"]))
    assert (again.status, again.body) == (304, b"")


async def test_version() -> None:
    """kubectl version reads gitVersion, and clients check major and minor."""
    found = body(await Discovery(ServedKinds()).version(request("/version")))
    assert (found["major"], found["minor"], found["gitVersion"]) == ("1", "36", "v1.36.2+kubeglass")


@pytest.mark.parametrize(("group_version", "kind"), [("api/v1", "Pod"), ("apis/apps/v1", "Deployment")])
async def test_openapi_v3_has_types_and_operations(group_version: str, kind: str) -> None:
    """Every reference of a document resolves in it, and PATCH tells that the server validates fields itself."""
    openapi = OpenApi(ServedKinds())
    index = body(await openapi.v3(request("/openapi/v3")))
    url, _, query = index["paths"][group_version]["serverRelativeURL"].partition("?")
    response = await openapi.v3_group_version(request(url, query))
    assert response.headers["Cache-Control"] == "public, immutable"
    document = body(response)
    schemas = document["components"]["schemas"]
    missing = {name for name in references(document) if name not in schemas}
    assert missing == set()
    patches = [
        item["patch"]
        for item in document["paths"].values()
        if item.get("patch", {}).get("x-kubernetes-group-version-kind", {}).get("kind") == kind
    ]
    assert {"dryRun", "fieldManager", "fieldValidation", "force"} <= {p["name"] for p in patches[0]["parameters"]}


async def test_openapi_v2_is_one_document() -> None:
    """Definitions carry their documentation."""
    document = body(await OpenApi(ServedKinds()).v2(request("/openapi/v2")))
    pod = document["definitions"]["io.k8s.api.core.v1.Pod"]
    assert pod["properties"]["spec"]["$ref"] == "#/definitions/io.k8s.api.core.v1.PodSpec"
    assert pod["description"].startswith("Pod is a collection of containers")
    assert "/api/v1/namespaces/{namespace}/pods/{name}" in document["paths"]


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"].rpartition("/")[2]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(item) for item in value.values())) if value else own
    if isinstance(value, list):
        return set().union(*(references(item) for item in value)) if value else set()
    return set()

"""The API over real HTTP: what clients send, get and are refused."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from kubeglass.components.apiserver.storage.memory import MemoryBackend
from kubeglass.components.apiserver.testing import running
from kubeglass.components.machinery.access import Access

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def config_map(name: str = "settings", **data: str) -> dict[str, Any]:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": data}


async def test_an_object_lives_its_life(api: Any) -> None:
    """Create, get, update, patch in three forms, list and delete, with the status codes of upstream."""
    created = await api("POST", CONFIGMAPS, config_map(color="red"))
    assert created.status == 201
    assert created.json["metadata"]["resourceVersion"]
    got = await api("GET", f"{CONFIGMAPS}/settings")
    assert (got.status, got.json) == (200, created.json)
    assert got.body.endswith(b"}\n")
    changed = created.json | {"data": {"color": "blue"}}
    assert (await api("PUT", f"{CONFIGMAPS}/settings", changed)).json["data"] == {"color": "blue"}
    for content_type, patch in (
        ("application/merge-patch+json", {"data": {"size": "1"}}),
        ("application/strategic-merge-patch+json", {"data": {"shape": "round"}}),
        ("application/json-patch+json", [{"op": "remove", "path": "/data/color"}]),
    ):
        patched = await api("PATCH", f"{CONFIGMAPS}/settings", patch, Content_Type=content_type)
        assert patched.status == 200
    assert patched.json["data"] == {"size": "1", "shape": "round"}
    listed = (await api("GET", CONFIGMAPS)).json
    assert (listed["kind"], [item["metadata"]["name"] for item in listed["items"]]) == ("ConfigMapList", ["settings"])
    assert "kind" not in listed["items"][0]
    deleted = await api("DELETE", f"{CONFIGMAPS}/settings")
    assert (deleted.status, deleted.json["status"], deleted.json["details"]["kind"]) == (200, "Success", "configmaps")
    assert (await api("GET", f"{CONFIGMAPS}/settings")).status == 404


async def test_server_side_apply_creates_merges_and_conflicts(api: Any) -> None:
    """The first apply creates with 201, another manager's clash is a 409 that names the field."""
    url = f"{CONFIGMAPS}/settings?fieldManager=one"
    form = {"Content_Type": "application/apply-patch+yaml"}
    assert (await api("PATCH", url, config_map(color="red"), **form)).status == 201
    clash = await api("PATCH", url.replace("one", "two"), config_map(color="blue"), **form)
    assert clash.status == 409
    assert ".data.color" in clash.json["message"]
    forced = await api("PATCH", url.replace("one", "two&force=true"), config_map(color="blue"), **form)
    assert forced.json["data"] == {"color": "blue"}


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "text"),
    [
        ("GET", f"{CONFIGMAPS}/none", None, {}, 404, 'configmaps "none" not found'),
        ("GET", "/apis/apps/v1/namespaces/a/deployments/none", None, {}, 404, 'deployments.apps "none" not found'),
        ("GET", "/api/v1/nonsense", None, {}, 404, "404 page not found"),
        ("GET", "/nonsense", None, {}, 404, "404 page not found"),
        ("POST", f"{CONFIGMAPS}/name", config_map(), {}, 405,
         "the server does not allow this method on the requested resource"),
        ("POST", CONFIGMAPS, b"{", {}, 400, "couldn't get version/kind; json parse error: unexpected end of JSON"),
        ("POST", CONFIGMAPS, b"x: [", {"Content_Type": "application/yaml"}, 400, "error converting YAML to JSON"),
        ("POST", CONFIGMAPS, b"{}", {"Content_Type": "text/plain"}, 415,
         "the body of the request was in an unknown format - accepted media types include:"),
        ("PATCH", f"{CONFIGMAPS}/x", {}, {}, 415, "application/merge-patch+json"),
        ("GET", CONFIGMAPS, None, {"Accept": "text/html"}, 406, "only the following media types are accepted"),
        ("GET", f"{CONFIGMAPS}?labelSelector=a%20b", None, {}, 400, "unable to parse requirement"),
        ("GET", "/api/v1/pods?fieldSelector=spec.nope%3D1", None, {}, 400, "field label not supported: spec.nope"),
        ("GET", f"{CONFIGMAPS}?limit=x", None, {}, 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("GET", f"{CONFIGMAPS}?resourceVersion=x", None, {}, 422, 'resourceVersion: Invalid value: "x"'),
        ("GET", f"{CONFIGMAPS}?resourceVersionMatch=Exact", None, {}, 422,
         "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ("GET", f"{CONFIGMAPS}?timeout=x", None, {}, 400, "invalid timeout specified in the request URL"),
        ("POST", f"{CONFIGMAPS}?dryRun=Some", config_map(), {}, 422, 'dryRun: Unsupported value: "Some"'),
        ("POST", f"{CONFIGMAPS}?fieldValidation=Loose", config_map(), {}, 422, "fieldValidation: Unsupported value"),
        ("PATCH", f"{CONFIGMAPS}/x", {}, {"Content_Type": "application/apply-patch+yaml"}, 422,
         "fieldManager: Required value: is required for apply patch"),
        ("DELETE", f"{CONFIGMAPS}/x?propagationPolicy=Maybe", None, {}, 422, "propagationPolicy: Unsupported value"),
        ("POST", "/api/v1/namespaces/nowhere/configmaps", config_map(), {}, 404, 'namespaces "nowhere" not found'),
        ("POST", CONFIGMAPS, b"k8s\0\xff", {"Content_Type": "application/vnd.kubernetes.protobuf"}, 400,
         "protobuf parse error"),
    ],
)  # fmt: skip
async def test_bad_input_gets_upstreams_answer(
    api: Any, method: str, path: str, body: Any, headers: dict[str, str], status: int, text: str
) -> None:
    """The code and the sentence tell what is wrong, and nothing was stored."""
    before = (await api("GET", CONFIGMAPS)).json["items"]
    answer = await api(method, path, body, **headers)
    said = answer.json["message"] if answer.body.startswith(b"{") else answer.body.decode()
    assert (answer.status, text in said) == (status, True), said
    assert (await api("GET", CONFIGMAPS)).json["items"] == before


async def test_unknown_fields_are_refused_warned_of_or_dropped(api: Any) -> None:
    """fieldValidation Strict is a 400, Warn a Warning header, Ignore silence."""
    body = {**config_map(), "colour": "red"}
    strict = await api("POST", f"{CONFIGMAPS}?fieldValidation=Strict", body)
    assert strict.status == 400
    assert 'strict decoding error: unknown field "colour"' in strict.json["message"]
    warned = await api("POST", f"{CONFIGMAPS}?fieldValidation=Warn&dryRun=All", body)
    assert warned.headers["Warning"] == '299 - "unknown field \\"colour\\""'
    ignored = await api("POST", f"{CONFIGMAPS}?fieldValidation=Ignore", body)
    assert (ignored.status, "Warning" in ignored.headers, "colour" in ignored.json) == (201, False, False)


async def test_a_body_over_three_mebibytes_is_413(api: Any) -> None:
    """With upstream's text, whether its length was announced or not."""

    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 100_000

    big = await api("POST", CONFIGMAPS, b" " * (3 * 1024 * 1024 + 1))
    assert big.status == 413
    assert big.json["message"] == "Request entity too large: limit is 3145728"
    url = api.server.url + CONFIGMAPS
    async with api.session.post(
        url, data=unannounced(), headers={"Content-Type": "application/json"}, ssl=api.ssl
    ) as r:
        assert r.status == 413


async def test_a_large_list_is_compressed_for_those_who_can(api: Any) -> None:
    """Over 128 KiB and with Accept-Encoding: gzip; the content is the same."""
    for number in range(20):
        await api("POST", CONFIGMAPS, config_map(f"c{number}", text="x" * 10_000))
    plain = await api("GET", CONFIGMAPS, Accept_Encoding="identity")
    packed = await api("GET", CONFIGMAPS, Accept_Encoding="gzip")
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 20


async def test_tables_and_metadata_are_other_views(api: Any) -> None:
    """Table rows carry cells and metadata; PartialObjectMetadata leaves out everything else; YAML is YAML."""
    await api("POST", CONFIGMAPS, config_map(a="1", b="2"))
    table = (await api("GET", CONFIGMAPS, Accept=TABLE)).json
    assert (table["kind"], [column["name"] for column in table["columnDefinitions"]]) == (
        "Table",
        ["Name", "Data", "Age"],
    )
    assert table["rows"][0]["cells"][:2] == ["settings", 2]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    listed = (await api("GET", CONFIGMAPS, Accept=partial)).json
    assert listed["kind"] == "PartialObjectMetadataList"
    assert set(listed["items"][0]) == {"kind", "apiVersion", "metadata"}
    text = (await api("GET", f"{CONFIGMAPS}/settings", Accept="application/yaml")).body.decode()
    assert "kind: ConfigMap\n" in text
    pretty = await api("GET", f"{CONFIGMAPS}/settings?pretty=true")
    assert pretty.body.startswith(b'{\n  "kind": "ConfigMap"')


async def test_a_collection_is_deleted_by_selector(api: Any) -> None:
    """Only what matches goes."""
    for name, label in (("a", "x"), ("b", "y"), ("c", "x")):
        body = config_map(name)
        body["metadata"]["labels"] = {"k": label}
        await api("POST", CONFIGMAPS, body)
    gone = await api("DELETE", f"{CONFIGMAPS}?labelSelector=k%3Dx")
    assert (gone.status, [item["metadata"]["name"] for item in gone.json["items"]]) == (200, ["a", "c"])
    assert [item["metadata"]["name"] for item in (await api("GET", CONFIGMAPS)).json["items"]] == ["b"]


async def test_a_dry_run_changes_nothing(api: Any) -> None:
    """It answers as if, and stores nothing."""
    assert (await api("POST", f"{CONFIGMAPS}?dryRun=All", config_map())).status == 201
    assert (await api("GET", f"{CONFIGMAPS}/settings")).status == 404


async def test_callers_are_told_apart() -> None:
    """A certificate without rights is forbidden in upstream's words, a wrong token is 401, nobody is anonymous."""
    async with running() as server, aiohttp.ClientSession() as session:

        async def ask(path: str, access: Access, **headers: str) -> tuple[int, dict[str, Any]]:
            async with session.get(server.url + path, ssl=access.ssl_context(), headers=headers) as response:
                return response.status, await response.json(content_type=None)

        jane = server.access("jane", ["developers"])
        status, body = await ask("/api/v1/namespaces/default/pods", jane)
        assert (status, body["message"]) == (
            403,
            'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"',
        )
        assert (await ask("/api", jane))[0] == 200
        nobody = Access(server.url, ca_file=jane.ca_file)
        status, body = await ask("/api/v1/nodes", nobody)
        assert (status, body["details"]["kind"]) == (403, "nodes")
        assert 'User "system:anonymous" cannot list resource "nodes"' in body["message"]
        status, body = await ask("/api/v1/nodes", nobody, Authorization="Bearer nonsense")
        assert (status, body["reason"], body["message"]) == (401, "Unauthorized", "Unauthorized")


async def test_an_administrator_may_act_as_another(api: Any) -> None:
    """Impersonation changes who is judged; the name shows in the refusal."""
    refused = await api("GET", "/api/v1/nodes", Impersonate_User="jane", Impersonate_Group="developers")
    assert refused.status == 403
    assert 'User "jane" cannot list resource "nodes"' in refused.json["message"]
    me = await api(
        "POST",
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        {},
        Impersonate_User="jane",
        Impersonate_Group="dev",
    )
    assert me.json["status"]["userInfo"] == {"username": "jane", "groups": ["dev", "system:authenticated"]}


async def test_a_service_account_token_works_until_its_pod_goes(api: Any) -> None:
    """A requested token authenticates, TokenReview knows it, and rights come from RBAC."""
    account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "build"}}
    await api("POST", "/api/v1/namespaces/default/serviceaccounts", account)
    request = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {"expirationSeconds": 3600}}
    issued = await api("POST", "/api/v1/namespaces/default/serviceaccounts/build/token", request)
    assert issued.status == 201
    token = issued.json["status"]["token"]
    review = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": token}}
    status = (await api("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)).json["status"]
    assert status["authenticated"]
    assert status["user"]["username"] == "system:serviceaccount:default:build"
    nobody = Access(api.server.url, ca_file=api.access.ca_file).ssl_context()
    headers = {"Authorization": f"Bearer {token}"}
    async with api.session.get(f"{api.server.url}/api/v1/nodes", ssl=nobody, headers=headers) as response:
        assert response.status == 403
        assert "system:serviceaccount:default:build" in await response.text()


async def test_access_reviews_answer_for_others(api: Any) -> None:
    """SubjectAccessReview and SelfSubjectRulesReview follow RBAC."""
    spec = {"user": "jane", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    review = {"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": spec}
    assert (await api("POST", path, review)).json["status"]["allowed"] is False
    binding = {
        "kind": "RoleBinding",
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": "jane"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    made = await api("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", binding)
    assert made.status == 201
    assert (await api("POST", path, review)).json["status"]["allowed"] is True


async def test_health_metrics_and_keys_are_served(api: Any) -> None:
    """The pages every component has, and the OpenID documents."""
    assert (await api("GET", "/readyz?verbose")).body.decode().endswith("readyz check passed\n")
    assert (await api("GET", "/livez/ping")).body == b"ok"
    keys = (await api("GET", "/openid/v1/jwks")).json["keys"]
    assert [key["alg"] for key in keys] == ["ES256"]
    metrics = (await api("GET", "/metrics", Accept="text/plain", Accept_Encoding="identity")).body.decode()
    for line in (
        'apiserver_request_filter_duration_seconds_count{filter="authorization"}',
        'apiserver_watch_cache_initializations_total{group="",resource="pods"} 1',
        'etcd_requests_total{group="",operation="create",resource="namespaces"} 4',
    ):
        assert line in metrics


async def test_a_request_is_counted_with_upstreams_labels(api: Any) -> None:
    """request_total, duration and size move once, when the answer is known."""
    await api("GET", CONFIGMAPS)
    labels = {
        "verb": "LIST", "dry_run": "", "group": "", "version": "v1", "resource": "configmaps", "subresource": "",
        "scope": "namespace", "component": "apiserver",
    }  # fmt: skip
    metrics = api.server.telemetry.metrics
    assert metrics.value("apiserver_request_total", **labels, code="200") == 1
    assert metrics.value("apiserver_request_duration_seconds_count", **labels) == 1
    del labels["dry_run"]
    assert metrics.value("apiserver_response_sizes_count", **labels) == 1


async def test_every_answer_has_its_audit_id(api: Any) -> None:
    """A given Audit-ID comes back, else one is made; flow control names its level."""
    given = await api("GET", CONFIGMAPS, Audit_ID="my-id")
    made = await api("GET", CONFIGMAPS)
    assert given.headers["Audit-Id"] == "my-id"
    assert len(made.headers["Audit-Id"]) == 36
    assert made.headers["Cache-Control"] == "no-cache, private"
    assert "X-Kubernetes-PF-FlowSchema-UID" in made.headers


async def lines_of(response: aiohttp.ClientResponse, count: int) -> list[Any]:
    async with asyncio.timeout(10):
        return [json.loads(await response.content.readline()) for _ in range(count)]


async def test_a_watch_streams_events_and_resumes(api: Any) -> None:
    """ADDED, MODIFIED and DELETED arrive as they happen; a second watch from a revision sees only what is newer."""
    async with api.stream(f"{CONFIGMAPS}?watch=1") as response:
        assert response.headers["Content-Type"] == "application/json;stream=watch"
        created = (await api("POST", CONFIGMAPS, config_map(a="1"))).json
        changed = (await api("PUT", f"{CONFIGMAPS}/settings", created | {"data": {"a": "2"}})).json
        await api("DELETE", f"{CONFIGMAPS}/settings")
        events = await lines_of(response, 3)
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    assert events[1]["object"] == changed
    version = created["metadata"]["resourceVersion"]
    async with api.stream(f"{CONFIGMAPS}?watch=1&resourceVersion={version}") as response:
        assert [event["type"] for event in await lines_of(response, 2)] == ["MODIFIED", "DELETED"]


async def test_a_watch_can_replace_a_list(api: Any) -> None:
    """sendInitialEvents gives the state, then a bookmark that says so, then changes."""
    await api("POST", CONFIGMAPS, config_map("one"))
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with api.stream(f"{CONFIGMAPS}?{query}") as response:
        added, bookmark = await lines_of(response, 2)
        await api("POST", CONFIGMAPS, config_map("two"))
        (later,) = await lines_of(response, 1)
    assert (added["type"], added["object"]["metadata"]["name"]) == ("ADDED", "one")
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(bookmark["object"]["metadata"]["resourceVersion"]) >= int(added["object"]["metadata"]["resourceVersion"])
    assert later["object"]["metadata"]["name"] == "two"


async def test_a_watch_ends_at_its_timeout_with_a_bookmark_before(api: Any) -> None:
    """timeoutSeconds closes the stream; a client that allows bookmarks knows where to go on."""
    async with (
        asyncio.timeout(10),
        api.stream(f"{CONFIGMAPS}?watch=1&timeoutSeconds=3&allowWatchBookmarks=1") as response,
    ):
        body = await response.read()
    assert [json.loads(line)["type"] for line in body.splitlines()] == ["BOOKMARK"]


async def test_a_watch_that_is_too_old_says_gone_in_its_stream() -> None:
    """The answer is 200 with one ERROR event that holds the 410 Status."""
    backend = MemoryBackend()
    for number in range(5):
        await backend.create(f"/registry/other/{number}", b"{}")
    async with running(backend=backend) as server, aiohttp.ClientSession() as session:
        url = f"{server.url}{CONFIGMAPS}?watch=1&resourceVersion=2"
        response = await session.get(url, ssl=server.access().ssl_context())
        assert response.status == 200
        (event,) = await lines_of(response, 1)
        assert await response.content.readline() == b""
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert event["object"]["message"].startswith("too old resource version: 2 (6)")


async def test_a_client_that_leaves_is_forgotten(api: Any) -> None:
    """A closed watch frees its watcher and its place among the long-running requests."""
    labels = {
        "verb": "WATCH", "group": "", "version": "v1", "resource": "configmaps", "subresource": "",
        "scope": "namespace", "component": "apiserver",
    }  # fmt: skip
    metrics = api.server.telemetry.metrics
    async with api.stream(f"{CONFIGMAPS}?watch=1"):
        assert metrics.value("apiserver_longrunning_requests", **labels) == 1
    async with asyncio.timeout(5):
        while metrics.value("apiserver_longrunning_requests", **labels):
            await asyncio.sleep(0.01)
    assert metrics.value("apiserver_request_total", **labels, dry_run="", code="200") == 1

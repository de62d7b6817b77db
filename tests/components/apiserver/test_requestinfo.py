"""URL → RequestInfo, row by row as upstream's own table has it."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest

from kubeglass.components.apiserver.requestinfo import BadPath, parse
from kubeglass.components.apiserver.requestspan import span_name

ROWS = [
    # method, url, verb, group, version, namespace, resource, subresource, name
    ("GET", "/api/v1/namespaces", "list", "", "v1", "", "namespaces", "", ""),
    ("GET", "/api/v1/namespaces/other", "get", "", "v1", "other", "namespaces", "", "other"),
    ("GET", "/api/v1/namespaces/other/pods", "list", "", "v1", "other", "pods", "", ""),
    ("GET", "/api/v1/namespaces/other/pods/foo", "get", "", "v1", "other", "pods", "", "foo"),
    ("HEAD", "/api/v1/namespaces/other/pods/foo", "get", "", "v1", "other", "pods", "", "foo"),
    ("GET", "/api/v1/pods", "list", "", "v1", "", "pods", "", ""),
    ("HEAD", "/api/v1/pods", "list", "", "v1", "", "pods", "", ""),
    ("GET", "/api/v1/proxy/namespaces/other/pods/foo", "proxy", "", "v1", "other", "pods", "", "foo"),
    ("GET", "/api/v1/proxy/namespaces/other/pods/foo/sub/path", "proxy", "", "v1", "other", "pods", "", "foo"),
    ("GET", "/api/v1/watch/pods", "watch", "", "v1", "", "pods", "", ""),
    ("GET", "/api/v1/pods?watch=true", "watch", "", "v1", "", "pods", "", ""),
    ("GET", "/api/v1/pods?watch=false", "list", "", "v1", "", "pods", "", ""),
    ("GET", "/api/v1/namespaces/other/pods?watch=1", "watch", "", "v1", "other", "pods", "", ""),
    ("GET", "/api/v1/namespaces/other/pods/foo/status", "get", "", "v1", "other", "pods", "status", "foo"),
    ("PUT", "/api/v1/namespaces/other/finalize", "update", "", "v1", "other", "namespaces", "finalize", "other"),
    ("PUT", "/api/v1/namespaces/other/status", "update", "", "v1", "other", "namespaces", "status", "other"),
    ("PATCH", "/api/v1/namespaces/other/pods/foo", "patch", "", "v1", "other", "pods", "", "foo"),
    ("DELETE", "/api/v1/namespaces/other/pods/foo", "delete", "", "v1", "other", "pods", "", "foo"),
    ("DELETE", "/api/v1/nodes", "deletecollection", "", "v1", "", "nodes", "", ""),
    ("POST", "/apis/apps/v1/namespaces/other/deployments", "create", "apps", "v1", "other", "deployments", "", ""),
    ("GET", "/apis/apps/v1/deployments", "list", "apps", "v1", "", "deployments", "", ""),
    ("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dfoo", "list", "", "v1", "", "pods", "", "foo"),
    ("GET", "/api/v1/pods?fieldSelector=metadata.name!%3Dfoo", "list", "", "v1", "", "pods", "", ""),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1]}")
def test_a_resource_path_is_read_as_upstream_reads_it(row: tuple[str, ...]) -> None:
    """Verb, group, version, namespace, resource, subresource and name come out as in upstream's table."""
    method, url, *wanted = row
    path, _, query = url.partition("?")
    info = parse(method, path, parse_qs(query))
    found = [info.verb, info.group, info.version, info.namespace, info.resource, info.subresource, info.name]
    assert info.is_resource
    assert found == wanted


@pytest.mark.parametrize("path", ["/", "/healthz", "/api", "/apis", "/api/v1", "/apis/apps/v1", "/version", "/metrics"])
def test_other_paths_are_no_resources(path: str) -> None:
    """Their verb is the lower-case method."""
    info = parse("GET", path, {})
    assert (info.is_resource, info.verb, info.scope) == (False, "get", "")


def test_a_verb_in_the_path_needs_something_behind_it() -> None:
    """/api/v1/watch alone makes no sense."""
    with pytest.raises(BadPath, match="unable to determine kind and namespace from url, /api/v1/watch"):
        parse("GET", "/api/v1/watch", {})


@pytest.mark.parametrize(
    ("method", "path", "scope", "long"),
    [
        ("GET", "/api/v1/namespaces/a/pods/b", "resource", False),
        ("POST", "/api/v1/namespaces/a/pods", "resource", False),
        ("GET", "/api/v1/namespaces/a/pods", "namespace", False),
        ("GET", "/api/v1/pods", "cluster", False),
        ("GET", "/api/v1/watch/pods", "cluster", True),
        ("GET", "/api/v1/namespaces/a/pods/b/log", "resource", True),
        ("POST", "/api/v1/namespaces/a/pods/b/exec", "resource", True),
        ("GET", "/metrics", "", False),
    ],
)
def test_scope_and_length_follow_from_it(method: str, path: str, scope: str, long: bool) -> None:
    """Scope is the metric label; watches, logs and attached streams are long-running."""
    info = parse(method, path, {})
    assert (info.scope, info.long_running) == (scope, long)


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/api/v1/namespaces/a/pods/b/log", "GET /api/v1/namespaces/{:namespace}/pods/{:name}/log"),
        ("POST", "/apis/apps/v1/namespaces/a/deployments", "POST /apis/apps/v1/namespaces/{:namespace}/deployments"),
        ("GET", "/api/v1/nodes", "GET /api/v1/nodes"),
        ("GET", "/healthz", "GET"),
    ],
)
def test_the_request_span_is_named_by_the_route(method: str, path: str, name: str) -> None:
    """Names carry placeholders, never names of objects."""
    assert span_name(method, parse(method, path, {})) == name

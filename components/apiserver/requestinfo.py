"""URL → RequestInfo: what a request is about, read from its method, path and query alone. Pure.

Answers to k8s.io/apiserver/pkg/endpoints/request: the same forms, special verbs and oddities, because authorization,
flow control, audit and metrics all classify by this value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qs

_VERB_OF_METHOD = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_VERBS_IN_PATH = frozenset({"watch", "proxy"})
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_LONG_RUNNING_VERBS = frozenset({"watch", "proxy"})
_LONG_RUNNING_SUBRESOURCES = frozenset({"attach", "exec", "proxy", "log", "portforward"})


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """The attributes of one request. Non-resource requests have only `path` and `verb` (the lower-case method)."""

    path: str
    verb: str
    is_resource: bool = False
    api_prefix: str = ""
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    parts: tuple[str, ...] = ()
    """The path from the resource on: resource, name, subresource, and what a proxy passes on."""
    label_selector: str = ""
    field_selector: str = ""

    @property
    def scope(self) -> str:
        """The `scope` label: resource, namespace, cluster, or "" for non-resource requests."""
        if self.name or self.verb == "create":
            return "resource"
        if self.namespace:
            return "namespace"
        return "cluster" if self.is_resource else ""

    @property
    def long_running(self) -> bool:
        """Whether the request may outlive the deadline: watches, proxies and attached streams."""
        if self.is_resource:
            return self.verb in _LONG_RUNNING_VERBS or self.subresource in _LONG_RUNNING_SUBRESOURCES
        return self.path.startswith("/debug/pprof/")


class BadPath(ValueError):
    """A path that starts like a resource path and then stops making sense."""


def parse(method: str, path: str, query: Mapping[str, Sequence[str]]) -> RequestInfo:
    """The RequestInfo of one request. Raises BadPath."""
    other = RequestInfo(path, method.lower())
    parts = [part for part in path.strip("/").split("/") if part]
    if len(parts) < 3 or parts[0] not in ("api", "apis"):
        return other
    prefix, *parts = parts
    group = ""
    if prefix == "apis":
        if len(parts) < 3:
            return other
        group, *parts = parts
    version, *parts = parts

    verb = _VERB_OF_METHOD.get(method, "")
    if parts[0] in _VERBS_IN_PATH:
        if len(parts) < 2:
            raise BadPath(f"unable to determine kind and namespace from url, {path}")
        verb, *parts = parts

    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
        if len(parts) > 2 and parts[2] not in _NAMESPACE_SUBRESOURCES:
            parts = parts[2:]

    name = parts[1] if len(parts) > 1 else ""
    selectors = ("", "")
    if not name:
        verb = _collection_verb(verb, query)
        if verb in ("list", "watch", "deletecollection"):
            selectors = (_first(query, "labelSelector"), _first(query, "fieldSelector"))
            name = _named_by(selectors[1]) if verb != "deletecollection" else ""
    return RequestInfo(
        path=path,
        verb=verb,
        is_resource=True,
        api_prefix=prefix,
        group=group,
        version=version,
        namespace=namespace,
        resource=parts[0],
        subresource=parts[2] if len(parts) > 2 and verb != "proxy" else "",
        name=name,
        parts=tuple(parts),
        label_selector=selectors[0],
        field_selector=selectors[1],
    )


@lru_cache(maxsize=4096)
def remembered(method: str, path: str, query_string: str) -> RequestInfo:
    """`parse`, for a server that is asked the same again and again. Raises BadPath."""
    return parse(method, path, parse_qs(query_string, keep_blank_values=True) if query_string else {})


def truthy(query: Mapping[str, Sequence[str]], name: str) -> bool:
    """A boolean query parameter as upstream reads it: present and not `0` or `false`."""
    return name in query and _first(query, name).lower() not in ("0", "false")


def _collection_verb(verb: str, query: Mapping[str, Sequence[str]]) -> str:
    if verb == "get":
        return "watch" if truthy(query, "watch") else "list"
    return "deletecollection" if verb == "delete" else verb


def _named_by(field_selector: str) -> str:
    """The name that `metadata.name=x` pins down, so that a watch of one object is authorized as such."""
    for term in field_selector.split(","):
        key, equals, value = term.partition("=")
        if equals and key == "metadata.name" and value:
            name = value.removeprefix("=")
            return name if name not in (".", "..") and "/" not in name and "%" not in name else ""
    return ""


def _first(query: Mapping[str, Sequence[str]], name: str) -> str:
    values = query.get(name)
    return values[0] if values else ""

"""Roles and bindings decide, with upstream's matching and upstream's words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from kubeglass.components.api import kinds
from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.user import UserInfo
from kubeglass.components.apiserver.auth import policy
from kubeglass.components.apiserver.auth.authorizers import Attributes, Authorization, PrivilegedGroups, forbidden
from kubeglass.components.apiserver.auth.metrics import AuthorizationMetrics
from kubeglass.components.apiserver.auth.node import NodeAuthorizer
from kubeglass.components.apiserver.auth.rbac import Rbac, Rule
from kubeglass.components.apiserver.requestinfo import parse
from kubeglass.components.apiserver.storage.records import Record
from kubeglass.telemetry.metrics.registry import Registry

JANE = UserInfo("jane", groups=("developers", "system:authenticated"))


class Objects:
    """Objects of one kind, as the cache would hold them."""

    def __init__(self, kind: Kind, objects: list[dict[str, Any]]) -> None:
        self.revision = 1
        self._records: dict[str, Record] = {}
        for obj in objects:
            self.put(kind, obj)

    def put(self, kind: Kind, obj: dict[str, Any]) -> None:
        self.revision += 1
        metadata = obj["metadata"]
        key = kind.storage_key(metadata.get("namespace", ""), metadata["name"])
        body = {"metadata": metadata, **{name: value for name, value in obj.items() if name != "metadata"}}
        tail = json.dumps(body, separators=(",", ":")).encode()[1:]
        self._records[key] = Record(key, len(kind.storage_prefix()), tail, self.revision)

    def get(self, key: str) -> Record | None:
        return self._records.get(key)

    def records(self) -> Iterator[Record]:
        return iter(self._records.values())


def rbac(**objects: list[dict[str, Any]]) -> Rbac:
    return Rbac(
        Objects(kinds.ROLE, objects.get("roles", [])),
        Objects(kinds.ROLE_BINDING, objects.get("role_bindings", [])),
        Objects(kinds.CLUSTER_ROLE, objects.get("cluster_roles", [])),
        Objects(kinds.CLUSTER_ROLE_BINDING, objects.get("cluster_role_bindings", [])),
    )


def reader(name: str, namespace: str = "", **rule: list[str]) -> dict[str, Any]:
    rules = [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"], **rule}]
    return {"metadata": {"name": name, "namespace": namespace}, "rules": rules}


def binding(role: str, *subjects: dict[str, str], namespace: str = "", kind: str = "ClusterRole") -> dict[str, Any]:
    metadata = {"name": f"{role}-binding", "namespace": namespace}
    return {"metadata": metadata, "roleRef": {"kind": kind, "name": role}, "subjects": list(subjects)}


def wants(user: UserInfo, method: str, path: str) -> Attributes:
    return Attributes.of(user, parse(method, path, {}))


USER, GROUP = {"kind": "User", "name": "jane"}, {"kind": "Group", "name": "developers"}
ACCOUNT = {"kind": "ServiceAccount", "name": "build", "namespace": "ci"}


@pytest.mark.parametrize("subject", [USER, GROUP])
def test_a_cluster_binding_allows_everywhere(subject: dict[str, str]) -> None:
    """By user or group, in every namespace and at cluster scope, and nothing beyond the rules."""
    authorizer = rbac(cluster_roles=[reader("r")], cluster_role_bindings=[binding("r", subject)])
    assert authorizer.authorize(wants(JANE, "GET", "/api/v1/namespaces/a/pods/x")).allowed
    assert authorizer.authorize(wants(JANE, "GET", "/api/v1/pods")).allowed
    assert not authorizer.authorize(wants(JANE, "DELETE", "/api/v1/namespaces/a/pods/x")).allowed
    assert not authorizer.authorize(wants(JANE, "GET", "/api/v1/namespaces/a/secrets")).allowed
    assert not authorizer.authorize(wants(UserInfo("joe"), "GET", "/api/v1/pods")).allowed


def test_a_namespaced_binding_allows_there_only() -> None:
    """A RoleBinding counts in its namespace, whether it refers to a Role or a ClusterRole."""
    for kind, roles in (("Role", "roles"), ("ClusterRole", "cluster_roles")):
        role = reader("r", "a" if kind == "Role" else "")
        authorizer = rbac(**{roles: [role], "role_bindings": [binding("r", USER, namespace="a", kind=kind)]})
        assert authorizer.authorize(wants(JANE, "GET", "/api/v1/namespaces/a/pods")).allowed
        assert not authorizer.authorize(wants(JANE, "GET", "/api/v1/namespaces/b/pods")).allowed
        assert not authorizer.authorize(wants(JANE, "GET", "/api/v1/pods")).allowed


def test_a_service_account_is_a_subject() -> None:
    """Its user name is matched, with the binding's namespace as default."""
    account = UserInfo("system:serviceaccount:ci:build")
    authorizer = rbac(cluster_roles=[reader("r")], cluster_role_bindings=[binding("r", ACCOUNT)])
    assert authorizer.authorize(wants(account, "GET", "/api/v1/pods")).allowed


@pytest.mark.parametrize(
    ("rule", "path", "allowed"),
    [
        ({"resources": ["pods/log"]}, "/api/v1/namespaces/a/pods/x/log", True),
        ({"resources": ["pods"]}, "/api/v1/namespaces/a/pods/x/log", False),
        ({"resources": ["*/log"]}, "/api/v1/namespaces/a/pods/x/log", True),
        ({"resources": ["*"]}, "/api/v1/namespaces/a/pods/x/log", True),
        ({"resourceNames": ["x"]}, "/api/v1/namespaces/a/pods/x", True),
        ({"resourceNames": ["x"]}, "/api/v1/namespaces/a/pods/y", False),
        ({"resourceNames": ["x"]}, "/api/v1/namespaces/a/pods", False),
        ({"apiGroups": ["apps"]}, "/api/v1/namespaces/a/pods", False),
        ({"apiGroups": ["*"]}, "/api/v1/namespaces/a/pods", True),
        ({"verbs": ["*"]}, "/api/v1/namespaces/a/pods", True),
        ({"verbs": ["get"]}, "/api/v1/namespaces/a/pods", False),
    ],
)
def test_rules_match_as_upstream_matches(rule: dict[str, list[str]], path: str, allowed: bool) -> None:
    """Subresources, names, groups and wildcards."""
    whole = {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"], **rule}
    assert Rule.of(whole).allows(wants(JANE, "GET", path)) is allowed


@pytest.mark.parametrize(
    ("url", "path", "allowed"),
    [("/healthz", "/healthz", True), ("/healthz", "/healthz/ping", False), ("/apis/*", "/apis/apps", True),
     ("*", "/metrics", True), ("/metrics/*", "/metrics", False)],
)  # fmt: skip
def test_paths_match_exactly_or_by_prefix(url: str, path: str, allowed: bool) -> None:
    """nonResourceURLs know one trailing star."""
    assert Rule.of({"verbs": ["get"], "nonResourceURLs": [url]}).allows(wants(JANE, "GET", path)) is allowed


def test_a_missing_role_is_named() -> None:
    """A binding to a role that does not exist gives no permission, and says why."""
    verdict = rbac(cluster_role_bindings=[binding("gone", USER)]).authorize(wants(JANE, "GET", "/api/v1/pods"))
    assert verdict.reason == 'RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found'


def test_changed_bindings_and_roles_count_at_once() -> None:
    """The index follows the caches."""
    roles, bindings = Objects(kinds.CLUSTER_ROLE, [reader("r")]), Objects(kinds.CLUSTER_ROLE_BINDING, [])
    authorizer = Rbac(Objects(kinds.ROLE, []), Objects(kinds.ROLE_BINDING, []), roles, bindings)
    asked = wants(JANE, "GET", "/api/v1/pods")
    assert not authorizer.authorize(asked).allowed
    bindings.put(kinds.CLUSTER_ROLE_BINDING, binding("r", USER))
    assert authorizer.authorize(asked).allowed
    roles.put(kinds.CLUSTER_ROLE, reader("r", resources=["nodes"]))
    assert not authorizer.authorize(asked).allowed


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("GET", "/api/v1/namespaces/default/pods",
         'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"'),
        ("GET", "/api/v1/namespaces/default/pods/x",
         'pods "x" is forbidden: User "jane" cannot get resource "pods" in API group "" in the namespace "default"'),
        ("GET", "/apis/apps/v1/deployments",
         'deployments.apps is forbidden: User "jane" cannot list resource "deployments" in API group "apps" at the '
         'cluster scope'),
        ("POST", "/api/v1/namespaces/a/pods/x/exec",
         'pods "x" is forbidden: User "jane" cannot create resource "pods/exec" in API group "" in the namespace "a"'),
        ("GET", "/metrics", 'forbidden: User "jane" cannot get path "/metrics"'),
    ],
)  # fmt: skip
def test_a_refusal_speaks_upstreams_words(method: str, path: str, text: str) -> None:
    """The Status names user, verb, resource, group and where."""
    error = forbidden(wants(JANE, method, path))
    assert error.message == text
    assert error.status_code == 403


def default_policy() -> Authorization:
    by_kind: dict[Kind, list[dict[str, Any]]] = {}
    for kind, obj in policy.objects():
        by_kind.setdefault(kind, []).append(obj)
    authorizer = Rbac(*(Objects(kind, by_kind.get(kind, [])) for kind in (
        kinds.ROLE, kinds.ROLE_BINDING, kinds.CLUSTER_ROLE, kinds.CLUSTER_ROLE_BINDING)))  # fmt: skip
    node = NodeAuthorizer(Objects(kinds.POD, [
        {"metadata": {"name": "web", "namespace": "a"}, "spec": {"nodeName": "n1", "serviceAccountName": "build",
         "volumes": [{"name": "v", "secret": {"secretName": "tls"}}],
         "containers": [{"name": "c", "envFrom": [{"configMapRef": {"name": "settings"}}]}]}},
    ]))  # fmt: skip
    return Authorization([PrivilegedGroups(), node, authorizer], AuthorizationMetrics(Registry()), lambda: 0.0)


ADMIN = UserInfo("root", groups=("system:masters",))
SCHEDULER = UserInfo("system:kube-scheduler", groups=("system:authenticated",))
PROMETHEUS = UserInfo("prometheus", groups=("system:monitoring", "system:authenticated"))
NOBODY = UserInfo("system:anonymous", groups=("system:unauthenticated",))
NODE = UserInfo("system:node:n1", groups=("system:nodes", "system:authenticated"))


@pytest.mark.parametrize(
    ("user", "method", "path", "allowed"),
    [
        (ADMIN, "DELETE", "/api/v1/nodes/n1", True),
        (SCHEDULER, "POST", "/api/v1/namespaces/a/pods/x/binding", True),
        (SCHEDULER, "GET", "/api/v1/namespaces/a/secrets/x", False),
        (SCHEDULER, "PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler", True),
        (SCHEDULER, "PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/other", False),
        (PROMETHEUS, "GET", "/metrics", True),
        (PROMETHEUS, "GET", "/api/v1/pods", False),
        (NOBODY, "GET", "/healthz", True),
        (NOBODY, "GET", "/version", True),
        (NOBODY, "GET", "/api", False),
        (JANE, "GET", "/api", True),
        (JANE, "GET", "/metrics", False),
        (JANE, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", True),
        (NODE, "GET", "/api/v1/namespaces/a/secrets/tls", True),
        (NODE, "GET", "/api/v1/namespaces/a/secrets/other", False),
        (NODE, "GET", "/api/v1/namespaces/b/secrets/tls", False),
        (NODE, "GET", "/api/v1/namespaces/a/secrets", False),
        (NODE, "GET", "/api/v1/namespaces/a/configmaps/settings", True),
        (NODE, "POST", "/api/v1/namespaces/a/serviceaccounts/build/token", True),
        (NODE, "POST", "/api/v1/namespaces/a/serviceaccounts/other/token", False),
        (NODE, "PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1", True),
        (NODE, "PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n2", False),
        (NODE, "PATCH", "/api/v1/namespaces/a/pods/web/status", True),
        (NODE, "GET", "/apis/apps/v1/deployments", False),
    ],
    ids=lambda value: value.name if isinstance(value, UserInfo) else str(value),
)
def test_the_default_policy_gives_everyone_what_they_need(
    user: UserInfo, method: str, path: str, allowed: bool
) -> None:
    """Components, nodes, monitoring and strangers: each their own, and no more."""
    assert default_policy().authorize(wants(user, method, path)).allowed is allowed

"""Read-only views: roles and bindings (rbac.authorization.k8s.io/v1)."""

from __future__ import annotations

from kubeglass.components.api.objects.meta import LabelSelector, Resource
from kubeglass.components.api.objects.struct import Object


class PolicyRule(Object):
    api_groups: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()


class Role(Resource):
    rules: tuple[PolicyRule, ...] = ()


class AggregationRule(Object):
    cluster_role_selectors: tuple[LabelSelector, ...] = ()


class ClusterRole(Resource):
    aggregation_rule: AggregationRule | None = None
    rules: tuple[PolicyRule, ...] = ()


class RoleRef(Object):
    api_group: str = ""
    kind: str = ""
    name: str = ""


class Subject(Object):
    api_group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""


class RoleBinding(Resource):
    role_ref: RoleRef = RoleRef()
    subjects: tuple[Subject, ...] = ()


class ClusterRoleBinding(Resource):
    role_ref: RoleRef = RoleRef()
    subjects: tuple[Subject, ...] = ()

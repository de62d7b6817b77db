"""What aggregated ClusterRoles are given."""

from __future__ import annotations

from typing import Any

from kubeglass.components.api.objects import ClusterRole, decode
from kubeglass.components.controllers.actions import Patch
from kubeglass.components.controllers.clusterroles import plan


def role(name: str, *resources: str, **more: Any) -> ClusterRole:
    rules = [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]} for resource in resources]
    labels = {"aggregate": "yes"} if resources else {}
    return decode(ClusterRole, {"metadata": {"name": name, "labels": labels}, "rules": rules, **more})


AGGREGATED = {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"aggregate": "yes"}}]}}


def test_the_rules_of_all_selected_roles() -> None:
    """In the order of their names, each rule once; when nothing differs, nothing is written."""
    others = [role("b", "pods", "secrets"), role("a", "pods", "nodes"), role("c")]
    (action,) = plan(role("sum", **AGGREGATED), others).actions
    assert isinstance(action, Patch)
    assert [rule["resources"] for rule in action.patch["rules"]] == [["pods"], ["nodes"], ["secrets"]]
    settled = decode(ClusterRole, {"metadata": {"name": "sum"}, "rules": action.patch["rules"], **AGGREGATED})
    assert plan(settled, [*others, settled]).actions == ()


def test_other_roles_are_left_alone() -> None:
    """A role without an aggregationRule keeps the rules it has."""
    assert plan(role("plain", "pods"), [role("a", "nodes")]).actions == ()

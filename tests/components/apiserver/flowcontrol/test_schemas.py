"""Which schema a request belongs to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeglass.components.api.flowcontrol import LEVELS, SCHEMAS
from kubeglass.components.api.objects.flowcontrol import flow_schema
from kubeglass.components.apiserver.flowcontrol.schemas import (
    Classifier,
    RequestDigest,
    distinguisher,
    in_order,
    schema_matches,
    url_matches,
)

DATA: Any = json.loads((Path(__file__).parent / "data" / "matching.json").read_text())
QUEUING = {level.name for level in LEVELS if level.queuing is not None}


def _digest(case: Any) -> RequestDigest:
    request = case["request"]
    return RequestDigest(
        case["user"],
        tuple(case["groups"]),
        request["isResource"],
        request["verb"],
        request.get("apiGroup", ""),
        "v1",
        request.get("resource", ""),
        request.get("subresource", ""),
        request.get("namespace", ""),
        "",
        request.get("path", ""),
    )


@pytest.mark.parametrize("case", DATA["cases"], ids=lambda c: f"{c['user']}-{c['flowSchema']}")
def test_default_classification(case: Any) -> None:
    """The built-in schemas sort requests as documented, the second time as the first."""
    classifier = Classifier(SCHEMAS)
    digest = _digest(case)
    for _ in range(2):
        schema = classifier.classify(digest)
        assert (schema.name, schema.level) == (case["flowSchema"], case["priorityLevel"])
    if schema.level in QUEUING:
        assert distinguisher(schema)(digest) == case["distinguisher"]


@pytest.mark.parametrize("case", DATA["nonResourceUrlMatching"], ids=lambda c: f"{c['rule']} {c['path']}")
def test_url_matches(case: Any) -> None:
    """A path rule covers itself and what lies below."""
    assert url_matches(case["rule"], case["path"]) is case["matches"]


def _literal(change: str) -> Any:
    """The rule that matches literally, with one field replaced."""
    base = DATA["literalMatching"]["base"]
    rule: dict[str, Any] = {k: base[k] for k in ("verbs", "apiGroups", "resources", "namespaces")}
    kind, name = base["subject"].split()
    field, _, value = change.partition(" by ")
    if field == "subject":
        kind, name = value.split()
    elif field != "nothing":
        rule[field] = [value]
    subject = {"kind": kind, kind.lower(): {"name": name}}
    return flow_schema({"spec": {"rules": [{"subjects": [subject], "resourceRules": [rule]}]}})


LITERAL = [(c, True) for c in DATA["literalMatching"]["matchAfterReplacing"]]
LITERAL += [(c, False) for c in DATA["literalMatching"]["noMatchAfterReplacing"]]


@pytest.mark.parametrize(("change", "matches"), LITERAL)
def test_literal_matching(change: str, matches: bool) -> None:
    """A rule matches literally or by a sole asterisk."""
    r = DATA["literalMatching"]["request"]
    digest = RequestDigest(
        r["user"], tuple(r["groups"]), True, r["verb"], r["apiGroup"], "v1", r["resource"], "", r["namespace"]
    )
    assert schema_matches(_literal(change), digest) is matches


@pytest.mark.parametrize("cluster_scope", [True, False])
def test_cluster_scope(cluster_scope: bool) -> None:
    """A request without namespace matches only a rule with clusterScope, whatever its namespaces."""
    rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": cluster_scope}
    subject = {"kind": "Group", "group": {"name": "*"}}
    schema = flow_schema({"spec": {"rules": [{"subjects": [subject], "resourceRules": [rule]}]}})
    assert schema_matches(schema, RequestDigest("u", (), True, "list", "", "v1", "nodes")) is cluster_scope


@pytest.mark.parametrize(
    ("entry", "matches"), [("pods", False), ("pods/status", True), ("pods/*", False), ("*/status", False), ("*", True)]
)
def test_subresources(entry: str, matches: bool) -> None:
    """A subresource is its own name; there is no pattern for it but the sole asterisk."""
    rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": [entry], "namespaces": ["*"]}
    subject = {"kind": "User", "user": {"name": "*"}}
    schema = flow_schema({"spec": {"rules": [{"subjects": [subject], "resourceRules": [rule]}]}})
    digest = RequestDigest("u", (), True, "update", "", "v1", "pods", "status", "ns")
    assert schema_matches(schema, digest) is matches


@pytest.mark.parametrize("case", DATA["order"])
def test_order(case: Any) -> None:
    """Precedence first, then the name."""
    schemas = [flow_schema({"metadata": {"name": n}, "spec": {"matchingPrecedence": p}}) for n, p in case["input"]]
    assert [schema.name for schema in in_order(schemas)] == case["order"]


def test_nobody_matches() -> None:
    """A user without any group falls into catch-all."""
    assert Classifier(SCHEMAS).classify(RequestDigest("ghost", (), False, "get", path="/x")).name == "catch-all"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["alice", "system:node:n1", "system:kube-scheduler", "system:serviceaccount:kube-system:x"]
            ),
            st.sampled_from(
                [
                    ("system:authenticated",),
                    ("system:nodes", "system:authenticated"),
                    ("system:masters", "system:authenticated"),
                ]
            ),
            st.sampled_from(["get", "update", "list"]),
            st.sampled_from([("", "pods"), ("coordination.k8s.io", "leases"), ("", "nodes")]),
            st.sampled_from(["", "kube-system", "a"]),
        ),
        max_size=30,
    )
)
def test_remembered_decisions_are_the_decisions(requests: list[Any]) -> None:
    """Whatever was asked before, the schema is the first one that matches."""
    classifier = Classifier(SCHEMAS)
    for user, groups, verb, (group, resource), namespace in requests:
        digest = RequestDigest(user, groups, True, verb, group, "v1", resource, "", namespace)
        assert classifier.classify(digest) is next(s for s in classifier.schemas if schema_matches(s, digest))

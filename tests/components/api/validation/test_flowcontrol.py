"""Why flowcontrol objects are refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from kubeglass.components.api import flowcontrol as builtin
from kubeglass.components.api.objects.flowcontrol import flow_schema, priority_level
from kubeglass.components.api.validation import flowcontrol as validation

DATA = Path(__file__).parents[2] / "apiserver" / "flowcontrol" / "data"
MATCHING: Any = json.loads((DATA / "matching.json").read_text())
DEALING: Any = json.loads((DATA / "dealing.json").read_text())


@pytest.mark.parametrize("obj", builtin.MANDATORY_SCHEMA_OBJECTS + builtin.SUGGESTED_SCHEMA_OBJECTS)
def test_built_in_schemas_are_valid(obj: Any) -> None:
    """Nothing is wrong with the built-in schemas."""
    assert validation.flow_schema(flow_schema(obj)) == []


@pytest.mark.parametrize("obj", builtin.MANDATORY_LEVEL_OBJECTS + builtin.SUGGESTED_LEVEL_OBJECTS)
def test_built_in_levels_are_valid(obj: Any) -> None:
    """Nothing is wrong with the built-in levels."""
    assert validation.priority_level(priority_level(obj)) == []


@pytest.mark.parametrize("case", MATCHING["nonResourceUrlValidation"], ids=lambda c: c["path"] or "empty")
def test_urls(case: Any) -> None:
    """A path rule is absolute, plain, and ends in at most one wildcard segment."""
    assert (validation.url_error(case["path"]) == "") is case["valid"]


def _schema(**spec: Any) -> dict[str, Any]:
    obj = copy.deepcopy(builtin.SUGGESTED_SCHEMA_OBJECTS[-1])
    obj["metadata"]["name"] = "mine"
    obj["spec"] |= spec
    return obj


def _rule(**changes: Any) -> dict[str, Any]:
    rule = copy.deepcopy(builtin.SUGGESTED_SCHEMA_OBJECTS[-1]["spec"]["rules"][0])
    return _schema(rules=[rule | changes])


def _resource_rule(**changes: Any) -> dict[str, Any]:
    rule = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["a"]}
    return _rule(resourceRules=[rule | changes], nonResourceRules=[])


REFUSED = [
    (_schema(matchingPrecedence=0), "spec.matchingPrecedence", "Invalid value: 0: must be a positive value"),
    (
        _schema(matchingPrecedence=1),
        "spec.matchingPrecedence",
        "Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
    ),
    (
        _schema(matchingPrecedence=10001),
        "spec.matchingPrecedence",
        "Invalid value: 10001: must not be greater than 10000",
    ),
    (
        _schema(priorityLevelConfiguration={}),
        "spec.priorityLevelConfiguration.name",
        "Required value: must reference a priority level",
    ),
    (
        _schema(distinguisherMethod={"type": "ByMood"}),
        "spec.distinguisherMethod.type",
        'Unsupported value: {"type":"ByMood"}: supported values: "ByNamespace", "ByUser"',
    ),
    (
        _rule(subjects=[]),
        "spec.rules[0].subjects",
        "Required value: subjects must contain at least one value",
    ),
    (
        _rule(resourceRules=[], nonResourceRules=[]),
        "spec.rules[0]",
        "Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
    ),
    (
        _rule(subjects=[{"kind": "Robot"}]),
        "spec.rules[0].subjects[0].kind",
        'Unsupported value: "Robot": supported values: "Group", "ServiceAccount", "User"',
    ),
    (
        _rule(subjects=[{"kind": "User"}]),
        "spec.rules[0].subjects[0].user",
        "Required value: user is required when subject kind is 'User'",
    ),
    (
        _rule(subjects=[{"kind": "User", "user": {"name": "a"}, "group": {"name": "b"}}]),
        "spec.rules[0].subjects[0].group",
        "Forbidden: group is forbidden when subject kind is not 'Group'",
    ),
    (
        _rule(subjects=[{"kind": "ServiceAccount", "serviceAccount": {"name": "*"}}]),
        "spec.rules[0].subjects[0].serviceAccount.namespace",
        "Required value: must specify namespace for service account",
    ),
    (
        _resource_rule(verbs=["*", "get"]),
        "spec.rules[0].resourceRules[0].verbs",
        'Invalid value: ["*","get"]: if \'*\' is present, must not specify other verbs',
    ),
    (
        _resource_rule(apiGroups=[]),
        "spec.rules[0].resourceRules[0].apiGroups",
        "Required value: resource rules must supply at least one api group",
    ),
    (
        _resource_rule(namespaces=[]),
        "spec.rules[0].resourceRules[0].namespaces",
        "Required value: resource rules that are not cluster scoped must supply at least one namespace",
    ),
    (
        _rule(nonResourceRules=[{"verbs": ["get"], "nonResourceURLs": ["/a*"]}], resourceRules=[]),
        "spec.rules[0].nonResourceRules[0].nonResourceURLs[0]",
        'Invalid value: "/a*": wildcard can only do suffix matching',
    ),
]


@pytest.mark.parametrize(("obj", "field", "message"), REFUSED, ids=[f"{row[1]} {row[2][:30]}" for row in REFUSED])
def test_refused_schemas(obj: Any, field: str, message: str) -> None:
    """Each mistake has its field and its sentence."""
    assert [(cause.field, cause.message) for cause in validation.flow_schema(flow_schema(obj))] == [(field, message)]


def test_unknown_verbs() -> None:
    """A verb that no request has is refused with the list of those that exist."""
    (cause,) = validation.flow_schema(flow_schema(_resource_rule(verbs=["look"])))
    assert cause.message.startswith('Unsupported value: ["look"]: supported values: "create", "delete"')


def test_namespaces_are_labels() -> None:
    """A namespace in a rule is a DNS label or the asterisk."""
    (cause,) = validation.flow_schema(flow_schema(_resource_rule(namespaces=["A"])))
    assert cause.field == "spec.rules[0].resourceRules[0].namespaces[0]"
    assert "each member of this list must be '*' or a DNS-1123 label; " in cause.message


def _level(name: str = "mine", **changes: Any) -> dict[str, Any]:
    obj = copy.deepcopy(builtin.SUGGESTED_LEVEL_OBJECTS[0])
    obj["metadata"]["name"] = name
    obj["spec"]["limited"] |= changes
    return obj


def _queuing(**changes: Any) -> dict[str, Any]:
    queuing = {"queues": 64, "handSize": 6, "queueLengthLimit": 50} | changes
    return _level(limitResponse={"type": "Queue", "queuing": queuing})


REFUSED_LEVELS = [
    (
        _level(nominalConcurrencyShares=-1),
        "spec.limited.nominalConcurrencyShares",
        "Invalid value: -1: must be a non-negative integer",
    ),
    (
        _level(lendablePercent=101),
        "spec.limited.lendablePercent",
        "Invalid value: 101: must be between 0 and 100, inclusive",
    ),
    (
        _level(borrowingLimitPercent=-1),
        "spec.limited.borrowingLimitPercent",
        "Invalid value: -1: if specified, must be a non-negative integer",
    ),
    (
        _level(limitResponse={"type": "Reject", "queuing": {}}),
        "spec.limited.limitResponse.queuing",
        "Forbidden: must be nil if limited.limitResponse.type is not Limited",
    ),
    (
        _level(limitResponse={"type": "Queue"}),
        "spec.limited.limitResponse.queuing",
        "Required value: must not be empty if limited.limitResponse.type is Limited",
    ),
    (
        _level(limitResponse={"type": "Ask"}),
        "spec.limited.limitResponse.type",
        'Unsupported value: "Ask": supported values: "Queue", "Reject"',
    ),
    (
        _queuing(queues=10_000_001, handSize=1),
        "spec.limited.limitResponse.queuing.queues",
        "Invalid value: 10000001: must not be greater than 10000000",
    ),
    (
        _queuing(handSize=65),
        "spec.limited.limitResponse.queuing.handSize",
        "Invalid value: 65: should not be greater than queues (64)",
    ),
    (
        _queuing(queues=512, handSize=8),
        "spec.limited.limitResponse.queuing.handSize",
        "Invalid value: 8: required entropy bits of deckSize 512 and handSize 8 should not be greater than 60",
    ),
    (
        _queuing(queueLengthLimit=0),
        "spec.limited.limitResponse.queuing.queueLengthLimit",
        "Invalid value: 0: must be positive",
    ),
]


@pytest.mark.parametrize(("obj", "field", "message"), REFUSED_LEVELS, ids=[row[1] for row in REFUSED_LEVELS])
def test_refused_levels(obj: Any, field: str, message: str) -> None:
    """Each mistake has its field and its sentence."""
    assert [(cause.field, cause.message) for cause in validation.priority_level(priority_level(obj))] == [
        (field, message)
    ]


def test_zero_shares_are_a_jail() -> None:
    """A level may have no shares at all."""
    assert validation.priority_level(priority_level(_level(nominalConcurrencyShares=0))) == []


def test_mandatory_specs_are_fixed() -> None:
    """The mandatory objects may not change, but for the two numbers of the exempt level."""
    catch_all = copy.deepcopy(builtin.MANDATORY_LEVEL_OBJECTS[0])
    catch_all["spec"]["limited"]["nominalConcurrencyShares"] = 6
    (cause,) = validation.priority_level(priority_level(catch_all))
    assert cause.message.endswith("spec of 'catch-all' must equal the fixed value")
    exempt = copy.deepcopy(builtin.MANDATORY_LEVEL_OBJECTS[1])
    exempt["spec"]["exempt"] = {"nominalConcurrencyShares": 9, "lendablePercent": 10}
    assert validation.priority_level(priority_level(exempt)) == []
    schema = copy.deepcopy(builtin.MANDATORY_SCHEMA_OBJECTS[0])
    schema["spec"]["rules"] = schema["spec"]["rules"] * 2
    (cause,) = validation.flow_schema(flow_schema(schema))
    assert cause.message.endswith("spec of 'exempt' must equal the fixed value")


def test_only_exempt_is_exempt() -> None:
    """The type Exempt goes with the name exempt, both ways."""
    (cause,) = validation.priority_level(priority_level({"metadata": {"name": "mine"}, "spec": {"type": "Exempt"}}))
    assert cause.message == "Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'"


def test_old_versions_name_their_own_field() -> None:
    """A cause against the shares is about the field that the client wrote."""
    causes = validation.priority_level(priority_level(_level(nominalConcurrencyShares=-1)))
    (cause,) = validation.in_version("v1beta1", causes)
    assert (cause.field, cause.message) == (
        "spec.limited.assuredConcurrencyShares",
        "Invalid value: -1: must be a non-negative integer",
    )

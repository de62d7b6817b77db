"""The built-in objects and their maintenance."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from kubeglass.components.api import flowcontrol as builtin
from kubeglass.components.api.objects.flowcontrol import AUTO_UPDATE_ANNOTATION, flow_schema, priority_level
from kubeglass.components.apiserver.flowcontrol.upkeep import maintenance

DATA: Any = json.loads((Path(__file__).parent / "data" / "defaults.json").read_text())


@pytest.mark.parametrize(
    ("built_in", "expected"),
    [
        (builtin.MANDATORY_LEVEL_OBJECTS, DATA["mandatory"]["priorityLevelConfigurations"]),
        (builtin.MANDATORY_SCHEMA_OBJECTS, DATA["mandatory"]["flowSchemas"]),
        (builtin.SUGGESTED_LEVEL_OBJECTS, DATA["suggested"]["priorityLevelConfigurations"]),
        (builtin.SUGGESTED_SCHEMA_OBJECTS, DATA["suggested"]["flowSchemas"]),
    ],
    ids=["mandatory levels", "mandatory schemas", "suggested levels", "suggested schemas"],
)
def test_objects(built_in: Any, expected: Any) -> None:
    """The objects a new server creates are, field by field, those of a real one."""
    assert list(built_in) == expected


def _stored() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What a server holds after it created everything."""
    schemas = copy.deepcopy([*builtin.MANDATORY_SCHEMA_OBJECTS, *builtin.SUGGESTED_SCHEMA_OBJECTS])
    levels = copy.deepcopy([*builtin.MANDATORY_LEVEL_OBJECTS, *builtin.SUGGESTED_LEVEL_OBJECTS])
    for obj in schemas + levels:
        obj["metadata"]["generation"] = 1
    return schemas, levels


def _by_name(objects: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(obj for obj in objects if obj["metadata"]["name"] == name)


def test_everything_is_created_suggested_first() -> None:
    """An empty server gets all objects, levels before the schemas that need them."""
    writes = maintenance([], [])
    assert {write.verb for write in writes} == {"create"}
    assert [write.name for write in writes][:2] == ["system", "node-high"]
    assert [write.name for write in writes][-2:] == ["exempt", "catch-all"]
    assert len(writes) == 19


def test_nothing_to_do() -> None:
    """A server that holds everything is left alone."""
    assert maintenance(*_stored()) == []


def test_mandatory_objects_are_enforced() -> None:
    """A changed mandatory object is restored, whatever its annotation says; the exempt level keeps its numbers."""
    schemas, levels = _stored()
    _by_name(schemas, "catch-all")["spec"]["matchingPrecedence"] = 9999
    _by_name(levels, "catch-all")["metadata"]["annotations"] = {AUTO_UPDATE_ANNOTATION: "false"}
    _by_name(levels, "exempt")["spec"]["exempt"] = {"nominalConcurrencyShares": 10, "lendablePercent": 50}
    writes = maintenance(schemas, levels)
    assert [(write.verb, write.plural, write.name) for write in writes] == [
        ("update", "prioritylevelconfigurations", "catch-all"),
        ("update", "flowschemas", "catch-all"),
    ]
    assert writes[0].obj["metadata"]["annotations"] == {AUTO_UPDATE_ANNOTATION: "true"}
    assert writes[1].obj["spec"] == builtin.MANDATORY_SCHEMA_OBJECTS[1]["spec"]


@pytest.mark.parametrize(
    ("annotation", "generation", "restored", "becomes"),
    [
        ("true", 5, True, "true"),
        ("false", 5, False, None),
        (None, 1, True, "true"),
        (None, 2, False, "false"),
        ("perhaps", 1, True, "true"),
        ("T", 3, True, "true"),
    ],
)
def test_suggested_objects_are_maintained(
    annotation: str | None, generation: int, restored: bool, becomes: str | None
) -> None:
    """A suggested object is restored while it says so, or while nobody touched it."""
    schemas, levels = _stored()
    level = _by_name(levels, "workload-low")
    level["metadata"]["annotations"] = {} if annotation is None else {AUTO_UPDATE_ANNOTATION: annotation}
    level["metadata"]["generation"] = generation
    level["spec"]["limited"]["nominalConcurrencyShares"] = 7
    writes = maintenance(schemas, levels)
    if becomes is None:
        assert writes == []
        return
    (write,) = writes
    assert write.obj["metadata"]["annotations"] == {AUTO_UPDATE_ANNOTATION: becomes}
    assert write.obj["spec"]["limited"]["nominalConcurrencyShares"] == (100 if restored else 7)


def test_retired_objects_are_removed() -> None:
    """An object of an earlier release goes, unless its annotation was switched off."""
    schemas, levels = _stored()
    for name, flag in (("workload-leader-election", "true"), ("mine", "false")):
        schemas.append({"metadata": {"name": name, "annotations": {AUTO_UPDATE_ANNOTATION: flag}}, "spec": {}})
    assert [(w.verb, w.name) for w in maintenance(schemas, levels)] == [("delete", "workload-leader-election")]


def test_views_take_the_defaults_of_the_api() -> None:
    """A manifest that leaves fields out means what a stored object says."""
    assert flow_schema({"metadata": {"name": "x"}}).spec.matching_precedence == 1000
    level = priority_level({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue"}}}})
    assert (level.shares, level.lendable_percent, level.borrowing_limit_percent) == (30, 0, None)
    assert level.queuing is not None
    assert (level.queuing.queues, level.queuing.hand_size, level.queuing.queue_length_limit) == (64, 8, 50)

"""One pass over FlowSchemas and PriorityLevelConfigurations: what shall be in force, and what to report. Pure.

Levels with an unusable spec are skipped; schemas whose level is missing are not used; the mandatory objects are
imagined when absent; a level whose object is gone keeps draining (quiescing) while it is busy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from kubeglass.components.api.flowcontrol import MANDATORY_LEVELS, MANDATORY_SCHEMAS
from kubeglass.components.api.objects.flowcontrol import (
    CATCH_ALL,
    EXEMPT,
    Condition,
    FlowSchema,
    PriorityLevel,
)
from kubeglass.components.apiserver.flowcontrol.schemas import in_order
from kubeglass.components.apiserver.flowcontrol.seats import SECOND
from kubeglass.components.apiserver.flowcontrol.shufflesharding import dealing_error

DANGLING = "Dangling"
STATUS_WRITES_PER_MINUTE = 6


@dataclass(frozen=True, slots=True)
class Plan:
    """What one pass decided."""

    levels: Mapping[str, PriorityLevel]  # in force, imagined ones included
    schemas: tuple[FlowSchema, ...]  # in the order they are tried
    quiescing: frozenset[str]  # levels without object that still drain
    dangling: Mapping[str, Condition]  # schema name -> the condition its status shall have, where that is a change
    warnings: tuple[str, ...]


def plan(schemas: Iterable[FlowSchema], levels: Iterable[PriorityLevel], busy: Collection[str]) -> Plan:
    """`busy` names the levels that now have requests waiting or executing."""
    in_force: dict[str, PriorityLevel] = {}
    warnings: list[str] = []
    for level in levels:
        if problem := unusable(level):
            warnings.append(
                f"Ignoring PriorityLevelConfiguration object {level.name} because its spec is broken: {problem}"
            )
        else:
            in_force[level.name] = level
    usable: list[FlowSchema] = []
    conditions: dict[str, Condition] = {}
    for schema in schemas:
        found = schema.level in in_force
        condition = dangling_condition(schema.level, found)
        if not _has_condition(schema, condition):
            conditions[schema.name] = condition
        if found:
            usable.append(schema)
    in_force |= {level.name: level for level in MANDATORY_LEVELS if level.name not in in_force}
    return Plan(
        levels=in_force,
        schemas=_with_mandatory(usable),
        quiescing=frozenset(name for name in busy if name not in in_force),
        dangling=conditions,
        warnings=tuple(warnings),
    )


def unusable(level: PriorityLevel) -> str:
    """Why a level cannot be put in force; empty when it can."""
    if (level.name == EXEMPT) != level.is_exempt:
        return f"type {level.spec.type!r} does not go with the name {level.name!r}"
    if level.is_exempt:
        return ""
    if level.spec.limited is None:
        return "no limited block"
    queuing = level.queuing
    return "" if queuing is None else dealing_error(queuing.queues, queuing.hand_size)


def _with_mandatory(schemas: list[FlowSchema]) -> tuple[FlowSchema, ...]:
    names = {schema.name for schema in schemas}
    missing = {schema.name: schema for schema in MANDATORY_SCHEMAS if schema.name not in names}
    ordered = in_order(schemas)
    if EXEMPT in missing:
        ordered.insert(0, missing[EXEMPT])
    if CATCH_ALL in missing:
        ordered.append(missing[CATCH_ALL])
    return tuple(ordered)


def dangling_condition(level: str, found: bool) -> Condition:
    """The condition that says whether a schema's level exists."""
    reference = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}"'
    if found:
        return Condition(type=DANGLING, status="False", reason="Found", message=f"{reference} and it exists")
    return Condition(
        type=DANGLING, status="True", reason="NotFound", message=f"{reference} but there is no such object"
    )


def _has_condition(schema: FlowSchema, wanted: Condition) -> bool:
    return any(
        (present.type, present.status, present.reason, present.message)
        == (wanted.type, wanted.status, wanted.reason, wanted.message)
        for present in schema.status.conditions
    )


class StatusWriteLimiter:
    """At most six status writes per schema in any minute, should two servers disagree."""

    def __init__(self) -> None:
        self._writes: dict[str, deque[int]] = {}

    def allow(self, schema: str, now: int) -> bool:
        """Whether this schema's status may be written now; a yes counts as a write."""
        writes = self._writes.setdefault(schema, deque())
        while writes and now - writes[0] >= 60 * SECOND:
            writes.popleft()
        if len(writes) >= STATUS_WRITES_PER_MINUTE:
            return False
        writes.append(now)
        return True

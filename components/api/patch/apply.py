"""Server-side apply: merge an applied configuration, know who owns which field, and find conflicts. Pure.

    apply(live, config, manager)   merged = live, with config's fields set and those given up by the manager removed
    track(old, new, manager)       after any other write: the fields that changed belong to the writer

An object is tracked from its first apply on; what was there before is then owned by `before-first-apply`, as upstream
does for objects without managedFields. Upstream: apimachinery/pkg/util/managedfields, structured-merge-diff/merge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api.errors import Cause, Conflict
from kubeglass.components.api.patch import fieldsets
from kubeglass.components.api.patch.fieldsets import EMPTY, FieldSet, Path
from kubeglass.components.api.schema.types import ListOf, Struct, Type

Object = dict[str, Any]

BEFORE_FIRST_APPLY = "before-first-apply"
_NOT_OWNED: tuple[Path, ...] = (
    ("f:apiVersion",),
    ("f:kind",),
    ("f:metadata", "f:name"),
    ("f:metadata", "f:namespace"),
    ("f:metadata", "f:creationTimestamp"),
    ("f:metadata", "f:selfLink"),
    ("f:metadata", "f:uid"),
    ("f:metadata", "f:clusterName"),
    ("f:metadata", "f:generation"),
    ("f:metadata", "f:managedFields"),
    ("f:metadata", "f:resourceVersion"),
    ("f:metadata", "f:deletionTimestamp"),
    ("f:metadata", "f:deletionGracePeriodSeconds"),
)


@dataclass(frozen=True, slots=True)
class Manager:
    """Who writes: the field manager's name, how, in which version, and through which subresource."""

    name: str
    operation: str  # Apply or Update
    api_version: str
    subresource: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.name, self.operation, self.api_version, self.subresource


@dataclass(frozen=True, slots=True)
class Entry:
    """What one manager owns."""

    manager: Manager
    fields: FieldSet
    time: str = ""

    def to_json(self) -> Object:
        manager = self.manager
        found: Object = {
            "manager": manager.name,
            "operation": manager.operation,
            "apiVersion": manager.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": fieldsets.render(self.fields),
        }
        if not self.time:
            del found["time"]
        return found | ({"subresource": manager.subresource} if manager.subresource else {})


def entries_of(obj: Mapping[str, Any]) -> list[Entry]:
    """The managedFields of an object."""
    return [
        Entry(
            Manager(
                raw.get("manager", ""), raw.get("operation", ""), raw.get("apiVersion", ""), raw.get("subresource", "")
            ),
            fieldsets.parse(raw.get("fieldsV1") or {}),
            raw.get("time", ""),
        )
        for raw in (obj.get("metadata") or {}).get("managedFields") or ()
    ]


def with_entries(obj: Mapping[str, Any], entries: list[Entry]) -> Object:
    """The object with these managedFields: applied first, then by age."""
    kept = [entry for entry in entries if entry.fields]
    kept.sort(key=lambda entry: (entry.manager.operation != "Apply", entry.time, entry.manager.name))
    metadata = dict(obj["metadata"])
    if kept:
        metadata["managedFields"] = [entry.to_json() for entry in kept]
    else:
        metadata.pop("managedFields", None)
    return {**obj, "metadata": metadata}


def apply(
    live: Mapping[str, Any] | None, config: Mapping[str, Any], type_: Struct, manager: Manager, force: bool, now: str
) -> Object:
    """The live object after the configuration was applied. Raises Conflict unless forced."""
    wanted = _owned(type_, config)
    if live is None:
        return with_entries(_stripped(config), [Entry(manager, wanted, now)])
    entries = entries_of(live) or _first_entries(live, type_, manager)
    mine = next((entry for entry in entries if entry.manager.key == manager.key), Entry(manager, EMPTY))
    others = [entry for entry in entries if entry.manager.key != manager.key]
    merged: Object = merge(type_, live, _stripped(config))
    changed = compare(type_, live, merged)
    conflicts = [(entry, clash) for entry in others if (clash := _clash(entry.fields, changed & wanted))]
    if conflicts and not force:
        raise _conflict(conflicts)
    taken = frozenset().union(*(clash for _, clash in conflicts)) if conflicts else EMPTY
    others = [Entry(entry.manager, entry.fields - taken, entry.time) for entry in others]
    given_up = mine.fields - wanted - frozenset().union(*(entry.fields for entry in others))
    merged = remove(type_, merged, given_up, wanted)
    same = mine.fields == wanted and merged == _stripped(live, keep_managed=True)
    result = with_entries(merged, [*others, Entry(manager, wanted, mine.time if same and mine.time else now)])
    return result


def track(old: Mapping[str, Any], new: Object, type_: Struct, manager: Manager, now: str) -> Object:
    """The new object with the changed fields owned by the writer. Untracked objects stay untracked."""
    entries = entries_of(old)
    # A writer may drop all ownership by sending an empty list, but not write entries of its own.
    given = (new.get("metadata") or {}).get("managedFields")
    if not entries or given in ([], [{}]):
        return with_entries(new, [])
    changed = _without_system(compare(type_, old, new))
    gone = _without_system(removed(type_, old, new))
    if not changed and not gone:
        return with_entries(new, entries)
    kept = []
    mine = EMPTY
    for entry in entries:
        left = entry.fields - gone
        if entry.manager.key == manager.key:
            mine = left
        else:
            kept.append(Entry(entry.manager, left - changed, entry.time))
    return with_entries(new, [*kept, Entry(manager, mine | changed, now)])


# Values ------------------------------------------------------------------------------------------------------------


def merge(type_: Type, live: Any, config: Any) -> Any:
    """The live value with the configuration's fields set."""
    if isinstance(live, Mapping) and isinstance(config, Mapping) and not fieldsets.is_atomic(type_):
        merged = dict(live)
        for name, value in config.items():
            below = fieldsets.member_type(type_, name)
            merged[name] = merge(below, live[name], value) if name in live else value
        return merged
    if isinstance(live, list) and isinstance(config, list) and isinstance(type_, ListOf):
        return _merge_list(type_, live, config)
    return config


def _merge_list(type_: ListOf, live: list[Any], config: list[Any]) -> list[Any]:
    if type_.list_type == "atomic":
        return config
    wanted = dict(fieldsets.items(type_, config))
    merged = []
    for element, item in fieldsets.items(type_, live):
        if element in wanted:
            merged.append((element, merge(type_.item, item, wanted[element])))
        else:
            merged.append((element, item))
    present = {element for element, _ in merged}
    merged += [(element, item) for element, item in wanted.items() if element not in present]
    return [item for _, item in _in_order(merged, list(wanted))]


def _in_order(merged: list[tuple[str, Any]], order: list[str]) -> list[tuple[str, Any]]:
    """Items that the configuration names come in its order, the others stay behind their live neighbours."""
    named = iter([pair for element in order for pair in merged if pair[0] == element])
    wanted = set(order)
    return [next(named) if pair[0] in wanted else pair for pair in merged]


def compare(type_: Type, old: Any, new: Any, path: Path = ()) -> FieldSet:
    """Fields that `new` adds or changes."""
    if old == new:
        return EMPTY
    if isinstance(old, Mapping) and isinstance(new, Mapping) and not fieldsets.is_atomic(type_):
        found: set[Path] = set()
        for name, value in new.items():
            below, at = fieldsets.member_type(type_, name), (*path, f"f:{name}")
            if name not in old:
                found |= {(*at, *rest) for rest in fieldsets.of(below, value)} | {at}
            else:
                found |= compare(below, old[name], value, at)
        return frozenset(found)
    if isinstance(old, list) and isinstance(new, list) and isinstance(type_, ListOf) and type_.list_type != "atomic":
        before = dict(fieldsets.items(type_, old))
        found = set()
        for element, item in fieldsets.items(type_, new):
            at = (*path, element)
            if element not in before:
                found |= {(*at, *rest) for rest in fieldsets.of(type_.item, item)} | {at}
            else:
                found |= compare(type_.item, before[element], item, at)
        return frozenset(found)
    return frozenset({path})


def removed(type_: Type, old: Any, new: Any) -> FieldSet:
    """Fields that `old` has and `new` lacks."""
    return fieldsets.of(type_, old) - fieldsets.of(type_, new)


def remove(type_: Type, value: Any, given_up: FieldSet, kept: FieldSet, path: Path = ()) -> Any:
    """The value without the fields that nobody owns any more."""
    if not given_up:
        return value
    if isinstance(value, Mapping) and not fieldsets.is_atomic(type_):
        found = {}
        for name, member in value.items():
            at = (*path, f"f:{name}")
            if at in given_up and not fieldsets.below(kept, at):
                continue
            shorter = remove(fieldsets.member_type(type_, name), member, given_up, kept, at)
            if shorter not in ({}, []) or member in ({}, []) or not fieldsets.below(given_up, at):
                found[name] = shorter
        return found
    if isinstance(value, list) and isinstance(type_, ListOf) and type_.list_type != "atomic":
        left = []
        for element, item in fieldsets.items(type_, value):
            at = (*path, element)
            if at not in given_up or fieldsets.below(kept, at):
                left.append(remove(type_.item, item, given_up, kept, at))
        return left
    return value


# Ownership ---------------------------------------------------------------------------------------------------------


def _owned(type_: Type, config: Mapping[str, Any]) -> FieldSet:
    return _without_system(fieldsets.of(type_, _stripped(config)))


def _stripped(config: Mapping[str, Any], keep_managed: bool = False) -> Object:
    """The configuration as it is merged: without its bookkeeping."""
    found = dict(config)
    metadata = dict(found.get("metadata") or {})
    if not keep_managed:
        for name in ("managedFields", "creationTimestamp"):
            metadata.pop(name, None)
    found["metadata"] = metadata
    return found


def _without_system(fields: FieldSet) -> FieldSet:
    """Fields less those that nobody owns."""
    return frozenset(
        path for path in fields if path != ("f:metadata",) and not any(path[: len(own)] == own for own in _NOT_OWNED)
    )


def _first_entries(live: Mapping[str, Any], type_: Struct, manager: Manager) -> list[Entry]:
    stamp = (live.get("metadata") or {}).get("creationTimestamp", "")
    before = Manager(BEFORE_FIRST_APPLY, "Update", manager.api_version)
    without_status = {name: value for name, value in live.items() if name != "status"}
    return [Entry(before, _owned(type_, without_status), stamp)]


def _clash(fields: FieldSet, changed: FieldSet) -> FieldSet:
    return fields & changed


def _conflict(conflicts: list[tuple[Entry, FieldSet]]) -> Conflict:
    """Upstream's message and causes, one per field."""
    causes = []
    for entry, clash in conflicts:
        by = _described(entry)
        causes += [
            Cause("FieldManagerConflict", f"conflict with {by}", fieldsets.display(path)) for path in sorted(clash)
        ]
    if len(causes) == 1:
        text = f"Apply failed with 1 conflict: {causes[0].message}: {causes[0].field}"
    else:
        lines = []
        for message in dict.fromkeys(cause.message for cause in causes):
            lines.append(f"{message.replace('conflict with', 'conflicts with')}:")
            lines += [f"- {cause.field}" for cause in causes if cause.message == message]
        if len({cause.message for cause in causes}) == 1:
            text = (
                f"Apply failed with {len(causes)} conflicts: {causes[0].message.replace('conflict', 'conflicts', 1)}:\n"
            )
            text += "\n".join(f"- {cause.field}" for cause in causes)
        else:
            text = f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines)
    return Conflict(text, causes=causes)


def _described(entry: Entry) -> str:
    manager = entry.manager
    text = f'"{manager.name}"'
    if manager.subresource:
        text += f' with subresource "{manager.subresource}"'
    if manager.operation == "Update":
        text += f" using {manager.api_version}"
    return text

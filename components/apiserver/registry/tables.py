"""How any served kind looks in `kubectl get`: built-in printers, and the columns that definitions state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from kubeglass.components.api import printers, times
from kubeglass.components.api.jsonpath import find
from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.printers.cells import NAME
from kubeglass.components.api.table import Cell, Column
from kubeglass.components.apiserver.registry.served import ServedKinds
from kubeglass.components.machinery import clock


class KindTables:
    """Columns and cells by kind."""

    def __init__(self, served: ServedKinds, now: Callable[[], float] = clock.now) -> None:
        self._served = served
        self._now = now

    def columns(self, kind: Kind) -> Sequence[Mapping[str, Any]]:
        """The TableColumnDefinitions."""
        custom = self._served.custom(kind)
        columns = (NAME, *custom.columns) if custom is not None else printers.printer(kind).columns
        return [column.to_json() for column in columns]

    def cells(self, kind: Kind, obj: Mapping[str, Any]) -> Sequence[Cell]:
        """One value per column."""
        custom = self._served.custom(kind)
        now = self._now()
        if custom is None:
            return printers.printer(kind).cells(obj, now)
        return [obj["metadata"].get("name", ""), *(_cell(column, obj, now) for column in custom.columns)]

    def conditions(self, kind: Kind, obj: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
        """What a row says about its object: a Pod that is Completed."""
        found = None if self._served.custom(kind) else printers.printer(kind).conditions
        return found(obj) if found is not None else []


def _cell(column: Column, obj: Mapping[str, Any], now: float) -> Cell:
    """The first value at the column's path, of the column's type; None shows as an empty cell."""
    value = next(iter(find(obj, column.path)), None)
    match column.type:
        case "integer":
            return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "number":
            return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return _age(value, now)
    return _text(value)


def _age(value: Any, now: float) -> Cell:
    if not isinstance(value, str):
        return "<unknown>"
    try:
        return times.human_duration(timedelta(seconds=now - times.parse(value).timestamp()))
    except ValueError:
        return "<invalid>"


def _text(value: Any) -> Cell:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + " ".join(str(_text(item)) for item in value) + "]"
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{_text(item)}" for key, item in sorted(value.items())) + "]"
    return str(value)

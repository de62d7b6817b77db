"""The Table a server prints a list as: column definitions and cells (meta/v1 Table). Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Cell = str | int | bool | float | None


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `priority` above 0 shows only with `-o wide`; `path` finds the cell of a custom resource."""

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0
    path: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


@dataclass(frozen=True, slots=True)
class Printer:
    """How one kind prints: its columns, and the cells of one decoded object at a time."""

    columns: tuple[Column, ...]
    cells: Callable[[Mapping[str, Any], float], list[Cell]]
    conditions: Callable[[Mapping[str, Any]], list[dict[str, str]]] | None = None

"""What printers share: columns that many kinds have, ages, selectors, lists of containers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from kubeglass.components.api import selectors, times
from kubeglass.components.api.objects import LabelSelector, decode
from kubeglass.components.api.selectors import SelectorError
from kubeglass.components.api.table import Cell, Column, Printer

Json = Mapping[str, Any]

NAME = Column("Name", "string", "name", "Name of the object, unique within its namespace.")
AGE = Column("Age", "string", "", "How long ago the object was created.")
CONTAINERS = Column("Containers", "string", "", "Names of each container in the template.", 1)
IMAGES = Column("Images", "string", "", "Images referenced by each container in the template.", 1)
SELECTOR = Column("Selector", "string", "", "Which Pods belong to the object.", 1)


def name_of(obj: Json) -> str:
    name: str = obj["metadata"].get("name", "")
    return name


def age(obj: Json, now: float) -> str:
    """Time since the creation, `<unknown>` where there is none."""
    return since(obj["metadata"].get("creationTimestamp") or "", now)


def since(stamp: str, now: float) -> str:
    if not stamp:
        return "<unknown>"
    return times.human_duration(timedelta(seconds=now - times.parse(stamp).timestamp()))


def member(obj: Json, *path: str) -> Any:
    """The value at a path of members, None where it ends early."""
    found: Any = obj
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def count(obj: Json, *path: str) -> int:
    return member(obj, *path) or 0


def joined(values: Iterable[str], separator: str = ",") -> str:
    """The values in one cell, `<none>` where there are none."""
    return separator.join(values) or "<none>"


def labels(found: Mapping[str, str] | None) -> str:
    """`a=b,c=d`, `<none>` for none."""
    return joined(f"{key}={value}" for key, value in sorted((found or {}).items()))


def selector(found: Json | None) -> str:
    """A LabelSelector as kubectl writes it."""
    try:
        text = str(selectors.from_label_selector(decode(LabelSelector, found or {})))
    except SelectorError:
        return "<error>"
    return text or "<none>"


def containers(template: Json | None) -> tuple[str, str]:
    """(names, images) of a template's containers."""
    found = member(template or {}, "spec", "containers") or []
    return ",".join(item.get("name", "") for item in found), ",".join(item.get("image", "") for item in found)


def _name_and_age(obj: Json, now: float) -> list[Cell]:
    return [name_of(obj), age(obj, now)]


NAME_AND_AGE = Printer((NAME, AGE), _name_and_age)

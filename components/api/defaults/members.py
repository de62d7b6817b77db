"""Three verbs over JSON objects that all defaults are made of."""

from __future__ import annotations

from typing import Any, cast

Object = dict[str, Any]


def child(obj: Object, name: str) -> Object:
    """The member object, made where it is missing."""
    found = obj.get(name)
    if not isinstance(found, dict):
        found = obj[name] = {}
    return cast(Object, found)


def fill(obj: Object, **defaults: Any) -> None:
    """Set each member that is missing; an empty string counts as missing, as Go's zero values do."""
    for name, value in defaults.items():
        if obj.get(name) in (None, ""):
            obj[name] = value


def items(obj: Object, name: str) -> list[Object]:
    """The objects in a member list; none where it is missing."""
    found = obj.get(name)
    return found if isinstance(found, list) else []

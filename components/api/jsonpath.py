"""The JSON paths of custom resources: `.spec.replicas`, `.items[0].name`, `.conditions[?(@.type=="Ready")].status`.

A subset of kubectl's language: members (dotted or quoted), indices, wildcards and equality filters. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_STEP = re.compile(
    r"""\.(?P<member>[^.\[\]]+)                                        # .name  (dots may be escaped by a backslash)
      | \[\s*(?P<quote>['"])(?P<quoted>.*?)(?P=quote)\s*\]             # ['name']
      | \[\s*(?P<index>-?\d+)\s*\]                                     # [0]
      | (?P<any>\[\*\]|\.\*)                                           # [*]
      | \[\?\(\s*@(?P<field>(?:\.[^=!\s\])]+)+)\s*(?P<op>==|!=)\s*(?P<value>[^)]*?)\s*\)\]   # [?(@.a=="b")]
    """,
    re.VERBOSE,
)


class PathError(ValueError):
    """The text is no path this language knows."""


def find(obj: Any, path: str) -> list[Any]:
    """Every value at the path, none where it does not lead anywhere. Raises PathError."""
    found = [obj]
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$").replace("\\.", "\0")
    position = 0
    while position < len(text):
        step = _STEP.match(text, position)
        if step is None:
            raise PathError(f"unrecognized path: {path}")
        found = [value for start in found for value in _take(start, step)]
        position = step.end()
    return found


def _take(value: Any, step: re.Match[str]) -> list[Any]:
    name = step["member"] or step["quoted"]
    if name is not None:
        if name == "*":
            return _all(value)
        key = name.replace("\0", ".")
        return [value[key]] if isinstance(value, Mapping) and key in value else []
    if step["index"] is not None:
        index = int(step["index"])
        return [value[index]] if isinstance(value, list) and -len(value) <= index < len(value) else []
    if step["any"]:
        return _all(value)
    wanted = step["value"].strip("'\"")
    return [item for item in _all(value) if (_shown(item, step["field"]) == wanted) == (step["op"] == "==")]


def _all(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return list(value.values()) if isinstance(value, Mapping) else []


def _shown(item: Any, path: str) -> str | None:
    found = find(item, path)
    if not found:
        return None
    return str(found[0]).lower() if isinstance(found[0], bool) else str(found[0])

"""Go's print verbs as far as log lines need them: `%v` of plain values, and fmt.Sprint's spacing."""

from __future__ import annotations

import math
from typing import Any

from kubeglass.logging import gojson
from kubeglass.logging.values import Fields, error_text


def value_text(value: Any) -> str:
    """A value as %+v prints it."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, BaseException):
        return error_text(value)
    if isinstance(value, dict | list):
        return tree_text(value)
    return tree_text(gojson.plain(value))


def tree_text(tree: Any) -> str:
    """A plain tree (gojson.plain) as %+v prints lists, maps and structs."""
    if isinstance(tree, Fields):
        return f"{{{' '.join([f'{name}:{value_text(item)}' for name, item in tree.items()])}}}"
    if isinstance(tree, dict):
        return f"map[{' '.join([f'{name}:{value_text(tree[name])}' for name in sorted(tree)])}]"
    if isinstance(tree, list):
        return f"[{' '.join(map(value_text, tree))}]"
    return value_text(tree)


def float_text(value: float) -> str:
    """A float as %v prints it: an exponent of two digits at least, below 1e-4 and from 1e16."""
    if not math.isfinite(value):
        return gojson.non_finite(value)
    size = abs(value)
    if size == 0 or 1e-4 <= size < 1e16:
        return gojson.positional(value)
    mantissa, _, exponent = repr(value).partition("e")
    return f"{mantissa.removesuffix('.0')}e{exponent}"


def sprint(*operands: Any) -> str:
    """fmt.Sprint: a blank between two operands only when neither is a string."""
    parts: list[str] = []
    for at, operand in enumerate(operands):
        if at and not isinstance(operand, str) and not isinstance(operands[at - 1], str):
            parts.append(" ")
        parts.append(value_text(operand))
    return "".join(parts)


def sprintln(*operands: Any) -> str:
    """fmt.Sprintln without its newline: blanks everywhere."""
    return " ".join(map(value_text, operands))

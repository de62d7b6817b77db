"""Rows that nothing moves, found by reading the source: bound to an attribute that nobody uses, or not used at all."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

_ROWS = {"Counter", "Gauge", "Histogram", "Summary", "TimingRatioHistogram"}


def forgotten(root: Path) -> list[str]:
    """`FILE: ROW` for each row of components/ and telemetry/ that is never moved."""
    files = [file for folder in ("components", "telemetry") for file in (root / folder).rglob("*.py")]
    trees = {file: ast.parse(file.read_text()) for file in files}
    used = {name for tree in trees.values() for name in _read(tree)}
    return [
        f"{file.relative_to(root)}: {row}"
        for file, tree in trees.items()
        for row in _rows(tree)
        if row not in used or not _bound_to(tree, row) <= used
    ]


def _read(tree: ast.Module) -> Iterator[str]:
    """Every name and attribute whose value is used."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.attr


def _rows(tree: ast.Module) -> Iterator[str]:
    """Constants of a module that hold a row."""
    for node in tree.body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Call(func=ast.Name(id=made))) if made in _ROWS:
                yield name


def _bound_to(tree: ast.Module, row: str) -> set[str]:
    """Attributes that are set to something made of the row alone."""
    return {
        target.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        for target in node.targets
        if isinstance(target, ast.Attribute) and _mentions(node.value, row)
    }


def _mentions(call: ast.Call, row: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == row for node in ast.walk(call))

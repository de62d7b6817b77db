"""How much a process says: `-v`, `--vmodule`, and changing both while it runs.

One `Verbosity` belongs to one process; loggers share it, `PUT /debug/flags/v` sets it.
Parsing and matching follow k8s.io/component-base/logs/api/v1 and klog's moduleSpec.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

MAX_LEVEL = 2**31 - 1
_GLOB_CHARACTERS = frozenset("\\*?[]")


class FlagError(ValueError):
    """A flag value that cannot be parsed; the text is upstream's."""


@dataclass(frozen=True, slots=True)
class ModuleLevel:
    """One `pattern=N` item of --vmodule: files whose base name (without extension) match speak up to `level`."""

    pattern: str
    level: int

    def __str__(self) -> str:
        return f"{self.pattern}={self.level}"


class Verbosity:
    """The level of one process; module entries raise it, never lower it. Nothing above `ceiling` is ever printed."""

    __slots__ = ("_by_file", "_watchers", "ceiling", "level", "modules")

    def __init__(self, level: int = 0, modules: Sequence[ModuleLevel] = ()) -> None:
        self.level = level
        self.modules = tuple(modules)
        self._by_file: dict[str, int] = {}
        self._watchers: list[Callable[[int], None]] = []
        self._lift()

    def set(self, level: int) -> None:
        """Change the level for every logger that shares this object."""
        self.level = level
        self._lift()
        for tell in self._watchers:
            tell(level)

    def set_modules(self, modules: Iterable[ModuleLevel]) -> None:
        """Replace the --vmodule entries; what was cached about files is forgotten."""
        self.modules = tuple(modules)
        self._by_file = {}
        self._lift()

    def watch(self, tell: Callable[[int], None]) -> None:
        """Call `tell` with the new level on every change (gauges, other libraries)."""
        self._watchers.append(tell)

    def enabled(self, level: int, file_path: str) -> bool:
        """Whether a record of `level` made in `file_path` is printed."""
        return level <= self.level or level <= self.module_level(file_path)

    def _lift(self) -> None:
        self.ceiling = max([self.level, *(entry.level for entry in self.modules)])

    def module_level(self, file_path: str) -> int:
        """The level the first matching --vmodule entry gives to a source file, -1 without one."""
        found = self._by_file.get(file_path)
        if found is None:
            name = os.path.splitext(os.path.basename(file_path))[0]
            found = next((entry.level for entry in self.modules if matches(entry.pattern, name)), -1)
            self._by_file[file_path] = found
        return found


def matches(pattern: str, name: str) -> bool:
    """Whether a --vmodule pattern matches a file's base name; a malformed glob never does."""
    if _GLOB_CHARACTERS.isdisjoint(pattern):
        return pattern == name
    compiled = _glob(pattern)
    return compiled is not None and compiled.fullmatch(name) is not None


def _glob(pattern: str) -> re.Pattern[str] | None:
    """Translate Go's path.Match syntax; None when the pattern is malformed."""
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "*":
            parts.append("[^/]*")
        elif char == "?":
            parts.append("[^/]")
        elif char == "[":
            closed = _glob_class(pattern, at + 1)
            if closed is None:
                return None
            text, at = closed
            parts.append(text)
            continue
        elif char == "\\":
            at += 1
            if at == len(pattern):
                return None
            parts.append(re.escape(pattern[at]))
        else:
            parts.append(re.escape(char))
        at += 1
    return re.compile("".join(parts), re.DOTALL)


def _glob_class(pattern: str, at: int) -> tuple[str, int] | None:
    """One `[...]` of a glob from after its bracket: (regex, index after it); None when malformed."""
    negated = pattern.startswith("^", at)
    at += negated
    members: list[str] = []
    while at < len(pattern):
        if pattern[at] == "]" and members:
            return f"[{'^' if negated else ''}{''.join(members)}]", at + 1
        low, at = _glob_member(pattern, at)
        high = low
        if low and pattern.startswith("-", at):
            high, at = _glob_member(pattern, at + 1)
        if not low or not high:
            return None
        if low <= high:
            members.append(f"{re.escape(low)}-{re.escape(high)}")
    return None


def _glob_member(pattern: str, at: int) -> tuple[str, int]:
    """One character inside a class, unescaped; "" when there is none that may stand there."""
    if pattern.startswith("\\", at):
        at += 1
    elif at < len(pattern) and pattern[at] in "-]":
        return "", at
    return pattern[at : at + 1], at + 1


def parse_level(text: str) -> int:
    """The value of klog's own `-v`: a signed 32-bit decimal."""
    return _parse_decimal(text, "ParseInt", r"[+-]?[0-9]+", -(2**31))


def parse_component_level(text: str) -> int:
    """The value of a component's `-v` and of `PUT /debug/flags/v`: an unsigned 31-bit decimal."""
    return _parse_decimal(text, "ParseUint", r"[0-9]+", 0)


def _parse_decimal(text: str, function: str, syntax: str, minimum: int) -> int:
    if re.fullmatch(syntax, text, re.ASCII) is None:
        raise FlagError(f'strconv.{function}: parsing "{text}": invalid syntax')
    number = int(text)
    if not minimum <= number <= MAX_LEVEL:
        raise FlagError(f'strconv.{function}: parsing "{text}": value out of range')
    return number


def parse_vmodule(text: str) -> tuple[ModuleLevel, ...]:
    """A component's --vmodule value."""
    return tuple(_parse_item(item) for item in text.split(",") if item)


def _parse_item(item: str) -> ModuleLevel:
    pattern, equals, level = item.partition("=")
    if not equals or not pattern or "=" in level:
        raise FlagError(f'"{item}" does not have the pattern=N format')
    try:
        return ModuleLevel(pattern, parse_component_level(level))
    except FlagError as error:
        raise FlagError(f'parsing verbosity in "{item}": {error}') from None


def parse_klog_vmodule(text: str) -> tuple[ModuleLevel, ...]:
    """The klog library's own reading of the flag: other errors, and entries at level 0 are dropped."""
    entries: list[ModuleLevel] = []
    for item in filter(None, text.split(",")):
        pattern, equals, level = item.partition("=")
        try:
            number = parse_level(level)
        except FlagError:
            number = None
        if not equals or not pattern or number is None:
            raise FlagError("syntax error: expect comma-separated list of filename=N")
        if number < 0:
            raise FlagError("negative value for vmodule level")
        if number:
            entries.append(ModuleLevel(pattern, number))
    return tuple(entries)


def format_vmodule(entries: Iterable[ModuleLevel]) -> str:
    """The flag value that parses to `entries`."""
    return ",".join(map(str, entries))

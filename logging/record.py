"""What one log call says before it is written: its severity, its context, its pairs.

`Context` is what a logger carries (WithName, WithValues); `LineFormat` is what text and JSON
have in common. Argument lists that are not pairs are completed here, per format, as upstream does.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, Literal, Protocol

from kubeglass.logging.values import key_text

Severity = Literal["I", "W", "E", "F"]
Pair = tuple[Any, Any]

ODD_ARGUMENTS = "odd number of arguments passed as key-value pairs for logging"
STRANGE_KEY = "non-string key argument passed to logging, ignoring all later arguments"
MISSING = "(MISSING)"


class Context:
    """The name and the pairs a logger adds to each of its records. `rendered` is the format's own cache of them."""

    __slots__ = ("keys", "name", "pairs", "rendered")

    def __init__(self, name: str = "", pairs: tuple[Pair, ...] = ()) -> None:
        self.name = name
        self.pairs = pairs
        self.keys = frozenset(key_text(key) for key, _ in pairs) | ({"logger"} if name else frozenset())
        self.rendered: str | None = None

    def named(self, name: str) -> Context:
        """This context with one more part of the dotted logger name."""
        return Context(f"{self.name}.{name}" if self.name else name, self.pairs)

    def extended(self, pairs: Iterable[Pair]) -> Context:
        """This context with more pairs behind those it has."""
        return Context(self.name, (*self.pairs, *pairs))


NO_CONTEXT = Context()


@dataclass(frozen=True, slots=True)
class Record:
    """One log call, complete, for whoever keeps records instead of lines (OTLP, tests)."""

    time_ns: int
    severity: Severity
    level: int
    message: str
    error: BaseException | None
    context: Context
    pairs: Sequence[Pair]
    caller: tuple[str, int]
    trace_ids: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Complaint:
    """An extra record about arguments that are not pairs: it stands before the record they came with."""

    message: str
    key: str
    value: Any


class LineFormat(Protocol):
    """Text or JSON: one call in, one line (with its newline) out. None of these may raise."""

    def line(
        self,
        severity: Severity,
        level: int,
        context: Context,
        message: str,
        error: BaseException | None,
        values: Mapping[str, Any],
        frame: FrameType,
    ) -> str:
        """The line of a structured call."""
        ...

    def pairs_line(
        self,
        severity: Severity,
        level: int,
        context: Context,
        message: str,
        error: BaseException | None,
        pairs: Sequence[Pair],
        frame: FrameType,
    ) -> str:
        """The line of a structured call whose keys may repeat or be no strings."""
        ...

    def text_line(self, severity: Severity, level: int, context: Context, text: str, frame: FrameType) -> str:
        """The line of an unstructured call."""
        ...

    def complaint_line(self, context: Context, complaint: Complaint, frame: FrameType) -> str:
        """The line of a complaint about a call's arguments."""
        ...

    def complete(self, arguments: Sequence[Any]) -> tuple[list[Pair], list[Complaint]]:
        """The pairs of an argument list of alternating keys and values, and what is wrong with it."""
        ...


def complete_with_placeholder(arguments: Sequence[Any]) -> list[Pair]:
    """Pairs of an argument list, a missing last value shown as such: klog's way."""
    values = [*arguments, MISSING] if len(arguments) % 2 else arguments
    return list(zip(values[::2], values[1::2], strict=True))


def complete_with_complaints(arguments: Sequence[Any]) -> tuple[list[Pair], list[Complaint]]:
    """Pairs of an argument list up to the first that is none, and a complaint about that one: zapr's way."""
    pairs: list[Pair] = []
    for at in range(0, len(arguments), 2):
        key = arguments[at]
        if at + 1 == len(arguments):
            return pairs, [Complaint(ODD_ARGUMENTS, "ignored key", key)]
        if not isinstance(key, str):
            return pairs, [Complaint(STRANGE_KEY, "invalid key", key)]
        pairs.append((key, arguments[at + 1]))
    return pairs, []


class CallSites:
    """File and line of callers, looked up once per place in the code and kept as the text a format prints.

    `site[key]` is valid for as long as the code object lives, so the code object is kept with it.
    """

    __slots__ = ("_codes", "_render", "site")

    def __init__(self, render: Any) -> None:
        self._render = render
        self._codes: list[CodeType] = []
        self.site: dict[tuple[int, int], str] = {}

    def learn(self, frame: FrameType) -> str:
        """The text for a place seen for the first time."""
        code = frame.f_code
        text: str = self._render(code.co_filename, frame.f_lineno)
        self._codes.append(code)
        self.site[id(code), frame.f_lasti] = text
        return text


def file_and_line(path: str, line: int) -> str:
    """`file.py:12`, as a klog header names the caller."""
    return f"{os.path.basename(path)}:{line}"


def directory_file_and_line(path: str, line: int) -> str:
    """`directory/file.py:12`, as JSON records (and --add_dir_header) name the caller."""
    directory, name = os.path.split(path)
    last = os.path.basename(directory)
    return f"{last}/{name}:{line}" if last else f"{name}:{line}"

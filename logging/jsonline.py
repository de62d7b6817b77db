"""The JSON log line: one object per record, keys in upstream's order, `ts` in milliseconds.

Byte for byte what zapr writes for Kubernetes 1.36, with two differences on purpose: a key
given twice appears once (the last value wins), and a time value is itself, not the record's time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from kubeglass.logging import correlation
from kubeglass.logging.goduration import duration_text
from kubeglass.logging.jsonvalue import JsonValues, Unprintable
from kubeglass.logging.record import (
    CallSites,
    Complaint,
    Context,
    Pair,
    Severity,
    complete_with_complaints,
    directory_file_and_line,
)
from kubeglass.logging.sanitize import Sanitizer
from kubeglass.logging.values import Duration

MAX_TEMPLATES = 10_000
RESERVED = frozenset(("ts", "logger", "caller", "msg", "v", "err", "trace_id", "span_id"))
_TAKEN = RESERVED - {"logger"}


def milliseconds_text(nanoseconds: int) -> str:
    """A record's `ts`: Unix milliseconds with the four decimals a float64 can hold, no trailing zeros."""
    digits = str(nanoseconds)
    text = f"{digits[:-6]}.{digits[-6:-2]}"
    return text if digits[-3] != "0" else text.rstrip("0").removesuffix(".")


class JsonFormat:
    """Renders calls as JSON lines."""

    values_type: type[JsonValues] = JsonValues

    def __init__(self, sanitizer: Sanitizer, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._sanitizer = sanitizer
        self._values = self.values_type(sanitizer)
        self._known = self._values.known
        self._any = self._values.any
        self._clock = clock
        self._sites = CallSites(self._site_text)
        self._site = self._sites.site
        self._templates: dict[tuple[str, ...], str | None] = {}

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
        keys = tuple(values)
        try:
            template = self._templates[keys]
        except KeyError:
            template = self._learn(keys)
        if template is None or (context.keys and _may_repeat(context, values)):
            return self.pairs_line(severity, level, context, message, error, tuple(values.items()), frame)
        known = self._known
        site = self._site.get((id(frame.f_code), frame.f_lasti)) or self._sites.learn(frame)
        name = f',"logger":{known[context.name]}' if context.name else ""
        try:
            shown: list[Any] = []
            for value in values.values():
                kind = type(value)
                if kind is str:
                    shown.append(known[value])
                elif kind is int:
                    shown.append(value)
                elif kind is Duration:
                    shown.append(f'"{duration_text(value)}"')
                else:
                    shown.append(self._any(value))
            middle = (context.rendered or self._context_text(context)) if context.pairs else ""
            ids = correlation.trace_ids()
            if ids is not None:
                middle += f',"trace_id":"{ids[0]}","span_id":"{ids[1]}"'
            if severity != "E" and severity != "F":
                middle += f',"v":{level}'
            end = "}\n" if error is None else f',"err":{self._any(error)}}}\n'
            ts = milliseconds_text(self._clock())
            return f'{{"ts":{ts}{name}{site}{known[message]}{middle}{template % tuple(shown)}{end}'
        except (Unprintable, ValueError):  # a value that moves to another key, an int too long to be written out
            return self.pairs_line(severity, level, context, message, error, tuple(values.items()), frame)

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
        return self._object(self._members(severity, level, context, message, error, pairs, frame))

    def text_line(self, severity: Severity, level: int, context: Context, text: str, frame: FrameType) -> str:
        return self.line(severity, level, context, text.removesuffix("\n"), None, {}, frame)

    def complaint_line(self, context: Context, complaint: Complaint, frame: FrameType) -> str:
        pairs = ((complaint.key, complaint.value),)
        members = self._members("E", 0, context, complaint.message, None, pairs, frame)
        return self._object(members)

    def complete(self, arguments: Sequence[Any]) -> tuple[list[Pair], list[Complaint]]:
        return complete_with_complaints(arguments)

    def _members(
        self,
        severity: Severity,
        level: int,
        context: Context,
        message: str,
        error: BaseException | None,
        pairs: Sequence[Pair],
        frame: FrameType,
    ) -> list[tuple[str, str]]:
        """Rendered key and value of each member in order, keys possibly repeated."""
        members = self._start(context, message, frame)
        members += [self._values.member(key, value) for key, value in context.pairs]
        ids = correlation.trace_ids()
        if ids is not None:
            members += (("trace_id", f'"{ids[0]}"'), ("span_id", f'"{ids[1]}"'))
        if severity not in "EF":
            members.append(("v", str(level)))
        members += [self._values.member(key, value) for key, value in pairs]
        if error is not None:
            members.append(self._values.member("err", error))
        return members

    def _start(self, context: Context, message: str, frame: FrameType) -> list[tuple[str, str]]:
        path, line = frame.f_code.co_filename, frame.f_lineno
        caller = self._values.literal(directory_file_and_line(path, line))
        logger = [("logger", self._values.string(context.name))] if context.name else []
        ts = milliseconds_text(self._clock())
        return [("ts", ts), *logger, ("caller", caller), ("msg", self._values.string(message))]

    def _object(self, members: Sequence[tuple[str, str]]) -> str:
        """One object; a repeated key keeps its first place and its last value, as any parser would read it."""
        shown = dict(members)
        return f"{{{','.join([f'{self._values.literal(key)}:{text}' for key, text in shown.items()])}}}\n"

    def _learn(self, keys: tuple[str, ...]) -> str | None:
        """The members of a call with these keys, %s for each value; None when a key needs care."""
        careful = not RESERVED.isdisjoint(keys) or any(map(self._sanitizer.key_rule, keys))
        members = (f",{self._values.literal(key).replace('%', '%%')}:%s" for key in keys)
        template = None if careful else "".join(members)
        if len(self._templates) >= MAX_TEMPLATES:
            self._templates.clear()
        self._templates[keys] = template
        return template

    def _context_text(self, context: Context) -> str:
        members = dict(self._values.member(key, value) for key, value in context.pairs)
        context.rendered = "".join(f",{self._values.literal(key)}:{text}" for key, text in members.items())
        return context.rendered

    def _site_text(self, path: str, line: int) -> str:
        return f',"caller":{self._values.literal(directory_file_and_line(path, line))},"msg":'


def _may_repeat(context: Context, values: Mapping[str, Any]) -> bool:
    """Whether a key may stand twice in the object."""
    return not context.keys.isdisjoint(values) or not context.keys.isdisjoint(_TAKEN)

"""The klog text line: header, quoted message, ` key=value` pairs.

Byte for byte the output of klog v2.140 (Kubernetes 1.36); the older shapes are in era122.py.
Speed: file:line, keys and strings are rendered once and remembered, sanitized; a line is then
a handful of lookups. Pure but for the clock it is given.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from kubeglass.logging import correlation
from kubeglass.logging.goduration import duration_text
from kubeglass.logging.record import (
    CallSites,
    Complaint,
    Context,
    Pair,
    Severity,
    complete_with_placeholder,
    directory_file_and_line,
    file_and_line,
)
from kubeglass.logging.sanitize import Sanitizer
from kubeglass.logging.textvalue import TextValues
from kubeglass.logging.values import Duration, key_text

SEVERITIES = "IWEF"
MAX_TEMPLATES = 10_000


def header(severity: str, microseconds_text: str, pid: int, caller: str) -> str:
    """A klog header from its parts; `microseconds_text` is `MMDD hh:mm:ss.uuuuuu` in local time."""
    return f"{severity}{microseconds_text} {pid_text(pid)} {caller}] "


def pid_text(pid: int) -> str:
    """A process id in seven columns: blanks in front, only the low seven digits, nothing at all for 0."""
    return f"{pid % 10_000_000:7d}" if pid else " " * 7


def severity_letter(index: int) -> str:
    """The letter of a numeric severity; what klog does not know prints as I."""
    return SEVERITIES[index] if 0 <= index < len(SEVERITIES) else "I"


class TextFormat:
    """Renders calls as klog text. `show_trace_ids(level)` decides whether a record names its trace."""

    def __init__(
        self,
        sanitizer: Sanitizer,
        *,
        values: TextValues | None = None,
        show_trace_ids: Callable[[], bool] = lambda: False,
        add_dir_header: bool = False,
        skip_headers: bool = False,
        clock: Callable[[], int] = time.time_ns,
        local_time: Callable[[int], time.struct_time] = time.localtime,
        pid: Callable[[], int] = os.getpid,
    ) -> None:
        self._sanitizer = sanitizer
        self._values = values or TextValues(sanitizer)
        self._known = self._values.known
        self._any = self._values.any
        self._show_trace_ids = show_trace_ids
        self._skip_headers = skip_headers
        self._clock = clock
        self._local_time = local_time
        self._pid = pid
        self._sites = CallSites(self._site_text(directory_file_and_line if add_dir_header else file_and_line))
        self._site = self._sites.site
        self._templates: dict[tuple[str, ...], str | None] = {}
        self._second = self._stamp = self._process = ""

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
        if template is None or ((context.keys or error is not None) and _may_repeat(context, error, values)):
            return self.pairs_line(severity, level, context, message, error, tuple(values.items()), frame)
        known = self._known
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
        before = "" if error is None else f" err={self._any(error)}"
        if context.keys:
            before += context.rendered or self._context_text(context)
        if correlation.trace_ids() is not None and self._show_trace_ids():
            before += self._trace_text()
        text = known[message] if "\n" not in message else self._values.message(message)
        try:
            return f"{self._header(severity, frame)}{text}{before}{template % tuple(shown)}"
        except ValueError:  # an int with too many digits to be written out
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
        shown: dict[str, str] = {}
        for key, value in self._all_pairs(context, error, pairs):
            name = key_text(key)
            text = f" {name}={self._values.keyed(name, value)}"
            if name in shown:
                if shown[name] == text:
                    continue
                del shown[name]
            shown[name] = text
        return f"{self._header(severity, frame)}{self._values.message(message)}{''.join(shown.values())}\n"

    def text_line(self, severity: Severity, level: int, context: Context, text: str, frame: FrameType) -> str:
        clean = self._sanitizer.text(text)
        return f"{self._header(severity, frame)}{clean}" + ("" if clean.endswith("\n") else "\n")

    def complaint_line(self, context: Context, complaint: Complaint, frame: FrameType) -> str:
        pairs = ((complaint.key, complaint.value),)
        return self.pairs_line("I", 0, context, complaint.message, None, pairs, frame)

    def complete(self, arguments: Sequence[Any]) -> tuple[list[Pair], list[Complaint]]:
        return complete_with_placeholder(arguments), []

    def _all_pairs(self, context: Context, error: BaseException | None, pairs: Sequence[Pair]) -> list[Pair]:
        found: list[Pair] = [] if error is None else [("err", error)]
        if context.name:
            found.append(("logger", context.name))
        found += context.pairs
        ids = correlation.trace_ids()
        if ids is not None and self._show_trace_ids():
            found += (("trace_id", ids[0]), ("span_id", ids[1]))
        found += pairs
        return found

    def _learn(self, keys: tuple[str, ...]) -> str | None:
        """What follows the message of a call with these keys, %s for each value; None when a key needs care."""
        careful = "trace_id" in keys or "span_id" in keys or any(map(self._sanitizer.key_rule, keys))
        template = None if careful else "".join(f" {key.replace('%', '%%')}=%s" for key in keys) + "\n"
        if len(self._templates) >= MAX_TEMPLATES:
            self._templates.clear()
        self._templates[keys] = template
        return template

    def _context_text(self, context: Context) -> str:
        shown = self._all_context_pairs(context)
        context.rendered = "".join(shown.values())
        return context.rendered

    def _all_context_pairs(self, context: Context) -> dict[str, str]:
        shown: dict[str, str] = {}
        named: list[Pair] = [("logger", context.name)] if context.name else []
        for key, value in (*named, *context.pairs):
            name = key_text(key)
            shown.pop(name, None)
            shown[name] = f" {name}={self._values.keyed(name, value)}"
        return shown

    def _trace_text(self) -> str:
        ids = correlation.trace_ids()
        return f' trace_id="{ids[0]}" span_id="{ids[1]}"' if ids else ""

    def _header(self, severity: str, frame: FrameType) -> str:
        if self._skip_headers:
            return ""
        digits = str(self._clock())
        if digits[:-9] != self._second:
            self._start_second(digits[:-9])
        site = self._site.get((id(frame.f_code), frame.f_lasti)) or self._sites.learn(frame)
        return f"{severity}{self._stamp}{digits[-9:-3]}{self._process}{site}"

    def _start_second(self, second: str) -> None:
        self._stamp = time.strftime("%m%d %H:%M:%S.", self._local_time(int(second)))
        self._process = f" {pid_text(self._pid())} "
        self._second = second

    def _site_text(self, name: Callable[[str, int], str]) -> Callable[[str, int], str]:
        return lambda path, line: f"{name(path, line)}] "


def _may_repeat(context: Context, error: BaseException | None, values: Mapping[str, Any]) -> bool:
    """Whether a key of the call may stand before it already."""
    if error is not None and ("err" in values or "err" in context.keys):
        return True
    return not context.keys.isdisjoint(values)

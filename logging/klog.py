"""The logger every component uses: constant messages, values as keywords, klog's severities and levels.

A `Logger` is immutable and cheap; `with_name` and `with_values` return new ones. What a line
looks like is decided by the format of its `Sink` (textline.py, jsonline.py).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FrameType
from typing import Any, Protocol

from kubeglass.logging import correlation
from kubeglass.logging.record import NO_CONTEXT, Context, LineFormat, Pair, Record, Severity
from kubeglass.logging.verbosity import Verbosity

_caller = sys._getframe


class Output(Protocol):
    """Where finished lines go; each write is one whole line. Must not raise."""

    lost: int
    """Lines that could not be written."""

    def write(self, severity: Severity, line: str) -> None:
        """Take one line with its newline."""
        ...

    def flush(self) -> None:
        """Make everything written so far visible."""
        ...


class Sink:
    """What all loggers of a process share: format, output, verbosity, and listeners that want records."""

    __slots__ = ("_line", "_listeners", "_write", "format", "output", "verbosity")

    def __init__(
        self,
        format: LineFormat,
        output: Output,
        verbosity: Verbosity,
        listeners: Iterable[Callable[[Record], None]] = (),
    ) -> None:
        self.format = format
        self.output = output
        self.verbosity = verbosity
        self._line = format.line
        self._write = output.write
        self._listeners = tuple(listeners)

    def emit(
        self,
        severity: Severity,
        level: int,
        context: Context,
        message: str,
        error: BaseException | None,
        values: Mapping[str, Any],
        frame: FrameType,
    ) -> None:
        """Write one structured record."""
        self._write(severity, self._line(severity, level, context, message, error, values, frame))
        if self._listeners:
            self._tell(severity, level, context, message, error, tuple(values.items()), frame)

    def emit_pairs(
        self,
        severity: Severity,
        level: int,
        context: Context,
        message: str,
        error: BaseException | None,
        arguments: Sequence[Any],
        frame: FrameType,
    ) -> None:
        """Write one structured record from alternating keys and values, complaints first."""
        pairs, complaints = self.format.complete(arguments)
        for complaint in complaints:
            self.output.write("I", self.format.complaint_line(context, complaint, frame))
        line = self.format.pairs_line(severity, level, context, message, error, pairs, frame)
        self.output.write(severity, line)
        if self._listeners:
            self._tell(severity, level, context, message, error, pairs, frame)

    def emit_text(self, severity: Severity, level: int, context: Context, text: str, frame: FrameType) -> None:
        """Write one unstructured record."""
        self.output.write(severity, self.format.text_line(severity, level, context, text, frame))
        if self._listeners:
            self._tell(severity, level, context, text, None, (), frame)

    def _tell(
        self,
        severity: Severity,
        level: int,
        context: Context,
        message: str,
        error: BaseException | None,
        pairs: Sequence[Pair],
        frame: FrameType,
    ) -> None:
        caller = (frame.f_code.co_filename, frame.f_lineno)
        ids = correlation.trace_ids()
        record = Record(time.time_ns(), severity, level, message, error, context, pairs, caller, ids)
        for listen in self._listeners:
            listen(record)


class Logger:
    """Contextual logger. Truthy when it prints information: `if log.v(4): log.v(4).info(...)`.

    Ask `v` where the call is made: a kept answer does not follow a verbosity that changes.
    """

    level = 0

    def __init__(self, sink: Sink, context: Context = NO_CONTEXT) -> None:
        self.sink = sink
        self._emit = sink.emit
        self._verbosity = sink.verbosity
        self._context = context

    def info(self, msg: str, /, **values: Any) -> None:
        """Say that something happened. `msg` is constant; what varies goes into the values."""
        self._emit("I", self.level, self._context, msg, None, values, _caller(1))

    def warning(self, msg: str, /, **values: Any) -> None:
        """Like `info` with klog's W; upstream discourages it in structured code."""
        self._emit("W", self.level, self._context, msg, None, values, _caller(1))

    def error(self, err: BaseException | None, msg: str, /, **values: Any) -> None:
        """Say that something failed and a human may have to act. Printed at every verbosity."""
        self._emit("E", self.level, self._context, msg, err, values, _caller(1))

    def text(self, text: str, severity: Severity = "I", depth: int = 0) -> None:
        """Write unstructured text, raw, as klog.Info does."""
        self.sink.emit_text(severity, self.level, self._context, text, _caller(1 + depth))

    def pairs(
        self,
        severity: Severity,
        msg: str,
        arguments: Sequence[Any],
        err: BaseException | None = None,
        *,
        frame: FrameType | None = None,
    ) -> None:
        """Write a record from alternating keys and values, as klog.InfoS takes them (odd counts and all)."""
        caller = _caller(1) if frame is None else frame
        self.sink.emit_pairs(severity, self.level, self._context, msg, err, arguments, caller)

    def v(self, level: int, /) -> Logger:
        """This logger at a level: printing, or falsy and silent about everything but errors. Levels add up."""
        if level > self._verbosity.ceiling:
            try:
                return self._quiet
            except AttributeError:
                return self._make_quiet()
        if not self._verbosity.enabled(level, _caller(1).f_code.co_filename):
            return self._make_quiet()
        return self._at(level) if level else self

    def with_name(self, name: str) -> Logger:
        """A logger whose records carry one more part of the dotted name."""
        return self._derived(self._context.named(name))

    def with_values(self, **values: Any) -> Logger:
        """A logger whose records carry these values in front of their own."""
        return self._derived(self._context.extended(values.items()))

    def with_pairs(self, *arguments: Any) -> Logger:
        """`with_values` for alternating keys and values, as logr takes them."""
        pairs, complaints = self.sink.format.complete(arguments)
        for complaint in complaints:
            self.sink.output.write("I", self.sink.format.complaint_line(self._context, complaint, _caller(1)))
        return self._derived(self._context.extended(pairs))

    def flush(self) -> None:
        """Make everything written so far visible."""
        self.sink.output.flush()

    def _derived(self, context: Context) -> Logger:
        return type(self)(self.sink, context)

    def _make_quiet(self) -> Logger:
        self._quiet: Logger = QuietLogger(self.sink, self._context)
        return self._quiet

    def _at(self, level: int) -> Logger:
        try:
            return self._levels[level]
        except AttributeError:
            self._levels: dict[int, Logger] = {}
        except KeyError:
            pass
        logger = self._levels[level] = LevelLogger(self.sink, self._context, level)
        return logger


class LevelLogger(Logger):
    """An enabled logger above level 0."""

    def __init__(self, sink: Sink, context: Context, level: int) -> None:
        super().__init__(sink, context)
        self.level = level

    def v(self, level: int, /) -> Logger:
        """This logger `level` steps further up."""
        level += self.level
        if self._verbosity.enabled(level, _caller(1).f_code.co_filename):
            return self._at(level)
        return self._make_quiet()

    def _derived(self, context: Context) -> Logger:
        return LevelLogger(self.sink, context, self.level)


class QuietLogger(Logger, frozenset[Any]):
    """A logger above the verbosity; errors are still printed, as by upstream's contextual loggers.

    An empty frozenset is false without a call into Python, which is what `if log.v(4)` must cost.
    """

    def __new__(cls, sink: Sink, context: Context) -> QuietLogger:
        return frozenset.__new__(cls)

    def info(self, msg: str, /, **values: Any) -> None:
        """Nothing: the level is not enabled."""

    def warning(self, msg: str, /, **values: Any) -> None:
        """Nothing: the level is not enabled."""

    def text(self, text: str, severity: Severity = "I", depth: int = 0) -> None:
        """Nothing, unless it is an error."""
        if severity in "EF":
            super().text(text, severity, depth + 1)

    def pairs(
        self,
        severity: Severity,
        msg: str,
        arguments: Sequence[Any],
        err: BaseException | None = None,
        *,
        frame: FrameType | None = None,
    ) -> None:
        """Nothing, unless it is an error."""
        if severity in "EF":
            super().pairs(severity, msg, arguments, err, frame=frame or _caller(1))

    def v(self, level: int, /) -> Logger:
        """Still silent: levels only add up."""
        return self

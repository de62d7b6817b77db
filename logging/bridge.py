"""The standard library's logging, arriving as klog lines: for third-party libraries that log that way.

Severities as klog gives slog records: errors E, warnings W, the rest I; DEBUG needs -v=4.
"""

from __future__ import annotations

import logging
import traceback
from types import SimpleNamespace
from typing import Any

from kubeglass.logging.klog import Logger
from kubeglass.logging.record import Severity

DEBUG_LEVEL = 4

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class KlogHandler(logging.Handler):
    """Writes records through a Logger: message, logger name, `extra` values, exception and its traceback."""

    def __init__(self, logger: Logger) -> None:
        super().__init__()
        self._logger = logger
        self._files: dict[str, SimpleNamespace] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record. Never raises."""
        try:
            logger = self._logger.with_name(record.name)
            severity = severity_of(record.levelno)
            if severity == "I" and record.levelno < logging.INFO:
                logger = logger.v(DEBUG_LEVEL)
                if not logger:
                    return
            pairs = [part for pair in extras(record).items() for part in pair]
            logger.pairs(severity, _message(record), pairs, _error(record), frame=self._place(record))
        except Exception:
            self.handleError(record)

    def _place(self, record: logging.LogRecord) -> Any:
        """Where the record was made, with the attributes of a frame that line formats read."""
        code = self._files.setdefault(record.pathname, SimpleNamespace(co_filename=record.pathname))
        return SimpleNamespace(f_code=code, f_lineno=record.lineno, f_lasti=record.lineno)


def install(logger: Logger, root: logging.Logger | None = None) -> KlogHandler:
    """Make a handler the only one of `root` (default: the root logger), which lets everything pass to it."""
    target = root or logging.getLogger()
    handler = KlogHandler(logger)
    target.handlers[:] = [handler]
    target.setLevel(logging.DEBUG if logger.v(DEBUG_LEVEL) else logging.INFO)
    logger.sink.verbosity.watch(
        lambda level: target.setLevel(logging.DEBUG if level >= DEBUG_LEVEL else logging.INFO),
    )
    return handler


def severity_of(level: int) -> Severity:
    """klog's letter for a level of the standard library."""
    if level >= logging.ERROR:
        return "E"
    return "W" if level >= logging.WARNING else "I"


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """What `extra=` added to a record, and its traceback."""
    values = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    if record.exc_info and record.exc_info[2] is not None:
        values["stacktrace"] = "".join(traceback.format_exception(*record.exc_info))
    if record.stack_info:
        values["stack"] = record.stack_info
    return values


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:
        return f"{record.msg!s} %!(BADARGS: {type(error).__name__})"


def _error(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if record.exc_info else None

"""klog lines, JSON lines and redaction for any structlog user; nothing else of kubeglass is needed.

    structlog.configure(processors=[KlogRenderer()], logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    structlog.get_logger().info("Pod status updated", pod="kube-system/coredns", status="ready")

structlog itself is not imported: a processor is a callable.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import MutableMapping
from types import FrameType
from typing import Any

from kubeglass.logging import correlation
from kubeglass.logging.jsonline import JsonFormat
from kubeglass.logging.record import Context, LineFormat, Severity
from kubeglass.logging.sanitize import Sanitizer
from kubeglass.logging.textline import TextFormat

EventDict = MutableMapping[str, Any]

_SEVERITIES: dict[str, Severity] = {
    "warn": "W",
    "warning": "W",
    "err": "E",
    "error": "E",
    "exception": "E",
    "failure": "E",
    "critical": "F",
    "fatal": "F",
}
_DEBUG_LEVEL = 4
_ADDED_BY_OTHERS = ("level", "timestamp", "severity")
_INTERNAL = ("structlog.", "kubeglass.logging.processors")


class Redact:
    """Replaces secrets in an event, by type, by key and by shape. Goes in front of any renderer."""

    def __init__(self, sanitizer: Sanitizer | None = None) -> None:
        self._sanitizer = sanitizer or Sanitizer()

    def __call__(self, logger: Any, method_name: str, event_dict: EventDict) -> EventDict:
        """The event with its secrets replaced; the same values where there are none."""
        for key, value in event_dict.items():
            event_dict[key] = self._sanitizer.pair(key, value)
        return event_dict


def add_trace_ids(logger: Any, method_name: str, event_dict: EventDict) -> EventDict:
    """Name the current span in an event: `trace_id`, `span_id`."""
    ids = correlation.trace_ids()
    if ids is not None:
        event_dict["trace_id"], event_dict["span_id"] = ids
    return event_dict


class _LineRenderer:
    """Renders an event with a line format. Its file and line are those of whoever called structlog."""

    def __init__(self, line_format: LineFormat) -> None:
        self._format = line_format

    def __call__(self, logger: Any, method_name: str, event_dict: EventDict) -> str:
        """The line, without the newline that structlog's loggers add."""
        event = dict(event_dict)
        message = str(event.pop("event", ""))
        severity = _SEVERITIES.get(method_name, "I")
        level = event.pop("v", _DEBUG_LEVEL if method_name == "debug" else 0)
        error = _error(event, severity)
        for key in _ADDED_BY_OTHERS:
            event.pop(key, None)
        context = Context(str(event.pop("logger", "")))
        pairs = tuple(event.items())
        line = self._format.pairs_line(severity, level, context, message, error, pairs, _caller())
        return line.removesuffix("\n")


class KlogRenderer(_LineRenderer):
    """The last processor: a klog text line."""

    def __init__(self, sanitizer: Sanitizer | None = None, **format_options: Any) -> None:
        super().__init__(TextFormat(sanitizer or Sanitizer(), **format_options))


class KlogJSONRenderer(_LineRenderer):
    """The last processor: a JSON line with Kubernetes' keys."""

    def __init__(self, sanitizer: Sanitizer | None = None) -> None:
        super().__init__(JsonFormat(sanitizer or Sanitizer()))


def _error(event: dict[str, Any], severity: Severity) -> BaseException | None:
    """The exception of an event; its traceback, or one already formatted, becomes the pair `stacktrace`."""
    given = event.pop("exc_info", None)
    error = _exception_of(given)
    trace = event.pop("exception", None)
    if error is not None and error.__traceback__ is not None:
        trace = "".join(traceback.format_exception(error))
    if trace is not None:
        event["stacktrace"] = trace
    if error is None and severity in "EF" and isinstance(event.get("err"), BaseException):
        error = event.pop("err")
    return error


def _exception_of(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1] if len(exc_info) > 1 and isinstance(exc_info[1], BaseException) else None
    return sys.exc_info()[1] if exc_info else None


def _caller() -> FrameType:
    """The frame that called structlog."""
    frame = sys._getframe(2)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(_INTERNAL):
        frame = frame.f_back
    return frame

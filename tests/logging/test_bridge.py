"""Records of the standard library arrive as klog lines."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

from kubeglass.logging.bridge import install
from kubeglass.logging.options import LoggingOptions
from kubeglass.logging.setup import build


def bridged(**options: Any) -> tuple[logging.Logger, Any, io.StringIO]:
    stream = io.StringIO()
    log = build(LoggingOptions(**options), stream)
    root = logging.getLogger("root-of-test")
    root.propagate = False
    install(log, root)
    return root, log, stream


def bodies(stream: io.StringIO) -> list[str]:
    return [line[0] + line.partition("] ")[2] for line in stream.getvalue().splitlines() if "] " in line]


def test_severities_names_and_values() -> None:
    """Level, logger name, message, `extra` and place of a record are kept; its secrets are not."""
    root, _, stream = bridged()
    root.info("Started %s", "x", extra={"port": 80})
    root.warning("token=%s", "abc123")
    root.critical("over")
    assert bodies(stream) == [
        'I"Started x" logger="root-of-test" port=80',
        'W"token=[redacted:token]" logger="root-of-test"',
        'E"over" logger="root-of-test"',
    ]
    assert "test_bridge.py:" in stream.getvalue()


def test_debug_needs_verbosity_4() -> None:
    """DEBUG is printed from -v=4 on, also when the verbosity changes while running."""
    root, log, stream = bridged()
    root.debug("no")
    log.sink.verbosity.set(4)
    root.debug("yes")
    assert bodies(stream) == ['I"yes" logger="root-of-test"']


def test_exception() -> None:
    """An exception is `err`, its traceback `stacktrace`."""
    root, _, stream = bridged(format="json")
    try:
        raise ValueError("boom")
    except ValueError:
        root.exception("Failed")
    shown = json.loads(stream.getvalue())
    assert shown["err"] == "boom"
    assert shown["stacktrace"].startswith("Traceback (most recent call last):")
    assert shown["caller"].startswith("logging/test_bridge.py:")


def test_bad_arguments_do_not_lose_the_record() -> None:
    """A message that does not fit its arguments is printed with a note."""
    root, _, stream = bridged()
    root.info("%d things", "no number")
    assert bodies(stream) == ['I"%d things %!(BADARGS: TypeError)" logger="root-of-test"']

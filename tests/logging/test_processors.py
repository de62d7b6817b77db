"""Any structlog user can plug in the renderers and the redaction; the documentation's example is run."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import structlog

from kubeglass.logging.processors import KlogJSONRenderer, KlogRenderer, Redact, add_trace_ids

ROOT = Path(__file__).parents[2]


def bound(*processors: Any) -> tuple[Any, io.StringIO]:
    stream = io.StringIO()
    return structlog.wrap_logger(structlog.PrintLogger(stream), processors=list(processors)), stream


def test_text() -> None:
    """An event is a klog line that names whoever called structlog."""
    log, stream = bound(KlogRenderer())
    log.bind(a=1).warning("Odd thing", pod="x", password="hunter2")
    pattern = (
        r'W\d{4} [\d:.]{15} +\d+ test_processors\.py:\d+\] "Odd thing" a=1 pod="x" password="\[redacted:password\]"\n'
    )
    assert re.fullmatch(pattern, stream.getvalue())


def test_json() -> None:
    """An event is a JSON object with Kubernetes' keys; what other processors added does not stand in the way."""
    log, stream = bound(
        structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso"), KlogJSONRenderer()
    )
    log.info("m", v=4, n=1)
    shown = json.loads(stream.getvalue())
    assert list(shown) == ["ts", "caller", "msg", "v", "n"]
    assert shown["caller"].startswith("logging/test_processors.py:")
    assert shown["v"] == 4


def test_exception() -> None:
    """An exception is `err`, its traceback `stacktrace`."""
    log, stream = bound(KlogRenderer())
    try:
        raise ValueError("boom token=abc123")
    except ValueError:
        log.exception("Failed", n=1)
    shown = stream.getvalue()
    assert shown.startswith("E")
    assert '"Failed" err="boom token=[redacted:token]" n=1 stacktrace=<\n\tTraceback' in shown
    assert shown.endswith("\n >\n")
    assert "Error: boom token=[redacted:token]" in shown


def test_redact_alone() -> None:
    """Redaction works in front of any other renderer."""
    log, stream = bound(Redact(), structlog.processors.JSONRenderer())
    log.info("got password=hunter2", token="abc", pod="x")
    assert json.loads(stream.getvalue()) == {
        "event": "got password=[redacted:password]",
        "token": "[redacted:token]",
        "pod": "x",
    }


def test_trace_ids() -> None:
    """Without a span there is nothing to add."""
    assert add_trace_ids(None, "info", {"event": "m"}) == {"event": "m"}


def test_structlog_is_not_imported_for_us() -> None:
    """Neither the set-up nor the processors import structlog: it costs start-up time that only its users pay."""
    program = "import sys, kubeglass.logging.processors, kubeglass.logging.setup; print('structlog' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert shown == "False\n"


def test_documented_example() -> None:
    """The example in docs/logging.md prints what the page says it prints."""
    page = (ROOT / "docs" / "logging.md").read_text()
    found = re.search(r"```python\n(import structlog.*?)```\n\n```\n(.*?)```", page, re.DOTALL)
    assert found is not None
    ran = subprocess.run([sys.executable, "-c", found[1]], capture_output=True, text=True, check=True)
    assert body(ran.stderr) == body(found[2])


def body(line: str) -> str:
    return line.partition("] ")[2]

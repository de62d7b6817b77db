"""Operations without a span that tell when they were slow."""

from __future__ import annotations

import io
import re

import pytest

from kubeglass.logging.options import LoggingOptions
from kubeglass.logging.setup import build
from kubeglass.logging.slowlog import told_if_slow

AT_ONCE, NEVER = 0.0, 1e6


def told(seconds: float, verbosity: int) -> str:
    stream = io.StringIO()
    with told_if_slow(build(LoggingOptions(verbosity=verbosity), stream), "Scheduling", seconds, {"name": "a"}) as step:
        step("Computing predicates done", nodes=3)
    return stream.getvalue()


def test_a_slow_operation_is_told_with_its_steps() -> None:
    """From its threshold on: name, fields, steps, total; one klog record that begins at info level."""
    text = told(AT_ONCE, 4)
    assert re.search(r'^I.*\] Trace\[\d+\]: "Scheduling" name:a \(\S+ \S+\) \(total time: 0ms\):$', text, re.MULTILINE)
    assert re.search(r'---"Computing predicates done" nodes:3 0ms \(\S+\)$', text, re.MULTILINE)
    assert text.endswith("END\n")


@pytest.mark.parametrize(("seconds", "verbosity"), [(NEVER, 4), (AT_ONCE, 1)])
def test_a_quick_one_and_a_quiet_log_tell_nothing(seconds: float, verbosity: int) -> None:
    """Below the threshold, or below -v=2, nothing is printed."""
    assert told(seconds, verbosity) == ""


def test_a_failing_one_is_told_too() -> None:
    """The text does not depend on how the operation ended, and the error goes on."""
    stream = io.StringIO()
    with (
        pytest.raises(ValueError, match="broken"),
        told_if_slow(build(LoggingOptions(verbosity=2), stream), "Scheduling", AT_ONCE, {}),
    ):
        raise ValueError("broken")
    assert '"Scheduling"' in stream.getvalue()

"""The logger: levels, contexts, callers, and that it never fails its caller."""

from __future__ import annotations

import inspect
import io
import json
import re
from typing import Any

from kubeglass.logging.klog import Logger, QuietLogger
from kubeglass.logging.options import LoggingOptions
from kubeglass.logging.setup import build
from kubeglass.logging.values import Duration, KObjSlice, kobj
from kubeglass.logging.verbosity import ModuleLevel


def logger(**options: Any) -> tuple[Logger, io.StringIO]:
    stream = io.StringIO()
    return build(LoggingOptions(**options), stream), stream


def bodies(stream: io.StringIO) -> list[str]:
    return [line.partition("] ")[2] for line in stream.getvalue().splitlines()]


def test_a_level_above_the_verbosity_is_silent_and_false() -> None:
    """`log.v(n)` is false and prints nothing above the verbosity, true and printing up to it."""
    log, stream = logger(verbosity=2)
    assert not log.v(3)
    assert log.v(2)
    log.v(3).info("no")
    log.v(3).warning("no")
    log.v(3).text("no")
    log.v(3).pairs("I", "no", ["a", 1])
    log.v(3).with_values(a=1).with_name("n").info("no")
    log.v(2).info("yes")
    assert bodies(stream) == ['"yes"']


def test_errors_are_printed_at_every_level() -> None:
    """An error is printed whatever the level of its logger, with what the logger carries."""
    log, stream = logger(verbosity=0)
    log.with_name("sync").with_values(a=1).v(9).error(ValueError("x"), "bad", b=2)
    log.v(9).text("raw error", "E")
    assert bodies(stream) == ['"bad" err="x" logger="sync" a=1 b=2', "raw error"]


def test_levels_add_up() -> None:
    """A level of a levelled logger is relative, as in logr."""
    log, stream = logger(format="json", verbosity=5)
    assert not log.v(3).v(3)
    log.v(3).v(2).info("five")
    log.v(3).with_values(a=1).info("three")
    assert [json.loads(line)["v"] for line in stream.getvalue().splitlines()] == [5, 3]


def test_verbosity_changes_while_running() -> None:
    """A logger follows a changed verbosity from the next call on."""
    log, stream = logger(verbosity=0)
    log.v(4).info("before")
    log.sink.verbosity.set(4)
    log.v(4).info("after")
    log.sink.verbosity.set(0)
    log.v(4).info("later")
    assert bodies(stream) == ['"after"']


def test_vmodule_raises_the_level_of_a_file() -> None:
    """--vmodule lets one file say more than the rest."""
    log, stream = logger(vmodule=(ModuleLevel("test_klo*", 7),))
    log.v(7).info("here")
    log.v(8).info("too much")
    exec(compile("log.v(7).info('elsewhere')", "/x/other.py", "exec"), {"log": log})
    assert bodies(stream) == ['"here"']


def test_the_caller_is_the_line_of_the_call() -> None:
    """Header and JSON name the file and line of the call itself, for every kind of call."""
    for logging_format in ("text", "json"):
        log, stream = logger(format=logging_format, verbosity=4)
        frame = inspect.currentframe()
        assert frame is not None
        first = frame.f_lineno + 1
        log.info("a")
        log.v(4).info("b", x=1)
        log.error(None, "c")
        log.with_values(a=1).warning("d")
        log.text("e")
        log.pairs("I", "f", ["k"])
        log.v(9).error(None, "g")
        found = re.findall(r"test_klog\.py:(\d+)", stream.getvalue())
        complaint = [str(first + 5)] if logging_format == "json" else []
        assert found == [str(first + n) for n in range(5)] + complaint + [str(first + 5), str(first + 6)]


def test_one_place_called_from_two_lines_has_two_callers() -> None:
    """The remembered file and line belong to the place in the code, not to the code object."""
    log, stream = logger()
    for _ in range(2):
        log.info("a")
        log.info("b")
    numbers = re.findall(r"test_klog\.py:(\d+)", stream.getvalue())
    assert numbers[0] == numbers[2] != numbers[1] == numbers[3]


def test_loggers_are_independent() -> None:
    """A derived logger does not change the one it came from."""
    log, stream = logger()
    derived = log.with_name("a").with_values(x=1)
    derived.with_name("b").with_values(x=2, y=3).info("m")
    derived.info("m")
    log.info("m")
    assert bodies(stream) == ['"m" logger="a.b" x=2 y=3', '"m" logger="a" x=1', '"m"']


def test_keys_that_are_no_names() -> None:
    """Any string is a key, even those of this API's own parameters."""
    log, stream = logger()
    log.info("m", **{"audit-ID": "a", "msg": "b", "self": "c", "err": "d", "a b": 1, "100%": 2})
    assert bodies(stream) == ['"m" audit-ID="a" msg="b" self="c" err="d" a b=1 100%=2']


def test_objects_are_references() -> None:
    """kobj takes decoded objects, typed views and None; KObjSlice waits until the line is printed."""
    pods = [{"metadata": {"name": "a", "namespace": "ns"}}, None]
    log, stream = logger(format="json")
    log.info("m", pod=kobj(pods[0]), pods=KObjSlice(pods), none=kobj(None))
    shown = json.loads(stream.getvalue())
    assert shown["pod"] == {"name": "a", "namespace": "ns"}
    assert shown["pods"] == [{"name": "a", "namespace": "ns"}, None]
    assert shown["none"] == {"name": ""}


def test_duration_counts_as_a_number_and_prints_as_go() -> None:
    """A Duration adds up like an int and prints like time.Duration."""
    total = Duration.of_seconds(0.0015) + Duration.of_seconds(0.0005)
    assert total == 2_000_000
    assert str(Duration(total)) == "2ms"
    assert f"{Duration.of_seconds(90)}" == "1m30s"


def test_quiet_loggers_are_loggers() -> None:
    """What `v` returns is a Logger either way."""
    log, _ = logger()
    assert isinstance(log.v(4), QuietLogger)
    assert isinstance(log.v(4), Logger)

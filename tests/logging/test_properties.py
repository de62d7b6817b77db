"""Whatever is logged: one line that reads back, and nothing is ever raised."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeglass.logging.goquote import quote
from kubeglass.logging.jsonline import JsonFormat
from kubeglass.logging.klog import Logger, Sink
from kubeglass.logging.record import Severity
from kubeglass.logging.sanitize import Sanitizer, Secret
from kubeglass.logging.textline import TextFormat
from kubeglass.logging.values import Duration, Format, KObjSlice, KRef, Nil
from kubeglass.logging.verbosity import Verbosity

HEADER = re.compile(r"([IWEF])(\d{2})(\d{2}) (\d{2}):(\d{2}):(\d{2})\.(\d{6}) +(\d+) ([^:]+):(\d+)\] ")


class Collected:
    def __init__(self) -> None:
        self.lines: list[tuple[Severity, str]] = []

    def write(self, severity: Severity, line: str) -> None:
        self.lines.append((severity, line))

    def flush(self) -> None:
        pass


class Hostile:
    """Fails whichever way it is looked at."""

    def __init__(self, failure: type[BaseException]) -> None:
        self.failure = failure

    def __str__(self) -> str:
        raise self.failure("no")

    def __repr__(self) -> str:
        return "Hostile"

    def __eq__(self, other: object) -> bool:
        raise self.failure("no")

    def __hash__(self) -> int:
        raise self.failure("no")


class HostileError(Exception):
    def __str__(self) -> str:
        raise ValueError(self)


class HostileMarshaler:
    def marshal_log(self) -> object:
        return self


class HostileMapping(dict[str, Any]):
    def items(self) -> Any:
        raise OSError("gone")


@dataclasses.dataclass
class Data:
    name: str
    inner: Any


class View(msgspec.Struct):
    name: str
    inner: Any


def cycle() -> list[Any]:
    ring: list[Any] = [1]
    ring.append({"again": ring})
    return ring


STRANGE: dict[str, Any] = {
    "an endless int": 10**5000,
    "an object": object(),
    "a builtin": len,
    "a class": type,
    "a hostile value": Hostile(ValueError),
    "a value that recurses": Hostile(RecursionError),
    "a hostile marshaler": HostileMarshaler(),
    "a hostile error": HostileError(),
    "an error without words": ValueError(),
    "a key error": KeyError("k"),
    "an os error": OSError(2, "no"),
    "a hostile mapping": HostileMapping(a=1),
    "a cycle": cycle(),
}
TEXT = st.text(st.characters(), max_size=40) | st.sampled_from(
    [
        "",
        "\n",
        'a"b',
        "a\\b",
        "\b\f\x00\x7f",
        "\ud800x\udcff",
        "line\nline\n\n",
        "é\u2028\ufeff",
        "<&>",
        "%s %d %",
        "=<\n >",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.binary(max_size=20)
    | st.integers(-(10**18), 10**18).map(Duration)
    | st.timedeltas()
    | st.datetimes(timezones=st.just(datetime.UTC) | st.none())
    | st.sampled_from([KRef("a", "b"), KObjSlice(None), KObjSlice([KRef("x")]), KObjSlice(7), Nil.LIST, Nil.MAP])
    | st.sampled_from(sorted(STRANGE)).map(lambda name: STRANGE[name])
    | TEXT.map(Secret)
    | TEXT.map(ValueError)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TEXT | st.integers() | st.booleans(), inner, max_size=3)
        | st.tuples(inner, inner)
        | inner.map(Format)
        | inner.map(lambda value: Data("d", value))
        | inner.map(lambda value: View("v", value))
    ),
    max_leaves=6,
)
KEYS = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ["ts", "msg", "v", "err", "logger", "caller", "password", "secret", "a b", 'q"', "%s", "trace_id"]
)
ERRORS = st.none() | TEXT.map(ValueError) | st.just(HostileError())


def lines(
    line_format: Any, message: str, error: BaseException | None, named: Any, pairs: list[Any], odd: bool
) -> Collected:
    out = Collected()
    log = Logger(Sink(line_format, out, Verbosity(5)))
    log.info(message, **named)
    log.error(error, message, **named)
    log.with_name("a").with_values(**named).warning(message, **named)
    log.v(3).with_pairs(*pairs).pairs("I", message, pairs[1:] if odd else pairs)
    log.text(message)
    return out


def no_constants(name: str) -> Any:
    raise AssertionError(f"{name} is not JSON")


@given(TEXT, ERRORS, st.dictionaries(KEYS, VALUES, max_size=4), st.lists(VALUES, max_size=5), st.booleans())
@settings(max_examples=200, deadline=None)
def test_json_lines_parse(message: str, error: Any, named: Any, pairs: Any, odd: bool) -> None:
    """Any record is exactly one JSON object on exactly one line, each key once; rendering never raises."""
    for _, line in lines(JsonFormat(Sanitizer()), message, error, named, pairs, odd).lines:
        assert line.count("\n") == 1 and line.endswith("\n")
        decoded = json.loads(line.encode(), parse_constant=no_constants)
        assert {"ts", "msg", "caller"} <= set(decoded)
        assert len(decoded) == line_keys(line)


def line_keys(line: str) -> int:
    """How many keys the outermost object has, repetitions counted."""
    counts: list[int] = []
    json.loads(line, object_pairs_hook=lambda found: counts.append(len(found)))  # type: ignore[func-returns-value]
    return counts[-1]


@given(TEXT, ERRORS, st.dictionaries(KEYS, VALUES, max_size=4), st.lists(VALUES, max_size=5), st.booleans())
@settings(max_examples=200, deadline=None)
def test_text_lines_read_back(message: str, error: Any, named: Any, pairs: Any, odd: bool) -> None:
    """Any record is one klog header, the message as a Go literal, and a body; rendering never raises."""
    out = lines(TextFormat(Sanitizer()), message, error, named, pairs, odd)
    assert len(out.lines) == 5
    for severity, line in out.lines[:-1]:
        found = HEADER.match(line)
        assert found is not None and found[1] == severity and line.endswith("\n")
        assert line[found.end() :].startswith(quote(message))


NAMES = st.text("abcdefghij-XYZ", min_size=1, max_size=8).filter(lambda key: Sanitizer().key_rule(key) == "")
UNICODE = st.text(st.characters(codec="utf-8"), max_size=30)
READABLE = UNICODE | st.integers() | st.booleans() | st.none()


@given(UNICODE, st.dictionaries(NAMES, READABLE, max_size=5))
@settings(max_examples=300, deadline=None)
def test_a_reference_parser_reads_the_text(message: str, values: dict[str, Any]) -> None:
    """Message, keys and values come back from a text line as they went in."""
    out = Collected()
    Logger(Sink(TextFormat(Sanitizer("off")), out, Verbosity())).info(message, **values)
    line = out.lines[0][1]
    found = HEADER.match(line)
    assert found is not None
    read_message, read_values = parse_body(line[found.end() :])
    assert read_message == message
    assert read_values == {key: shown(value) for key, value in values.items()}


def shown(value: Any) -> Any:
    return value.removesuffix("\n") if isinstance(value, str) and "\n" in value else value


def parse_body(body: str) -> tuple[str, dict[str, Any]]:
    """A reader of klog bodies written from the format's description alone."""
    message, at = read_literal(body, 0)
    values: dict[str, Any] = {}
    while body[at] != "\n":
        assert body[at] == " "
        equals = body.index("=", at)
        key = body[at + 1 : equals]
        at = equals + 1
        if body.startswith('"', at):
            values[key], at = read_literal(body, at)
        elif body.startswith("<\n", at):
            values[key], at = read_block(body, at)
        else:
            end = re.compile(r"[ \n]").search(body, at)
            assert end is not None
            values[key] = json.loads(body[at : end.start()])
            at = end.start()
    assert at == len(body) - 1
    return message, values


LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))")
SINGLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}


def read_literal(body: str, at: int) -> tuple[str, int]:
    found = LITERAL.match(body, at)
    assert found is not None
    text = ESCAPE.sub(lambda m: SINGLE[m[4]] if m[4] else chr(int(m[1] or m[2] or m[3], 16)), found[1])
    return text, found.end()


def read_block(body: str, at: int) -> tuple[str, int]:
    end = body.index("\n >", at)
    while not re.match(r"\n >[ \n]", body[end : end + 4]):
        end = body.index("\n >", end + 1)
    return body[at + 3 : end].replace("\n\t", "\n"), end + 3


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_the_sanitizer_never_raises(value: Any) -> None:
    """Inspection never raises, whatever it is given."""
    sanitizer = Sanitizer()
    sanitizer.value(value)
    sanitizer.pair("password", value)
    sanitizer.object(value, "Secret")


@given(st.text(st.characters(), max_size=200))
@settings(max_examples=300, deadline=None)
def test_sanitizing_twice_changes_nothing_more(text: str) -> None:
    """A sanitized text is left alone when it passes a second sanitizer."""
    sanitizer = Sanitizer()
    once = sanitizer.text(text)
    assert sanitizer.text(once) == once


def test_very_deep_values_are_shown_as_a_failure() -> None:
    """A value nested beyond any use is replaced, the rest of the record stays."""
    deep: Any = []
    for _ in range(sys.getrecursionlimit() * 2):
        deep = [deep]
    for make in (TextFormat, JsonFormat):
        out = Collected()
        Logger(Sink(make(Sanitizer()), out, Verbosity())).info("m", deep=deep, n=1)
        assert "json: unsupported value" in out.lines[0][1]
        assert re.search(r'n"?[=:]1', out.lines[0][1])


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_interrupts_are_not_swallowed(kind: type[BaseException]) -> None:
    """Only failures become text; an interrupt that arrives while rendering passes."""
    log = Logger(Sink(TextFormat(Sanitizer()), Collected(), Verbosity()))
    with pytest.raises(kind):
        log.info("m", value=Hostile(kind))

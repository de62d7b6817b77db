"""Every recorded call of the real library (data/upstream_lines.json) prints the same bytes here."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from kubeglass.logging.era122 import JsonFormat122, TextFormat122, TextValues122
from kubeglass.logging.goformat import sprint, sprintln
from kubeglass.logging.jsonline import JsonFormat
from kubeglass.logging.klog import Logger, Sink
from kubeglass.logging.record import LineFormat, Severity
from kubeglass.logging.sanitize import Sanitizer
from kubeglass.logging.textline import TextFormat, header, severity_letter
from kubeglass.logging.values import Duration, Fields, Format, KObjSlice, KRef, Nil, kobj, kobjs, kref
from kubeglass.logging.verbosity import Verbosity

LINES: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "upstream_lines.json").read_text())
FIXED_NS = 1_580_306_777_047_280_000
RECORDS: list[dict[str, Any]] = LINES["records"]

EXCEPTIONS = {
    ("val-time-zone", "json"): "upstream prints the record's time in place of the value: a bug not worth copying",
    ("nil-stringer", "json"): "Python has no nil pointer whose methods can be called",
    ("nil-error", "json"): "Python has no nil pointer whose methods can be called",
    ("struct-tagged", "text_1_22"): "prints Go field names that the JSON names of the record do not tell",
    ("struct-newline-inside", "text_1_22"): "prints Go field names that the JSON names of the record do not tell",
}


class Collected:
    """An output that keeps lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[Severity, str]] = []

    def write(self, severity: Severity, line: str) -> None:
        self.lines.append((severity, line))

    def flush(self) -> None:
        pass


class Stringer:
    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


class Panicking(Exception):
    def __str__(self) -> str:
        raise RuntimeError(self.args[0])


class PanickingStringer:
    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        raise RuntimeError(self.text)


class Marshaler:
    def __init__(self, said: Any) -> None:
        self.said = said

    def marshal_log(self) -> Any:
        return self.said


class PanickingMarshaler(Marshaler):
    def marshal_log(self) -> Any:
        raise RuntimeError(self.said)


def _cycle() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() == timedelta(hours=8):
        return moment.replace(tzinfo=timezone(timedelta(hours=8), "CST"))
    return moment


NIL_DEREFERENCE = "runtime error: invalid memory address or nil pointer dereference"

READERS: dict[str, Any] = {
    "string_bytes": lambda v: base64.b64decode(v["b64"]).decode("utf-8", "surrogateescape"),
    "int64": lambda v: int(v["v"]),
    "uint64": lambda v: int(v["v"]),
    "float64": lambda v: float(v["v"]),
    "float32": lambda v: float(v["v"]),
    "bytes": lambda v: base64.b64decode(v["b64"]),
    "error": lambda v: ValueError(v["v"]),
    "joined_errors": lambda v: ValueError("\n".join(v["v"])),
    "nil_error": lambda v: Panicking(NIL_DEREFERENCE),
    "panicking_error": lambda v: Panicking(v["v"]),
    "panicking_stringer": lambda v: PanickingStringer(v["v"]),
    "nil_stringer": lambda v: PanickingStringer(NIL_DEREFERENCE),
    "panicking_marshal_log": lambda v: PanickingMarshaler(v["v"]),
    "stringer": lambda v: Stringer(v["v"]),
    "marshal_log": lambda v: Marshaler(value(v["v"])),
    "kobj": lambda v: kobj({"metadata": {"name": v["name"], "namespace": v["ns"]}}),
    "kobj_nil": lambda v: kobj(None),
    "kref": lambda v: kref(v["ns"], v["name"]),
    "kobjs": lambda v: [
        Fields("ObjectRef", item) for item in kobjs(KRef(name, namespace) for namespace, name in v["items"])
    ],
    "kobjslice": lambda v: KObjSlice([KRef(name, namespace) for namespace, name in v["items"]]),
    "kobjslice_of": lambda v: KObjSlice(value(v["v"])),
    "duration_ns": lambda v: Duration(v["v"]),
    "time": lambda v: _time(v["v"]),
    "list": lambda v: [value(item) for item in v["v"]],
    "nil_list": lambda v: Nil.LIST,
    "map": lambda v: {key: value(item) for key, item in v["v"]},
    "nil_map": lambda v: Nil.MAP,
    "struct": lambda v: Fields("struct", {key: value(item) for key, item in v["v"]}),
    "pointer": lambda v: value(v["v"]),
    "nil_pointer": lambda v: None,
    "cyclic_linked_list": lambda v: _cycle(),
    "unserialisable": lambda v: type(v["type"], (), {"__slots__": ()})(),
    "format": lambda v: Format(value(v["v"])),
}


def value(noted: Any) -> Any:
    """The Python value a noted one stands for."""
    if isinstance(noted, dict) and "$" in noted:
        return READERS[noted["$"]](noted)
    return [value(item) for item in noted] if isinstance(noted, list) else noted


def play(record: dict[str, Any], line_format: LineFormat) -> list[tuple[Severity, str]]:
    """Make the call a record describes; the lines that came out."""
    out = Collected()
    logger = Logger(Sink(line_format, out, Verbosity(10)))
    for name in record.get("names", ()):
        logger = logger.with_name(name)
    for arguments in record.get("with_values", ()):
        logger = logger.with_pairs(*map(value, arguments))
    logger = logger.v(record.get("level", 0))
    arguments = [value(argument) for argument in record.get("args", ())]
    call, message, severity = record["call"], record["msg"], record["severity"]
    if call.endswith("S") or call.startswith("logger"):
        logger.pairs(severity, message, arguments, value(record["err"]) if "err" in record else None)
    else:
        print_ = {"f": lambda *rest: message % rest, "n": sprintln}.get(call[-1], sprint)
        logger.text(print_(*arguments), severity)
    return out.lines


def texts(record: dict[str, Any], line_format: LineFormat) -> list[str]:
    return [line for _, line in play(record, line_format)]


def columns(column: str) -> list[Any]:
    """The records that have a column, "same" resolved."""
    today = column.removesuffix("_1_22")
    found = []
    for record in RECORDS:
        expected = record.get(column)
        expected = record.get(today) if expected == "same" else expected
        if expected is None and column == "text" and "text_b64" in record:
            expected = base64.b64decode(record["text_b64"]).decode("utf-8", "surrogateescape")
        if expected is not None and (record["id"], column) not in EXCEPTIONS:
            found.append(pytest.param(record, expected, id=record["id"]))
    return found


def merged(line: str) -> str:
    """An upstream JSON line with repeated keys merged as a parser merges them, numbers and strings untouched."""
    decoder = re.compile(r'"(?:[^"\\]|\\.)*"')
    pairs: list[tuple[str, str]] = []
    depth, start, key = 0, 1, ""
    at = 1
    while at < len(line):
        char = line[at]
        if char == '"':
            end = decoder.match(line, at).end()  # type: ignore[union-attr]
            if depth == 0 and line[end : end + 1] == ":" and not key:
                key = line[at:end]
                start = end + 1
            at = end
            continue
        if char in "{[":
            depth += 1
        if depth == 0 and char in ",}":
            pairs.append((key, line[start:at]))
            key = ""
        if char in "]}":
            depth -= 1
        at += 1
    return f"{{{','.join(f'{key}:{text}' for key, text in dict(pairs).items())}}}"


SANITIZER = Sanitizer("full")


@pytest.mark.parametrize(("record", "expected"), columns("text"))
def test_text(record: dict[str, Any], expected: str) -> None:
    """A text line is the header, then exactly upstream's bytes, then one newline."""
    assert texts(record, TextFormat(SANITIZER, skip_headers=True)) == [expected + "\n"]


@pytest.mark.parametrize(("record", "expected"), columns("json"))
def test_json(record: dict[str, Any], expected: list[str]) -> None:
    """A JSON line is upstream's, repeated keys merged."""
    lines = texts(record, JsonFormat(SANITIZER, clock=lambda: FIXED_NS))
    assert [named_caller(line) for line in lines] == [merged(line) for line in expected]


@pytest.mark.parametrize(("record", "expected"), columns("text_1_22"))
def test_text_of_1_22(record: dict[str, Any], expected: str) -> None:
    """The 1.22 text shape is that of klog v2.9."""
    line_format = TextFormat122(SANITIZER, values=TextValues122(SANITIZER), skip_headers=True)
    assert texts(record, line_format) == [expected + "\n"]


@pytest.mark.parametrize(("record", "expected"), columns("json_1_22"))
def test_json_of_1_22(record: dict[str, Any], expected: list[str]) -> None:
    """The 1.22 JSON shape is that of component-base 0.22."""
    lines = texts(record, JsonFormat122(SANITIZER, clock=lambda: FIXED_NS))
    assert [named_caller(line) for line in lines] == [merged(line) for line in expected]


def named_caller(line: str) -> str:
    assert line.endswith("}\n")
    return re.sub(r'"caller":"logging/test_upstream_lines.py:[0-9]+"', '"caller":"CALLER"', line[:-1])


def keyword_calls() -> list[Any]:
    """The records that can also be made with keywords."""
    found = []
    for record in RECORDS:
        keys = record.get("args", ())[::2]
        pairs = len(record.get("args", ())) % 2 == 0 and len(set(map(str, keys))) == len(keys)
        if record["call"].endswith("S") and pairs and all(isinstance(key, str) for key in keys):
            found.append(pytest.param(record, id=record["id"]))
    return found


@pytest.mark.parametrize("record", keyword_calls())
@pytest.mark.parametrize("make", [TextFormat, JsonFormat])
def test_keywords_print_what_pairs_print(record: dict[str, Any], make: Any) -> None:
    """The fast way (keywords) and the careful way (pairs) of one call print the same bytes, first and second time."""
    out = Collected()
    line_format = make(SANITIZER, clock=lambda: FIXED_NS)
    log = Logger(Sink(line_format, out, Verbosity(10))).v(record.get("level", 0))
    arguments = [value(argument) for argument in record.get("args", ())]
    err = value(record["err"]) if "err" in record else None
    pairs = dict(zip(arguments[::2], arguments[1::2], strict=True))
    for _ in range(2):
        if record["severity"] == "E":
            log.error(err, record["msg"], **pairs)
        else:
            log.info(record["msg"], **pairs)
    log.pairs(record["severity"], record["msg"], arguments, err)
    bodies = {re.sub(r"test_upstream_lines.py:[0-9]+", "", line) for _, line in out.lines}
    assert len(bodies) == 1


@pytest.mark.parametrize("case", LINES["headers"], ids=lambda case: case["id"])
def test_header(case: dict[str, Any]) -> None:
    """A header has upstream's columns for every severity, process id and line."""
    moment = datetime.fromisoformat(case["time"][:26])
    stamp = f"{moment:%m%d %H:%M:%S.%f}"
    shown = header(severity_letter(case["severity_index"]), stamp, case["pid"], f"{case['file']}:{case['line']}")
    assert shown == case["header"]


def test_exceptions_are_few_and_real() -> None:
    """At most five exceptions, each for a recorded line."""
    assert len(EXCEPTIONS) <= 5
    assert all(any(record["id"] == name and column in record for record in RECORDS) for name, column in EXCEPTIONS)

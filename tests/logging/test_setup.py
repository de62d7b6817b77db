"""Flags and configuration are component-base's: names, defaults, refusals; and they do what they say."""

from __future__ import annotations

import argparse
import io
import json
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kubeglass.logging import correlation
from kubeglass.logging.options import (
    InvalidOptions,
    LoggingOptions,
    StreamOptions,
    options_from_configuration,
    validate,
)
from kubeglass.logging.setup import add_flags, build, options_from
from kubeglass.logging.verbosity import ModuleLevel

LINES: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "upstream_lines.json").read_text())
ALPHA = {"LoggingAlphaOptions": True, "LoggingBetaOptions": True}


def parse(*argv: str) -> LoggingOptions:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_flags(parser)
    return options_from(parser.parse_args(argv))


@pytest.mark.parametrize("case", LINES["component_base_validation"])
def test_validation(case: dict[str, Any]) -> None:
    """A configuration is refused with every fault, in upstream's words."""
    options = options_from_configuration(case["config"])
    gates = ALPHA if "LoggingAlphaOptions=true" in case.get("gates", "") else {"LoggingAlphaOptions": False}
    formats = ("text",) if case.get("json_registered") is False else ("json", "text")
    if case["error"] is None:
        validate(options, gates=gates, formats=formats)
    else:
        with pytest.raises(InvalidOptions) as refused:
            validate(options, gates=gates, formats=formats, path=case.get("path", ""))
        assert str(refused.value) == case["error"]


def test_gates() -> None:
    """Feature gates open and close the logging options that are not stable."""
    validate(LoggingOptions(text=StreamOptions(True, 5)), gates=ALPHA)
    with pytest.raises(InvalidOptions) as refused:
        validate(LoggingOptions(format="json"), gates={"LoggingBetaOptions": False})
    assert str(refused.value) == "format: Forbidden: Log format json is disabled, see LoggingBetaOptions feature"


def test_defaults() -> None:
    """Without flags: text to one stream, verbosity 0, flush after 5 s, sanitization on."""
    assert parse() == LoggingOptions()


def test_flags() -> None:
    """Every upstream flag is understood; --vmodule appends."""
    options = parse(
        *("-v", "4", "--vmodule", "a=1,b=2", "--vmodule=c=3", "--log-flush-frequency=1m", "--log-text-split-stream"),
        *("--log-text-info-buffer-size", "2Ki", "--log-json-split-stream=false", "--log-json-info-buffer-size=1K"),
    )
    assert options.verbosity == 4
    assert options.vmodule == (ModuleLevel("a", 1), ModuleLevel("b", 2), ModuleLevel("c", 3))
    assert options.flush_frequency == 60_000_000_000
    assert options.text == StreamOptions(True, 2048)
    assert options.json == StreamOptions(False, 1000)


@pytest.mark.parametrize(
    ("argv", "mode"),
    [
        ((), "full"),
        (("--log-sanitization=types",), "types"),
        (("--experimental-logging-sanitization",), "full"),
        (("--experimental-logging-sanitization=false",), "off"),
        (("--log-sanitization=off", "--experimental-logging-sanitization=true"), "full"),
    ],
)
def test_sanitization_flags(argv: tuple[str, ...], mode: str) -> None:
    """Both names of the sanitization flag set the same option; the last one given wins."""
    assert parse(*argv).sanitization == mode


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (("-v=-1",), 'strconv.ParseUint: parsing "-1": invalid syntax'),
        (("--vmodule=a",), '"a" does not have the pattern=N format'),
        (("--log-flush-frequency=5",), 'time: missing unit in duration "5"'),
        (("--log-text-split-stream=yes",), 'strconv.ParseBool: parsing "yes": invalid syntax'),
    ],
)
def test_refused_flags(argv: tuple[str, ...], complaint: str) -> None:
    """A flag that cannot be parsed is refused in the words of Go's parsers."""
    with pytest.raises(argparse.ArgumentError) as refused:
        parse(*argv)
    assert complaint in str(refused.value)


def test_split_streams() -> None:
    """With split streams information goes to one stream and everything else to the other."""
    info, errors = io.StringIO(), io.StringIO()
    options = LoggingOptions(text=StreamOptions(split_stream=True))
    log = build(options, errors, info_stream=info, gates=ALPHA)
    log.info("fine")
    log.warning("odd")
    log.error(None, "bad")
    assert [line.split("] ")[1] for line in info.getvalue().splitlines()] == ['"fine"']
    assert [line.split("] ")[1] for line in errors.getvalue().splitlines()] == ['"odd"', '"bad"']


def test_info_buffer() -> None:
    """Buffered lines appear when the buffer is full, at a flush, or after the flush frequency: whole, in order."""
    info = io.StringIO()
    options = LoggingOptions(json=StreamOptions(True, 400), format="json", flush_frequency=50_000_000)
    log = build(options, io.StringIO(), info_stream=info, gates=ALPHA)
    log.info("one")
    assert info.getvalue() == ""
    log.flush()
    assert info.getvalue().count("\n") == 1
    for number in range(10):
        log.info("more", number=number)
    assert 1 < info.getvalue().count("\n") < 11
    deadline = time.monotonic() + 5
    while info.getvalue().count("\n") < 11 and time.monotonic() < deadline:
        time.sleep(0.01)
    numbers = [json.loads(line).get("number") for line in info.getvalue().splitlines()]
    assert numbers == [None, *range(10)]


def test_trace_ids() -> None:
    """A record made during a span names it: in JSON always, in text from -v=4 on or by flag."""
    token = correlation.current.set(SimpleNamespace(trace_ids=("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")))
    try:
        lines = {}
        for name, options in {
            "json": LoggingOptions(format="json"),
            "text": LoggingOptions(),
            "v4": LoggingOptions(verbosity=4),
            "flag": LoggingOptions(trace_ids=True),
        }.items():
            stream = io.StringIO()
            build(options, stream).with_values(a=1).info("m", b=2)
            lines[name] = stream.getvalue()
    finally:
        correlation.current.reset(token)
    ids = 'trace_id="0af7651916cd43dd8448eb211c80319c" span_id="b7ad6b7169203331"'
    assert list(json.loads(lines["json"])) == ["ts", "caller", "msg", "a", "trace_id", "span_id", "v", "b"]
    assert "trace_id" not in lines["text"]
    assert lines["v4"].endswith(f'"m" a=1 {ids} b=2\n')
    assert lines["flag"].endswith(f'"m" a=1 {ids} b=2\n')


def test_log_file(tmp_path: Path) -> None:
    """--log-file sends the records to a file that is rotated between records."""
    path = tmp_path / "logs" / "x.log"
    options = parse(f"--log-file={path}", "--log-file-max-size=300", "--log-file-max-files=2")
    log = build(options)
    for number in range(20):
        log.info("hello", number=number)
    files = sorted(tmp_path.glob("logs/*"))
    assert len(files) == 2
    assert all(file.stat().st_size <= 300 for file in files)
    assert path.read_text().endswith("number=19\n")


@pytest.mark.parametrize("logging_format", ["text", "json"])
def test_emulated_1_22(logging_format: str) -> None:
    """--log-emulated-version=1.22 brings back that release's shapes."""
    stream = io.StringIO()
    options = parse("--log-emulated-version=1.22", f"--logging-format={logging_format}")
    build(options, stream).error(ValueError("x"), "m", items=["a", "b"])
    shown = stream.getvalue()
    if logging_format == "json":
        assert list(json.loads(shown)) == ["ts", "caller", "msg", "v", "items", "err"]
    else:
        assert re.search(r'\] "m" err="x" items=\[a b\]\n$', shown)


def test_fatal_stream_is_survived() -> None:
    """A stream that cannot be written to loses the line, never the caller."""

    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError("gone")

    build(LoggingOptions(), Broken()).info("hello")

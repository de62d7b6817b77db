"""Logging against what a user would pick instead: stdlib logging with a formatter for the same bytes, and structlog.

The lines are those of a busy API server: a request record with six values, of which some repeat
(verb, agent, path) and some never do (audit id, latency). Everything is written to /dev/null.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson
import structlog
from tests.benchmarks.report import Row, alternate

from kubeglass.logging.klog import Logger
from kubeglass.logging.options import LoggingOptions
from kubeglass.logging.rotation import Follower, rotated_files
from kubeglass.logging.sanitize import Mode
from kubeglass.logging.setup import build
from kubeglass.logging.values import Duration

LINES = 2_000
CALLS = 50_000
Values = dict[str, Any]


def requests(batches: int) -> list[list[Values]]:
    """Batches of LINES request records each. Paths, agents and verbs repeat; no audit id or latency ever does."""
    chance = random.Random(1)
    names = ("deployment-controller", "endpoint-controller", "gc")
    agents = [
        f"kube-controller-manager/v1.36.2 (linux/amd64) kubernetes/a{n}/{name}" for n in range(4) for name in names
    ]
    paths = [f"/api/v1/namespaces/team-{n % 40}/pods/web-{chance.getrandbits(32):08x}-{n}" for n in range(500)]
    return [
        [
            {
                "verb": chance.choice(("GET", "PATCH", "UPDATE", "LIST")),
                "URI": chance.choice(paths),
                "latency": Duration(chance.randrange(100_000, 90_000_000)),
                "userAgent": chance.choice(agents),
                "auditID": str(uuid.UUID(int=chance.getrandbits(128))),
                "resp": chance.choice((200, 201, 404)),
            }
            for _ in range(LINES)
        ]
        for _ in range(batches)
    ]


BATCHES = requests(20)


class KlogFormatter(logging.Formatter):
    """The same klog line from a stdlib record, written with care: the second is cached."""

    second, stamp = -1, ""

    def format(self, record: logging.LogRecord) -> str:
        second = int(record.created)
        if second != self.second:
            self.second, self.stamp = second, time.strftime("%m%d %H:%M:%S", time.localtime(second))
        micros = int((record.created - second) * 1e6)
        head = f"{record.levelname[0]}{self.stamp}.{micros:06d} {record.process:7d} {record.filename}:{record.lineno}] "
        return (
            head
            + f'"{record.getMessage()}"'
            + "".join(
                [f" {key}={_text(value)}" for key, value in record.values.items()]  # type: ignore[attr-defined]
            )
        )


class JsonFormatter(logging.Formatter):
    """The same JSON record from a stdlib record, through orjson."""

    def format(self, record: logging.LogRecord) -> str:
        values = record.values  # type: ignore[attr-defined]
        body = {
            "ts": record.created * 1000,
            "caller": f"{os.path.basename(os.path.dirname(record.pathname))}/{record.filename}:{record.lineno}",
            "msg": record.getMessage(),
            "v": 0,
            **{key: str(value) if type(value) is Duration else value for key, value in values.items()},
        }
        return orjson.dumps(body).decode()


def _text(value: object) -> str:
    if isinstance(value, str | Duration):
        text = str(value)
        return f'"{text}"' if text.isprintable() and '"' not in text and "\\" not in text else json.dumps(text)
    return str(value)


def stdlib_logger(formatter: logging.Formatter, stream: Any) -> logging.Logger:
    logger = logging.Logger("bench", logging.INFO)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger.addHandler(handler)
    return logger


def ours(logging_format: str, mode: Mode, stream: Any) -> Logger:
    return build(LoggingOptions(format=logging_format, sanitization=mode), stream)


def run_keywords(logger: Any) -> Callable[[], None]:
    """A batch of records through a logger that takes values as keywords: ours and structlog's."""
    batches = itertools.cycle(BATCHES)

    def lines() -> None:
        info = logger.info
        for values in next(batches):
            info("HTTP", **values)

    return lines


def run_stdlib(logger: logging.Logger) -> Callable[[], None]:
    """A batch of records through the standard library."""
    batches = itertools.cycle(BATCHES)

    def lines() -> None:
        info = logger.info
        for values in next(batches):
            info("HTTP", extra={"values": values})

    return lines


def structlog_json(stream: Any) -> Any:
    """structlog as its performance guide says: filtering logger, cached, orjson to bytes."""
    return structlog.wrap_logger(
        structlog.BytesLogger(stream.buffer),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=lambda event, **_: orjson.dumps(event, default=str)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    ).bind()


def structlog_text(stream: Any) -> Any:
    return structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.LogfmtRenderer(key_order=("timestamp", "level", "event")),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    ).bind()


def row(what: str, ours_s: float, theirs_s: float, calls: int, bound: str, limit: float) -> Row:
    ratio = ours_s / theirs_s
    unit = 1e9 / calls
    return Row(what, f"{ours_s * unit:.0f} ns", f"{theirs_s * unit:.0f} ns", ratio, bound, ratio <= limit)


def disabled(rounds: int, stream: Any) -> Row:
    """A call whose level is not enabled."""
    log, std = ours("text", "full", stream), stdlib_logger(logging.Formatter(), stream)

    def our_calls() -> None:
        for _ in range(CALLS):
            log.v(4).info("Pod status updated", pod="kubedns", status="ready")

    def their_calls() -> None:
        for _ in range(CALLS):
            std.debug("Pod status updated pod=%s status=%s", "kubedns", "ready")

    first, second = alternate((our_calls, their_calls), rounds)
    return row("disabled call / stdlib disabled", first, second, CALLS, "<= 1.2", 1.2)


def guarded(rounds: int, stream: Any) -> Row:
    """The idiom that does not even build the values."""
    log, std = ours("text", "full", stream), stdlib_logger(logging.Formatter(), stream)

    def our_calls() -> None:
        for _ in range(CALLS):
            if log.v(4):
                log.v(4).info("never")

    def their_calls() -> None:
        for _ in range(CALLS):
            if std.isEnabledFor(logging.DEBUG):
                std.debug("never")

    first, second = alternate((our_calls, their_calls), rounds)
    return row("if log.v(4) / if isEnabledFor", first, second, CALLS, "<= 1.2", 1.2)


WRITER = """
import sys, time
from kubeglass.logging.options import FileOptions, LoggingOptions
from kubeglass.logging.setup import build
path, count = sys.argv[1], int(sys.argv[2])
log = build(LoggingOptions(file=FileOptions(path, max_bytes=8 << 20, max_age_seconds=0, max_files=0)))
started = time.perf_counter()
for number in range(count):
    log.info("Record", number=number, padding=PADDING)
print(time.perf_counter() - started)
""".replace("PADDING", repr("x" * 190))


def followed() -> Row:
    """100 MB at full speed through rotation while a follower reads: what it missed, saw twice or saw torn."""
    count = 400_000
    number = re.compile(rb'\] "Record" number=(\d+) padding="x{190}"\n$')
    expected = total = wrong = 0
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/x.log"
        follower = Follower(path)
        arguments = [sys.executable, "-c", WRITER, path, str(count)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
            running = True
            while running:
                running = writer.poll() is None
                for record in follower.poll():
                    found = number.search(record)
                    wrong += found is None or int(found[1]) != expected
                    expected += 1
                    total += len(record)
            assert writer.stdout is not None
            seconds = float(writer.stdout.read())
        files = len(rotated_files(Path(path))) + 1
        follower.close()
    wrong += abs(count - expected) + follower.gaps
    speed = f"{total / 1e6:.0f} MB, {total / 1e6 / seconds:.0f} MB/s"
    return Row("records lost, torn or repeated while followed", speed, f"{files} files", wrong, "= 0", wrong == 0)


def run(rounds: int) -> Iterable[Row]:
    """All comparisons."""
    with open(os.devnull, "w") as stream:
        yield disabled(rounds, stream)
        yield guarded(rounds, stream)
        for logging_format, formatter, structured in (
            ("text", KlogFormatter(), structlog_text(stream)),
            ("json", JsonFormatter(), structlog_json(stream)),
        ):
            full, std, slog = alternate(
                (
                    run_keywords(ours(logging_format, "full", stream)),
                    run_stdlib(stdlib_logger(formatter, stream)),
                    run_keywords(structured),
                ),
                rounds,
            )
            yield row(f"{logging_format} line / stdlib logging, same bytes", full, std, LINES, "< 1", 1.0)
            yield row(f"{logging_format} line / structlog's own renderer", full, slog, LINES, "< 1", 1.0)
            full, off = alternate(
                (
                    run_keywords(ours(logging_format, "full", stream)),
                    run_keywords(ours(logging_format, "off", stream)),
                ),
                rounds * 2,
            )
            yield row(f"{logging_format} line, sanitization full / off", full, off, LINES, "<= 1.10", 1.10)
    yield followed()


if __name__ == "__main__":
    from tests.benchmarks.report import table

    sys.stdout.write(table(run(int(sys.argv[1]) if len(sys.argv) > 1 else 20)) + "\n")

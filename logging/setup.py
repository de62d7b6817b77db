"""The logging flags every component takes, their validation in upstream's words, and the logger they describe.

Answers to k8s.io/component-base/logs/api/v1. Flags that are ours alone: --log-sanitization
and --log-trace-ids; --experimental-logging-sanitization is kept from Kubernetes 1.20-1.23.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from kubeglass.logging.goduration import parse_duration
from kubeglass.logging.klog import Logger, Sink
from kubeglass.logging.record import LineFormat, Record
from kubeglass.logging.sanitize import Mode, Sanitizer
from kubeglass.logging.streams import SingleStream, SplitStreams, byte_sink
from kubeglass.logging.textline import TextFormat
from kubeglass.logging.verbosity import ModuleLevel, Verbosity, parse_component_level, parse_vmodule

DEFAULT_FLUSH_NANOSECONDS = 5_000_000_000


@dataclass(frozen=True, slots=True)
class LoggingOptions:
    """The values of the logging flags of one component."""

    format: str = "text"
    flush_frequency: int = DEFAULT_FLUSH_NANOSECONDS
    verbosity: int = 0
    vmodule: Sequence[ModuleLevel] = ()
    text_split_stream: bool = False
    text_info_buffer_size: int = 0
    json_split_stream: bool = False
    json_info_buffer_size: int = 0
    sanitization: Mode = "full"
    trace_ids: bool = False
    listeners: Sequence[Callable[[Record], None]] = field(default=(), repr=False)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the logging flags."""
    group = parser.add_argument_group("logs flags")
    group.add_argument("-v", "--v", type=parse_component_level, default=0, metavar="Level", dest="v")
    group.add_argument("--vmodule", type=parse_vmodule, default=[], action="extend", metavar="pattern=N,...")
    group.add_argument("--logging-format", default="text", metavar="string")
    group.add_argument("--log-flush-frequency", type=parse_duration, default=DEFAULT_FLUSH_NANOSECONDS)
    group.add_argument("--log-sanitization", choices=("off", "types", "full"), default="full")


def options_from(ns: argparse.Namespace) -> LoggingOptions:
    """The options parsed flags ask for."""
    return LoggingOptions(
        format=ns.logging_format,
        flush_frequency=ns.log_flush_frequency,
        verbosity=ns.v,
        vmodule=tuple(ns.vmodule),
        sanitization=ns.log_sanitization,
    )


def build(
    options: LoggingOptions,
    stream: TextIO | None = None,
    *,
    info_stream: TextIO | None = None,
    verbosity: Verbosity | None = None,
    sanitizer: Sanitizer | None = None,
    listeners: Iterable[Callable[[Record], None]] = (),
) -> Logger:
    """The root logger of a process. `stream` takes everything (default stderr); split information goes to `info_stream`
    (default stdout)."""
    verbosity = verbosity or Verbosity(options.verbosity, options.vmodule)
    sanitizer = sanitizer or Sanitizer(options.sanitization)
    line_format: LineFormat = TextFormat(sanitizer)
    errors = byte_sink(stream or sys.stderr)
    output: SingleStream | SplitStreams = SingleStream(errors)
    return Logger(Sink(line_format, output, verbosity, listeners))

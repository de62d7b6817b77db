"""The logging flags every component takes, and the logger they describe.

Names, defaults and help answer to k8s.io/component-base/logs/api/v1. Ours alone are --log-sanitization,
--log-trace-ids, --log-emulated-version and the --log-file flags; --experimental-logging-sanitization is
kept from Kubernetes 1.20-1.23.
"""

from __future__ import annotations

import argparse
import atexit
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TextIO, TypeVar

from kubeglass.logging.era122 import JsonFormat122, TextFormat122, TextValues122
from kubeglass.logging.goduration import duration_text, parse_duration
from kubeglass.logging.jsonline import JsonFormat
from kubeglass.logging.klog import Logger, Output, Sink
from kubeglass.logging.options import (
    DEFAULT_FLUSH_NANOSECONDS,
    DEFAULT_GATES,
    FileOptions,
    InvalidOptions,
    LoggingOptions,
    StreamOptions,
    options_from_configuration,
    parse_bool,
    parse_quantity,
    validate,
)
from kubeglass.logging.record import LineFormat, Record
from kubeglass.logging.rotation import DEFAULT_MAX_AGE_SECONDS, DEFAULT_MAX_BYTES, DEFAULT_MAX_FILES, RotatingFile
from kubeglass.logging.sanitize import Sanitizer
from kubeglass.logging.streams import SingleStream, SplitStreams, byte_sink
from kubeglass.logging.textline import TextFormat
from kubeglass.logging.verbosity import Verbosity, parse_component_level, parse_vmodule

__all__ = [
    "InvalidOptions",
    "LoggingOptions",
    "add_flags",
    "build",
    "options_from",
    "options_from_configuration",
    "validate",
]

T = TypeVar("T")

TRACE_IDS_LEVEL = 4
"""From this verbosity on, text records made during a span name it (JSON records always do)."""

_STREAM_HELP = "[Alpha] In {format} format, write error messages to stderr and info messages to stdout. The default is to write a single stream to stderr. Enable the LoggingAlphaOptions feature gate to use this."  # noqa: E501
_BUFFER_HELP = "[Alpha] In {format} format with split output streams, the info messages can be buffered for a while to increase performance. The default value of zero bytes disables buffering. The size can be specified as number of bytes (512), multiples of 1000 (1K), multiples of 1024 (2Ki), or powers of those (3M, 4G, 5Mi, 6Gi). Enable the LoggingAlphaOptions feature gate to use this."  # noqa: E501


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the logging flags to a component's parser."""
    group = parser.add_argument_group("logs flags")
    group.add_argument(
        "-v",
        "--v",
        dest="v",
        type=_flag(parse_component_level),
        default=0,
        metavar="Level",
        help="number for the log level verbosity",
    )
    group.add_argument(
        "--vmodule",
        type=_flag(parse_vmodule),
        default=[],
        action="extend",
        metavar="pattern=N,...",
        help="comma-separated list of pattern=N settings for file-filtered logging (only works for text log format)",
    )
    group.add_argument(
        "--logging-format",
        default="text",
        metavar="string",
        help='Sets the log format. Permitted formats: "json" (gated by LoggingBetaOptions), "text". (default "text")',
    )
    group.add_argument(
        "--log-flush-frequency",
        type=_flag(parse_duration),
        default=DEFAULT_FLUSH_NANOSECONDS,
        metavar="duration",
        help=f"Maximum number of seconds between log flushes (default {duration_text(DEFAULT_FLUSH_NANOSECONDS)})",
    )
    for name in ("text", "json"):
        _add_switch(group, f"--log-{name}-split-stream", _STREAM_HELP.format(format=name))
        group.add_argument(
            f"--log-{name}-info-buffer-size",
            type=_flag(parse_quantity),
            default=0,
            metavar="quantity",
            help=_BUFFER_HELP.format(format=name),
        )
    _add_own_flags(group)


def _add_own_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--log-sanitization",
        choices=("off", "types", "full"),
        default="full",
        help="what keeps secrets out of logs, spans, events and audit: types (sensitive types, fields and keys), "
        'full (also the search for secrets in texts) or off (default "full")',
    )
    group.add_argument(
        "--experimental-logging-sanitization",
        dest="log_sanitization",
        type=_flag(lambda text: "full" if parse_bool(text) else "off"),
        nargs="?",
        const="true",
        metavar="bool",
        help="the name of Kubernetes 1.20-1.23 for --log-sanitization=full",
    )
    _add_switch(group, "--log-trace-ids", "name the current span in text records below -v=4 too")
    group.add_argument(
        "--log-emulated-version",
        choices=("1.36", "1.22"),
        default="1.36",
        help='the Kubernetes release whose record shapes are printed (default "1.36")',
    )
    group.add_argument("--log-file", default="", metavar="file", help="write to this file instead of the streams")
    group.add_argument(
        "--log-file-max-size",
        type=_flag(parse_quantity),
        default=DEFAULT_MAX_BYTES,
        metavar="quantity",
        help="start a new file when this one would grow beyond so many bytes; 0 for never (default 100Mi)",
    )
    group.add_argument(
        "--log-file-max-age",
        type=_flag(parse_duration),
        default=int(DEFAULT_MAX_AGE_SECONDS * 1e9),
        metavar="duration",
        help="start a new file when this one is older; 0 for never (default 24h0m0s)",
    )
    group.add_argument(
        "--log-file-max-files",
        type=int,
        default=DEFAULT_MAX_FILES,
        metavar="int",
        help="how many files to keep, the current one included; 0 for all (default 5)",
    )


def _add_switch(group: argparse._ArgumentGroup, name: str, help_text: str) -> None:
    group.add_argument(
        name, type=_flag(parse_bool), nargs="?", const=True, default=False, metavar="bool", help=help_text
    )


def _flag(parse: Callable[[str], T]) -> Callable[[str], T]:
    """A parser whose complaint reaches the user in its own words."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parsed


def options_from(ns: argparse.Namespace) -> LoggingOptions:
    """The options that parsed flags ask for."""
    file = FileOptions(ns.log_file, ns.log_file_max_size, ns.log_file_max_age / 1e9, ns.log_file_max_files)
    return LoggingOptions(
        format=ns.logging_format,
        flush_frequency=ns.log_flush_frequency,
        verbosity=ns.v,
        vmodule=tuple(ns.vmodule),
        text=StreamOptions(ns.log_text_split_stream, ns.log_text_info_buffer_size),
        json=StreamOptions(ns.log_json_split_stream, ns.log_json_info_buffer_size),
        sanitization=ns.log_sanitization,
        trace_ids=ns.log_trace_ids,
        emulated_version=ns.log_emulated_version,
        file=file if ns.log_file else None,
    )


def build(
    options: LoggingOptions,
    stream: TextIO | None = None,
    *,
    info_stream: TextIO | None = None,
    verbosity: Verbosity | None = None,
    sanitizer: Sanitizer | None = None,
    listeners: Iterable[Callable[[Record], None]] = (),
    gates: Mapping[str, bool] = DEFAULT_GATES,
) -> Logger:
    """The root logger of a process. Raises InvalidOptions, and OSError when a log file cannot be opened.

    `stream` takes all records (default stderr); split information goes to `info_stream` (default stdout).
    """
    validate(options, gates=gates)
    verbosity = verbosity or Verbosity(options.verbosity, options.vmodule)
    sanitizer = sanitizer or Sanitizer(options.sanitization)
    output = _output(options, stream, info_stream)
    logger = Logger(Sink(line_format(options, sanitizer, verbosity), output, verbosity, listeners))
    if options.streams.info_buffer_size:
        atexit.register(logger.flush)
    return logger


def line_format(options: LoggingOptions, sanitizer: Sanitizer, verbosity: Verbosity) -> LineFormat:
    """The format the options ask for."""
    today = options.emulated_version != "1.22"
    if options.format == "json":
        return JsonFormat(sanitizer) if today else JsonFormat122(sanitizer)
    shared: dict[str, Any] = {"show_trace_ids": lambda: options.trace_ids or verbosity.level >= TRACE_IDS_LEVEL}
    if today:
        return TextFormat(sanitizer, **shared)
    return TextFormat122(sanitizer, values=TextValues122(sanitizer), **shared)


def _output(options: LoggingOptions, stream: TextIO | None, info_stream: TextIO | None) -> Output:
    if options.file is not None:
        facts = options.file
        return SingleStream(
            RotatingFile(
                facts.path,
                max_bytes=facts.max_bytes,
                max_age_seconds=facts.max_age_seconds,
                max_files=facts.max_files,
            )
        )
    if options.streams.split_stream:
        return SplitStreams(
            byte_sink(info_stream or sys.stdout),
            byte_sink(stream or sys.stderr),
            options.streams.info_buffer_size,
            options.flush_frequency / 1e9,
        )
    to_stdout = options.emulated_version == "1.22" and options.format == "json"
    return SingleStream(byte_sink(stream or (sys.stdout if to_stdout else sys.stderr)))

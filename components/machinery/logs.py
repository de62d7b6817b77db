"""The log of a component process: its flags, what keeps secrets out of it, and the way of its records to a collector.

`--log-otlp` ships every record as OTLP to where spans go, or to the address it names. What the sanitizer replaced,
what was shipped and what was lost is shown in the component's metrics.
"""

from __future__ import annotations

import argparse
import logging
import socket
from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from kubeglass.logging import bridge
from kubeglass.logging import setup as logging_setup
from kubeglass.logging.klog import Logger
from kubeglass.logging.sanitize import Sanitizer
from kubeglass.logging.verbosity import Verbosity
from kubeglass.telemetry.metrics.definitions import ALPHA, Counter
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.logship import LogShipper
from kubeglass.telemetry.tracing.setup import TracingConfiguration

REDACTIONS = Counter(
    "kubeglass_log_redactions_total",
    "Number of secrets that were replaced before they left the process in a log record, a span, an Event, an audit "
    "record or an error, by the rule that found them.",
    labels=("rule",),
    stability=ALPHA,
)
LINES_LOST = Counter(
    "kubeglass_log_lines_lost_total",
    "Number of log lines that could not be written to their file or stream.",
    stability=ALPHA,
)


@dataclass(frozen=True, slots=True)
class ProcessLog:
    """The logger of a process and what belongs to it."""

    log: Logger
    sanitizer: Sanitizer
    shipper: LogShipper | None
    redactions: Tally[str] = field(default_factory=Tally)

    def show(self, registry: Registry) -> None:
        """Say at every scrape what was replaced, lost and shipped."""
        registry.collect((REDACTIONS,), self._redacted)
        output = self.log.sink.output
        registry.function(LINES_LOST, lambda: output.lost)
        if self.shipper is not None:
            self.shipper.show(registry)

    def take_over(self) -> None:
        """What third parties say through the standard library's logging and warnings becomes lines of this log."""
        bridge.install(self.log)
        logging.captureWarnings(True)
        logging.getLogger("grpc").setLevel(logging.INFO)  # below that it only names the event loop, at every call

    def _redacted(self) -> Iterable[tuple[Counter, tuple[str, ...], float]]:
        return [(REDACTIONS, (rule,), count) for rule, count in self.redactions.items()]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the logging flags, and the one that ships records."""
    logging_setup.add_flags(parser)
    parser.add_argument_group("log shipping flags").add_argument(
        "--log-otlp",
        nargs="?",
        const="",
        default=None,
        metavar="HOST:PORT",
        help="also send log records as OTLP; without an address to where --tracing-config-file sends spans",
    )


def build(
    flags: argparse.Namespace,
    service: str,
    tracing: TracingConfiguration | None,
    verbosity: Verbosity,
    gates: Mapping[str, bool],
) -> ProcessLog:
    """The log that the flags describe. Raises InvalidOptions (a ValueError) and OSError."""
    redactions: Tally[str] = Tally()

    def count(rule: str) -> None:
        redactions[rule] += 1

    sanitizer = Sanitizer(flags.log_sanitization, on_redaction=count)
    shipper = _shipper(flags.log_otlp, service, tracing, sanitizer)
    log = logging_setup.build(
        logging_setup.options_from(flags),
        verbosity=verbosity,
        sanitizer=sanitizer,
        gates=gates,
        listeners=() if shipper is None else (shipper,),
    )
    return ProcessLog(log, sanitizer, shipper, redactions)


def _shipper(
    wanted: str | None, service: str, tracing: TracingConfiguration | None, sanitizer: Sanitizer
) -> LogShipper | None:
    if wanted is None:
        return None
    config = tracing or TracingConfiguration()
    if wanted:
        config = replace(config, endpoint=wanted)
        if problems := config.validate("log-otlp"):
            raise ValueError(problems[0])
    resource = {"service.name": service, "service.instance.id": f"{service}-{socket.gethostname()}"}
    return LogShipper(config, resource, sanitizer, only_traced=False)

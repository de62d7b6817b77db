"""`kubeglass apf`: who is queued, executing and rejected, and why; and what would be if the objects were others.

top, explain, dump and record ask a running server; what-if and simulate work on files alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kubeglass.components.cli import apf_explain, apf_simulate, apf_top, apf_whatif
from kubeglass.components.cli.apf_server import FlowControlServer, add_server_flags
from kubeglass.components.cli.lookup import CommandError

DUMPS = {
    "levels": "dump_priority_levels",
    "queues": "dump_queues",
    "requests": "dump_requests",
    "rejections": "dump_rejections",
    "talkers": "dump_talkers",
}


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb and its own verbs."""
    parser = verbs.add_parser(
        "apf", help="API Priority and Fairness: top, explain, dump, record, what-if, simulate", description=__doc__
    )
    own = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    apf_top.add_parser(own)
    apf_explain.add_parser(own)
    _add_dump(own)
    _add_record(own)
    apf_whatif.add_parser(own)
    apf_simulate.add_parser(own)


def _add_dump(own: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = own.add_parser("dump", help="print a debug dump as the server writes it")
    add_server_flags(parser)
    parser.add_argument("what", choices=tuple(DUMPS), help="levels, queues, requests, rejections or talkers")
    parser.add_argument("--details", action="store_true", help="requests: also who and what (includeRequestDetails)")
    parser.add_argument("--format", choices=("v1.20", "json"), default="", help="another layout than today's text")
    parser.set_defaults(run=_dump)


def _dump(flags: argparse.Namespace) -> int:
    server = FlowControlServer.of(flags)
    details = "1" if flags.details else ""
    sys.stdout.buffer.write(server.page(DUMPS[flags.what], format=flags.format, includeRequestDetails=details))
    return 0


def _add_record(own: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = own.add_parser("record", help="save the traffic of the last minutes for what-if")
    add_server_flags(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="where to write it")
    parser.set_defaults(run=_record)


def _record(flags: argparse.Namespace) -> int:
    recording = FlowControlServer.of(flags).page("dump_recording")
    try:
        flags.output.write_bytes(recording)
    except OSError as error:
        raise CommandError(f"cannot write {flags.output}: {error.strerror}") from error
    requests = max(len(recording.splitlines()) - 1, 0)
    print(f"{requests} requests written to {flags.output}")
    return 0

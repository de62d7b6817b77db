"""`kubeglass apf top`: the levels and their heaviest users, live in the terminal."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kubeglass.components.cli.apf_server import FlowControlServer, add_server_flags

_BAR = 12
_WIDE = 400  # columns, where nobody's terminal sets a limit
_AGENT = 32


def add_parser(own: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb."""
    parser = own.add_parser("top", help="levels and talkers, live", description=__doc__)
    add_server_flags(parser)
    parser.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="between looks (%(default)s)")
    parser.add_argument("--talkers", type=int, default=8, metavar="N", help="how many users to name (%(default)s)")
    parser.add_argument("--once", action="store_true", help="look once, print, and end; also when this is no terminal")
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Look until interrupted."""
    server = FlowControlServer.of(flags)
    if flags.once or not sys.stdout.isatty():
        console = Console(width=None if sys.stdout.isatty() else _WIDE)
        console.print(look(server, None, flags.talkers)[0])
        return 0
    screen, before = look(server, None, flags.talkers)
    with Live(screen, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(max(flags.interval, 0.1))
            screen, before = look(server, before, flags.talkers)
            live.update(screen, refresh=True)


class Sight:
    """What was seen at one look: enough to turn totals into rates at the next."""

    def __init__(self, levels: Sequence[Mapping[str, Any]]) -> None:
        self.at = time.monotonic()
        self.levels = {level["name"]: level for level in levels}

    def rate(self, before: Sight | None, level: str, key: str) -> float | None:
        """How fast a total grew since the look before."""
        if before is None or level not in before.levels or self.at <= before.at:
            return None
        return float(self.levels[level][key] - before.levels[level][key]) / (self.at - before.at)


def look(server: FlowControlServer, before: Sight | None, talkers: int) -> tuple[Group, Sight]:
    """Reads the server once and draws."""
    sight = Sight(server.json("dump_priority_levels"))
    loudest = server.json("dump_talkers", top=str(talkers))
    return Group(level_table(sight, before), Text(), talker_table(loudest, talkers)), sight


def level_table(sight: Sight, before: Sight | None) -> Table:
    """One row per level, the busiest first."""
    table = Table(title="priority levels", title_justify="left", box=None, header_style="bold")
    table.add_column("LEVEL", no_wrap=True)
    for column in ("SEATS", "LIMIT"):
        table.add_column(column, justify="right")
    table.add_column("USE")
    for column in ("EXEC", "QUEUED", "QUEUES", "DISP/s", "REJ/s", "REJECTED", "RETRY"):
        table.add_column(column, justify="right")
    for level in sorted(sight.levels.values(), key=_busyness):
        name = level["name"]
        rejected = sight.rate(before, name, "rejected")
        style = "red" if rejected else "yellow" if level["waiting"] else ""
        table.add_row(
            f"{name} (quiescing)" if level["quiescing"] else name,
            str(level["seatsInUse"]),
            "-" if level["exempt"] else str(level["currentLimit"]),
            "" if level["exempt"] else _bar(level["seatsInUse"], level["currentLimit"]),
            str(level["executing"]),
            str(level["waiting"]),
            str(level["activeQueues"]),
            _rate(sight.rate(before, name, "dispatched")),
            _rate(rejected),
            str(level["rejected"]),
            f"{level['retryAfterSeconds']}s",
            style=style,
        )
    return table


def _busyness(level: Mapping[str, Any]) -> tuple[int, int, str]:
    return -level["waiting"], -level["seatsInUse"], level["name"]


def _bar(used: int, limit: int) -> str:
    filled = min(round(_BAR * used / limit), _BAR) if limit else (_BAR if used else 0)
    return "█" * filled + "░" * (_BAR - filled)


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.1f}"


def talker_table(loudest: Mapping[str, Sequence[Mapping[str, Any]]], count: int) -> Table:
    """The heaviest users of all levels, with what they last did."""
    table = Table(
        title="talkers (last half to full minute, the heaviest of late first)",
        title_justify="left",
        box=None,
        header_style="bold",
    )
    for column in ("USER", "LEVEL", "SCHEMA"):
        table.add_column(column, no_wrap=True)
    for column in ("SEAT·s", "WAIT", "REQUESTS", "QUEUED", "REJECTED"):
        table.add_column(column, justify="right", min_width=len(column))
    for column in ("LAST", "AGENT", "SOURCE"):
        table.add_column(column, overflow="ellipsis", no_wrap=True, max_width=_AGENT)
    rows = [(level, talker) for level, talkers in loudest.items() for talker in talkers]
    rows.sort(key=lambda row: row[1]["recent"], reverse=True)
    for level, talker in rows[:count]:
        table.add_row(
            talker["user"],
            level,
            talker["schema"],
            f"{talker['seatNs'] / 1e9:.2f}",
            f"{talker['waitNs'] / 1e9:.2f}s",
            str(talker["requests"]),
            str(talker["queued"]),
            str(talker["rejected"]),
            f"{talker['verb']} {talker['resource']}",
            talker["userAgent"],
            talker["source"],
            style="red" if talker["rejected"] else "",
        )
    return table

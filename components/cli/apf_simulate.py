"""`kubeglass apf simulate`: a scenario of flows against the server's own flow control, in virtual time.

A scenario names flows (who, what, how many, how long) and, if it likes, changed objects; see docs/flowcontrol.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from kubeglass.components.apiserver.flowcontrol.plot import draw
from kubeglass.components.apiserver.flowcontrol.simulator import Outcome, ScenarioError, load_scenario, simulate
from kubeglass.components.cli.lookup import CommandError


def add_parser(own: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb."""
    parser = own.add_parser("simulate", help="run a scenario in virtual time", description=__doc__)
    parser.add_argument("scenario", type=Path, metavar="FILE", help="a YAML scenario")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw seats per flow over time (.png or .svg)")
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Simulate, print, draw."""
    documents = read_yaml(flags.scenario)
    if len(documents) != 1:
        raise CommandError(f"{flags.scenario} holds {len(documents)} documents; a scenario is one")
    try:
        outcome = simulate(load_scenario(documents[0]))
    except ScenarioError as error:
        raise CommandError(f"{flags.scenario}: {error}") from error
    print("\n".join(text(outcome)))
    if flags.plot is not None:
        _plot(outcome, flags.plot)
    return 0


def read_yaml(file: Path) -> list[Any]:
    """The documents of a YAML file. Raises CommandError."""
    try:
        return [document for document in yaml.safe_load_all(file.read_bytes()) if document is not None]
    except OSError as error:
        raise CommandError(f"cannot read {file}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise CommandError(f"cannot parse {file}: {error}") from error


def _plot(outcome: Outcome, file: Path) -> None:
    try:
        draw(outcome, file)
    except ImportError as error:
        raise CommandError("drawing needs matplotlib; install it with: pip install 'kubeglass[plot]'") from error
    except (OSError, ValueError) as error:
        raise CommandError(f"cannot draw {file}: {error}") from error
    print(f"\nseats over time: {file}")


def text(outcome: Outcome) -> Iterator[str]:
    """The result as a table."""
    rows = [("FLOW", "LEVEL", "SEATS", "FAIR SHARE", "EXECUTED", "MEAN WAIT", "P99 WAIT", "REJECTED")]
    rows += [
        (
            flow.name,
            flow.level,
            f"{flow.average_seats:.2f}",
            f"{flow.fair_share:.2f}",
            str(flow.executed),
            f"{flow.mean_wait_seconds:.3f}s",
            f"{flow.wait_quantile(0.99):.3f}s",
            _rejected(flow.rejected),
        )
        for flow in outcome.flows
    ]
    yield from aligned(rows)
    yield ""
    yield f"fairness index: {outcome.fairness:.4f}"
    yield "limits at the end: " + ", ".join(f"{name} {limit}" for name, limit in sorted(outcome.limits.items()))


def _rejected(rejected: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(rejected.items())) or "0"


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows as columns of text."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()

"""`make bench`: run every benchmark (or the topics named) and print the tables.

python -m tests.benchmarks [--rounds N] [TOPIC …]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path

from tests.benchmarks.report import Row, table

HERE = Path(__file__).parent


def topics() -> list[str]:
    """Every bench_<topic>.py here."""
    return sorted(file.stem.removeprefix("bench_") for file in HERE.glob("bench_*.py"))


def load(topic: str) -> Callable[[int], Iterable[Row]]:
    """The `run` of a topic."""
    module = import_module(f"tests.benchmarks.bench_{topic}")  # by its full name: spawned processes import it, too
    run: Callable[[int], Iterable[Row]] = module.run
    return run


def main() -> int:
    """Run and print; exit status 1 when a bound was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="rounds per comparison (%(default)s)")
    parser.add_argument("topic", nargs="*", help=", ".join(topics()))
    flags = parser.parse_args()
    missed = False
    for topic in flags.topic or topics():
        print(f"\n== {topic}", flush=True)
        rows = list(load(topic)(flags.rounds))
        print(table(rows), flush=True)
        missed = missed or not all(row.ok for row in rows)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())

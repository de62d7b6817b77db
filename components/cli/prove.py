"""`kubeglass prove`: shows that an alert fires when it should. Boots a cluster (or takes a running one), injects the
faults of a scenario, scrapes with a real Prometheus, heals, and reports inactive → pending → firing → resolved with
times, or exactly why not. Rules run on fast forward (--speed), so `for: 15m` takes seconds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.lookup import CommandError, existing_plan

if TYPE_CHECKING:
    from kubeglass.components.cli.prove_bench import Verdict
    from kubeglass.components.cli.prove_scenario import ClusterNeeds, Scenario

SCENARIOS = Path(__file__).with_name("scenarios")


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb."""
    parser = verbs.add_parser("prove", help="prove that an alert fires when it should", description=__doc__)
    parser.add_argument("--alert", action="append", metavar="NAME", help="an alert to prove; repeatable")
    parser.add_argument(
        "--rules", action="append", type=Path, metavar="FILE", help="rule file; repeatable (those of kubeglass)"
    )
    parser.add_argument(
        "--scenario", action="append", metavar="FILE|NAME", help="what goes wrong: a file, or one of --list; repeatable"
    )
    parser.add_argument("--list", action="store_true", help="list the scenarios that come with kubeglass")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="break this running cluster (default: boot one, and end it)"
    )
    parser.add_argument(
        "--speed", type=float, default=60.0, metavar="N", help="divide durations in rules by this (%(default)g)"
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="(%(default)s)")
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Exit status 0 when every alert is proven, 1 when one is not."""
    from kubeglass.components.cli.prove_rules import RuleError
    from kubeglass.components.cli.prove_scenario import ScenarioError, built_in

    try:
        if flags.list:
            for scenario in built_in(SCENARIOS):
                print(f"{scenario.name:22} {', '.join(map(str, scenario.expectations))}")
            return 0
        verdicts = [verdict for found in _proofs(flags) for verdict in found]
    except (ScenarioError, RuleError) as error:
        raise CommandError(str(error)) from error
    if flags.output == "json":
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(list(map(_row, verdicts))), indent=2) + b"\n")
    return 0 if all(verdict.proven for verdict in verdicts) else 1


def _proofs(flags: argparse.Namespace) -> Iterator[list[Verdict]]:
    from kubeglass.components.cli.prove_bench import bench

    scenarios = chosen(flags.scenario or (), flags.alert or ())
    documents = rule_documents(flags.rules or ())
    if flags.speed < 1:
        raise CommandError(f"--speed must be at least 1, got {flags.speed:g}")
    quiet = flags.output == "json"
    with ExitStack() as stack:
        data = DataDir(flags.data_dir.expanduser().absolute()) if flags.data_dir else None
        if data is None:
            data = stack.enter_context(_own_cluster([scenario.cluster for scenario in scenarios]))
        plan = existing_plan(data)
        prover = stack.enter_context(bench(data, plan, documents, flags.speed))
        for scenario in scenarios:
            if len(plan.nodes) < scenario.cluster.nodes:
                raise CommandError(f"{scenario.name} needs {scenario.cluster.nodes} nodes; this cluster is smaller")
            verdicts = prover.prove(scenario)
            if not quiet:
                print(f"{scenario.name}: {scenario.description.strip()}\n{report(verdicts)}\n", flush=True)
            yield verdicts


def chosen(names: Sequence[str], alerts: Sequence[str]) -> list[Scenario]:
    """The scenarios to play: those named, told for `alerts` where given; else the built-in ones for the alerts.

    Raises CommandError or ScenarioError.
    """
    from kubeglass.components.cli.prove_scenario import Expectation, built_in, for_alert, read

    known = {scenario.name: scenario for scenario in built_in(SCENARIOS)}
    if not names and not alerts:
        raise CommandError("say what to prove: --alert NAME or --scenario FILE; --list shows what there is")
    named: list[Scenario] = [known[name] if name in known else read(Path(name)) for name in names]
    if names:
        wanted = tuple(map(Expectation, alerts))
        return [msgspec.structs.replace(one, expect=wanted) if wanted else one for one in named]
    found = {alert: for_alert(alert, known) for alert in alerts}
    for alert, scenario in found.items():
        if scenario is None:
            raise CommandError(f"no built-in scenario makes {alert} fire; give one with --scenario FILE")
    return [scenario for scenario in found.values() if scenario]


def rule_documents(files: Sequence[Path]) -> Mapping[str, Mapping[str, Any]]:
    """The rule files to load, by name. Raises CommandError or RuleError."""
    from kubeglass.components.cli.prometheus import rules_folder
    from kubeglass.components.cli.prove_rules import load

    found = files or sorted(rules_folder().glob("*.yaml"))
    try:
        return {f"{index}-{file.stem}": load(file.read_bytes(), str(file)) for index, file in enumerate(found)}
    except OSError as error:
        raise CommandError(f"cannot read {error.filename}: {error.strerror}") from error


def report(verdicts: Sequence[Verdict]) -> str:
    """The verdicts for people."""
    lines = []
    for verdict in verdicts:
        mark = "proven    " if verdict.proven else "NOT PROVEN"
        lines.append(f"  {mark}  {verdict.expectation}: {verdict.timeline}")
        lines += [f"              {reason}" for reason in verdict.reasons]
    return "\n".join(lines)


def _row(verdict: Verdict) -> dict[str, Any]:
    seen = verdict.timeline
    return {
        "alert": verdict.expectation.alert,
        "labels": verdict.expectation.labels,
        "proven": verdict.proven,
        "before": seen.before,
        "pendingSeconds": seen.pending,
        "firingSeconds": seen.firing,
        "resolvedSeconds": seen.resolved,
        "reasons": list(verdict.reasons),
    }


@contextmanager
def _own_cluster(needs: Sequence[ClusterNeeds]) -> Iterator[DataDir]:
    """A cluster for these scenarios in a temporary folder, ended on leaving. Raises CommandError."""
    nodes = max(one.nodes for one in needs)
    extra = list(dict.fromkeys(flag for one in needs for flag in one.flags))
    with tempfile.TemporaryDirectory(prefix="kubeglass-prove-", ignore_cleanup_errors=True) as folder:
        data = DataDir(Path(folder) / "cluster")
        try:
            _kubeglass(data, "up", "--detach", "--ports", "auto", "--nodes", str(nodes), *extra)
            yield data
        finally:
            _kubeglass(data, "down")


def _kubeglass(data: DataDir, *argv: str) -> None:
    began = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-m", "kubeglass", *argv],
        env={**os.environ, "KUBEGLASS_HOME": str(data.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise CommandError(f"`kubeglass {argv[0]}` failed after {time.monotonic() - began:.0f} s\n{result.stderr}")

"""The reference scenarios of flow control, run in virtual time from their YAML."""

from __future__ import annotations

from pathlib import Path

import yaml

from kubeglass.components.apiserver.flowcontrol.simulator import FlowResult, Outcome, load_scenario, simulate


def _run(name: str) -> tuple[Outcome, dict[str, FlowResult]]:
    outcome = simulate(load_scenario(yaml.safe_load(Path(__file__).with_name(name).read_text())))
    return outcome, {flow.name: flow for flow in outcome.flows}


def test_elephants_and_mice() -> None:
    """Beside elephants that could use everything, mice and administrators get what they ask for, at once."""
    outcome, flows = _run("elephants-and-mice.yaml")
    mice, elephants, admin = flows["mice"], flows["elephants"], flows["admin"]
    assert abs(mice.average_seats - mice.demand) / mice.demand < 0.10
    assert elephants.average_seats > 0.75 * outcome.limits["workload-low"]
    assert (mice.rejections, admin.rejections) == (0, 0)
    assert admin.wait_quantile(1.0) == 0
    assert outcome.fairness > 0.98


def test_jail() -> None:
    """A level without seats rejects everything, and harms nobody else."""
    _, flows = _run("jail.yaml")
    assert (flows["banned"].executed, set(flows["banned"].rejected)) == (0, {"concurrency-limit"})
    assert flows["others"].rejections == 0
    assert flows["others"].wait_quantile(1.0) == 0


def test_borrowing() -> None:
    """A busy level works with what a calm one lends; the calm one still gets all it wants."""
    outcome, flows = _run("borrowing.yaml")
    assert 15.5 <= flows["busy"].average_seats <= 16.1
    assert 5.5 <= flows["calm"].average_seats <= 6.1
    assert (outcome.limits["test-pl0"], outcome.limits["test-pl1"]) == (16, 8)

"""Rules: sound for promtool, explained, and provable."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from kubeglass.components.cli.prometheus import rules_folder
from kubeglass.components.cli.prove import SCENARIOS
from kubeglass.components.cli.prove_scenario import built_in

ROOT = Path(__file__).parents[2]
FILES = sorted(rules_folder().glob("*.yaml"))
RULES = [rule for file in FILES for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool: apt-get install prometheus"
)


def promtool(*argv: str) -> None:
    result = subprocess.run(["promtool", *argv], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@needs_promtool
def test_promtool_accepts_the_rules():
    """`promtool check rules` has nothing to say."""
    promtool("check", "rules", *map(str, FILES))


@needs_promtool
def test_the_rules_do_what_their_tests_say():
    """`promtool test rules` passes."""
    promtool("test", "rules", str(Path(__file__).with_name("rules") / "alerts.test.yaml"))


def test_names_are_unique():
    """No two rules have one name."""
    names = [rule.get("alert") or rule["record"] for rule in RULES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_explains_itself(alert):
    """Severity, summary, description, and a runbook with a section of its name."""
    assert alert["labels"]["severity"] in ("critical", "warning", "info", "none")
    assert alert["annotations"]["summary"].rstrip().endswith(".")
    assert alert["annotations"]["description"]
    file, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert anchor == alert["alert"].lower()
    section = (ROOT / file).read_text().partition(f"\n## {alert['alert']}\n")[2].partition("\n## ")[0]
    assert all(f"**{word}.**" in section for word in ("What it means", "Look", "Mend"))


def test_runbooks_and_scenarios_name_alerts_that_exist():
    """What the runbooks say can be proven is expected by that scenario."""
    names = {alert["alert"] for alert in ALERTS}
    proofs = {(one.alert, scenario.name) for scenario in built_in(SCENARIOS) for one in scenario.expectations}
    assert {alert for alert, _ in proofs} <= names
    written = set()
    for file in (ROOT / "docs" / "runbooks").glob("*.md"):
        for section in file.read_text().split("\n## ")[1:]:
            alert = section.partition("\n")[0]
            assert alert in names
            _, found, proof = section.partition("**Prove.** ")
            if found:
                assert f"`kubeglass prove --alert {alert}`" in proof
                written |= {
                    (alert, name) for name in re.findall(r"scenario (?:`)?([a-z-]+)`?", proof.partition("\n")[0])
                }
    assert written == proofs

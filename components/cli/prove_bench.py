"""A cluster under a Prometheus of its own that scrapes every second, with rules on fast forward: where scenarios are
proven, one after another.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeglass.components.cli import prove_rules
from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.lookup import CommandError
from kubeglass.components.cli.plan import HOST, Plan
from kubeglass.components.cli.prometheus import monitoring_of, require_prometheus
from kubeglass.components.cli.prometheus_config import Monitoring, configuration
from kubeglass.components.cli.prove_explain import QueryError, Watched, explain
from kubeglass.components.cli.prove_faults import Saboteur
from kubeglass.components.cli.prove_rules import Alert
from kubeglass.components.cli.prove_scenario import Expectation, Scenario
from kubeglass.components.cli.prove_timeline import Timeline, timeline

SCRAPE_SECONDS = 1.0
_QUIET_EVALUATIONS = 3
_POLL_SECONDS = 0.25
_START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one expected alert; `reasons` say why it is not proven."""

    expectation: Expectation
    timeline: Timeline
    reasons: Sequence[str] = ()

    @property
    def proven(self) -> bool:
        return self.timeline.proven


class Bench:
    """See `bench`."""

    def __init__(self, prometheus: Querier, saboteur: Saboteur, alerts: Mapping[str, Alert]) -> None:
        self._prometheus = prometheus
        self._saboteur = saboteur
        self._alerts = alerts

    def prove(self, scenario: Scenario) -> list[Verdict]:
        """Inject, watch, heal, watch. Raises CommandError."""
        for wanted in scenario.expectations:
            if wanted.alert not in self._alerts:
                known = ", ".join(sorted(self._alerts))
                raise CommandError(f"the rules have no alert {wanted.alert!r}; there are {known}")
        self._saboteur.make_whole()
        with self._saboteur.injected(scenario.prepare), self._saboteur.wired(scenario.faults):
            self._settle(scenario)
            started = self._prometheus.now()
            with self._saboteur.injected(scenario.faults):
                self._await(scenario, started, "firing")
                stuck = self._reasons(scenario, started)
            self._await(scenario, started, "resolved")
            return [self._verdict(wanted, started, stuck.get(str(wanted))) for wanted in scenario.expectations]

    def _verdict(self, wanted: Expectation, started: float, stuck: list[str] | None) -> Verdict:
        seen = self._timeline(wanted, started)
        late = [] if seen.proven else self._explain(wanted, seen, started)
        return Verdict(wanted, seen, late if stuck is None else stuck)

    def _settle(self, scenario: Scenario) -> None:
        """The alerts must be quiet before the fault, whatever was before or is still being prepared."""
        deadline = time.monotonic() + scenario.within_seconds
        quiet_since = None
        while time.monotonic() < deadline:
            active = any(self._prometheus.query(wanted.selector) for wanted in scenario.expectations)
            quiet_since = None if active else quiet_since or time.monotonic()
            if quiet_since and time.monotonic() - quiet_since > (_QUIET_EVALUATIONS + 1) * SCRAPE_SECONDS:
                return
            time.sleep(_POLL_SECONDS)

    def _await(self, scenario: Scenario, started: float, phase: str) -> None:
        """Until every alert that still can has reached the phase, or the time is over."""
        deadline = time.monotonic() + scenario.within_seconds
        while time.monotonic() < deadline:
            seen = [self._timeline(wanted, started) for wanted in scenario.expectations]
            if phase == "firing" and all(one.fired for one in seen):
                return
            if phase == "resolved" and all(one.resolved is not None for one in seen if one.fired):
                return
            time.sleep(_POLL_SECONDS)

    def _timeline(self, wanted: Expectation, started: float) -> Timeline:
        series = self._prometheus.matrix(wanted.selector, started - _QUIET_EVALUATIONS * SCRAPE_SECONDS)
        return timeline(series, started, self._prometheus.last_evaluation(), SCRAPE_SECONDS)

    def _reasons(self, scenario: Scenario, started: float) -> dict[str, list[str]]:
        """Why alerts do not fire, asked while the fault is still there."""
        found = {}
        for wanted in scenario.expectations:
            seen = self._timeline(wanted, started)
            if not seen.fired or seen.before != "inactive":
                found[str(wanted)] = self._explain(wanted, seen, started)
        return found

    def _explain(self, wanted: Expectation, seen: Timeline, started: float) -> list[str]:
        if not seen.fired and wanted.labels and self._prometheus.matrix(Expectation(wanted.alert).selector, started):
            return [f"label mismatch: {wanted.alert} fired, but not with {wanted.labels}"]
        return explain(Watched(self._alerts[wanted.alert], seen, started), self._prometheus)


class Querier:
    """The query API of the bench's Prometheus; also prove_explain's Source."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ready(self) -> bool:
        try:
            connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
            connection.request("GET", "/-/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an API call. Raises QueryError."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        try:
            connection.request("GET", f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
            answer = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise QueryError(f"Prometheus does not answer: {error}") from error
        finally:
            connection.close()
        if answer["status"] != "success":
            raise QueryError(answer["error"])
        return answer["data"]

    def query(self, expression: str) -> list[Any]:
        """See prove_explain.Source."""
        data = self.get("query", query=expression)
        return list(data["result"]) if data["resultType"] == "vector" else [{"metric": {}, "value": data["result"]}]

    def extremes(self, expression: str, start: float) -> tuple[float, float] | None:
        """See prove_explain.Source."""
        data = self.get(
            "query_range", query=expression, start=str(start), end=str(time.time()), step=str(SCRAPE_SECONDS)
        )
        values = [float(value) for series in data["result"] for _, value in series["values"]]
        numbers = [value for value in values if value == value]
        return (min(numbers), max(numbers)) if numbers else None

    def matrix(self, selector: str, start: float) -> list[Any]:
        """The samples of a selector since then."""
        window = max(1, round((time.time() - start) * 1000))
        return list(self.get("query", query=f"{selector}[{window}ms]")["result"])

    def now(self) -> float:
        """This machine's clock, which is also the samples'."""
        return time.time()

    def last_evaluation(self) -> float:
        """When the rules were last evaluated."""
        samples = self.query("max(prometheus_rule_group_last_evaluation_timestamp_seconds)")
        return float(samples[0]["value"][1]) if samples else 0.0

    def targets_down(self) -> list[str]:
        """The URLs of targets that have not been scraped well."""
        return [
            one["scrapeUrl"] for one in self.get("targets", state="active")["activeTargets"] if one["health"] != "up"
        ]

    def targets_are_up(self) -> bool:
        """Whether every target has been scraped well."""
        targets = self.get("targets", state="active")["activeTargets"]
        return bool(targets) and all(target["health"] == "up" for target in targets)


@contextmanager
def bench(data: DataDir, plan: Plan, documents: Mapping[str, Mapping[str, Any]], speed: float) -> Iterator[Bench]:
    """A Prometheus over a running cluster, until the context is left. `documents` are rule files by name.

    Raises CommandError when there is no Prometheus, or it refuses the rules.
    """
    program = require_prometheus()
    with tempfile.TemporaryDirectory(prefix="kubeglass-prove-") as temporary:
        folder = Path(temporary)
        fast = {name: prove_rules.accelerated(content, speed, SCRAPE_SECONDS) for name, content in documents.items()}
        querier = Querier(free_port())
        _write_configuration(folder, data, plan, fast, querier)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(_command(program, folder, querier), stdout=log, stderr=log)
        try:
            await_start(querier, process, folder)
            alerts = {alert.name: alert for content in fast.values() for alert in prove_rules.alerts(content)}
            yield Bench(querier, Saboteur(data, plan), alerts)
        finally:
            process.terminate()
            process.wait(30)


def _command(program: str, folder: Path, querier: Querier) -> list[str]:
    return [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={HOST}:{querier.port}",
    ]


def _write_configuration(folder: Path, data: DataDir, plan: Plan, rules: Mapping[str, Any], querier: Querier) -> None:
    import yaml

    for name, content in rules.items():
        (folder / f"{name}.rules.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    monitoring = Monitoring(
        prometheus=f"{HOST}:{querier.port}",
        node_exporters=monitoring_of(plan, data).node_exporters if plan.prometheus else {},
        rules=(f"{folder}/*.rules.yaml",),
        scrape_interval=prove_rules.text(SCRAPE_SECONDS),
        evaluation_interval=prove_rules.text(SCRAPE_SECONDS),
    )
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration(plan, data, monitoring), sort_keys=False))


def await_start(querier: Querier, process: subprocess.Popen[bytes], folder: Path) -> None:
    """Until Prometheus answers and has scraped every target. Raises CommandError."""
    deadline = time.monotonic() + _START_SECONDS
    while not (querier.ready() and querier.targets_are_up() and querier.last_evaluation()):
        if process.poll() is not None:
            words = (folder / "log").read_text().strip().splitlines()
            raise CommandError("Prometheus did not start: " + (words[-1] if words else "it said nothing"))
        if time.monotonic() > deadline:
            down = ", ".join(querier.targets_down()) if querier.ready() else "anything"
            raise CommandError(f"Prometheus could not scrape {down}; see `kubeglass status`")
        time.sleep(_POLL_SECONDS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])

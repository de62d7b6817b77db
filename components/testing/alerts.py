"""Alerts under test: a real Prometheus scrapes the cluster in the test's process, with rules on fast forward."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kubeglass.components.cli import prove_rules
from kubeglass.components.cli.plan import HOST
from kubeglass.components.cli.prometheus import require_prometheus
from kubeglass.components.cli.prometheus_config import JOBS
from kubeglass.components.cli.prove import rule_documents
from kubeglass.components.cli.prove_bench import SCRAPE_SECONDS, Querier, await_start, free_port
from kubeglass.components.cli.prove_explain import Watched, explain
from kubeglass.components.cli.prove_rules import Alert
from kubeglass.components.cli.prove_scenario import Expectation
from kubeglass.components.cli.prove_timeline import timeline
from kubeglass.components.testing.cluster import Cluster

DEFAULT_SPEED = 60.0
_POLL_SECONDS = 0.2
_JOBS: Mapping[str, str] = {name: job.job for name, job in JOBS.items()} | {
    "objects": "kube-state-metrics",
    "prometheus": "prometheus-k8s",
}


class Prometheus:
    """A Prometheus that watches a cluster. Made by `watching`."""

    def __init__(self, querier: Querier, alerts: Mapping[str, Alert]) -> None:
        self._querier = querier
        self._alerts = alerts

    def alert(self, name: str, **labels: str) -> WatchedAlert:
        """An alert of the rules, with these labels at least. Raises KeyError."""
        return WatchedAlert(self._querier, self._alerts[name], Expectation(name, labels))

    def query(self, expression: str) -> list[Any]:
        """An instant vector. Raises QueryError."""
        return self._querier.query(expression)


class WatchedAlert:
    """One alert, watched from the moment it was asked for."""

    def __init__(self, querier: Querier, alert: Alert, wanted: Expectation) -> None:
        self._querier = querier
        self._alert = alert
        self._wanted = wanted
        self._since = time.time()

    @property
    def state(self) -> str:
        """inactive, pending or firing."""
        states = {sample["metric"]["alertstate"] for sample in self._querier.query(self._wanted.selector)}
        return "firing" if "firing" in states else "pending" if states else "inactive"

    def fires(self, within: float = 30.0) -> None:
        """Wait until it fires. Raises AssertionError that says exactly why it does not."""
        if not self._reaches("firing", within):
            raise AssertionError(f"{self._wanted} did not fire within {within:g} s: {'; '.join(self._reasons())}")

    def resolves(self, within: float = 30.0) -> None:
        """Wait until it is inactive."""
        assert self._reaches("inactive", within), f"{self._wanted} is still {self.state} after {within:g} s"

    def stays_silent(self, seconds: float = 5.0) -> None:
        """It does not fire for so long."""
        assert not self._reaches("firing", seconds), f"{self._wanted} fires"

    def _reaches(self, state: str, within: float) -> bool:
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if self.state == state:
                return True
            time.sleep(_POLL_SECONDS)
        return False

    def _reasons(self) -> Sequence[str]:
        series = self._querier.matrix(self._wanted.selector, self._since)
        seen = timeline(series, self._since, self._querier.last_evaluation(), SCRAPE_SECONDS)
        return explain(Watched(self._alert, seen, self._since), self._querier)


@contextmanager
def watching(cluster: Cluster, rules: Sequence[Path] = (), speed: float = DEFAULT_SPEED) -> Iterator[Prometheus]:
    """A real Prometheus over a cluster, with these rule files (kubeglass's own by default).

    Raises CommandError when there is none on PATH.
    """
    import yaml

    program = require_prometheus()
    documents = {
        name: prove_rules.accelerated(document, speed, SCRAPE_SECONDS)
        for name, document in rule_documents(rules).items()
    }
    with tempfile.TemporaryDirectory(prefix="kubeglass-testing-") as temporary:
        folder = Path(temporary)
        for name, content in documents.items():
            (folder / f"{name}.rules.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        querier = Querier(free_port())
        targets = {**cluster.plane.metrics_addresses, "prometheus": f"{HOST}:{querier.port}"}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(_configuration(targets, folder)))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    program,
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={HOST}:{querier.port}",
                ],
                stdout=log,
                stderr=log,
            )
        try:
            await_start(querier, process, folder)
            alerts = {alert.name: alert for content in documents.values() for alert in prove_rules.alerts(content)}
            yield Prometheus(querier, alerts)
        finally:
            process.terminate()
            process.wait(30)


def _configuration(targets: Mapping[str, str], folder: Path) -> Mapping[str, Any]:
    interval = prove_rules.text(SCRAPE_SECONDS)
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [f"{folder}/*.rules.yaml"],
        "scrape_configs": [
            {
                "job_name": name,
                "honor_labels": name == "objects",
                "static_configs": [{"targets": [address], "labels": {"job": _JOBS[name]}}],
            }
            for name, address in targets.items()
        ],
    }

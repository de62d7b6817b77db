"""Ten minutes of a healthy cluster, as `up --prometheus` watches it: an ordinary workload runs, and no alert fires but
the one that always does."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Iterator

import pytest
from tests.e2e.cluster import Cluster, cluster, eventually
from tests.e2e.prometheus import Prometheus

MINUTES = 10
LONGEST_PENDING_MINUTES = 3
"""Some rules wait longer than the test does: what has been pending for so long would fire soon."""
MISSING = [
    f"apt-get install {program}"
    for program in ("prometheus", "prometheus-alertmanager", "prometheus-node-exporter")
    if shutil.which(program) is None
]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {' and '.join(MISSING)}")

WORKLOAD = """
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  selector: {app: shop}
  ports: [{port: 80}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers:
        - name: nginx
          image: nginx:1.27
          ports: [{containerPort: 80}]
          readinessProbe:
            httpGet: {path: /, port: 80}
            periodSeconds: 5
          livenessProbe:
            httpGet: {path: /, port: 80}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: invoice}
spec:
  schedule: "* * * * *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers:
            - {name: invoice, image: "busybox:1.36", command: [/bin/sh, -c, "sleep 5; echo sent"]}
"""
DAILY_WORK = (
    "get pods -A -o wide",
    "describe deployment shop",
    "scale deployment shop --replicas=3",
    "get events",
    "logs -l app=shop --tail=5",
    "get cronjobs,jobs",
    "scale deployment shop --replicas=2",
    "get nodes -o yaml",
    "set env deployment/shop NUMBER={round}",
    "get all",
)
"""What somebody types, one each `SECONDS_BETWEEN`; {round} makes it a change each time."""
SECONDS_BETWEEN = 5


@pytest.fixture(scope="module")
def watched() -> Iterator[Cluster]:
    with cluster("--prometheus") as running:
        yield running


@pytest.mark.timeout(60 * MINUTES + 300)
def test_ten_healthy_minutes(watched: Cluster) -> None:
    """Every target is up in 15 s and stays so; in ten minutes, by every evaluation of every rule, only the Watchdog
    fires, and none is about to. What was pending in between is printed.
    """
    prometheus = Prometheus(watched.status()["monitoring"]["prometheus"]["url"])
    booted = time.time()
    eventually(prometheus.targets_are_up, "all targets are up", 15)
    began = time.time()
    work(watched, began + 60 * MINUTES)

    observed = evaluations(prometheus, since(booted))
    print(
        f"\ntargets up after {began - booted:.1f} s, load {os.getloadavg()}, evaluations by alert and state: {observed}"
    )
    assert {alert for alert, state in observed if state == "firing"} == {"Watchdog"}
    longest = 60 * LONGEST_PENDING_MINUTES / interval(prometheus)
    assert [alert for (alert, state), count in observed.items() if state == "pending" and count > longest] == []
    saw_all_of_it(prometheus, since(began), observed["Watchdog", "firing"])


def since(moment: float) -> str:
    """A range of PromQL from then until now."""
    return f"[{time.time() - moment:.0f}s]"


def work(watched: Cluster, until: float) -> None:
    """An application is deployed, used and changed until then."""
    watched.kubectl("apply", "-f", "-", input=WORKLOAD)
    watched.kubectl("rollout", "status", "deployment/shop", "--timeout=60s")
    address = watched.get("service", "shop")["spec"]["clusterIP"]
    for number, line in enumerate(itertools.cycle(DAILY_WORK)):
        watched.kubectl(*line.format(round=number).split())
        # As clients must: a Pod on its way out may still be asked for a moment.
        watched.curl(f"http://{address}/", "--fail", "--retry", "3", "--retry-all-errors")
        if time.time() + SECONDS_BETWEEN > until:
            break
        time.sleep(SECONDS_BETWEEN)
    time.sleep(max(0.0, until - time.time()))
    watched.kubectl("rollout", "status", "deployment/shop", "--timeout=60s")


def evaluations(prometheus: Prometheus, window: str) -> dict[tuple[str, str], int]:
    """Alert and state to how many evaluations found it so, of the series with the most. They are read from the samples
    that rules leave, each of them, so nothing is missed between two looks.
    """
    found: dict[tuple[str, str], int] = {}
    for series in prometheus.query(f"ALERTS{window}"):
        key = series["metric"]["alertname"], series["metric"]["alertstate"]
        found[key] = max(found.get(key, 0), len(series["values"]))
    return found


def interval(prometheus: Prometheus) -> float:
    """Seconds between two evaluations of a rule."""
    return prometheus.value("max(prometheus_rule_group_interval_seconds)")


def saw_all_of_it(prometheus: Prometheus, window: str, watchdog: int) -> None:
    """That nothing fired means health only where rules ran all the time, on targets that were up, and work was done."""
    assert watchdog >= 60 * MINUTES / interval(prometheus) - 2
    for trouble in (
        f"increase(prometheus_rule_evaluation_failures_total{window}) > 0",
        f"increase(prometheus_rule_group_iterations_missed_total{window}) > 0",
        f"min_over_time(up{window}) == 0",
    ):
        assert prometheus.query(trouble) == []
    done = f'count(max_over_time(kube_job_complete{{condition="true", job_name=~"invoice-.*"}}{window}) == 1)'
    assert prometheus.value(done) >= MINUTES - 1

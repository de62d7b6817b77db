"""A thousand simulated nodes: how long they take to come up, what they weigh, how fast the scheduler fills them.

The cluster is a real `kubeglass up --simulated-nodes`; Pods are created through the API by a few connections, and
counted as scheduled by their PodScheduled condition, as running by their phase. The scheduler and the
controller-manager run without their client-side rate limits (50 requests a second by default, as upstream).
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.benchmarks.report import Row

from kubeglass.components.api.kinds import POD
from kubeglass.components.machinery.access import load_kubeconfig
from kubeglass.components.machinery.client import Client
from kubeglass.logging.setup import LoggingOptions, build
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.health import Health
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.tracer import Tracer

KUBEGLASS = [sys.executable, "-m", "kubeglass"]
_NODES, _PODS, _CREATORS = 1000, 2000, 8
_UP_BOUND_SECONDS, _PSS_BOUND_MIB, _FLEET_BOUND_MIB = 30.0, 600.0, 60.0
_SCHEDULED_BOUND, _RUNNING_BOUND = 25.0, 25.0
_PATIENCE_SECONDS = 300.0
_UNLIMITED = [f"--component-flag={component}=--kube-api-qps=-1" for component in ("scheduler", "controller-manager")]


def run(rounds: int) -> Iterable[Row]:
    """One boot and one wave of Pods; `rounds` is not used, since each figure is a mean over thousands already."""
    with tempfile.TemporaryDirectory(prefix="kubeglass-bench-") as folder:
        environment = {**os.environ, "KUBEGLASS_HOME": folder}
        up = [*KUBEGLASS, "up", "--detach", "--ports", "auto", "--wait", "300", "--simulated-nodes", str(_NODES)]
        started = time.perf_counter()
        subprocess.run([*up, *_UNLIMITED], env=environment, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        try:
            yield _at_most(f"{_NODES} simulated nodes Ready after up", seconds, "s", _UP_BOUND_SECONDS)
            weights = _pss_mib(environment)
            yield _at_most(f"whole cluster with {_NODES} nodes, PSS", sum(weights.values()), "MiB", _PSS_BOUND_MIB)
            fleet = weights["kubelet/simulated"]
            yield _at_most(f"process of {_NODES} simulated kubelets, PSS", fleet, "MiB", _FLEET_BOUND_MIB)
            pods = asyncio.run(_fill(Path(folder)))
            yield _at_least("Pods scheduled", _rate([_scheduled_at(pod) for pod in pods], pods), _SCHEDULED_BOUND)
            yield _at_least("Pods running", len(pods) / pods[0]["seconds"], _RUNNING_BOUND)
            weight = sum(_pss_mib(environment).values())
            yield _at_most(f"the same with {_PODS} Pods", weight, "MiB", _PSS_BOUND_MIB)
        finally:
            subprocess.run([*KUBEGLASS, "down"], env=environment, check=True, stdout=subprocess.DEVNULL)


def _at_most(what: str, value: float, unit: str, bound: float) -> Row:
    return Row(what, f"{value:.1f} {unit}", "-", value / bound, f"<= {bound:g} {unit}", value <= bound)


def _at_least(what: str, rate: float, bound: float) -> Row:
    return Row(what, f"{rate:.0f}/s", "-", rate / bound, f">= {bound:g}/s", rate >= bound)


def _pss_mib(environment: dict[str, str]) -> dict[str, float]:
    status = subprocess.run([*KUBEGLASS, "status", "-o", "json"], env=environment, check=True, capture_output=True)
    components: dict[str, Any] = json.loads(status.stdout)["components"]
    return {name: _pss(component["pid"]) for name, component in components.items()}


def _pss(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


async def _fill(folder: Path) -> list[dict[str, Any]]:
    """Create the Pods and wait until all run; each gets the seconds it took altogether."""
    telemetry = Telemetry(build(LoggingOptions()), Registry(), Tracer(), Health())
    client = Client(load_kubeconfig(str(folder / "kubeconfig")), telemetry, "bench")
    numbers = iter(range(_PODS))

    async def create() -> None:
        for number in numbers:
            await client.create(POD, _pod(number), "default")

    started = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_CREATORS):
                group.create_task(create())
        while True:
            pods = (await client.list(POD, "default")).items
            if sum(pod["status"].get("phase") == "Running" for pod in pods) == _PODS:
                break
            if time.perf_counter() - started > _PATIENCE_SECONDS:
                raise RuntimeError(f"not all of {_PODS} Pods were running after {_PATIENCE_SECONDS:g} s")
            await asyncio.sleep(0.5)
    finally:
        await client.close()
    return [{**pod, "seconds": time.perf_counter() - started} for pod in pods]


def _pod(number: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"load-{number:05d}"},
        "spec": {
            "automountServiceAccountToken": False,
            "nodeSelector": {"kubeglass.io/runtime": "simulated"},
            "tolerations": [{"key": "kubeglass.io/simulated", "operator": "Exists"}],
            "containers": [{"name": "app", "image": "example.com/app:v1", "resources": {"requests": {"cpu": "100m"}}}],
        },
    }


def _scheduled_at(pod: dict[str, Any]) -> datetime:
    stamp = next(c["lastTransitionTime"] for c in pod["status"]["conditions"] if c["type"] == "PodScheduled")
    return datetime.fromisoformat(stamp)


def _rate(moments: Sequence[datetime], pods: Sequence[dict[str, Any]]) -> float:
    """Pods per second from the first creation to the last scheduling; stamps have whole seconds."""
    first = min(datetime.fromisoformat(pod["metadata"]["creationTimestamp"]) for pod in pods)
    return len(moments) / max(1.0, (max(moments) - first).total_seconds())

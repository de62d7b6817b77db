"""How fast `kubeglass up` boots, and what an idle one-node cluster weighs.

Compared with what Python itself needs to import the two heaviest libraries: `python -c "import aiohttp, grpc"`.
"""

from __future__ import annotations

import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from tests.benchmarks.report import Row

KUBEGLASS = [sys.executable, "-m", "kubeglass"]
_API_BOUND_SECONDS, _NODE_BOUND_SECONDS, _PSS_BOUND_MIB = 1.0, 2.0, 200.0


def run(rounds: int) -> Iterable[Row]:
    """Medians over `rounds` boots of warm code: compiled before, as it is from the second start on.

    Each boot has a data dir of its own.
    """
    api, ready, imports, weights = [], [], [], []
    with tempfile.TemporaryDirectory(prefix="kubeglass-bench-") as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        _boot(Path(folder) / "cold", environment)
        for number in range(rounds):
            imports.append(_import_seconds(environment))
            seconds = _boot(Path(folder) / str(number), environment)
            api.append(seconds[0])
            ready.append(seconds[1])
            weights.append(seconds[2])
    base = statistics.median(imports)
    yield _row("API answers after up", statistics.median(api), base, _API_BOUND_SECONDS)
    yield _row("node Ready after up", statistics.median(ready), base, _NODE_BOUND_SECONDS)
    pss = statistics.median(weights)
    bound = f"<= {_PSS_BOUND_MIB:.0f} MiB"
    yield Row(
        "idle one-node cluster, PSS summed", f"{pss:.0f} MiB", "-", pss / _PSS_BOUND_MIB, bound, pss <= _PSS_BOUND_MIB
    )


def _row(what: str, seconds: float, base: float, bound: float) -> Row:
    theirs = f"{base:.2f} s (import aiohttp, grpc)"
    return Row(what, f"{seconds:.2f} s", theirs, seconds / base, f"<= {bound:.1f} s", seconds <= bound)


def _import_seconds(environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import aiohttp, grpc"], check=True, env=environment)
    return time.perf_counter() - started


def _boot(folder: Path, environment: dict[str, str]) -> tuple[float, float, float]:
    """(seconds until the API answers, until the node is Ready, PSS in MiB once idle)."""
    environment = {**environment, "KUBEGLASS_HOME": str(folder)}
    started = time.perf_counter()
    up = subprocess.Popen([*KUBEGLASS, "up", "--detach", "--ports", "auto"], env=environment, stdout=subprocess.DEVNULL)
    try:
        api = _await_api(folder, started)
        if up.wait() != 0:
            raise RuntimeError("kubeglass up failed")
        ready = time.perf_counter() - started
        time.sleep(3)  # let start-up garbage settle: what is weighed is the idle cluster
        return api, ready, _pss_mib(folder, environment)
    finally:
        subprocess.run([*KUBEGLASS, "down"], env=environment, check=True, stdout=subprocess.DEVNULL)


def _await_api(folder: Path, started: float) -> float:
    plan = folder / "cluster.json"  # written when the certificates are there
    while not plan.exists():
        _rest(started)
    context = ssl.create_default_context(cafile=str(folder / "pki" / "ca.crt"))
    port = json.loads(plan.read_text())["ports"]["apiserver"]
    while True:
        try:
            with urllib.request.urlopen(f"https://127.0.0.1:{port}/readyz", context=context, timeout=1) as answer:
                if answer.status == 200:
                    return time.perf_counter() - started
        except OSError:
            _rest(started)


def _rest(started: float) -> None:
    if time.perf_counter() - started > 60:
        raise RuntimeError("the API did not answer within 60 s")
    time.sleep(0.005)


def _pss_mib(folder: Path, environment: dict[str, str]) -> float:
    status = json.loads(
        subprocess.run([*KUBEGLASS, "status", "-o", "json"], env=environment, check=True, capture_output=True).stdout
    )
    total = 0
    for component in status["components"].values():
        for line in Path(f"/proc/{component['pid']}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024

"""What 100 % sampling costs the API server: GET, LIST and POST with tracing off, ours, and the SDK's in its place.

Three real servers (memory store, TLS, one process each) and one real collector; they are loaded in turn in every round,
so that the noise of the machine meets all alike. The load generator and the collector share the cores with the servers.
"""

from __future__ import annotations

import asyncio
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import aiohttp
from tests.benchmarks.bench_collector import SERVER as COLLECTOR
from tests.benchmarks.report import Row

MODES = ("off", "ours", "sdk")
VERBS = ("GET", "LIST", "POST")
OBJECTS, IN_FLIGHT, REQUESTS = 50, 4, 400

APISERVER = """
import asyncio, sys
from pathlib import Path
import uvloop
from kubeglass.components.apiserver.testing import quiet_telemetry, running
from kubeglass.logging.setup import LoggingOptions, build
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.setup import TracingConfiguration, build_tracer
from kubeglass.telemetry.tracing.tracer import Tracer
from tests.benchmarks.sdktracer import sdk_tracer

mode, target, folder = sys.argv[1:]

def tracer():
    if mode == "ours":
        config = TracingConfiguration(target, 1_000_000)
        return build_tracer("apiserver", config, {}, build(LoggingOptions()), Registry(), environ={})
    return sdk_tracer(target) if mode == "sdk" else Tracer()

async def main():
    made = tracer()
    async with asyncio.TaskGroup() as group:
        group.create_task(made.run(lambda: None))
        async with running(telemetry=quiet_telemetry(made), folder=Path(folder)) as server:
            access = server.access("bench")
            print(access.server, access.ca_file, access.cert_file, access.key_file, flush=True)
            await asyncio.Event().wait()

uvloop.run(main())
"""


class _Target:
    """One server and a client for it."""

    def __init__(self, mode: str, collector: str, folder: Path) -> None:
        folder.mkdir()
        self.process = subprocess.Popen(
            [sys.executable, "-c", APISERVER, mode, collector, str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self._url, ca, cert, key = self.process.stdout.readline().split()
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(cert, key)
        connector = aiohttp.TCPConnector(ssl=context, limit=IN_FLIGHT)
        self._session = aiohttp.ClientSession(connector=connector)
        self._made = 0

    async def request(self, verb: str) -> None:
        path = f"{self._url}/api/v1/namespaces/default/configmaps"
        if verb == "POST":
            self._made += 1
            body = {"metadata": {"name": f"made-{self._made}"}, "data": {"key": "value" * 20}}
            call = self._session.post(path, json=body)
        else:
            call = self._session.get(f"{path}/made-1" if verb == "GET" else f"{path}?limit={OBJECTS}")
        async with call as response:
            await response.read()
            assert response.status in (200, 201), (response.status, await response.text())

    async def load(self, verb: str, count: int) -> tuple[float, float]:
        """(requests per second, p99 in seconds)."""
        left, took = count, list[float]()

        async def caller() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                begun = time.perf_counter()
                await self.request(verb)
                took.append(time.perf_counter() - begun)

        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(caller())
        return count / (time.perf_counter() - begun), statistics.quantiles(took, n=100)[98]

    async def close(self) -> None:
        await self._session.close()
        self.process.kill()
        self.process.wait()


async def _measure(folder: Path, rounds: int) -> dict[tuple[str, str], tuple[float, float]]:
    """(mode, verb) to the medians of requests per second and p99."""
    collector = subprocess.Popen(
        [sys.executable, "-c", COLLECTOR, str(folder / "traces.db")], stdout=subprocess.PIPE, text=True
    )
    assert collector.stdout is not None
    endpoint = collector.stdout.readline().split()[0]
    targets = {mode: _Target(mode, endpoint, folder / mode) for mode in MODES}
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    try:
        for target in targets.values():
            for _ in range(OBJECTS):
                await target.request("POST")
        for number in range(rounds + 1):
            for verb in VERBS:
                for mode in MODES if number % 2 else reversed(MODES):
                    measured = await targets[mode].load(verb, REQUESTS)
                    if number:  # the first round warms up
                        found.setdefault((mode, verb), []).append(measured)
    finally:
        for target in targets.values():
            await target.close()
        collector.kill()
        collector.wait()
    return {
        key: (statistics.median(rate for rate, _ in values), statistics.median(p99 for _, p99 in values))
        for key, values in found.items()
    }


def run(rounds: int) -> Iterable[Row]:
    """Throughput and p99 of each verb against tracing off; the SDK's own ratio is told beside ours."""
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(_measure(Path(folder), max(3, rounds)))
    for verb in VERBS:
        (off_rate, off_p99), (rate, p99), (sdk_rate, sdk_p99) = (found[mode, verb] for mode in MODES)
        kept, sdk_kept = rate / off_rate, sdk_rate / off_rate
        yield Row(
            f"{verb} throughput, 100 % sampled (SDK: {sdk_kept:.2f})",
            f"{rate:,.0f}/s",
            f"{off_rate:,.0f}/s off",
            kept,
            ">= 0.9",
            kept >= 0.9,
        )
        slower, sdk_slower = p99 / off_p99, sdk_p99 / off_p99
        yield Row(
            f"{verb} p99, 100 % sampled (SDK: {sdk_slower:.2f})",
            f"{p99 * 1e3:.2f} ms",
            f"{off_p99 * 1e3:.2f} ms off",
            slower,
            "<= 1.3",
            slower <= 1.3,
        )

"""What 100 % sampling costs the API server: GET, LIST and POST with tracing off, ours, and the SDK's in its place.

Real servers (memory store, TLS, one process each), loaded in turn in every round, so that the noise of the machine
meets all alike. They send to a receiver that reads and counts: what receivers do with spans is not the API server's
cost, but on a machine of two cores it would be most of what is measured. `beside` is ours with our collector storing
every span on the same cores, told in brackets as the SDK's figures are.
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
import psutil
from tests.benchmarks.bench_collector import SERVER as COLLECTOR
from tests.benchmarks.report import Row

MODES = ("off", "ours", "sdk", "beside")
VERBS = ("GET", "LIST", "POST")
OBJECTS, IN_FLIGHT, REQUESTS = 50, 4, 1000
SPANS = 9
"""Of every request."""
EXPORT_SECONDS = 1.5
"""How long after a load its last spans have been sent: they must burden nobody else."""

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
    if mode in ("ours", "beside"):
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


RECEIVER = """
import asyncio
import grpc.aio, uvloop
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

async def main():
    spans = 0

    async def export(body, context):
        nonlocal spans
        request = ExportTraceServiceRequest.FromString(body)
        spans += sum(len(group.spans) for resource in request.resource_spans for group in resource.scope_spans)
        return b""

    class Service(grpc.GenericRpcHandler):
        def service(self, call):
            return grpc.unary_unary_rpc_method_handler(export)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Service(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await asyncio.to_thread(input)
    print(spans, flush=True)

uvloop.run(main())
"""


class _Receiver:
    """A process that takes spans."""

    def __init__(self, program: str, *arguments: str) -> None:
        command = [sys.executable, "-c", program, *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.endpoint = self._process.stdout.readline().split()[0]

    def counted(self) -> int:
        """How many spans have come."""
        return int(self._process.communicate("\n")[0])

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


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
        self._watched = psutil.Process(self.process.pid)
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

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        times = self._watched.cpu_times()
        return float(times.user + times.system)

    async def load(self, verb: str, count: int) -> tuple[float, float, float]:
        """(requests per second, p99 in seconds, processor time of a request in seconds)."""
        left, took = count, list[float]()

        async def caller() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                begun = time.perf_counter()
                await self.request(verb)
                took.append(time.perf_counter() - begun)

        begun, spent = time.perf_counter(), self.cpu()
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(caller())
        rate = count / (time.perf_counter() - begun)
        await asyncio.sleep(EXPORT_SECONDS)
        return rate, statistics.quantiles(took, n=100)[98], (self.cpu() - spent) / count

    async def close(self) -> None:
        await self._session.close()
        self.process.kill()
        self.process.wait()


Measured = tuple[float, float, float]


async def _measure(folder: Path, rounds: int) -> dict[tuple[str, str], Measured]:
    """(mode, verb) to the medians of requests per second, p99 and processor time."""
    counting = {mode: _Receiver(RECEIVER) for mode in ("ours", "sdk")}
    collector = _Receiver(COLLECTOR, str(folder / "traces.db"))
    receivers = {**counting, "beside": collector, "off": collector}
    targets = {mode: _Target(mode, receivers[mode].endpoint, folder / mode) for mode in MODES}
    found: dict[tuple[str, str], list[Measured]] = {}
    requests = OBJECTS + (rounds + 1) * len(VERBS) * REQUESTS
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
        assert counting["ours"].counted() >= requests * SPANS
    finally:
        for target in targets.values():
            await target.close()
        for receiver in {*receivers.values()}:
            receiver.close()
    return {key: _medians(values) for key, values in found.items()}


def _medians(values: list[Measured]) -> Measured:
    rates, p99s, cpus = zip(*values, strict=True)
    return statistics.median(rates), statistics.median(p99s), statistics.median(cpus)


def run(rounds: int) -> Iterable[Row]:
    """Throughput and p99 of each verb against tracing off; the others' own ratios are told beside ours."""
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(_measure(Path(folder), max(3, rounds)))
    for verb in VERBS:
        off, ours, *others = (found[mode, verb] for mode in MODES)
        sdk, beside = ([theirs / base for theirs, base in zip(other, off, strict=True)] for other in others)
        kept, slower, cost = (mine / base for mine, base in zip(ours, off, strict=True))
        yield Row(
            f"{verb} throughput, 100 % sampled (SDK: {sdk[0]:.2f}; collector beside: {beside[0]:.2f})",
            f"{ours[0]:,.0f}/s",
            f"{off[0]:,.0f}/s off",
            kept,
            ">= 0.9",
            kept >= 0.9,
        )
        yield Row(
            f"{verb} p99, 100 % sampled (SDK: {sdk[1]:.2f}; collector beside: {beside[1]:.2f})",
            f"{ours[1] * 1e3:.2f} ms",
            f"{off[1] * 1e3:.2f} ms off",
            slower,
            "<= 1.3",
            slower <= 1.3,
        )
        yield Row(
            f"{verb} CPU of the server, 100 % sampled (SDK: {sdk[2]:.2f}; collector beside: {beside[2]:.2f})",
            f"{ours[2] * 1e6:.0f} µs",
            f"{off[2] * 1e6:.0f} µs off",
            cost,
            "<= 1.11",
            cost <= 1.11,
        )

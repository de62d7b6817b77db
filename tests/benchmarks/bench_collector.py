"""The collector under load: spans per second into the store, memory, and trace-by-id latency at a million spans.

The collector runs as its own process, as it does in a cluster; the load generator shares the machine's cores with it.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import aiohttp
import grpc.aio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.benchmarks.report import Row

BATCH, SPANS_PER_TRACE, IN_FLIGHT = 512, 8, 4
METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

SERVER = """
import asyncio, io, sys
from pathlib import Path
import uvloop
from kubeglass.collector.collector import CollectorConfig, build
from kubeglass.logging.setup import LoggingOptions, build as build_logger
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.health import Health
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.tracer import Tracer

async def main():
    free = "127.0.0.1:0"
    config = CollectorConfig(Path(sys.argv[1]), free, free, free)
    collector = build(config, Telemetry(build_logger(LoggingOptions(), sys.stderr), Registry(), Tracer(), Health()))
    await collector.run(lambda: print(collector.grpc, collector.query, flush=True))

uvloop.run(main())
"""


def _batches(count: int) -> list[tuple[bytes, list[bytes]]]:
    """Requests as a component's exporter sends them, and the trace ids inside. Traces are whole within one service."""
    made = []
    for number in range(count):
        request = ExportTraceServiceRequest()
        group = request.resource_spans.add()
        group.resource.attributes.add(key="service.name").value.string_value = f"service-{number % 6}"
        spans = group.scope_spans.add()
        spans.scope.name = "bench"
        traces = [os.urandom(16) for _ in range(BATCH // SPANS_PER_TRACE)]
        now = time.time_ns()
        for index in range(BATCH):
            span = spans.spans.add(
                trace_id=traces[index // SPANS_PER_TRACE],
                span_id=os.urandom(8),
                parent_span_id=os.urandom(8) if index % SPANS_PER_TRACE else b"",
                name=f"GET /api/v1/namespaces/{{:namespace}}/pods/{index % 20}",
                kind=index % 3 + 1,
                start_time_unix_nano=now,
                end_time_unix_nano=now + random.randrange(1_000_000),
            )
            for key in ("k8s.pod.name", "k8s.namespace.name", "http.request.method", "audit-id", "url.path"):
                span.attributes.add(key=key).value.string_value = f"value of {key} {index}"
        made.append((request.SerializeToString(), traces))
    return made


async def _send(target: str, bodies: list[bytes]) -> None:
    """All requests, IN_FLIGHT at a time; a refusal is tried again, as an exporter would."""
    queue = list(bodies)
    async with grpc.aio.insecure_channel(target) as channel:
        export = channel.unary_unary(METHOD, None, None)

        async def sender() -> None:
            while queue:
                body = queue.pop()
                while True:
                    try:
                        await export(body)
                        break
                    except grpc.aio.AioRpcError as error:
                        if error.code() is not grpc.StatusCode.UNAVAILABLE:
                            raise
                        await asyncio.sleep(0.05)

        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(sender())


async def _stored(query: str) -> None:
    """Return when everything received so far is committed: reading services waits for that."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{query}/api/services") as response:
        await response.read()


async def _look_up(query: str, traces: list[bytes]) -> list[float]:
    took = []
    async with aiohttp.ClientSession() as session:
        for trace in traces:
            begun = time.perf_counter()
            async with session.get(f"http://{query}/api/traces/{trace.hex()}") as response:
                await response.read()
                assert response.status == 200
            took.append(time.perf_counter() - begun)
    return took


def _peak_megabytes(pid: int) -> float:
    """The most that a process was ever resident with."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6


async def _measure(folder: Path, rounds: int) -> tuple[float, float, float]:
    """(spans per second over all rounds, most resident megabytes, p99 of a look-up in seconds)."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(folder / "traces.db")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        target, query = server.stdout.readline().split()
        seconds, known = 0.0, list[bytes]()
        per_round = -(-1_000_000 // BATCH // rounds)
        for _ in range(rounds):
            batches = _batches(per_round)
            known += [trace for _, traces in batches for trace in traces[:2]]
            begun = time.perf_counter()
            await _send(target, [body for body, _ in batches])
            await _stored(query)
            seconds += time.perf_counter() - begun
        took = await _look_up(query, random.sample(known, min(2000, len(known))))
        rate = rounds * per_round * BATCH / seconds
        return rate, _peak_megabytes(server.pid), statistics.quantiles(took, n=100)[98]
    finally:
        server.terminate()
        server.wait()


def run(rounds: int) -> Iterable[Row]:
    """One million spans in `rounds` parts, then 2,000 look-ups."""
    with tempfile.TemporaryDirectory() as folder:
        rate, most, p99 = asyncio.run(_measure(Path(folder), max(1, rounds)))
    yield Row(
        "OTLP/gRPC spans per second into the store", f"{rate:,.0f}", "50,000", rate / 50_000, ">= 1", rate >= 50_000
    )
    yield Row("most resident memory of the collector", f"{most:.0f} MB", "200 MB", most / 200, "<= 1", most <= 200)
    yield Row("trace by id at 1 M spans, p99", f"{p99 * 1e3:.2f} ms", "5 ms", p99 / 0.005, "<= 1", p99 <= 0.005)

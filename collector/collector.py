"""Wires the collector: receivers → intake → store, forwarder and span metrics → query API and console.

    OTLP gRPC 4317 ┐          ┌ memory limit ┐          ┌ store (ring → SQLite) ─ query API, console 16686
    OTLP HTTP 4318 ┴─ intake ─┴ tail sampling ┴─────────┴ forward to any OTLP backend
Starts sinks first and stops sources first. `build` and `add_flags` are what the process host needs.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from kubeglass.collector import console
from kubeglass.collector.database import Retention
from kubeglass.collector.forwarding import Forwarder
from kubeglass.collector.graph import ServiceGraph
from kubeglass.collector.intake import Intake, IntakeMetrics
from kubeglass.collector.processors import MemoryLimiter, SamplingPolicy, TailSampler
from kubeglass.collector.query import QueryApi
from kubeglass.collector.receivers import GrpcReceiver, HttpReceiver, serve
from kubeglass.collector.segments import Groups
from kubeglass.collector.spanmetrics import SpanMetrics
from kubeglass.collector.store import Store, StoreMetrics
from kubeglass.logging.goduration import parse_duration
from kubeglass.telemetry import Telemetry

Part = Callable[[Callable[[], None]], Coroutine[Any, Any, None]]
"""Something that runs until cancelled and says when it has started."""

_MIB = 1 << 20
_JUDGE_SECONDS = 0.5

DEFAULT_RETENTION = Retention(max_age_seconds=48 * 3600.0, max_bytes=512 * _MIB)
KEEP_EVERYTHING = SamplingPolicy()


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """What the flags say. Ports may be 0: any free one."""

    store: Path
    grpc_address: str = "127.0.0.1:4317"
    http_address: str = "127.0.0.1:4318"
    query_address: str = "127.0.0.1:16686"
    retention: Retention = DEFAULT_RETENTION
    memory_limit_bytes: int = 32 * _MIB
    sampling: SamplingPolicy = KEEP_EVERYTHING
    forward_endpoint: str = ""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The collector's own flags."""
    flags = parser.add_argument_group("collector")
    flags.add_argument("--otlp-grpc-bind-address", default="127.0.0.1:4317", help="host:port for OTLP/gRPC")
    flags.add_argument("--otlp-http-bind-address", default="127.0.0.1:4318", help="host:port for OTLP/HTTP")
    flags.add_argument(
        "--query-bind-address", default="127.0.0.1:16686", help="host:port for the query API and console"
    )
    flags.add_argument("--trace-store", default="traces.db", help="path of the SQLite file that keeps traces and logs")
    flags.add_argument("--retention-age", default="48h", help="how long traces are kept")
    flags.add_argument("--retention-size-mib", type=int, default=512, help="how much of the disk they may use")
    flags.add_argument(
        "--memory-limit-mib", type=int, default=32, help="received data held before requests are refused"
    )
    flags.add_argument(
        "--tail-sampling-rate-per-million",
        type=int,
        default=1_000_000,
        help="share of the traces kept that are neither failed, slow nor a change",
    )
    flags.add_argument(
        "--tail-sampling-wait", default="10s", help="time a trace has to become complete before it is judged"
    )
    flags.add_argument(
        "--tail-sampling-slow-threshold", default="1s", help="a span that takes longer makes its trace kept"
    )
    flags.add_argument(
        "--forward-endpoint", default="", help="OTLP backend to pass everything kept on to: host:port or URL"
    )


def config_from(flags: argparse.Namespace) -> CollectorConfig:
    """Parsed flags as a config. ValueError for durations that Go could not parse."""
    return CollectorConfig(
        store=Path(flags.trace_store),
        grpc_address=flags.otlp_grpc_bind_address,
        http_address=flags.otlp_http_bind_address,
        query_address=flags.query_bind_address,
        retention=Retention(parse_duration(flags.retention_age) / 1e9, flags.retention_size_mib * _MIB),
        memory_limit_bytes=flags.memory_limit_mib * _MIB,
        sampling=SamplingPolicy(
            share=flags.tail_sampling_rate_per_million / 1e6,
            wait_seconds=parse_duration(flags.tail_sampling_wait) / 1e9,
            slow_seconds=parse_duration(flags.tail_sampling_slow_threshold) / 1e9,
        ),
        forward_endpoint=flags.forward_endpoint,
    )


class Collector:
    """The component. After `started`, `grpc`, `http` and `query` are the addresses it really listens on."""

    def __init__(self, config: CollectorConfig, telemetry: Telemetry) -> None:
        registry, log = telemetry.metrics, telemetry.log
        limiter = MemoryLimiter(config.memory_limit_bytes)
        self._config = config
        self._log = log
        self._store = Store(config.store, config.retention, limiter, StoreMetrics(registry), log)
        self._forwarder = Forwarder(config.forward_endpoint, registry, log) if config.forward_endpoint else None
        self._intake = Intake(
            limiter,
            TailSampler(config.sampling),
            self._store,
            Groups(SpanMetrics(registry).observer),
            self._forwarder,
            IntakeMetrics(registry, limiter),
        )
        telemetry.health.add("trace-store", self._store.check)
        self._graph = ServiceGraph(self._store)
        self._grpc = GrpcReceiver(self._intake, config.grpc_address)
        host, port = _host_port(config.http_address)
        self._http = HttpReceiver(self._intake, host, port)
        self._query_port = 0

    @property
    def grpc(self) -> str:
        return f"{_host_port(self._config.grpc_address)[0]}:{self._grpc.port}"

    @property
    def http(self) -> str:
        return f"{_host_port(self._config.http_address)[0]}:{self._http.port}"

    @property
    def query(self) -> str:
        return f"{_host_port(self._config.query_address)[0]}:{self._query_port}"

    async def run(self, started: Callable[[], None]) -> None:
        """Serve until cancelled; then stop receiving, decide, store and pass on what is held."""
        sinks: list[Part] = [self._store.run]
        if self._forwarder is not None:
            sinks.append(self._forwarder.run)
        async with _running(sinks):
            try:
                async with _running([self._serve_query, self._grpc.run, self._http.run, self._judge]):
                    self._log.info("Collecting", grpc=self.grpc, http=self.http, query=self.query)
                    started()
                    await asyncio.Event().wait()
            finally:
                self._intake.judge(everything=True)

    async def _serve_query(self, started: Callable[[], None]) -> None:
        app = web.Application()
        QueryApi(self._store, self._graph).add_routes(app.router)
        console.add_routes(app.router)

        def serving(port: int) -> None:
            self._query_port = port
            started()

        await serve(app, *_host_port(self._config.query_address), serving)

    async def _judge(self, started: Callable[[], None]) -> None:
        started()
        while True:
            await asyncio.sleep(_JUDGE_SECONDS)
            self._intake.judge()


def build(config: CollectorConfig, telemetry: Telemetry) -> Collector:
    """The collector, not yet running."""
    return Collector(config, telemetry)


@asynccontextmanager
async def _running(parts: Sequence[Part]) -> AsyncIterator[None]:
    """Parts started in order, and cancelled when the block ends. A part that fails ends the block."""
    async with asyncio.TaskGroup() as group:
        tasks = []
        for part in parts:
            started = asyncio.Event()
            tasks.append(group.create_task(part(started.set)))
            await started.wait()
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


def _host_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)

"""A collector killed under load: what may be lost is bounded and every lost span is counted."""

from __future__ import annotations

import asyncio
import io
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

from kubeglass.logging.setup import LoggingOptions, build
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.metrics import REASONS
from kubeglass.telemetry.tracing.setup import TracingConfiguration, build_tracer

COLLECTOR = """
import asyncio, sys
from pathlib import Path
from kubeglass.collector.collector import CollectorConfig, build
from kubeglass.logging.setup import LoggingOptions, build as build_logger
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.health import Health
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.tracer import Tracer
config = CollectorConfig(Path(sys.argv[1]), sys.argv[2], "127.0.0.1:0", "127.0.0.1:0")
collector = build(config, Telemetry(build_logger(LoggingOptions(), sys.stderr), Registry(), Tracer(), Health()))
asyncio.run(collector.run(lambda: print("ready", flush=True)))
"""
SPANS, BURST = 60_000, 300


def start(store: Path, address: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", COLLECTOR, str(store), address],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


async def test_killed_under_load(tmp_path: Path) -> None:
    """Sent + dropped = made; stored is at least sent less what one commit interval may hold; callers never wait."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    store, registry = tmp_path / "traces.db", Registry()
    log = build(LoggingOptions(), io.StringIO())
    tracer = build_tracer("s", TracingConfiguration(address, 1_000_000), {}, log, registry, environ={})
    collector = await asyncio.to_thread(start, store, address)
    exporting = asyncio.Event()
    slowest = 0.0
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(tracer.run(exporting.set))
        await exporting.wait()
        for number in range(0, SPANS, BURST):
            begun = loop.time()
            for _ in range(BURST):
                tracer.start("request").end()
            slowest = max(slowest, loop.time() - begun)
            await asyncio.sleep(0.01)
            if number == SPANS // 2:
                collector.send_signal(signal.SIGKILL)
                collector.wait()
        collector = await asyncio.to_thread(start, store, address)
        await tracer.flush(30)
        task.cancel()
    collector.send_signal(signal.SIGTERM)
    collector.wait()
    sent = registry.value("kubeglass_tracing_spans_exported_total")
    dropped = sum(registry.value("kubeglass_tracing_spans_dropped_total", reason=reason) for reason in REASONS)
    with sqlite3.connect(store) as db:
        stored = db.execute("SELECT sum(count) FROM segments").fetchone()[0]
    assert sent + dropped == SPANS
    assert stored >= sent - 30_000 * 0.5, "more was lost than the rate of half a second, far above one commit interval"
    assert sent >= SPANS // 2 and slowest < 0.5

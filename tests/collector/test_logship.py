"""A component's log lines, next to its spans in the collector."""

from __future__ import annotations

import asyncio
import io

from tests.collector.harness import Running

from kubeglass.logging.sanitize import Sanitizer
from kubeglass.logging.setup import LoggingOptions, build
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.logship import LogShipper
from kubeglass.telemetry.tracing.setup import TracingConfiguration, build_tracer


async def ship(endpoint: str, registry: Registry) -> str:
    """Log inside and outside a span; the trace id."""
    config = TracingConfiguration(endpoint, 1_000_000)
    shipper = LogShipper(config, {"service.name": "kubelet"}, Sanitizer(), environ={})
    shipper.show(registry)
    log = build(LoggingOptions(), io.StringIO(), listeners=[shipper])
    tracer = build_tracer("kubelet", config, {}, log, registry, environ={})
    with tracer.span("syncPod") as span:
        log.info("Pod started", pod="web", token="abc.def")
        log.error(ValueError("no image"), "Pull failed")
    log.info("outside any span")
    started = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(shipper.run(started.set))
        await started.wait()
        task.cancel()
    return span.context.trace_hex


async def test_log_lines_join_their_trace(running: Running) -> None:
    """Lines written inside a span are found by its trace, with values, error and no secret; others stay at home."""
    registry = Registry()
    trace = await ship(running.collector.grpc, registry)
    _, found = await running.get(f"/api/traces/{trace}/logs")
    first, second = found["data"]
    fields = {field["key"]: field["value"] for field in first["fields"]}
    assert (first["body"], first["serviceName"], first["severity"]) == ("Pod started", "kubelet", "INFO")
    assert fields["pod"] == "web" and "abc.def" not in fields["token"]
    assert second["body"] == "Pull failed" and second["severity"] == "ERROR"
    assert registry.value("kubeglass_tracing_log_records_exported_total") == 2
    assert registry.value("kubeglass_tracing_log_records_dropped_total") == 0


async def test_lost_lines_are_counted() -> None:
    """Without a collector the exit is not held up, and what was lost is counted."""
    registry = Registry()
    async with asyncio.timeout(20):
        await ship("127.0.0.1:1", registry)
    assert registry.value("kubeglass_tracing_log_records_dropped_total") == 2

"""Passing everything kept on to another backend: here a second collector."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.collector.harness import Running, collecting, logs_of, request_of

from kubeglass.collector.collector import CollectorConfig
from kubeglass.collector.forwarding import Forwarder
from kubeglass.collector.otlp import TRACES
from kubeglass.logging.setup import LoggingOptions, build
from kubeglass.telemetry.metrics.registry import Registry

TRACE = b"f" * 16


@pytest.mark.parametrize("way", ["grpc", "http"])
async def test_forwarding(config: CollectorConfig, running: Running, way: str) -> None:
    """Spans, logs and metrics arrive at the next collector, before the first one has stopped."""
    endpoint = running.collector.grpc if way == "grpc" else f"http://{running.collector.http}"
    first = replace(config, store=config.store.with_name("first.db"), forward_endpoint=endpoint)
    async with collecting(first) as front:
        await front.export(request_of({"trace_id": TRACE, "name": "through"}))
        await front.export(logs_of(TRACE, "a log"))
        gauge = b'{"name":"g","gauge":{"dataPoints":[{"asInt":"1"}]}}'
        body = b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[%s]}]}]}' % gauge
        assert (await front.post("/v1/metrics", body, "application/json"))[0] == 200
    _, found = await running.get(f"/api/traces/{TRACE.hex()}")
    assert found["data"][0]["spans"][0]["operationName"] == "through"
    assert (await running.get(f"/api/traces/{TRACE.hex()}/logs"))[1]["data"][0]["body"] == "a log"
    assert running.registry.value("kubeglass_collector_received_items_total", signal="metrics", transport=way) == 1
    assert front.registry.value("kubeglass_collector_discarded_metric_points_total") == 0
    for signal in ("traces", "logs", "metrics"):
        assert front.registry.value("kubeglass_collector_forwarded_requests_total", signal=signal, outcome="sent") == 1


async def test_a_dead_backend_costs_only_the_bound(running: Running) -> None:
    """When the queue is full requests are dropped and counted; offering never waits."""
    registry = Registry()
    forwarder = Forwarder("127.0.0.1:1", registry, build(LoggingOptions(), running.log_text), queue_bytes=1000)
    for _ in range(20):
        forwarder.offer(TRACES, b"x" * 100)
    outcome = registry.value("kubeglass_collector_forwarded_requests_total", signal="traces", outcome="queue_full")
    assert outcome == 10
    started = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(forwarder.run(started.set))
        await started.wait()
        task.cancel()
    assert "Backend did not take everything before the exit" in running.log_text.getvalue()

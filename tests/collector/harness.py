"""A real collector on free ports, a client for it, and ready-made requests."""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from kubeglass.collector.collector import Collector, CollectorConfig, build
from kubeglass.logging.setup import LoggingOptions
from kubeglass.logging.setup import build as build_logger
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.health import Health
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.tracer import Tracer


class Running:
    """A collector, its registry and log, and a client for it."""

    def __init__(self, collector: Collector, registry: Registry, log_text: io.StringIO) -> None:
        self.collector = collector
        self.registry = registry
        self.log_text = log_text

    async def get(self, path: str, **query: Any) -> tuple[int, Any]:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{self.collector.query}{path}", params=query) as response:
                return response.status, await response.json(content_type=None)

    async def post(self, path: str, body: Any, content_type: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        async with aiohttp.ClientSession() as session:
            url = f"http://{self.collector.http}{path}"
            async with session.post(url, data=body, headers={"Content-Type": content_type, **headers}) as response:
                return response.status, dict(response.headers), await response.read()

    async def export(self, request: Any) -> None:
        path = "/v1/logs" if isinstance(request, ExportLogsServiceRequest) else "/v1/traces"
        status, _, body = await self.post(path, request.SerializeToString(), "application/x-protobuf")
        assert (status, body) == (200, b"")


@asynccontextmanager
async def collecting(config: CollectorConfig) -> AsyncIterator[Running]:
    log_text = io.StringIO()
    telemetry = Telemetry(build_logger(LoggingOptions(), log_text), Registry(), Tracer(), Health())
    collector = build(config, telemetry)
    started = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(collector.run(started.set))
        waiting = group.create_task(started.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        yield Running(collector, telemetry.metrics, log_text)
        waiting.cancel()
        task.cancel()


def request_of(*spans: dict[str, Any], service: str = "shop", scope: str = "lib") -> ExportTraceServiceRequest:
    """An export request; a span is its protobuf fields, with attributes as a dict and defaults for the rest."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = service
    group.resource.attributes.add(key="host.name").value.string_value = "node-1"
    scoped = group.scope_spans.add()
    scoped.scope.name = scope
    for given in spans:
        fields = {"trace_id": os.urandom(16), "span_id": os.urandom(8), "name": "op", "kind": 1} | given
        attributes = fields.pop("attributes", {})
        fields.setdefault("start_time_unix_nano", time.time_ns() - 1_000_000)
        fields.setdefault("end_time_unix_nano", fields["start_time_unix_nano"] + 1_000_000)
        span = scoped.spans.add(**fields)
        for key, value in attributes.items():
            kind = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}[type(value)]
            setattr(span.attributes.add(key=key).value, kind, value)
    return request


def logs_of(trace: bytes, *bodies: str, span: bytes = b"", service: str = "shop") -> ExportLogsServiceRequest:
    """An export request of log records."""
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.add(key="service.name").value.string_value = service
    for number, body in enumerate(bodies):
        record = group.scope_logs.add().log_records.add(
            time_unix_nano=time.time_ns() + number, severity_number=9, trace_id=trace, span_id=span
        )
        record.body.string_value = body
    return request

"""OTLP in, over real sockets: what is accepted, what is refused, and that a bad request costs no other."""

from __future__ import annotations

import asyncio
import gzip
import json

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from tests.collector.harness import Running, logs_of, request_of

from kubeglass.collector import otlp
from kubeglass.collector.receivers import GRPC_LIMIT, HTTP_LIMIT
from kubeglass.logging.setup import LoggingOptions, build
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.setup import TracingConfiguration, build_tracer

PROTOBUF, JSON = "application/x-protobuf", "application/json"
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def received(running: Running, signal: str, transport: str) -> float | None:
    return running.registry.value("kubeglass_collector_received_items_total", signal=signal, transport=transport)


def refused(running: Running, transport: str, reason: str) -> float | None:
    return running.registry.value(
        "kubeglass_collector_refused_requests_total", signal="traces", transport=transport, reason=reason
    )


def sdk_spans(exporter) -> str:
    """Two spans through the official SDK; the trace id."""
    provider = TracerProvider(resource=Resource.create({"service.name": "sdk"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("official")
    with tracer.start_as_current_span("outer", kind=api.SpanKind.SERVER) as span:
        with tracer.start_as_current_span("inner", attributes={"list": ["a", "b"]}):
            span.add_event("hello", {"n": 1})
    provider.shutdown()
    return f"{span.get_span_context().trace_id:032x}"


@pytest.mark.parametrize("way", ["grpc", "grpc+gzip", "http", "http+gzip"])
async def test_official_python_exporters(running: Running, way: str) -> None:
    """The Python SDK's exporters are accepted, plain and compressed, and their spans come out whole."""
    collector = running.collector
    if way.startswith("grpc"):
        compression = grpc.Compression.Gzip if way.endswith("gzip") else grpc.Compression.NoCompression
        exporter = GrpcSpanExporter(f"http://{collector.grpc}", insecure=True, compression=compression)
    else:
        compression = Compression.Gzip if way.endswith("gzip") else Compression.NoCompression
        exporter = HttpSpanExporter(f"http://{collector.http}/v1/traces", compression=compression)
    trace = await asyncio.to_thread(sdk_spans, exporter)
    status, found = await running.get(f"/api/traces/{trace}")
    assert status == 200
    spans = {span["operationName"]: span for span in found["data"][0]["spans"]}
    assert spans["inner"]["references"] == [
        {"refType": "CHILD_OF", "traceID": trace, "spanID": spans["outer"]["spanID"]}
    ]
    assert {"key": "list", "type": "string", "value": '["a","b"]'} in spans["inner"]["tags"]
    assert spans["outer"]["logs"][0]["fields"][0] == {"key": "event", "type": "string", "value": "hello"}
    assert received(running, "traces", way[:4]) == 2


async def test_our_exporter(running: Running) -> None:
    """Our own exporter's spans arrive, over gRPC."""
    log = build(LoggingOptions(), running.log_text)
    tracer = build_tracer("apiserver", TracingConfiguration(running.collector.grpc, 1_000_000), {}, log, Registry())
    started = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(tracer.run(started.set))
        await started.wait()
        with tracer.span("POST /api/v1/namespaces/{:namespace}/pods", attributes={"audit-id": "x"}) as span:
            pass
        assert await tracer.flush()
        task.cancel()
    status, found = await running.get(f"/api/traces/{span.context.trace_hex}")
    assert status == 200 and found["data"][0]["processes"]["p1"]["serviceName"] == "apiserver"


async def test_official_metrics_exporter(running: Running) -> None:
    """Metrics are accepted; without a backend to pass them to they are counted as discarded."""

    def send() -> None:
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"http://{running.collector.http}/v1/metrics"))
        provider = MeterProvider([reader])
        provider.get_meter("m").create_counter("c").add(1)
        provider.shutdown()

    await asyncio.to_thread(send)
    assert received(running, "metrics", "http") == 1
    assert running.registry.value("kubeglass_collector_discarded_metric_points_total") == 1


def test_official_log_exporter_is_importable() -> None:
    """The path logs take is the one the SDK's exporter uses."""
    assert OTLPLogExporter(endpoint="http://127.0.0.1:1/v1/logs") is not None


async def test_json(running: Running) -> None:
    """OTLP/JSON with hexadecimal ids and unknown fields is accepted; the answer is JSON too."""
    trace, span = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
    body = {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "web"}}]},
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "traceId": trace.upper(),
                                "spanId": span,
                                "parentSpanId": "",
                                "name": "json",
                                "kind": 2,
                                "startTimeUnixNano": "1544712660000000000",
                                "endTimeUnixNano": "1544712661000000000",
                                "attributes": [{"key": "n", "value": {"intValue": "7"}}],
                                "someday": {},
                            }
                        ]
                    }
                ],
            }
        ]
    }
    status, headers, answer = await running.post("/v1/traces", json.dumps(body), JSON)
    assert (status, headers["Content-Type"], json.loads(answer)) == (200, JSON, {"partialSuccess": {}})
    _, found = await running.get(f"/api/traces/{trace}")
    (read,) = found["data"][0]["spans"]
    assert (read["spanID"], read["duration"]) == (span, 1_000_000)
    assert {"key": "n", "type": "int64", "value": 7} in read["tags"]


async def test_empty_requests_are_fine(running: Running) -> None:
    """Nothing to store is not an error."""
    assert (await running.post("/v1/traces", b"", PROTOBUF))[0] == 200
    assert (await running.post("/v1/traces", b"{}", JSON))[0] == 200
    async with grpc.aio.insecure_channel(running.collector.grpc) as channel:
        assert await channel.unary_unary(EXPORT, None, None)(b"") == b""


async def test_invalid_ids_are_a_partial_success(running: Running) -> None:
    """Spans without valid ids are left out and counted, the others of the request are kept."""
    request = request_of({"name": "good"}, {"trace_id": b"short"}, {"span_id": bytes(8)}, {"trace_id": bytes(16)})
    status, _, body = await running.post("/v1/traces", request.SerializeToString(), PROTOBUF)
    partial = ExportTraceServiceResponse.FromString(body).partial_success
    assert status == 200 and partial.rejected_spans == 3 and "16 bytes" in partial.error_message
    assert received(running, "traces", "http") == 1
    assert running.registry.value("kubeglass_collector_rejected_items_total", signal="traces") == 3


@pytest.mark.parametrize(
    ("path", "body", "content_type", "headers", "status", "text"),
    [
        ("/v1/traces", b"\xff\xff", PROTOBUF, {}, 400, b"failed to unmarshal"),
        ("/v1/traces", b"{", JSON, {}, 400, b"failed to unmarshal"),
        ("/v1/traces", b"[]", JSON, {}, 400, b"not a JSON object"),
        ("/v1/traces", b'{"resourceSpans": 5}', JSON, {}, 400, b"failed to unmarshal"),
        ("/v1/traces", b"x", "text/plain", {}, 415, b"415 unsupported media type, supported: [application/json, app"),
        ("/v1/logs", b"x", "text/plain", {}, 415, b"415 unsupported media type"),
        ("/v1/traces", b"not gzip", PROTOBUF, {"Content-Encoding": "gzip"}, 400, b""),
        ("/v1/traces", b"x" * (HTTP_LIMIT + 1), PROTOBUF, {}, 413, b"request body too large"),
        ("/v1/traces", gzip.compress(bytes(HTTP_LIMIT + 1)), PROTOBUF, {"Content-Encoding": "gzip"}, 413, b"too large"),
        ("/v1/nothing", b"", PROTOBUF, {}, 404, b""),
    ],
)
async def test_http_refusals(running: Running, path, body, content_type, headers, status, text) -> None:
    """Malformed, oversized and foreign requests get their own error, and the next good one is accepted."""
    got, _, answer = await running.post(path, body, content_type, **headers)
    assert got == status and text in answer
    await running.export(request_of({"name": "after"}))
    assert received(running, "traces", "http") == 1


async def test_other_methods_are_not_allowed(running: Running) -> None:
    """GET on an OTLP path is 405, in the receiver's words."""
    running_url = f"http://{running.collector.http}"
    import aiohttp

    async with aiohttp.ClientSession() as session, session.get(f"{running_url}/v1/traces") as response:
        assert (response.status, await response.text()) == (405, "405 method not allowed, supported: [POST]")


async def test_grpc_refusals(running: Running) -> None:
    """Malformed is INVALID_ARGUMENT, oversized RESOURCE_EXHAUSTED without RetryInfo, another method UNIMPLEMENTED."""
    async with grpc.aio.insecure_channel(running.collector.grpc) as channel:
        for method, body, code in (
            (EXPORT, b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
            (EXPORT, bytes(GRPC_LIMIT + 1), grpc.StatusCode.RESOURCE_EXHAUSTED),
            ("/opentelemetry.proto.collector.trace.v1.TraceService/Other", b"", grpc.StatusCode.UNIMPLEMENTED),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(method, None, None)(body)
            assert caught.value.code() is code
        await channel.unary_unary(EXPORT, None, None)(request_of({}).SerializeToString())
    assert received(running, "traces", "grpc") == 1 and refused(running, "grpc", "malformed") == 1


async def test_half_closed(running: Running) -> None:
    """A client that promises a body and goes away loses only its own request."""
    host, port = running.collector.http.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
        b"Content-Length: 1000\r\n\r\nabc"
    )
    await writer.drain()
    writer.write_eof()
    await reader.read()
    writer.close()
    await running.export(request_of({}))
    assert received(running, "traces", "http") == 1


@pytest.mark.parametrize("running", [{"memory_limit_bytes": 100_000}], indirect=True)
async def test_memory_limit(running: Running) -> None:
    """Beyond the limit requests are refused, retryably and with a delay, on both ways in; nothing accepted is lost."""
    body = request_of(*[{"name": "x" * 1000} for _ in range(60)]).SerializeToString()
    intake = running.collector._intake
    assert intake.accept(otlp.TRACES, body, "http") == otlp.Answer()  # not yet stored: the loop had no turn since
    status = None

    async def over_http() -> None:
        nonlocal status
        status = await running.post("/v1/traces", body, PROTOBUF)

    intake._limiter.hold(100_000)  # as if the disk were slow
    try:
        await over_http()
        async with grpc.aio.insecure_channel(running.collector.grpc) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(EXPORT, None, None)(body)
    finally:
        intake._limiter.release(100_000)
    assert status is not None and status[0] == 503 and status[1]["Retry-After"] == "1"
    assert b"data refused due to high memory usage" in status[2]
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    details = status_pb2.Status.FromString(dict(caught.value.trailing_metadata())["grpc-status-details-bin"])
    info = error_details_pb2.RetryInfo()
    assert details.details[0].Unpack(info) and info.retry_delay.seconds == 1
    assert refused(running, "http", "memory") == 1 == refused(running, "grpc", "memory")
    await running.get("/api/services")
    assert running.registry.value("kubeglass_collector_stored_items_total", signal="traces") == 60
    assert running.registry.value("kubeglass_collector_memory_held_bytes") == 0


async def test_logs_of_a_trace(running: Running) -> None:
    """Log records are found by the trace they belong to; those of none are accepted too."""
    trace, span = bytes(range(16)), bytes(range(8))
    await running.export(logs_of(trace, "first", "second", span=span))
    await running.export(logs_of(b"", "alone"))
    status, found = await running.get(f"/api/traces/{trace.hex()}/logs")
    assert status == 200 and [record["body"] for record in found["data"]] == ["first", "second"]
    assert found["data"][0]["severity"] == "INFO" and found["data"][0]["spanID"] == span.hex()

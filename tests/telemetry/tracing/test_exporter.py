"""The exporter against real gRPC and HTTP servers: delivery, retries, drops, and the final flush."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from aiohttp import web
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from kubeglass.logging.klog import Logger
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing import encode
from kubeglass.telemetry.tracing.delivery import Patience
from kubeglass.telemetry.tracing.exporter import Exporter, ExportOptions
from kubeglass.telemetry.tracing.metrics import ExporterMetrics
from kubeglass.telemetry.tracing.outcome import Outcome, Verdict
from kubeglass.telemetry.tracing.setup import TracingConfiguration, build_tracer
from kubeglass.telemetry.tracing.tracer import Tracer
from kubeglass.telemetry.tracing.transport import GrpcTransport, HttpTransport, Transport

Answer = Callable[[grpc.ServicerContext], trace_service_pb2.ExportTraceServiceResponse]


def ok(context: grpc.ServicerContext) -> trace_service_pb2.ExportTraceServiceResponse:
    return trace_service_pb2.ExportTraceServiceResponse()


class StockReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """The generated service on a stock grpcio server, answering from a script, then OK."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.names: list[str] = []
        self.requests: list[trace_service_pb2.ExportTraceServiceRequest] = []

    def Export(self, request, context):
        answer = self.answers.pop(0) if self.answers else ok
        result = answer(context)
        self.requests.append(request)
        self.names += [s.name for r in request.resource_spans for g in r.scope_spans for s in g.spans]
        return result


@pytest.fixture
def serve():
    servers = []

    def start(receiver: StockReceiver) -> str:
        server = grpc.server(ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None)


@asynccontextmanager
async def running(tracer: Tracer) -> AsyncIterator[None]:
    """The exporter's loop, as a component's task group would run it."""
    started = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(tracer.run(started.set))
        await started.wait()
        yield
        task.cancel()


def make(connect: Callable[[], Transport], log: Logger, registry: Registry, **options) -> Tracer:
    return Tracer(Exporter(connect, encode.resource({}), ExportOptions(**options), ExporterMetrics(registry), log))


def dropped(registry: Registry, reason: str) -> float:
    return registry.value("kubeglass_tracing_spans_dropped_total", reason=reason)


async def test_spans_reach_a_stock_receiver(serve, log, registry) -> None:
    """Everything ended before the exit arrives, with resource and scope, and is counted."""
    receiver = StockReceiver()
    config = TracingConfiguration(serve(receiver), 1_000_000)
    tracer = build_tracer("kubelet", config, {"host.name": "node-1"}, log, registry, environ={})
    tracer.start("before the exporter runs").end()
    async with running(tracer):
        for n in range(3000):
            tracer.start(f"s{n}").end()
        assert await tracer.flush(5)
        assert len(receiver.names) == 3001
        tracer.start("last").end()
    assert receiver.names[-1] == "last" and len(set(receiver.names)) == 3002
    resource = receiver.requests[0].resource_spans[0].resource
    assert {a.key: a.value.string_value for a in resource.attributes} == {
        "service.name": "kubelet",
        "host.name": "node-1",
    }
    assert registry.value("kubeglass_tracing_spans_exported_total") == 3002
    assert max(len(r.resource_spans[0].scope_spans[0].spans) for r in receiver.requests) == 2048


async def test_http(log, registry) -> None:
    """OTLP/HTTP is chosen by OTEL_EXPORTER_OTLP_PROTOCOL and speaks binary protobuf."""
    got = []

    async def traces(request: web.Request) -> web.Response:
        got.append((request.path, request.content_type, request.headers.get("x-key"), await request.read()))
        return web.Response(status=503) if len(got) == 1 else web.Response(body=b"")

    app = web.Application()
    app.router.add_post("/v1/traces", traces)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    environ = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_HEADERS": "x-key=v"}
    tracer = build_tracer("s", TracingConfiguration(f"{host}:{port}", 1_000_000), {}, log, registry, environ=environ)
    async with running(tracer):
        tracer.start("over http").end()
        assert await tracer.flush(10)
    await runner.cleanup()
    assert [g[:3] for g in got] == [("/v1/traces", "application/x-protobuf", "v")] * 2
    request = trace_service_pb2.ExportTraceServiceRequest.FromString(got[1][3])
    assert request.resource_spans[0].scope_spans[0].spans[0].name == "over http"


def throttle(seconds: float) -> Answer:
    def answer(context: grpc.ServicerContext):
        detail = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(nanos=int(seconds * 1e9)))
        status = status_pb2.Status(code=8, message="slow down")
        status.details.add().Pack(detail)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")

    return answer


def abort(code: grpc.StatusCode) -> Answer:
    return lambda context: context.abort(code, "because")


async def test_throttling_is_obeyed(serve, log, registry) -> None:
    """RESOURCE_EXHAUSTED with RetryInfo is retried, not before the delay it names."""
    receiver = StockReceiver(throttle(0.3), abort(grpc.StatusCode.UNAVAILABLE))
    target = serve(receiver)
    tracer = make(lambda: GrpcTransport(target, {}, 5), log, registry, patience=Patience(0.01))
    async with running(tracer):
        begun = asyncio.get_running_loop().time()
        tracer.start("patient").end()
        assert await tracer.flush(5)
        assert asyncio.get_running_loop().time() - begun >= 0.3
    assert receiver.names == ["patient"]
    assert registry.value("kubeglass_tracing_export_requests_total", code="RESOURCE_EXHAUSTED") == 1
    assert registry.value("kubeglass_tracing_export_requests_total", code="UNAVAILABLE") == 1


async def test_permanent_errors_drop(serve, log, registry, log_text) -> None:
    """What must not be retried is dropped at once, counted, and logged once."""
    receiver = StockReceiver(abort(grpc.StatusCode.RESOURCE_EXHAUSTED), abort(grpc.StatusCode.INVALID_ARGUMENT))
    target = serve(receiver)
    tracer = make(lambda: GrpcTransport(target, {}, 5), log, registry)
    async with running(tracer):
        for _ in range(2):
            tracer.start("refused").end()
            assert await tracer.flush(5)
    assert dropped(registry, "refused") == 2 and receiver.names == []
    assert log_text.getvalue().count("Failed to export spans") == 2


async def test_partial_success_is_counted(serve, log, registry, log_text) -> None:
    """Rejected spans are lost, not sent again."""

    def partly(context):
        response = trace_service_pb2.ExportTraceServiceResponse()
        response.partial_success.rejected_spans = 2
        response.partial_success.error_message = "too big"
        return response

    receiver = StockReceiver(partly)
    target = serve(receiver)
    tracer = make(lambda: GrpcTransport(target, {}, 5), log, registry)
    async with running(tracer):
        for _ in range(3):
            tracer.start("s").end()
        assert await tracer.flush(5)
    assert len(receiver.requests) == 1 and dropped(registry, "rejected") == 2
    assert registry.value("kubeglass_tracing_spans_exported_total") == 1
    assert "too big" in log_text.getvalue()


class Silent:
    """A collector that never answers."""

    def __init__(self) -> None:
        self.sent = 0

    async def send(self, body: bytes) -> Outcome:
        self.sent += 1
        await asyncio.Event().wait()
        raise AssertionError

    async def close(self) -> None: ...


async def test_a_silent_collector_costs_only_the_bound(log, registry) -> None:
    """Offering never waits; beyond the queue spans are counted as queue_full, at exit the rest as shutdown."""
    tracer = make(Silent, log, registry, queue_limit=100, batch_limit=10, concurrency=2, flush_seconds=0.1)
    async with running(tracer):
        for n in range(500):
            tracer.start("s").end()
            if n % 10 == 9:
                await asyncio.sleep(0)
        assert not await tracer.flush(0.05)
        assert registry.value("kubeglass_tracing_queue_length") == 100
    lost = dropped(registry, "queue_full") + dropped(registry, "shutdown")
    assert lost == 500 and dropped(registry, "queue_full") >= 380
    tracer.start("after").end()
    assert dropped(registry, "queue_full") + dropped(registry, "shutdown") == 501


class Broken:
    """A collector that is down."""

    async def send(self, body: bytes) -> Outcome:
        return Outcome(Verdict.RETRY, "UNAVAILABLE", "down")

    async def close(self) -> None: ...


async def test_retries_end(log, registry) -> None:
    """A batch is given up after `retry_seconds`."""
    tracer = make(Broken, log, registry, patience=Patience(0.01, 1, 0.1))
    async with running(tracer):
        tracer.start("s").end()
        assert await tracer.flush(5)
    assert dropped(registry, "retries_exhausted") == 1


async def test_threads_may_end_spans(serve, log, registry) -> None:
    """Spans ended in worker threads arrive without waiting for the delay."""
    receiver = StockReceiver()
    target = serve(receiver)
    tracer = make(lambda: GrpcTransport(target, {}, 5), log, registry, batch_limit=50, delay_seconds=60)
    async with running(tracer):
        await asyncio.to_thread(lambda: [tracer.start("t").end() for _ in range(50)])
        async with asyncio.timeout(10):
            while len(receiver.names) < 50:  # the receiver has its own threads
                await asyncio.sleep(0.01)


async def test_batches_stay_below_what_receivers_take(serve, log, registry) -> None:
    """gRPC servers refuse messages beyond 4 MiB: large spans go in smaller batches."""
    receiver = StockReceiver()
    target = serve(receiver)
    tracer = make(lambda: GrpcTransport(target, {}, 10), log, registry)
    async with running(tracer):
        for n in range(600):
            tracer.start(f"s{n}", attributes={"text": f"{n:020000}"}).end()
        assert await tracer.flush(10)
    assert len(set(receiver.names)) == 600 and dropped(registry, "refused") == 0
    assert max(request.ByteSize() for request in receiver.requests) < 3 << 20


async def test_nobody_listens(log, registry) -> None:
    """An address without a server is retried and never raises."""
    for transport in (GrpcTransport("127.0.0.1:1", {}, 1), HttpTransport("http://127.0.0.1:1/v1/traces", {}, 1)):
        assert (await transport.send(b"")).verdict is Verdict.RETRY
        await transport.close()

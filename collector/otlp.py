"""OTLP requests and answers of the three signals, in protobuf and in JSON. Pure.

OTLP/JSON is protobuf's JSON mapping except that trace and span ids are hexadecimal:
https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from kubeglass.telemetry.tracing.wire import field, int64, varint

INVALID_ARGUMENT, UNAVAILABLE = 3, 14  # google.rpc.Code

_IDS = ("traceId", "spanId", "parentSpanId")


class Malformed(ValueError):
    """The bytes are not an export request; the client must not retry."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One kind of telemetry: its gRPC service, its HTTP path, its request, and the word for rejected items."""

    name: str
    service: str
    path: str
    request: Callable[[], Any]
    rejected: str


TRACES = Signal(
    "traces",
    "opentelemetry.proto.collector.trace.v1.TraceService",
    "/v1/traces",
    ExportTraceServiceRequest,
    "rejectedSpans",
)
LOGS = Signal(
    "logs",
    "opentelemetry.proto.collector.logs.v1.LogsService",
    "/v1/logs",
    ExportLogsServiceRequest,
    "rejectedLogRecords",
)
METRICS = Signal(
    "metrics",
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "/v1/metrics",
    ExportMetricsServiceRequest,
    "rejectedDataPoints",
)
SIGNALS = (TRACES, LOGS, METRICS)


class Answer(msgspec.Struct, frozen=True):
    """What an accepted request is told: how many items were left out, and why."""

    rejected: int = 0
    message: str = ""


def decode(signal: Signal, body: bytes) -> Any:
    """The export request in `body`, binary protobuf."""
    request = signal.request()
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise Malformed(f"failed to unmarshal the {signal.name} request: {error}") from error
    return request


def decode_json(signal: Signal, body: bytes) -> Any:
    """The export request in `body`, OTLP/JSON. Unknown fields are ignored, as OTLP demands."""
    try:
        document = json.loads(body)
        if not isinstance(document, dict):
            raise Malformed("the body is not a JSON object")
        return json_format.ParseDict(_base64_ids(document), signal.request(), ignore_unknown_fields=True)
    except (ValueError, RecursionError, json_format.Error) as error:
        raise Malformed(f"failed to unmarshal the {signal.name} request: {error}") from error


def answer(given: Answer) -> bytes:
    """An export response; the three signals have the same shape."""
    if not given.rejected and not given.message:
        return b""
    rejected = b"\x08" + varint(given.rejected) if given.rejected else b""
    message = field(b"\x12", given.message.encode()) if given.message else b""
    return field(b"\x0a", rejected + message)


def answer_json(signal: Signal, given: Answer) -> bytes:
    """The same in JSON; int64 is a string there."""
    if not given.rejected and not given.message:
        return b'{"partialSuccess":{}}'
    partial = {signal.rejected: str(given.rejected), "errorMessage": given.message}
    return msgspec.json.encode({"partialSuccess": partial})


def status(code: int, message: str, retry_seconds: float = 0.0) -> bytes:
    """A google.rpc.Status, with a RetryInfo detail if the client is to come back."""
    encoded = b"\x08" + varint(code) + field(b"\x12", message.encode("utf-8", "replace"))
    if not retry_seconds:
        return encoded
    seconds, nanos = int(retry_seconds), round(retry_seconds % 1 * 1e9)
    duration = b"\x08" + int64(seconds) + b"\x10" + int64(nanos)
    detail = field(b"\x0a", b"type.googleapis.com/google.rpc.RetryInfo") + field(b"\x12", field(b"\x0a", duration))
    return encoded + field(b"\x1a", detail)


def status_json(code: int, message: str) -> bytes:
    """A google.rpc.Status in JSON."""
    return msgspec.json.encode({"code": code, "message": message})


def to_json(message: Message) -> Any:
    """A message as an OTLP/JSON document: enums are numbers, ids hexadecimal."""
    return _hex_ids(json_format.MessageToDict(message, use_integers_for_enums=True))


def count_points(request: Any) -> int:
    """How many data points a metrics request holds."""
    return sum(
        len(getattr(metric, kind).data_points)
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if (kind := metric.WhichOneof("data"))
    )


def _base64_ids(node: Any) -> Any:
    return _map_ids(node, lambda value: base64.b64encode(bytes.fromhex(value)).decode())


def _hex_ids(node: Any) -> Any:
    return _map_ids(node, lambda value: base64.b64decode(value).hex())


def _map_ids(node: Any, change: Callable[[str], str]) -> Any:
    if isinstance(node, dict):
        return {
            key: change(value) if key in _IDS and isinstance(value, str) else _map_ids(value, change)
            for key, value in node.items()
        }
    return [_map_ids(inner, change) for inner in node] if isinstance(node, list) else node

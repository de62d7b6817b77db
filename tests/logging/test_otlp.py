"""Records leave as OTLP LogRecords that the official decoder reads."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from kubeglass.logging import correlation
from kubeglass.logging.options import LoggingOptions
from kubeglass.logging.otlp import LogExporter
from kubeglass.logging.sanitize import Sanitizer
from kubeglass.logging.setup import build
from kubeglass.logging.values import Duration, kref

TRACE = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


def exporting(**options: Any) -> tuple[Any, LogExporter, list[ExportLogsServiceRequest]]:
    sent: list[ExportLogsServiceRequest] = []
    resource = {"service.name": "kube-scheduler"}
    exporter = LogExporter(
        resource, lambda data: sent.append(ExportLogsServiceRequest.FromString(data)), Sanitizer(), **options
    )
    return build(LoggingOptions(verbosity=6), io.StringIO(), listeners=[exporter]), exporter, sent


def plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {item.key: plain(item.value) for item in value.kvlist_value.values}
    return None if kind is None else getattr(value, kind)


def attributes(record: Any) -> dict[str, Any]:
    return {item.key: plain(item.value) for item in record.attributes}


def test_record() -> None:
    """Body, severity, time, trace, scope and attributes of a record arrive."""
    log, exporter, sent = exporting()
    token = correlation.current.set(SimpleNamespace(trace_ids=TRACE))
    log.with_name("queue").with_values(node="n1").info(
        "Pod bound", pod=kref("ns", "a"), took=Duration(1_500_000), n=-3, big=2**70, f=1.5, ok=True, none=None,
        tree={"b": [1, "x"]}, raw=b"\x00", password="hunter2",
    )  # fmt: skip
    correlation.current.reset(token)
    exporter.export()
    (group,) = sent[0].resource_logs
    assert {item.key: plain(item.value) for item in group.resource.attributes} == {"service.name": "kube-scheduler"}
    (scope,) = group.scope_logs
    assert scope.scope.name == "queue"
    (record,) = scope.log_records
    assert (record.body.string_value, record.severity_number, record.severity_text) == ("Pod bound", 9, "INFO")
    assert (record.trace_id.hex(), record.span_id.hex()) == TRACE
    assert record.time_unix_nano == record.observed_time_unix_nano > 1_600_000_000 * 10**9
    found = attributes(record)
    assert found.pop("code.file.path").endswith("test_otlp.py")
    assert found.pop("code.line.number") > 0
    assert found == {
        **{
            "node": "n1",
            "pod": "ns/a",
            "took": "1.5ms",
            "n": -3,
            "big": str(2**70),
            "f": 1.5,
            "ok": True,
            "none": None,
        },
        **{"tree": {"b": [1, "x"]}, "raw": b"\x00", "password": "[redacted:password]"},
    }


def test_severities() -> None:
    """klog's letters and levels become OpenTelemetry's severities."""
    log, exporter, sent = exporting()
    log.info("a")
    log.v(4).info("b")
    log.v(6).info("c")
    log.warning("d")
    log.error(None, "e")
    log.text("f", "F")
    exporter.export()
    records = sent[0].resource_logs[0].scope_logs[0].log_records
    assert [record.severity_number for record in records] == [9, 5, 1, 13, 17, 21]


def test_exception() -> None:
    """An error carries its type, message and traceback, secrets replaced."""
    log, exporter, sent = exporting()
    try:
        raise ValueError("no such token=abc123")
    except ValueError as error:
        log.error(error, "Failed")
    exporter.export()
    found = attributes(sent[0].resource_logs[0].scope_logs[0].log_records[0])
    assert found["exception.type"] == "ValueError"
    assert found["exception.message"] == "no such token=[redacted:token]"
    assert "test_exception" in found["exception.stacktrace"]
    assert "abc123" not in found["exception.stacktrace"].replace('ValueError("no such token=abc123")', "")


def test_queue_is_bounded() -> None:
    """Beyond the queue's end records are dropped and counted; what is queued is sent in batches."""
    log, exporter, sent = exporting(max_queue=10, max_batch=4)
    for number in range(15):
        log.info("m", number=number)
    assert (exporter.waiting, exporter.dropped) == (10, 5)
    exporter.export()
    sizes = [len(request.resource_logs[0].scope_logs[0].log_records) for request in sent]
    assert sizes == [4, 4, 2]
    assert (exporter.waiting, exporter.exported) == (0, 10)


def test_failed_batches_are_counted() -> None:
    """A batch that cannot be sent is lost and counted; the caller never notices."""

    def refuse(data: bytes) -> None:
        raise ConnectionError("collector is gone")

    exporter = LogExporter({}, refuse, Sanitizer())
    log = build(LoggingOptions(), io.StringIO(), listeners=[exporter])
    log.info("m")
    exporter.export()
    assert (exporter.exported, exporter.dropped, exporter.waiting) == (0, 1, 0)

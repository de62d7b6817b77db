"""Rate, errors and duration derived from spans."""

from __future__ import annotations

from tests.collector.harness import Running, request_of

from kubeglass.collector.spanmetrics import OVERFLOW, SpanMetrics
from kubeglass.telemetry.metrics.registry import Registry


def labels(name: str = "op", status: str = "UNSET", kind: str = "SERVER") -> dict[str, str]:
    return {
        "service_name": "shop",
        "span_name": name,
        "span_kind": f"SPAN_KIND_{kind}",
        "status_code": f"STATUS_CODE_{status}",
    }


async def test_names_of_the_connector(running: Running) -> None:
    """Calls and durations are counted by service, name, kind and status, and point to a trace."""
    trace = b"t" * 16
    await running.export(
        request_of(
            {"trace_id": trace, "kind": 2, "start_time_unix_nano": 0, "end_time_unix_nano": 3_000_000},
            {"kind": 2, "start_time_unix_nano": 0, "end_time_unix_nano": 5_000_000},
            {"kind": 2, "status": {"code": 2}},
        )
    )
    registry = running.registry
    assert registry.value("traces_span_metrics_calls_total", **labels()) == 2
    assert registry.value("traces_span_metrics_calls_total", **labels(status="ERROR")) == 1
    content_type, body = registry.expose("application/openmetrics-text; version=1.0.0")
    text = body.decode()
    assert "openmetrics" in content_type
    assert "traces_span_metrics_duration_milliseconds_bucket" in text and f'trace_id="{trace.hex()}"' in text


def test_cardinality_is_bounded() -> None:
    """Beyond the limit operations share one series."""
    registry = Registry()
    metrics = SpanMetrics(registry, limit=2)
    for number in range(5):
        metrics.observer("shop", f"op{number}", 2, 0)(1_000_000, b"t" * 16, b"s" * 8)
    assert registry.value("traces_span_metrics_calls_total", **labels("op1")) == 1
    assert registry.value("traces_span_metrics_calls_total", **labels(OVERFLOW)) == 3


def test_exemplars_are_rationed() -> None:
    """One exemplar a second and series, however many spans."""
    now = 0.0
    metrics = SpanMetrics(registry := Registry(), clock=lambda: now)
    observe = metrics.observer("shop", "op", 9, 9)
    for number in range(1, 4):
        observe(1_000_000, bytes([number]) * 16, b"s" * 8)
    text = registry.expose("application/openmetrics-text; version=1.0.0")[1].decode()
    assert ("01" * 16) in text and ("02" * 16) not in text
    assert registry.value("traces_span_metrics_calls_total", **labels(kind="UNSPECIFIED")) == 3

"""The protobuf format, decoded with descriptors of client_model built here."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.unknown_fields import UnknownFieldSet

from kubeglass.telemetry.metrics.definitions import Counter, Histogram
from kubeglass.telemetry.metrics.options import MetricsOptions
from kubeglass.telemetry.metrics.registry import Registry

ACCEPT = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
ODD = 'a"b\\c\nd%s{}é'

_TYPES = {"string": 9, "double": 1, "uint64": 4, "int64": 3, "sint32": 17, "sint64": 18, "uint32": 13, "int32": 5}
_MESSAGES: dict[str, list[tuple[int, str, str]]] = {
    "LabelPair": [(1, "name", "string"), (2, "value", "string")],
    "Gauge": [(1, "value", "double")],
    "Time": [(1, "seconds", "int64"), (2, "nanos", "int32")],
    "Exemplar": [(1, "label", "*LabelPair"), (2, "value", "double"), (3, "timestamp", ".Time")],
    "Counter": [(1, "value", "double"), (2, "exemplar", ".Exemplar")],
    "Quantile": [(1, "quantile", "double"), (2, "value", "double")],
    "Summary": [(1, "sample_count", "uint64"), (2, "sample_sum", "double"), (3, "quantile", "*Quantile")],
    "Untyped": [(1, "value", "double")],
    "BucketSpan": [(1, "offset", "sint32"), (2, "length", "uint32")],
    "Bucket": [(1, "cumulative_count", "uint64"), (2, "upper_bound", "double"), (3, "exemplar", ".Exemplar")],
    "Histogram": [
        (1, "sample_count", "uint64"),
        (2, "sample_sum", "double"),
        (3, "bucket", "*Bucket"),
        (5, "schema", "sint32"),
        (6, "zero_threshold", "double"),
        (7, "zero_count", "uint64"),
        (9, "negative_span", "*BucketSpan"),
        (10, "negative_delta", "*sint64"),
        (12, "positive_span", "*BucketSpan"),
        (13, "positive_delta", "*sint64"),
    ],
    "Metric": [
        (1, "label", "*LabelPair"),
        (2, "gauge", ".Gauge"),
        (3, "counter", ".Counter"),
        (4, "summary", ".Summary"),
        (5, "untyped", ".Untyped"),
        (7, "histogram", ".Histogram"),
        (6, "timestamp_ms", "int64"),
    ],
    "MetricFamily": [(1, "name", "string"), (2, "help", "string"), (3, "type", "int32"), (4, "metric", "*Metric")],
}


def _family_class() -> type[Any]:
    """io.prometheus.client.MetricFamily, from the table above (an enum reads as an int32)."""
    file = descriptor_pb2.FileDescriptorProto(name="metrics.proto", package="m", syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field, kind in fields:
            repeated, kind = kind.startswith("*"), kind.lstrip("*")
            added = message.field.add(name=field, number=number, label=3 if repeated else 1)
            if kind in _TYPES:
                added.type = _TYPES[kind]
            else:
                added.type, added.type_name = 11, f".m.{kind.lstrip('.')}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("m.MetricFamily"))


FAMILY = _family_class()


def _decode(registry: Registry) -> dict[str, Any]:
    content_type, body = registry.expose(ACCEPT)
    assert content_type == (
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; "
        "escaping=underscores"
    )
    families, at = {}, 0
    while at < len(body):
        length = shift = 0
        while True:
            byte = body[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        family = FAMILY()
        family.ParseFromString(body[at : at + length])
        assert len(UnknownFieldSet(family)) == 0
        families[family.name] = family
        at += length
    return families


def _labels(metric: Any) -> dict[str, str]:
    return {pair.name: pair.value for pair in metric.label}


def test_every_kind_survives_protobuf(everything: Registry) -> None:
    """Names, help, types, labels, values and timestamps are what was counted."""
    found = _decode(everything)
    requests = {tuple(_labels(metric).values()): metric.counter.value for metric in found["requests_total"].metric}
    assert requests == {("200", "GET"): 1234568, ("404", "GET"): 2, ("200", ODD): 0.5}
    assert found["requests_total"].help == '[STABLE] Requests with "quotes"\nand a newline.'
    assert {name: family.type for name, family in found.items() if name in ("queued", "seconds", "quantiles")} == {
        "queued": 1,
        "seconds": 4,
        "quantiles": 2,
    }
    assert found["queued"].metric[0].gauge.value == -3
    assert found["container_cpu_usage_seconds_total"].metric[0].timestamp_ms == 1_700_000_000_123
    assert _labels(found["utilization"].metric[0]) == {"level": "system", "phase": "x"}
    assert found["quantiles"].metric[0].summary.sample_count == 100
    assert "never_touched_total" not in found


def test_classic_histograms_are_cumulative(everything: Registry) -> None:
    """Buckets up to the last finite bound; count and sum beside them."""
    histogram = _decode(everything)["seconds"].metric[0].histogram
    assert [(bucket.upper_bound, bucket.cumulative_count) for bucket in histogram.bucket] == [
        (0.005, 1),
        (1, 2),
        (2.5, 3),
        (1e6, 4),
    ]
    assert histogram.sample_count == 5
    assert not histogram.HasField("schema")


def test_exemplars_travel_in_protobuf(everything: Registry) -> None:
    """On counters and buckets, with both ids and a time."""
    found = _decode(everything)
    exemplar = found["requests_total"].metric[0].counter.exemplar
    assert _labels(exemplar) == {
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "span_id": "00f067aa0ba902b7",
    }
    assert exemplar.value == 1
    assert exemplar.timestamp.seconds > 1_600_000_000
    assert [bucket.HasField("exemplar") for bucket in found["seconds"].metric[0].histogram.bucket] == [
        False,
        False,
        True,
        False,
    ]


def test_native_buckets_come_beside_the_classic_ones(everything_native: Registry) -> None:
    """Under the gate every histogram carries a schema, and its native buckets hold every finite observation."""
    found = _decode(everything_native)
    histogram = found["seconds"].metric[0].histogram
    assert len(histogram.bucket) == 4
    assert histogram.schema == 3
    assert histogram.zero_threshold == 2.0**-128
    count = total = 0
    for delta in histogram.positive_delta:
        count += delta
        total += count
    assert total + histogram.zero_count == 5
    assert not found["utilization"].metric[0].histogram.HasField("schema")


def test_an_empty_native_histogram_is_marked_as_native() -> None:
    """A span of no buckets tells the scraper that the series is native."""
    registry = Registry(MetricsOptions(native_histograms=True))
    registry.bind(Histogram("h", "x"))
    (span,) = _decode(registry)["h"].metric[0].histogram.positive_span
    assert (span.offset, span.length) == (0, 0)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**32, 2**53])
def test_long_messages_are_delimited(value: int) -> None:
    """Help texts beyond one length byte, and values of any size."""
    registry = Registry().companion()
    registry.bind(Counter("c_total", "x" * 500)).inc(value)
    assert _decode(registry)["c_total"].metric[0].counter.value == value

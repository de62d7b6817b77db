"""Families as io.prometheus.client.MetricFamily messages, each behind its length (encoding=delimited).

Written by hand: the message types are few and fixed, and a scrape of thousands of series must not build objects.
Field numbers are those of prometheus/client_model/metrics.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from math import inf
from typing import Any, Final

from kubeglass.telemetry.metrics.definitions import Metric
from kubeglass.telemetry.metrics.exposition import Family
from kubeglass.telemetry.metrics.families import Collected, Foreign, ForeignSample
from kubeglass.telemetry.metrics.instruments import (
    CounterChild,
    CounterInstrument,
    Exemplar,
    GaugeChild,
    GaugeInstrument,
    HistogramChild,
    HistogramInstrument,
    Instrument,
)
from kubeglass.telemetry.metrics.native import ZERO_THRESHOLD, NativeHistogramChild, spans
from kubeglass.telemetry.metrics.summary import SummaryChild, SummaryInstrument
from kubeglass.telemetry.metrics.timing import TimingRatioChild, TimingRatioInstrument

TYPES: Final[Mapping[str, int]] = {"counter": 0, "gauge": 1, "summary": 2, "untyped": 3, "histogram": 4}

_COUNTER, _GAUGE, _SUMMARY, _UNTYPED, _TIMESTAMP, _HISTOGRAM = 3, 2, 4, 5, 6, 7
_VALUE_FIELDS: Final[Mapping[str, int]] = {"counter": _COUNTER, "gauge": _GAUGE, "untyped": _UNTYPED}
_double = struct.Struct("<d").pack


def protobuf(families: Iterable[Family]) -> Iterator[bytes]:
    """One delimited message per family that has series."""
    for family in families:
        row = family.row
        metrics = [_bytes(4, metric) for metric in _metrics(family)]
        if metrics:
            head = _string(1, row.name) + _string(2, family.help) + _uint(3, TYPES[row.type])
            message = head + b"".join(metrics)
            yield varint(len(message)) + message


def _metrics(family: Family) -> Iterator[bytes]:
    if isinstance(family, Foreign):
        yield from _foreign(family)
        return
    row = family.row
    if isinstance(family, Collected):
        field = _VALUE_FIELDS[row.type]
        for point in family.points:
            stamp = b"" if point.timestamp_ms is None else _uint(_TIMESTAMP, point.timestamp_ms)
            yield _labels(row, point.values) + _bytes(field, _number(1, point.value)) + stamp
        return
    write = _WRITERS[type(family)]
    for values, child in _series(family):
        yield _labels(row, values) + write(child)


def _foreign(family: Foreign) -> Iterator[bytes]:
    """Samples that differ only in `le` or `quantile` are one histogram or summary."""
    kind = family.row.type
    grouped: dict[tuple[tuple[str, str], ...], list[ForeignSample]] = {}
    for sample in family.samples:
        key = tuple(sorted((name, value) for name, value in sample.labels.items() if name not in ("le", "quantile")))
        grouped.setdefault(key, []).append(sample)
    for labels, samples in grouped.items():
        head = b"".join([_bytes(1, _string(1, name) + _string(2, value)) for name, value in labels])
        if kind in ("histogram", "summary"):
            yield head + _foreign_distribution(kind, samples)
        else:
            yield from [head + _bytes(_VALUE_FIELDS[kind], _number(1, sample.value)) for sample in samples]


def _foreign_distribution(kind: str, samples: Iterable[ForeignSample]) -> bytes:
    parts = []
    for sample in samples:
        if sample.name.endswith("_count"):
            parts.append(_uint(1, int(sample.value)))
        elif sample.name.endswith("_sum"):
            parts.append(_number(2, sample.value))
        elif kind == "summary":
            parts.append(_bytes(3, _number(1, float(sample.labels["quantile"])) + _number(2, sample.value)))
        else:
            parts.append(_bytes(3, _uint(1, int(sample.value)) + _number(2, float(sample.labels["le"]))))
    return _bytes(_HISTOGRAM if kind == "histogram" else _SUMMARY, b"".join(parts))


def _series(family: Instrument[Any]) -> list[tuple[tuple[str, ...], Any]]:
    series = family.series()
    if not family.hides_zero:
        return series
    return [(values, child) for values, child in series if getattr(child, "value", getattr(child, "count", 1))]


def _counter(child: CounterChild) -> bytes:
    exemplar = _bytes(2, _exemplar(child.exemplar)) if child.exemplar else b""
    return _bytes(_COUNTER, _number(1, child.value) + exemplar)


def _gauge(child: GaugeChild) -> bytes:
    return _bytes(_GAUGE, _number(1, child.value))


def _histogram(child: HistogramChild | TimingRatioChild) -> bytes:
    if isinstance(child, TimingRatioChild):
        child.settle()
    cumulative = list(accumulate(child.counts))
    parts = [_uint(1, cumulative[-1]), _number(2, child.sum)]
    exemplars = child.exemplars if isinstance(child, HistogramChild) else None
    for index, bound in enumerate((*child.bounds, inf)):
        exemplar = exemplars[index] if exemplars else None
        if bound == inf and exemplar is None:
            continue  # as client_golang: the +Inf bucket is written for its exemplar only
        bucket = _uint(1, cumulative[index]) + _number(2, bound)
        parts.append(_bytes(3, bucket + (_bytes(3, _exemplar(exemplar)) if exemplar else b"")))
    if isinstance(child, NativeHistogramChild):
        parts.append(_native(child))
    return _bytes(_HISTOGRAM, b"".join(parts))


def _native(child: NativeHistogramChild) -> bytes:
    parts = [_sint(5, child.schema), _number(6, ZERO_THRESHOLD), _uint(7, child.zero_count)]
    for buckets, span_field, delta_field in ((child.negative, 9, 10), (child.positive, 12, 13)):
        found, deltas = spans(buckets)
        parts += [_bytes(span_field, _sint(1, offset) + _uint(2, length)) for offset, length in found]
        parts += [_sint(delta_field, delta) for delta in deltas]
    if not child.positive and not child.negative and not child.zero_count:
        parts.append(_bytes(12, _sint(1, 0) + _uint(2, 0)))  # marks an empty histogram as native
    return b"".join(parts)


def _summary(child: SummaryChild) -> bytes:
    quantiles = [_bytes(3, _number(1, quantile) + _number(2, value)) for quantile, value in child.quantiles()]
    return _bytes(_SUMMARY, _uint(1, child.count) + _number(2, child.sum) + b"".join(quantiles))


_WRITERS: Final[Mapping[type, Callable[[Any], bytes]]] = {
    CounterInstrument: _counter,
    GaugeInstrument: _gauge,
    HistogramInstrument: _histogram,
    SummaryInstrument: _summary,
    TimingRatioInstrument: _histogram,
}


def _labels(row: Metric, values: Iterable[str]) -> bytes:
    pairs = sorted((*zip(row.labels, values, strict=True), *row.const_labels.items()))
    return b"".join([_bytes(1, _string(1, name) + _string(2, value)) for name, value in pairs])


def _exemplar(exemplar: Exemplar) -> bytes:
    context, value, unix_seconds = exemplar
    ids = (("trace_id", context.trace_hex), ("span_id", context.span_hex))
    labels = b"".join([_bytes(1, _string(1, name) + _string(2, text)) for name, text in ids])
    seconds = int(unix_seconds)
    stamp = _uint(1, seconds) + _uint(2, int((unix_seconds - seconds) * 1e9))
    return labels + _number(2, value) + _bytes(3, stamp)


def varint(value: int) -> bytes:
    """An unsigned integer, seven bits per byte, least significant first."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _uint(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value & 0xFFFFFFFFFFFFFFFF)


def _sint(field: int, value: int) -> bytes:
    """Zigzag: small magnitudes of either sign stay short."""
    return varint(field << 3) + varint(value << 1 if value >= 0 else (-value << 1) - 1)


def _number(field: int, value: float) -> bytes:
    return varint(field << 3 | 1) + _double(value)


def _bytes(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def _string(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())

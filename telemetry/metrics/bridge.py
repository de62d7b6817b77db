"""Both ways between a Registry and prometheus_client: our families in its registries, its collectors in ours.

`prometheus_client.CollectorRegistry().register(PrometheusClientCollector(registry))` shows our metrics there;
`registry.add_prometheus_collector(collector)` shows theirs here.
The library is imported when our families are asked for in its terms, never before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from kubeglass.telemetry.metrics.definitions import Metric
from kubeglass.telemetry.metrics.exposition import openmetrics_name
from kubeglass.telemetry.metrics.families import Collected, Foreign, ForeignRow, ForeignSample
from kubeglass.telemetry.metrics.instruments import HistogramChild
from kubeglass.telemetry.metrics.spelling import number
from kubeglass.telemetry.metrics.summary import SummaryChild
from kubeglass.telemetry.metrics.timing import TimingRatioChild

if TYPE_CHECKING:
    import prometheus_client

    from kubeglass.telemetry.metrics.exposition import Family
    from kubeglass.telemetry.metrics.registry import Registry

_THEIR_SUFFIXES = {"counter": "_total", "info": "_info"}
_TEXT_TYPES = {"info": "gauge", "stateset": "gauge", "gaugehistogram": "histogram", "unknown": "untyped"}


class PrometheusClientCollector:
    """A Registry as a collector of prometheus_client."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def describe(self) -> Iterable[prometheus_client.Metric]:
        """The families, so that the library can refuse clashing names."""
        return self.collect()

    def collect(self) -> Iterator[prometheus_client.Metric]:
        """Every visible family with its samples."""
        from prometheus_client import Metric as TheirMetric

        families = self._registry.families()
        taken = {family.row.name for family in families}
        for family in families:
            name, kind = openmetrics_name(family, taken)
            metric = TheirMetric(name, family.help, kind)
            for sample in _samples(family):
                metric.add_sample(sample.name, dict(sample.labels), sample.value, sample.timestamp_seconds)
            if metric.samples:
                yield metric


class _Sample(NamedTuple):
    """One exposed line in prometheus_client's terms."""

    name: str
    labels: Mapping[str, str]
    value: float
    timestamp_seconds: float | None = None


def _samples(family: Family) -> Iterator[_Sample]:
    if isinstance(family, Foreign):
        for theirs in family.samples:
            seconds = None if theirs.timestamp_ms is None else theirs.timestamp_ms / 1000
            yield _Sample(theirs.name, theirs.labels, theirs.value, seconds)
        return
    if isinstance(family, Collected):
        for point in family.points:
            seconds = None if point.timestamp_ms is None else point.timestamp_ms / 1000
            yield _Sample(family.row.name, _labels(family.row, point.values), point.value, seconds)
        return
    for values, child in family.series():
        yield from _series(family.row, _labels(family.row, values), child)


def _labels(row: Metric, values: Iterable[str]) -> dict[str, str]:
    return {**dict(zip(row.labels, values, strict=True)), **row.const_labels}


def _series(row: Metric, labels: Mapping[str, str], child: Any) -> Iterator[_Sample]:
    if isinstance(child, HistogramChild | TimingRatioChild):
        if isinstance(child, TimingRatioChild):
            child.settle()
        bounds = [*map(number, child.bounds), "+Inf"]
        for bound, count in zip(bounds, accumulate(child.counts), strict=True):
            yield _Sample(f"{row.name}_bucket", {**labels, "le": bound}, count)
    elif isinstance(child, SummaryChild):
        for quantile, value in child.quantiles():
            yield _Sample(row.name, {**labels, "quantile": number(quantile)}, value)
    else:
        yield _Sample(row.name, labels, child.value)
        return
    yield _Sample(f"{row.name}_sum", labels, child.sum)
    yield _Sample(f"{row.name}_count", labels, child.count)


def foreign_families(collector: Any) -> Iterator[Foreign]:
    """What a prometheus_client collector yields now, in our terms; `_created` samples are left out."""
    for metric in collector.collect():
        name = metric.name + _THEIR_SUFFIXES.get(metric.type, "")
        kind = _TEXT_TYPES.get(metric.type, metric.type)
        samples = [
            ForeignSample(s.name, s.labels, s.value, None if s.timestamp is None else int(float(s.timestamp) * 1000))
            for s in metric.samples
            if not s.name.endswith("_created")
        ]
        if samples:
            yield Foreign(ForeignRow(name, kind), metric.documentation, samples)

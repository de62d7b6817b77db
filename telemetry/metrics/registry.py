"""The registry of one component: it binds rows to instruments, applies the life cycle, and exposes what is visible.

A component has one default registry (`/metrics`) and may have companions for other endpoints (`/metrics/resource`);
companions share its options and its counts of registered and hidden metrics.
Follows k8s.io/component-base/metrics; nothing here is global.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar, overload

from kubeglass.telemetry.metrics import negotiation
from kubeglass.telemetry.metrics.bridge import foreign_families
from kubeglass.telemetry.metrics.definitions import Counter, Gauge, Histogram, Metric, Summary, TimingRatioHistogram
from kubeglass.telemetry.metrics.exposition import Family, openmetrics, text
from kubeglass.telemetry.metrics.families import Collect, Collected, Collector, Foreign
from kubeglass.telemetry.metrics.instruments import (
    Binding,
    CounterInstrument,
    GaugeInstrument,
    HistogramChild,
    HistogramInstrument,
    Instrument,
)
from kubeglass.telemetry.metrics.lifecycle import Verdict, help_text, judge
from kubeglass.telemetry.metrics.native import NativeHistogramChild
from kubeglass.telemetry.metrics.negotiation import Format
from kubeglass.telemetry.metrics.options import MetricsOptions
from kubeglass.telemetry.metrics.protobuf import protobuf
from kubeglass.telemetry.metrics.selfmetrics import SelfMetrics
from kubeglass.telemetry.metrics.summary import SummaryInstrument
from kubeglass.telemetry.metrics.timing import TimingRatioInstrument

M = TypeVar("M", bound=Metric)


class DuplicateMetric(ValueError):
    """Two rows of one name are visible at the same time."""


class GatherError(Exception):
    """A scrape-time collector failed; the text is the collector's."""


class Exposition(NamedTuple):
    """One scrape: the content type and the body in blocks, so that a server may serve others in between."""

    content_type: str
    blocks: Iterator[bytes]


class Registry:
    """Rows in, exposition out. `tolerant` serves what could be gathered when a collector fails."""

    def __init__(
        self,
        options: MetricsOptions = MetricsOptions(),
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        warn: Callable[[str], None] = lambda message: None,
        tolerant: bool = False,
        _self_metrics: SelfMetrics | None = None,
    ) -> None:
        self.options = options.checked()
        self.tolerant = tolerant
        self._clock_ns = clock_ns
        self._warn = warn
        self._policy = self.options.policy()
        self._allow_lists = self.options.allow_lists()
        self._names: dict[str, Metric] = {}
        self._instruments: dict[Metric, Instrument[Any]] = {}
        self._collectors: list[Collector] = []
        self._collected: set[Metric] = set()
        self._foreign: list[Any] = []
        self._self_metrics = _self_metrics
        if _self_metrics is None:
            self._self_metrics = SelfMetrics(self, disabled=len(self._policy.disabled))
            for row in self._instruments:
                self._self_metrics.count(row, judge(row, self._policy))

    def companion(self, *, tolerant: bool = False) -> Registry:
        """An empty registry for another endpoint of the same component."""
        return Registry(
            self.options,
            clock_ns=self._clock_ns,
            warn=self._warn,
            tolerant=tolerant,
            _self_metrics=self._self_metrics,
        )

    @overload
    def bind(self, row: Counter) -> CounterInstrument: ...
    @overload
    def bind(self, row: Gauge) -> GaugeInstrument: ...
    @overload
    def bind(self, row: Histogram) -> HistogramInstrument: ...
    @overload
    def bind(self, row: Summary) -> SummaryInstrument: ...
    @overload
    def bind(self, row: TimingRatioHistogram) -> TimingRatioInstrument: ...
    def bind(self, row: Metric) -> Instrument[Any]:
        """The instrument of `row`: working, or ignoring everything when the row is hidden, disabled or absent.

        Binding a row again returns the same instrument, so parts of a component may share it.
        """
        known = self._instruments.get(row)
        if known is not None:
            return known
        if row in self._collected:
            raise DuplicateMetric(f"{row.name} is collected at scrape time already")
        verdict = self._admit(row)
        instrument = _INSTRUMENTS[type(row)](row, help_text(row, verdict), self._binding(row, verdict))
        self._instruments[row] = instrument
        return instrument

    def collect(self, rows: Iterable[Metric], collect: Collect) -> None:
        """Register a function that computes samples of `rows` at scrape time.

        Like upstream's custom collectors it honours hiding, and ignores --disabled-metrics and the self metrics.
        """
        policy = self._policy._replace(disabled=frozenset())
        visible: dict[Metric, str] = {}
        for row in rows:
            verdict = judge(row, policy)
            if verdict.visible:
                self._claim(row)
                visible[row] = help_text(row, verdict)
        self._add_collector(visible, collect)

    def function(self, row: Gauge | Counter, value: Callable[[], float]) -> None:
        """Register an unlabelled metric whose value is asked for at scrape time."""
        verdict = self._admit(row)
        if verdict.visible:
            self._add_collector({row: help_text(row, verdict)}, lambda: [(row, (), value())])

    def add_prometheus_collector(self, collector: Any) -> None:
        """Show the families of a prometheus_client collector (or registry) beside ours; ours win a name."""
        self._foreign.append(collector)

    def expose(self, accept: str = "") -> tuple[str, bytes]:
        """(content type, whole body) of one scrape, in the format `accept` (an HTTP header value) prefers."""
        content_type, blocks = self.exposition(accept)
        return content_type, b"".join(blocks)

    def exposition(self, accept: str = "") -> Exposition:
        """One scrape in blocks. Collectors run before this returns, so a GatherError comes before the first block."""
        chosen = negotiation.choose(accept)
        families = self.families()
        return Exposition(chosen.content_type, _WRITERS[chosen.format](families))

    def families(self) -> list[Family]:
        """Everything visible now, sorted by name; collectors are run."""
        visible = [family for family in self._instruments.values() if self._names.get(family.row.name) is family.row]
        families: list[Family] = [*visible, *self._gather(), *self._foreign_families()]
        families.sort(key=lambda family: family.row.name)
        return families

    def reset(self) -> None:
        """Begin counters and histograms at zero, as HTTP DELETE asks. Gauges keep stating the present."""
        for instrument in self._instruments.values():
            instrument.reset()

    def would_show(self, row: Metric) -> bool:
        """Whether the running release and flags show `row`."""
        return judge(row, self._policy).visible

    def value(self, name: str, /, **labels: str) -> float | None:
        """One sample by its exposed name (`x_total`, `x_count`, `x_sum`) and labels; None when there is none."""
        for family in self.families():
            if not name.startswith(family.row.name):
                continue
            if isinstance(family, Foreign):
                found = next((s.value for s in family.samples if s.name == name and s.labels == labels), None)
            elif isinstance(family, Collected):
                found = _collected_value(family, name, labels)
            else:
                found = _instrument_value(family, name, labels)
            if found is not None:
                return found
        return None

    def _admit(self, row: Metric) -> Verdict:
        """Judge `row`, count it, and take its name if it is visible."""
        verdict = judge(row, self._policy)
        if verdict.visible:
            self._claim(row)
            if verdict is Verdict.DEPRECATED and not judge(row, self._policy._replace(show_hidden=False)).visible:
                self._warn(
                    f"This hidden metric ({row.name}) has been manually overridden, "
                    "showing this very deprecated metric."
                )
        if self._self_metrics is not None:
            self._self_metrics.count(row, verdict)
        return verdict

    def _add_collector(self, helps: dict[Metric, str], collect: Collect) -> None:
        for row in helps:
            if row in self._instruments:
                raise DuplicateMetric(f"{row.name} is bound to an instrument already")
        if helps:
            self._collected.update(helps)
            self._collectors.append(Collector(helps, collect))

    def _claim(self, row: Metric) -> None:
        if self._names.setdefault(row.name, row) is not row:
            raise DuplicateMetric(f"duplicate metrics collector registration attempted: {row.name}")

    def _binding(self, row: Metric, verdict: Verdict) -> Binding:
        return Binding(
            recording=verdict.visible,
            allowed=self._allow_lists.get(row.name, {}),
            report_unexpected=self._report_unexpected,
            histogram_child=NativeHistogramChild if self.options.native_histograms else HistogramChild,
            clock_ns=self._clock_ns,
        )

    def _foreign_families(self) -> Iterator[Foreign]:
        for collector in self._foreign:
            for family in foreign_families(collector):
                if family.row.name not in self._names:
                    yield family

    def _report_unexpected(self, replaced: int) -> None:
        if self._self_metrics is not None:
            self._self_metrics.count_unexpected(replaced)

    def _gather(self) -> list[Collected]:
        """Run every collector; samples of one row from several collectors become one family."""
        gathered: dict[Metric, Collected] = {}
        failures: list[Exception] = []
        for collector in self._collectors:
            try:
                for family in collector.gather():
                    known = gathered.get(family.row)
                    gathered[family.row] = known.joined(family) if known else family
            except Exception as error:
                if not self.tolerant:
                    raise GatherError(str(error)) from error
                failures.append(error)
        if failures and not gathered and not self._instruments:
            raise GatherError(str(failures[-1])) from failures[-1]
        return list(gathered.values())


_WRITERS: dict[Format, Callable[[list[Family]], Iterator[bytes]]] = {
    Format.TEXT: lambda families: map(str.encode, text(families)),
    Format.OPENMETRICS: lambda families: map(str.encode, openmetrics(families)),
    Format.PROTOBUF: protobuf,
}

_INSTRUMENTS: dict[type[Metric], Callable[[Any, str, Binding], Instrument[Any]]] = {
    Counter: CounterInstrument,
    Gauge: GaugeInstrument,
    Histogram: HistogramInstrument,
    Summary: SummaryInstrument,
    TimingRatioHistogram: TimingRatioInstrument,
}


def _values_of(row: Metric, labels: dict[str, str]) -> tuple[str, ...] | None:
    """`labels` in the row's order; None when they are not exactly the row's (constant labels may be left out)."""
    given = {name: value for name, value in labels.items() if row.const_labels.get(name) != value}
    if set(given) != set(row.labels):
        return None
    return tuple(given[name] for name in row.labels)


def _collected_value(family: Collected, name: str, labels: dict[str, str]) -> float | None:
    if name != family.row.name:
        return None
    values = _values_of(family.row, labels)
    return next((point.value for point in family.points if point.values == values), None)


def _instrument_value(family: Instrument[Any], name: str, labels: dict[str, str]) -> float | None:
    values = _values_of(family.row, labels)
    child = family.children.get(values) if values is not None else None
    if child is None:
        return None
    attribute = {"": "value", "_count": "count", "_sum": "sum"}.get(name.removeprefix(family.row.name))
    found: float | None = getattr(child, attribute, None) if attribute else None
    return found


def rows_of(module: object) -> Sequence[Metric]:
    """Every row a metrics.py holds, in the order they are written."""
    return [row for row in vars(module).values() if isinstance(row, Metric)]

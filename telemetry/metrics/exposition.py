"""Families as text: the Prometheus text format 0.0.4 and OpenMetrics 1.0, written in small blocks.

Sample lines are spelled the same in both (Go's spelling, `le="1"` and not `le="1.0"`), so a series keeps its identity
whichever format a scraper picks; OpenMetrics adds exemplars, its own TYPE names and `# EOF`.
Answers to github.com/prometheus/common/expfmt (text_create.go, openmetrics_create.go).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

from kubeglass.telemetry.metrics import spelling
from kubeglass.telemetry.metrics.families import Collected, Foreign, ForeignSample, Point
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
from kubeglass.telemetry.metrics.spelling import help_line, histogram_template, number
from kubeglass.telemetry.metrics.summary import SummaryChild, SummaryInstrument
from kubeglass.telemetry.metrics.timing import TimingRatioChild, TimingRatioInstrument

Family = Instrument[Any] | Collected | Foreign

SCALARS_PER_BLOCK: Final = 100
HISTOGRAMS_PER_BLOCK: Final = 4


def text(families: Iterable[Family]) -> Iterator[str]:
    """Blocks of text format 0.0.4. A caller may do other work between two blocks."""
    for family in families:
        header = f"# HELP {family.row.name} {help_line(family.help)}\n# TYPE {family.row.name} {family.row.type}\n"
        yield from _headed(header, _blocks(family, exemplars=False, stamp=str))


def openmetrics(families: Sequence[Family]) -> Iterator[str]:
    """Blocks of OpenMetrics 1.0, closed by `# EOF`."""
    names = {family.row.name for family in families}
    for family in families:
        name, kind = openmetrics_name(family, names)
        header = f"# HELP {name} {help_line(family.help, quotes=True)}\n# TYPE {name} {kind}\n"
        yield from _headed(header, _blocks(family, exemplars=kind != "unknown", stamp=_seconds))
    yield "# EOF\n"


def openmetrics_name(family: Family, taken: set[str]) -> tuple[str, str]:
    """Family name and type; OpenMetrics has no counter whose samples are not called family name plus `_total`."""
    name, kind = family.row.name, family.row.type
    if kind != "counter":
        return name, kind
    short = name.removesuffix("_total")
    return (name, "unknown") if short == name or short in taken else (short, "counter")


def _headed(header: str, blocks: Iterator[str]) -> Iterator[str]:
    """The header in front of the first block; nothing when there is none: a family without series is not exposed."""
    for block in blocks:
        yield header + block
        header = ""


def _blocks(family: Family, *, exemplars: bool, stamp: Callable[[int], str]) -> Iterator[str]:
    """A family's lines; `stamp` spells a timestamp given in milliseconds."""
    if isinstance(family, Collected):
        return _points(family.points, stamp)
    if isinstance(family, Foreign):
        return _foreign(family.samples, stamp)
    return _WRITERS[type(family)](family, exemplars)


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"


def _points(points: Sequence[Point], stamp: Callable[[int], str]) -> Iterator[str]:
    for start in range(0, len(points), SCALARS_PER_BLOCK):
        yield "".join([_point(point, stamp) for point in points[start : start + SCALARS_PER_BLOCK]])


def _point(point: Point, stamp: Callable[[int], str]) -> str:
    if point.timestamp_ms is None:
        return f"{point.head}{number(point.value)}\n"
    return f"{point.head}{number(point.value)} {stamp(point.timestamp_ms)}\n"


def _foreign(samples: Sequence[ForeignSample], stamp: Callable[[int], str]) -> Iterator[str]:
    for start in range(0, len(samples), SCALARS_PER_BLOCK):
        yield "".join([_foreign_line(sample, stamp) for sample in samples[start : start + SCALARS_PER_BLOCK]])


def _foreign_line(sample: ForeignSample, stamp: Callable[[int], str]) -> str:
    names, values = tuple(sample.labels), tuple(sample.labels.values())
    labels = f"{{{spelling.labels(names, values, {})}}}" if names else ""
    when = "" if sample.timestamp_ms is None else f" {stamp(sample.timestamp_ms)}"
    return f"{sample.name}{labels} {number(sample.value)}{when}\n"


def _gauges(family: GaugeInstrument, exemplars: bool) -> Iterator[str]:
    return _scalars(family.in_order())


def _counters(family: CounterInstrument, exemplars: bool) -> Iterator[str]:
    children = family.in_order()
    if family.hides_zero:
        children = [child for child in children if child.value]
    if exemplars and any(child.exemplar for child in children):
        return _counters_with_exemplars(children)
    return _scalars(children)


def _scalars(children: Sequence[CounterChild | GaugeChild]) -> Iterator[str]:
    for start in range(0, len(children), SCALARS_PER_BLOCK):
        yield "".join(
            [
                f"{child.head}{value}\n"
                if (value := child.value).__class__ is int and -1_000_000 < value < 1_000_000
                else f"{child.head}{number(value)}\n"
                for child in children[start : start + SCALARS_PER_BLOCK]
            ]
        )


def _counters_with_exemplars(children: Sequence[CounterChild]) -> Iterator[str]:
    for start in range(0, len(children), SCALARS_PER_BLOCK):
        block = children[start : start + SCALARS_PER_BLOCK]
        yield "".join([f"{child.head}{number(child.value)}{_exemplar(child.exemplar)}\n" for child in block])


def _histograms(family: HistogramInstrument, exemplars: bool) -> Iterator[str]:
    template = _template(family)
    children = family.in_order()
    if family.hides_zero:
        children = [child for child in children if child.count]
    write = _histogram_with_exemplars if exemplars else _histogram
    for start in range(0, len(children), HISTOGRAMS_PER_BLOCK):
        yield "".join([write(template, child) for child in children[start : start + HISTOGRAMS_PER_BLOCK]])


def _timing_ratios(family: TimingRatioInstrument, exemplars: bool) -> Iterator[str]:
    template = _template(family)
    children = family.in_order()
    for start in range(0, len(children), HISTOGRAMS_PER_BLOCK):
        block = children[start : start + HISTOGRAMS_PER_BLOCK]
        for child in block:
            child.settle()
        yield "".join([_histogram(template, child) for child in block])


def _template(family: HistogramInstrument | TimingRatioInstrument) -> str:
    labelled = bool(family.row.labels or family.row.const_labels)
    return histogram_template(family.row.name, family.bounds, labelled=labelled)


def _histogram(template: str, child: HistogramChild | TimingRatioChild) -> str:
    cumulative = list(accumulate(child.counts))
    lines = template.replace("\0", child.labels.replace("%", "%%"))
    return lines % (*cumulative, number(child.sum), cumulative[-1])


def _histogram_with_exemplars(template: str, child: HistogramChild) -> str:
    block = _histogram(template, child)
    if child.exemplars is None:
        return block
    lines = block.splitlines()
    for index, exemplar in enumerate(child.exemplars):
        lines[index] += _exemplar(exemplar)
    return "\n".join(lines) + "\n"


def _summaries(family: SummaryInstrument, exemplars: bool) -> Iterator[str]:
    for child in family.in_order():
        if child.count or not family.hides_zero:
            yield _summary(child)


def _summary(child: SummaryChild) -> str:
    values = [*(value for _, value in child.quantiles()), child.sum]
    lines = [f"{head}{number(value)}\n" for head, value in zip(child.heads, values, strict=False)]
    return f"{''.join(lines)}{child.heads[-1]}{child.count}\n"


def _exemplar(exemplar: Exemplar | None) -> str:
    if exemplar is None:
        return ""
    context, value, seconds = exemplar
    ids = f'trace_id="{context.trace_hex}",span_id="{context.span_hex}"'
    return f" # {{{ids}}} {number(value)} {seconds:.3f}"


_WRITERS: Final[dict[type, Callable[[Any, bool], Iterator[str]]]] = {
    CounterInstrument: _counters,
    GaugeInstrument: _gauges,
    HistogramInstrument: _histograms,
    SummaryInstrument: _summaries,
    TimingRatioInstrument: _timing_ratios,
}

"""What counts at run time: instruments and their children (one child per combination of label values).

An instrument picks its behaviour once, when a Registry binds it: the mapping behind `labels()` makes children,
guards their label values, or hands out one shared child that ignores everything (hidden and disabled metrics).
Keep a child where a path is hot. Instruments belong to one thread, the one that runs the event loop.
Formats live in exposition.py and protobuf.py.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, Generic, NamedTuple, TypeVar

from kubeglass.telemetry.metrics import spelling
from kubeglass.telemetry.metrics.definitions import Counter, Gauge, Histogram, Metric
from kubeglass.telemetry.tracing.context import SpanContext, active

UNEXPECTED: Final = "unexpected"

Values = tuple[str, ...]


class Exemplar(NamedTuple):
    """One observation and the sampled span it was made in."""

    context: SpanContext
    value: float
    unix_seconds: float


_ALWAYS_NEW, _SELDOM_NEW = 64, 15
"""The first observations of a bucket each become its exemplar, later about every sixteenth: rare ones always show."""


class CounterChild:
    """One series that only grows."""

    __slots__ = ("exemplar", "head", "value")

    def __init__(self, head: str) -> None:
        self.head = head
        self.value: float = 0
        self.exemplar: Exemplar | None = None

    def inc(self, amount: float = 1) -> None:
        """Add `amount`, which must not be negative."""
        if amount < 0:
            raise ValueError("counter cannot decrease in value")
        self.value = value = self.value + amount
        if (span := active.get()) is None:
            return
        if value > _ALWAYS_NEW and int(value) & _SELDOM_NEW and self.exemplar is not None:
            return
        if span.context.sampled and not span.tentative:
            self.exemplar = Exemplar(span.context, amount, time.time())

    def reset(self) -> None:
        self.value = 0
        self.exemplar = None


class GaugeChild:
    """One series that states the present."""

    __slots__ = ("head", "value")

    def __init__(self, head: str) -> None:
        self.head = head
        self.value: float = 0

    def set(self, value: float) -> None:
        self.value = value

    def inc(self, amount: float = 1) -> None:
        self.value += amount

    def dec(self, amount: float = 1) -> None:
        self.value -= amount


class HistogramChild:
    """Observations of one series, counted per bucket; cumulative only when exposed."""

    __slots__ = ("bounds", "counts", "exemplars", "labels", "sum")

    def __init__(self, labels: str, bounds: Sequence[float]) -> None:
        self.labels = labels
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum: float = 0
        self.exemplars: list[Exemplar | None] | None = None

    def observe(self, value: float) -> None:
        """Count `value` under its upper bound; NaN counts under +Inf."""
        index = bisect_left(self.bounds, value) if value == value else -1
        count = self.counts[index] = self.counts[index] + 1
        self.sum += value
        if count & _SELDOM_NEW and count > _ALWAYS_NEW:
            return
        if (span := active.get()) is not None and span.context.sampled and not span.tentative:
            self._remember(index, Exemplar(span.context, value, time.time()))

    @property
    def count(self) -> int:
        return sum(self.counts)

    def reset(self) -> None:
        self.counts = [0] * len(self.counts)
        self.sum = 0
        self.exemplars = None

    def _remember(self, index: int, exemplar: Exemplar) -> None:
        if self.exemplars is None:
            self.exemplars = [None] * len(self.counts)
        self.exemplars[index] = exemplar


class IgnoringCounter(CounterChild):
    """The child of a hidden counter."""

    __slots__ = ()

    def inc(self, amount: float = 1) -> None:
        """Nothing."""


class IgnoringGauge(GaugeChild):
    """The child of a hidden gauge."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """Nothing."""

    def inc(self, amount: float = 1) -> None:
        """Nothing."""

    def dec(self, amount: float = 1) -> None:
        """Nothing."""


class IgnoringHistogram(HistogramChild):
    """The child of a hidden histogram."""

    __slots__ = ()

    def observe(self, value: float) -> None:
        """Nothing."""


C = TypeVar("C")


class Children(dict[Values, C]):
    """Label values → child; a missing child is made at its first use."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[Values], C]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, values: Values) -> C:
        child = self[values] = self._make(values)
        return child


class GuardedChildren(Children[C]):
    """Children of a metric with label allow-lists: other values become `unexpected`, and are reported."""

    __slots__ = ("_allowed", "_report")

    def __init__(
        self, make: Callable[[Values], C], allowed: Sequence[frozenset[str] | None], report: Callable[[int], None]
    ) -> None:
        super().__init__(make)
        self._allowed = allowed
        self._report = report

    def __missing__(self, values: Values) -> C:
        if len(values) != len(self._allowed):
            return self._make(values)  # which refuses the wrong number of values
        kept = tuple(
            value if allowed is None or value in allowed else UNEXPECTED
            for value, allowed in zip(values, self._allowed, strict=True)
        )
        if kept == values:
            return super().__missing__(values)
        self._report(sum(ours != theirs for ours, theirs in zip(kept, values, strict=True)))
        child = self.get(kept)
        return super().__missing__(kept) if child is None else child


class NoChildren(Children[C]):
    """Children of a hidden or disabled metric: one that ignores everything, never stored."""

    __slots__ = ()

    def __missing__(self, values: Values) -> C:
        return self._make(values)


class Binding(NamedTuple):
    """How the registry wants one instrument to behave."""

    recording: bool = True
    allowed: Mapping[str, frozenset[str]] = {}
    report_unexpected: Callable[[int], None] = lambda count: None
    histogram_child: Callable[[str, Sequence[float]], HistogramChild] = HistogramChild
    clock_ns: Callable[[], int] = time.monotonic_ns


RECORDING: Final = Binding()


class Instrument(ABC, Generic[C]):
    """A bound row: its children by label values. Subclasses say what a child is."""

    __slots__ = ("_fresh", "_in_order", "_keys", "_order", "children", "help", "hides_zero", "row")

    def __init__(self, row: Metric, help_text: str, binding: Binding = RECORDING) -> None:
        self.row = row
        self.help = help_text
        self.hides_zero = False  # after a reset, series stay away until they move again
        self._in_order: list[C] | None = None
        self._keys: list[Values] = []  # sorted, as of the last exposition
        self._fresh: list[Values] = []  # made since
        order = [index for _, index in sorted((name, index) for index, name in enumerate(row.labels))]
        self._order = itemgetter(*order) if len(order) > 1 else None
        self.children = self._children(binding)

    def labels(self, *values: str) -> C:
        """The child for these label values, in the declared order of the row's labels."""
        return self.children[values]

    def remove(self, *values: str) -> None:
        """Forget one series; unknown ones are ignored."""
        if self.children.pop(values, None) is not None:
            self._in_order = None

    def remove_matching(self, **labels: str) -> None:
        """Forget every series that carries all these label values."""
        wanted = [(self.row.labels.index(name), value) for name, value in labels.items()]
        for values in [v for v in self.children if all(v[index] == value for index, value in wanted)]:
            self.remove(*values)

    def clear(self) -> None:
        """Forget every series."""
        self.children.clear()
        self._in_order = None

    def in_order(self) -> list[C]:
        """The children sorted by label values, labels taken in the order of their names."""
        if self._in_order is None:
            self._sort()
            self._in_order = [self.children[key] for key in self._keys]
        return self._in_order

    def series(self) -> list[tuple[Values, C]]:
        """(label values, child) in the same order."""
        children = self.in_order()
        return list(zip(self._keys, children, strict=True))

    def reset(self) -> None:
        """Begin at zero, as DELETE /metrics asks; a gauge states the present and has nothing to begin anew."""

    def _sort(self) -> None:
        """Put the new keys in place: cheap, because the old ones are in order already."""
        keys = dict.fromkeys([key for key in self._keys if key in self.children])
        keys.update(dict.fromkeys(self._fresh))
        self._keys = sorted((key for key in keys if key in self.children), key=self._order)
        self._fresh.clear()

    def _children(self, binding: Binding) -> Children[C]:
        if not binding.recording:
            ignoring = self._ignoring()
            return NoChildren(lambda values: ignoring)
        allowed = [binding.allowed.get(name) for name in self.row.labels]
        if any(values is not None for values in allowed):
            return GuardedChildren(self._make, allowed, binding.report_unexpected)
        return Children(self._make)

    def _make(self, values: Values) -> C:
        if len(values) != len(self.row.labels):
            raise ValueError(
                f"inconsistent label cardinality: expected {len(self.row.labels)} label values "
                f"but got {len(values)} in {list(values)!r} for {self.row.name}"
            )
        self._in_order = None
        self._fresh.append(values)
        return self._child(spelling.labels(self.row.labels, values, self.row.const_labels))

    def _head(self, labels: str) -> str:
        return f"{self.row.name}{{{labels}}} " if labels else f"{self.row.name} "

    @abstractmethod
    def _child(self, labels: str) -> C:
        """What counts under one set of label values, written as they are shown."""

    @abstractmethod
    def _ignoring(self) -> C:
        """The same for a metric that is hidden or disabled."""


def needs_labels(*_: Any) -> None:
    """What a labelled instrument does when it is used without `labels()`."""
    raise TypeError("this metric has labels: use .labels(...) first")


class CounterInstrument(Instrument[CounterChild]):
    """A bound Counter. Without labels it is its own single series."""

    __slots__ = ("inc",)

    def __init__(self, row: Counter, help_text: str, binding: Binding = RECORDING) -> None:
        super().__init__(row, help_text, binding)
        self.inc: Callable[..., None] = needs_labels if row.labels else self.children[()].inc

    def reset(self) -> None:
        self.hides_zero = bool(self.row.labels)
        for child in self.children.values():
            child.reset()

    def _child(self, labels: str) -> CounterChild:
        return CounterChild(self._head(labels))

    def _ignoring(self) -> CounterChild:
        return IgnoringCounter("")


class GaugeInstrument(Instrument[GaugeChild]):
    """A bound Gauge. Without labels it is its own single series."""

    __slots__ = ("dec", "inc", "set")

    def __init__(self, row: Gauge, help_text: str, binding: Binding = RECORDING) -> None:
        super().__init__(row, help_text, binding)
        single = None if row.labels else self.children[()]
        self.set: Callable[[float], None] = single.set if single else needs_labels
        self.inc: Callable[..., None] = single.inc if single else needs_labels
        self.dec: Callable[..., None] = single.dec if single else needs_labels

    def _child(self, labels: str) -> GaugeChild:
        return GaugeChild(self._head(labels))

    def _ignoring(self) -> GaugeChild:
        return IgnoringGauge("")


class HistogramInstrument(Instrument[HistogramChild]):
    """A bound Histogram. Without labels it is its own single series."""

    __slots__ = ("_new_child", "bounds", "observe")

    def __init__(self, row: Histogram, help_text: str, binding: Binding = RECORDING) -> None:
        self.bounds = tuple(map(float, row.buckets))
        self._new_child = binding.histogram_child
        super().__init__(row, help_text, binding)
        self.observe: Callable[[float], None] = needs_labels if row.labels else self.children[()].observe

    def reset(self) -> None:
        self.hides_zero = bool(self.row.labels)
        for child in self.children.values():
            child.reset()

    def _child(self, labels: str) -> HistogramChild:
        return self._new_child(labels, self.bounds)

    def _ignoring(self) -> HistogramChild:
        return IgnoringHistogram("", self.bounds)

"""What a test can say about a cluster's metrics, traces and logs. What is not there is answered with what is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeglass.logging.record import Record
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.tracer import RecordedSpan

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of one component."""

    component: str
    name: str
    labels: Mapping[str, str]
    value: float


class Metrics:
    """The metrics of every component, read when asked."""

    def __init__(self, registries: Mapping[str, Registry], on_loop: Callable[[Callable[[], Any]], Any]) -> None:
        self._registries = registries
        self._on_loop = on_loop

    def exposition(self, component: str) -> str:
        """What the component's /metrics would answer, as text."""
        registry = self._registries[component]
        text: str = self._on_loop(lambda: registry.expose("")[1]).decode()
        return text

    def samples(self, name: str, component: str = "", **labels: str) -> list[Sample]:
        """Samples with this name (`x_total`, `x_bucket`, `x_count` …) and these labels at least."""
        from prometheus_client.parser import text_string_to_metric_families

        return [
            Sample(source, name, sample.labels, sample.value)
            for source in ((component,) if component else self._registries)
            for family in text_string_to_metric_families(self.exposition(source))
            if name.startswith(family.name)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def total(self, name: str, component: str = "", **labels: str) -> float:
        """The sum of those samples. Raises AssertionError when there is none, with what there is instead."""
        found = self.samples(name, component, **labels)
        if not found:
            others = self.samples(name)[:_SHOWN]
            shown = "\n".join(f"  {one.component}: {dict(one.labels)} {one.value:g}" for one in others)
            raise AssertionError(f"no sample of {name} has {labels}; there are\n{shown or '  none at all'}")
        return sum(one.value for one in found)


@dataclass(frozen=True, slots=True)
class SeenSpan:
    """A finished span and the service it belongs to."""

    service: str
    span: RecordedSpan

    @property
    def trace_id(self) -> str:
        return f"{self.span.context.trace_id:032x}"


class Traces:
    """Every span that ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[SeenSpan] = []

    def sink(self, service: str) -> SpanSink:
        """A tracer's sink that keeps spans here."""

        def keep(span: RecordedSpan) -> None:
            with self._lock:
                self._spans.append(SeenSpan(service, span))

        return SpanSink(keep)

    def spans(self, name: str = "", service: str = "", trace_id: str = "", **attributes: Any) -> list[SeenSpan]:
        """Spans by name, service, trace and attributes (dots written as two underscores)."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        with self._lock:
            spans = tuple(self._spans)
        return [
            one
            for one in spans
            if name in ("", one.span.name)
            and service in ("", one.service)
            and trace_id in ("", one.trace_id)
            and wanted.items() <= one.span.attributes.items()
        ]

    def one(self, name: str, service: str = "", **attributes: Any) -> SeenSpan:
        """The last such span. Raises AssertionError with the names there are."""
        found = self.spans(name, service, **attributes)
        if not found:
            names = sorted({f"{one.service}: {one.span.name}" for one in self.spans()})
            raise AssertionError(f"no span {name!r} of {service or 'any service'} with {attributes}; there are {names}")
        return found[-1]


class SpanSink:
    """A tracer's sink without an exporter behind it."""

    def __init__(self, keep: Callable[[RecordedSpan], None]) -> None:
        self._keep = keep

    def offer(self, span: RecordedSpan) -> None:
        self._keep(span)

    async def run(self, started: Callable[[], None]) -> None:
        started()

    async def flush(self, timeout_seconds: float) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One log call."""

    component: str
    message: str
    severity: str
    values: Mapping[str, Any]
    trace_id: str
    error: str


class Logs:
    """Every log call at the cluster's verbosity."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: list[LogRecord] = []

    def listener(self, component: str) -> Callable[[Record], None]:
        """A logger's listener that keeps records here."""

        def keep(record: Record) -> None:
            values = {pair[0]: pair[1] for pair in record.pairs if isinstance(pair, tuple)}
            trace_id = record.trace_ids[0] if record.trace_ids else ""
            error = str(record.error) if record.error else ""
            kept = LogRecord(component, record.message, record.severity, values, trace_id, error)
            with self._lock:
                self._records.append(kept)

        return keep

    def records(self, message: str = "", component: str = "", trace_id: str = "", **values: Any) -> Sequence[LogRecord]:
        """Records by message, component, trace and values."""
        with self._lock:
            records = tuple(self._records)
        return [
            one
            for one in records
            if message in ("", one.message)
            and component in ("", one.component)
            and trace_id in ("", one.trace_id)
            and values.items() <= dict(one.values).items()
        ]

    def one(self, message: str, component: str = "", **values: Any) -> LogRecord:
        """The last such record. Raises AssertionError with the messages there are."""
        found = self.records(message, component, **values)
        if not found:
            messages = sorted({one.message for one in self.records(component=component)})
            raise AssertionError(f"nobody logged {message!r} with {values}; there are {messages}")
        return found[-1]

"""The spans of changes as one graph: parents and links, over as many traces as they lead to."""

from __future__ import annotations

import json
import statistics
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.e2e.changes import Control, Record

from kubeglass.components.cli.waterfall import Node, Segment, Span, Trace, build, critical_path, from_jaeger

_MERGING = ("kube-proxy", "kube-controller-manager")
"""Who serves several changes at once."""


@dataclass(slots=True)
class Traces:
    """Traces of a collector, fetched once."""

    query: str
    _documents: dict[str, Any] = field(default_factory=dict)
    _built: dict[str, Trace | None] = field(default_factory=dict)

    def get(self, trace_id: str) -> Trace | None:
        if trace_id not in self._built:
            document = self._document(trace_id)
            self._built[trace_id] = build(*from_jaeger(document)) if document else None
        return self._built[trace_id]

    def names(self, trace_id: str) -> set[str]:
        """The names of all spans that a walk over parents and links from this trace meets."""
        met: set[str] = set()
        waiting, seen = [trace_id], set[str]()
        while waiting:
            current = waiting.pop()
            document = self._document(current)
            if current in seen or not document:
                continue
            seen.add(current)
            met |= {span["operationName"] for span in document["spans"]}
            waiting += [to for _, to in _links(document)]
        return met

    def merged(self, trace_id: str, since: float, until: float) -> set[str]:
        """The names of spans of other traces that are linked to this one: work that served several changes at once.

        Links can only be followed forwards, so what ran meanwhile (seconds since the epoch) is looked through.
        """
        window = {"start": int(since * 1e6), "end": int((until + 1) * 1e6), "limit": 1500}
        met: set[str] = set()
        for service in _MERGING:
            question = urllib.parse.urlencode({"service": service, **window})
            with urllib.request.urlopen(f"{self.query}/api/traces?{question}", timeout=30) as answer:
                documents = json.loads(answer.read())["data"]
            met |= {name for document in documents for name, to in _links(document) if to == trace_id}
        return met

    def _document(self, trace_id: str) -> Any:
        """Jaeger's JSON, None when there is no such trace."""
        if trace_id not in self._documents:
            try:
                with urllib.request.urlopen(f"{self.query}/api/traces/{trace_id}", timeout=30) as answer:
                    self._documents[trace_id] = json.loads(answer.read())["data"][0]
            except urllib.error.HTTPError:
                return None
        return self._documents[trace_id]


def _links(document: Any) -> Iterator[tuple[str, str]]:
    """(name of the span, trace it is linked to) for every link out of a trace."""
    for span in document["spans"]:
        for reference in span.get("references") or ():
            if reference["traceID"] != document["traceID"]:
                yield span["operationName"], reference["traceID"]


def spans_of(trace: Trace) -> list[Span]:
    """Every span of a trace."""
    found, waiting = [], list(trace.roots)
    while waiting:
        node = waiting.pop()
        found.append(node.span)
        waiting += node.children
    return found


def path_to_settled(trace: Trace, record: Record) -> list[Segment]:
    """The critical path from the client's request to the write that made the settled state: the last into the store
    of the object whose state it is that had begun when the observer saw it (and not beyond that moment, by which it
    had been made). Raises LookupError when the trace has none."""
    about, collection = f"k8s.{record.kind.singular}.name", f"/{record.kind.plural}"
    seen = int(record.settled * 1e6)
    found = [
        stored
        for request, stored in writes(trace)
        if stored.start <= seen and (request.attributes.get(about) == record.name or request.name.endswith(collection))
    ]
    if not found:
        raise LookupError(f"no write of {record.kind.kind} {record.name}")
    path = critical_path(trace, max(found, key=lambda span: span.end))
    return [replace(each, end=min(each.end, seen)) for each in path if each.start < seen]


def writes(trace: Trace) -> Iterator[tuple[Span, Span]]:
    """(the API server's span of a request that was accepted, its write into the store) for every write of a trace."""
    waiting: list[tuple[Node, Span | None]] = [(root, None) for root in trace.roots]
    while waiting:
        node, request = waiting.pop()
        span = node.span
        if span.service != "apiserver":
            request = None
        elif span.name.startswith(("POST /", "PUT /", "PATCH /")):
            accepted = str(span.attributes.get("http.response.status_code", "")).startswith("2")
            request = span if accepted else None
        elif span.name.startswith(("Create ", "GuaranteedUpdate ")) and request is not None:
            yield request, span
        waiting += [(child, request) for child in node.children]


class Observer:
    """How late the observer saw things: its control writes, from the end of the store's span to the watch event."""

    def __init__(self, traces: Traces, controls: Sequence[Control]) -> None:
        self.delays: list[float] = []
        for control in controls:
            trace = traces.get(control.cause.trace_hex)
            written = [stored.end for _, stored in writes(trace)] if trace is not None else []
            if written:
                self.delays.append(max(0.0, control.seen - max(written) / 1e6))

    @property
    def late(self) -> float:
        """The delay (seconds) that 99 of 100 control writes stay below."""
        return statistics.quantiles(self.delays, n=100)[98]

"""The spans of changes as one graph: parents and links, over as many traces as they lead to."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kubeglass.components.cli.waterfall import Span, Trace, build, from_jaeger


@dataclass(slots=True)
class Traces:
    """Traces of a collector, fetched once. `links` leads from a span to the traces it is linked to."""

    query: str
    _traces: dict[str, Trace | None] = field(default_factory=dict)
    _links: dict[str, set[str]] = field(default_factory=dict)

    def get(self, trace_id: str) -> Trace | None:
        if trace_id not in self._traces:
            self._traces[trace_id] = self._fetch(trace_id)
        return self._traces[trace_id]

    def names(self, trace_id: str) -> set[str]:
        """The names of all spans that a walk over parents and links from this trace meets."""
        met: set[str] = set()
        waiting, seen = [trace_id], set()
        while waiting:
            current = waiting.pop()
            if current in seen or (trace := self.get(current)) is None:
                continue
            seen.add(current)
            met |= {span.name for span in spans_of(trace)}
            waiting += self._links[current]
        return met

    def _fetch(self, trace_id: str) -> Trace | None:
        try:
            with urllib.request.urlopen(f"{self.query}/api/traces/{trace_id}", timeout=30) as answer:
                document = json.loads(answer.read())["data"][0]
        except urllib.error.HTTPError:
            return None
        self._links[trace_id] = set(_linked(document))
        return build(*from_jaeger(document))


def _linked(document: Any) -> Iterable[str]:
    for span in document["spans"]:
        for reference in span.get("references") or ():
            if reference["traceID"] != document["traceID"]:
                yield reference["traceID"]


def spans_of(trace: Trace) -> list[Span]:
    """Every span of a trace."""
    found, waiting = [], list(trace.roots)
    while waiting:
        node = waiting.pop()
        found.append(node.span)
        waiting += node.children
    return found


def explained_until(trace: Trace, until: float) -> float:
    """Where the critical path is at the moment `until`: the end of the last request that was begun by then.

    The path has no gaps, so its length is the distance of its ends; what a change causes after it has settled is not
    asked.
    """
    ends = [min(span.end, until * 1e6) for span in spans_of(trace) if _is_request(span) and span.start <= until * 1e6]
    return max(ends) / 1e6


def _is_request(span: Span) -> bool:
    return span.service == "apiserver" and "http.response.status_code" in span.attributes

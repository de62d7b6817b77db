"""The spans of changes as one graph: parents and links, over as many traces as they lead to."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kubeglass.components.cli.waterfall import Span, Trace, build, from_jaeger

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

    def merged(self, trace_id: str, around: float) -> set[str]:
        """The names of spans of other traces that are linked to this one: work that served several changes at once."""
        window = {"start": int((around - 2) * 1e6), "end": int((around + 2) * 1e6), "limit": 200}
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


def explained_until(trace: Trace, until: float) -> float:
    """Where the critical path is at the moment `until`: the end of the last request that was begun by then.

    The path has no gaps, so its length is the distance of its ends; what a change causes after it has settled is not
    asked.
    """
    ends = [min(span.end, until * 1e6) for span in spans_of(trace) if _is_request(span) and span.start <= until * 1e6]
    return max(ends) / 1e6


def _is_request(span: Span) -> bool:
    return span.service == "apiserver" and "http.response.status_code" in span.attributes

"""Whether a segment holds a span that a search asks for, exactly. Pure; the database has already sifted by its index.

Tags are looked up in the attributes of span, events, resource and scope, and in the names Jaeger derives
(`error`, `span.kind`, `otel.status_code`), compared as text, as Jaeger's own stores do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

from kubeglass.collector.database import Candidate, Search
from kubeglass.collector.values import text

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUSES = ("UNSET", "OK", "ERROR")


def matches(candidate: Candidate, search: Search) -> bool:
    """Whether one span of the segment answers the whole search."""
    needs_spans = search.tags or search.shortest or search.longest or search.start is not None or search.end is not None
    if not needs_spans:
        return True  # service, operation and flags were decided by the index
    wanted = _beyond_resource(search.tags, candidate.resource)
    needles = [needle for key in wanted if (needle := _needle(key, wanted[key]))]
    if any(needle not in candidate.payload for needle in needles):
        return False
    return any(_span_matches(span, search, wanted) for span in ScopeSpans.FromString(candidate.payload).spans)


def _needle(key: str, value: str) -> bytes:
    """Bytes a payload must contain for the tag to be there; nothing for derived tags. Cheaper than decoding."""
    return b"" if key in ("error", "span.kind", "otel.status_code", "otel.status_description") else key.encode()


def _beyond_resource(tags: Mapping[str, str], resource: bytes) -> Mapping[str, str]:
    if not tags:
        return tags
    attributes = Resource.FromString(resource).attributes
    return {key: value for key, value in tags.items() if not _has(attributes, key, value)}


def _span_matches(span: Any, search: Search, tags: Mapping[str, str]) -> bool:
    start, duration = span.start_time_unix_nano, span.end_time_unix_nano - span.start_time_unix_nano
    return (
        (not search.operation or span.name == search.operation)
        and (search.start is None or start >= search.start)
        and (search.end is None or start <= search.end)
        and duration >= search.shortest
        and (not search.longest or duration <= search.longest)
        and (not search.flags or span.status.code == 2 or search.flags != 1)
        and all(_span_has(span, key, value) for key, value in tags.items())
    )


def _span_has(span: Any, key: str, value: str) -> bool:
    return (
        _has(span.attributes, key, value)
        or any(_has(event.attributes, key, value) for event in span.events)
        or (key, value) in _derived(span)
    )


def _has(attributes: Iterable[Any], key: str, value: str) -> bool:
    return any(pair.key == key and text(pair.value) == value for pair in attributes)


def _derived(span: Any) -> Iterator[tuple[str, str]]:
    yield "span.kind", KINDS[span.kind] if 0 <= span.kind < len(KINDS) else KINDS[0]
    code = span.status.code
    if code:
        yield "otel.status_code", STATUSES[code] if code < len(STATUSES) else STATUSES[0]
        yield "error", "true" if code == 2 else "false"
    if span.status.message:
        yield "otel.status_description", span.status.message

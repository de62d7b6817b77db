"""Splitting requests into segments loses nothing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.collector.harness import request_of

from kubeglass.collector.segments import CHANGE, ERROR, ROOT, Groups, split, to_request


def groups() -> Groups:
    return Groups(lambda service, name, kind, status: lambda *span: None)


ids = st.binary(min_size=16, max_size=16).filter(any)
span_ids = st.binary(min_size=8, max_size=8).filter(any)
spans = st.fixed_dictionaries(
    {
        "trace_id": st.sampled_from([bytes([n]) * 16 for n in range(1, 4)]) | ids,
        "span_id": span_ids,
        "parent_span_id": st.just(b"") | span_ids,
        "name": st.text(st.characters(codec="utf-8"), max_size=20),
        "kind": st.integers(0, 5),
        "start_time_unix_nano": st.integers(0, 2**64 - 1),
        "end_time_unix_nano": st.integers(0, 2**64 - 1),
        "attributes": st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), st.booleans(), max_size=3),
    }
)


def flat(request: ExportTraceServiceRequest) -> list[tuple[bytes, bytes, bytes]]:
    return sorted(
        (group.resource.SerializeToString(), scope.scope.SerializeToString(), span.SerializeToString())
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    )


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.lists(spans, max_size=8)), max_size=4))
def test_split_and_join(parts) -> None:
    """Every span comes back byte for byte, under its own resource and scope; times and counts add up."""
    request = ExportTraceServiceRequest()
    for service, given_spans in parts:
        request.resource_spans.extend(request_of(*given_spans, service=service).resource_spans)
    received = split(request, groups())
    assert flat(ExportTraceServiceRequest.FromString(to_request(received.segments))) == flat(request)
    assert received.rejected == 0 and received.spans == sum(len(s) for _, s in parts)
    for segment in received.segments:
        assert 0 <= segment.start <= segment.end < 2**63 and segment.longest < 2**63


def test_flags() -> None:
    """Failures, roots and changing requests are known without decoding."""
    trace = b"t" * 16
    request = request_of(
        {"trace_id": trace, "name": "PATCH /apis/apps/v1", "kind": 2},
        {"trace_id": trace, "parent_span_id": b"p" * 8, "status": {"code": 2}},
    )
    (segment,) = split(request, groups()).segments
    assert segment.flags == ERROR | ROOT | CHANGE and segment.count == 2
    (other,) = split(request_of({"name": "GET /", "kind": 2, "parent_span_id": b"p" * 8}), groups()).segments
    assert other.flags == 0


def test_interning_is_bounded() -> None:
    """Endless resources do not fill memory."""
    known = Groups(lambda *key: lambda *span: None, capacity=3)
    for number in range(10):
        split(request_of({}, service=f"s{number}"), known)
    assert len(known._known) <= 3

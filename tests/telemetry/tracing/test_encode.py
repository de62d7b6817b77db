"""Our bytes, read by the official protobuf classes."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from kubeglass.logging.sanitize import Sanitizer, Secret
from kubeglass.telemetry.tracing import encode, wire
from kubeglass.telemetry.tracing.context import SpanContext
from kubeglass.telemetry.tracing.tracer import Fixed, RecordedSpan, Scope, Tracer

texts = st.text(st.characters(codec="utf-8"), max_size=200)
scalars = texts | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.binary()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=8
)
attributes = st.dictionaries(texts, values, max_size=6)
contexts = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", "a=1"]),
)


def python(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case "array_value":
            return [python(inner) for inner in value.array_value.values]
        case "kvlist_value":
            return {pair.key: python(pair.value) for pair in value.kvlist_value.values}
        case None:
            return None
        case kind:
            return getattr(value, kind)


def pairs(message: Any) -> dict[str, Any]:
    return {pair.key: python(pair.value) for pair in message.attributes}


class _Drop:
    def offer(self, span: Any) -> None: ...


@settings(deadline=None)
@given(contexts | st.none(), texts, st.integers(1, 5), attributes, attributes, contexts, st.booleans(), texts)
def test_every_span_decodes_to_itself(parent, name, kind, attrs, more, linked, failed, message) -> None:
    """Whatever a span holds, opentelemetry-proto reads the same."""
    span = Tracer(_Drop()).span(
        name, kind=kind, parent=parent, attributes=attrs, links=[(linked)], start_ns=7, sampled=True
    )
    span.event_at(3, name, more)
    if failed:
        span.error(message)
    span.end(9)
    read = Span.FromString(encode.Encoder().span(span))
    assert read.trace_id == span.context.trace_id.to_bytes(16, "big")
    assert read.span_id == span.context.span_id.to_bytes(8, "big")
    assert read.parent_span_id == (parent.span_id.to_bytes(8, "big") if parent else b"")
    assert read.trace_state == (parent.state if parent else "")
    assert read.flags == 0x101 | (0x200 if parent and parent.remote else 0)
    assert (read.name, read.kind, read.start_time_unix_nano, read.end_time_unix_nano) == (name, kind, 7, 9)
    assert pairs(read) == attrs
    assert [(e.name, e.time_unix_nano, pairs(e)) for e in read.events] == [(name, 3, more)]
    assert read.links[0].trace_id == linked.trace_id.to_bytes(16, "big")
    assert read.links[0].flags == 0x100 | linked.sampled | (0x200 if linked.remote else 0)
    assert (read.status.code, read.status.message) == ((2, message) if failed else (0, ""))
    assert read.SerializeToString(deterministic=True) == Span.FromString(read.SerializeToString()).SerializeToString(
        deterministic=True
    )


few = st.sampled_from(["a", "b", "Get"])
small = st.dictionaries(few, st.sampled_from(["x", "y", 1, 2, True, 0.5]), max_size=3)
shapes = st.tuples(few, st.sampled_from([1, 2]), contexts | st.none(), small, small, st.lists(st.tuples(few, small)))


def plain(span: RecordedSpan) -> Span:
    """The same span, put together by the official classes and nothing of ours."""
    built = Span(
        trace_id=span.context.trace_id.to_bytes(16, "big"),
        span_id=span.context.span_id.to_bytes(8, "big"),
        parent_span_id=span.parent.span_id.to_bytes(8, "big") if span.parent else b"",
        trace_state=span.context.state,
        flags=0x301 if span.parent and span.parent.remote else 0x101,
        name=span.name,
        kind=span.kind,
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
    )
    for part in (*span.shared, span.own):
        for key, value in part.items():
            built.attributes.add(key=key, value=any_value(value))
    for event in span.events or ():
        added = built.events.add(name=event.name, time_unix_nano=event.time_ns)
        for key, value in event.attributes.items():
            added.attributes.add(key=key, value=any_value(value))
    return built


def any_value(value: Any) -> AnyValue:
    field = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}[type(value)]
    return AnyValue(**{field: value})


@settings(deadline=None)
@given(st.lists(shapes, max_size=20))
def test_what_an_encoder_remembers_changes_no_byte_of_meaning(drawn) -> None:
    """One encoder over spans that have much in common gives, for each, what the official classes would."""
    tracer, encoder = Tracer(_Drop()), encode.Encoder()
    for name, kind, parent, own, common, events in drawn:
        span = tracer.span(name, kind=kind, parent=parent, attributes=own, shared=(Fixed(common),), sampled=True)
        for number, (event, said) in enumerate(events):
            span.event_at(number + 1, event, said)
        inner = tracer.inside(span, name)
        inner.end()
        span.end()
        for each in (inner, span):
            assert isinstance(each, RecordedSpan)
            assert Span.FromString(encoder.span(each)) == plain(each)


def test_request_groups_by_scope() -> None:
    """One resource, one group per scope, spans in order."""
    tracer = Tracer(_Drop())
    other = tracer.named("other", "1.2")
    spans = [tracer.span("a"), other.span("b"), tracer.span("c")]
    for span in spans:
        span.end()
    body = encode.request(
        encode.resource({"service.name": "s", "n": 1}),
        [encode.Encoded(s.scope, encode.Encoder().span(s)) for s in spans],
    )
    read = ExportTraceServiceRequest.FromString(body)
    (group,) = read.resource_spans
    assert pairs(group.resource) == {"service.name": "s", "n": 1}
    assert [(g.scope.name, g.scope.version, [s.name for s in g.spans]) for g in group.scope_spans] == [
        ("kubeglass", "", ["a", "c"]),
        ("other", "1.2", ["b"]),
    ]
    assert ExportTraceServiceRequest.FromString(encode.request(b"", [])).resource_spans[0].resource == Resource()


def test_what_protobuf_cannot_hold_is_replaced() -> None:
    """Lone surrogates, huge integers, None and unknown types never cost the batch."""
    span = Tracer(_Drop()).span("a\ud800", attributes={"huge": 2**70, "odd": Scope("x"), "none": [None], "s": "\udfff"})
    span.end()
    read = Span.FromString(encode.Encoder().span(span))
    assert read.name == "a?" and pairs(read) == {"huge": str(2**70), "odd": str(Scope("x")), "none": [None], "s": "?"}


def test_values_pass_the_sanitizer() -> None:
    """Attributes, events and the status message are cleaned by key and text; a Secret is redacted even without."""
    header = "Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
    span = Tracer(_Drop()).span("a", attributes={"password": "hunter2", "secret": Secret("pw"), "plain": "kept"})
    span.event("e", header=f"Authorization: {header}")
    span.error(f"refused {header}")
    span.end()
    read = Span.FromString(encode.Encoder(Sanitizer().pair).span(span))
    assert pairs(read)["plain"] == "kept" and "hunter2" not in str(read) and "eyJ" not in str(read)
    assert str(read).count("redacted") == 4
    assert pairs(Span.FromString(encode.Encoder().span(span)))["secret"] == "[redacted:secret]"


@given(st.binary(max_size=64))
def test_field_reader_never_fails_otherwise_than_by_value_error(data: bytes) -> None:
    """Broken input is a ValueError, whatever it is."""
    try:
        list(wire.fields(data))
    except ValueError:
        pass


@given(st.integers(0, 2**64 - 1), st.binary(max_size=300))
def test_field_reader_reads_what_is_written(number: int, payload: bytes) -> None:
    """Fields come back in order."""
    data = b"\x08" + wire.varint(number) + wire.field(b"\x12", payload) + b"\x19" + wire.fixed64(number)
    assert list(wire.fields(data)) == [(1, number), (2, payload), (3, number)]


def test_shared_attributes_are_encoded_once_and_read_like_any_other() -> None:
    """Spans of one connection share what they have in common; each encoder cleans it by its own rules."""
    shared = Fixed({"server.address": "host", "password": "hunter2"})
    tracer = Tracer(_Drop())
    open_, clean = encode.Encoder(), encode.Encoder(Sanitizer().pair)
    for encoder, password in ((open_, "hunter2"), (clean, "[redacted:password]"), (clean, "[redacted:password]")):
        span = tracer.span("GET", shared=(shared,), attributes={"audit-id": "1", "size": 3, "cached": True})
        span.end()
        expected = {"server.address": "host", "password": password, "audit-id": "1", "size": 3, "cached": True}
        assert pairs(Span.FromString(encoder.span(span))) == expected
    assert shared.encoded is not None and shared.encoded[0] is clean


def test_what_is_shared_may_become_known_while_the_span_runs() -> None:
    """As with any attribute, but not after the end."""
    first, second, late = Fixed({"a": 1}), Fixed({"b": "two"}), Fixed({"c": 3})
    span = Tracer(_Drop()).span("GET", shared=(first,), attributes={"own": True})
    span.share(second)
    span.end()
    span.share(late)
    assert pairs(Span.FromString(encode.Encoder().span(span))) == {"a": 1, "b": "two", "own": True}
    assert isinstance(span, RecordedSpan) and span.attributes == {"a": 1, "b": "two", "own": True}


def test_what_is_remembered_of_a_key_is_bounded_and_exact() -> None:
    """Texts and numbers that look alike stay apart, however many values a key has had."""
    encoder, tracer = encode.Encoder(), Tracer(_Drop())
    for number in range(400):
        for value in (str(number), number, bool(number % 2), float(number)):
            span = tracer.span("x", attributes={"key": value})
            span.end()
            read = pairs(Span.FromString(encoder.span(span)))["key"]
            assert read == value and type(read) is type(value)
    assert len(encoder._known["key"]) <= 129

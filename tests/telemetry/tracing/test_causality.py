"""Who is parent, who is link, and which reactions start nothing."""

from __future__ import annotations

from types import SimpleNamespace

from kubeglass.telemetry.tracing import reconcile_span, stamped
from kubeglass.telemetry.tracing.causality import (
    ANNOTATION,
    NO_CAUSE,
    Causes,
    Reaction,
    cause_of,
    hand_on,
    inbound,
    stamp,
    supplied,
)
from kubeglass.telemetry.tracing.context import SpanContext
from kubeglass.telemetry.tracing.tracer import Link, use

WRITE = SpanContext(0xABC, 0x1, True, True)
LATER = SpanContext(0xDEF, 0x2, True, True)


def meta(cause: SpanContext | None, generation: int = 1, uid: str = "u") -> dict:
    return {"uid": uid, "generation": generation, "annotations": stamp({"other": "kept"}, cause)}


def test_stamp_and_read_back() -> None:
    """A stamp is one annotation beside the others; off (no key, no context) leaves nothing."""
    assert stamp({"a": "b"}, WRITE) == {"a": "b", ANNOTATION: f"00-{0xABC:032x}-{1:016x}-01"}
    assert stamp(None, None) == {} == stamp(None, WRITE, key="")
    assert cause_of({"annotations": stamp(None, WRITE)}) == WRITE
    assert cause_of(SimpleNamespace(annotations=stamp(None, WRITE, "my/key")), "my/key") == WRITE
    assert cause_of({"annotations": {ANNOTATION: "nonsense"}}) is None is cause_of({})


def test_supplied_is_only_what_the_writer_changed() -> None:
    """An operator's own stamp is recognised; a client that sends the stored one back supplies nothing."""
    assert supplied(meta(WRITE), meta(LATER)) == LATER
    assert supplied(None or {}, meta(LATER)) == LATER
    assert supplied(meta(WRITE), meta(WRITE)) is None is supplied(meta(WRITE), meta(None))


def test_trust() -> None:
    """A trusted caller's context is the parent, another's a link; no header is a new trace."""
    assert inbound(WRITE, trusted=True) == (WRITE, ())
    assert inbound(WRITE, trusted=False) == (None, (Link(WRITE),))
    assert inbound(None, trusted=True) == (None, ())


def test_a_rollout_is_one_trace_until_settled() -> None:
    """The first reaction and the following steps are children; once settled, resyncs and flapping are not."""
    causes = Causes()
    assert causes.react(meta(WRITE), now=0) == Reaction(WRITE)
    assert causes.react(meta(WRITE), now=5) == Reaction(WRITE)
    assert causes.react(meta(WRITE), now=6, settled=True) is NO_CAUSE
    assert causes.react(meta(WRITE), now=7) is NO_CAUSE
    assert causes.react(meta(LATER, 2), now=8) == Reaction(LATER)


def test_old_traces_do_not_grow() -> None:
    """An object that never settles stops being part of the trace when the window is over."""
    causes = Causes(window_seconds=60)
    assert causes.react(meta(WRITE), now=0)
    assert not causes.react(meta(WRITE), now=61)


def test_after_a_restart_settled_objects_start_nothing() -> None:
    """The initial list of a restarted component does not revive traces, an unsettled object does continue."""
    assert Causes().react(meta(WRITE), now=0, settled=True) is NO_CAUSE
    assert Causes().react(meta(WRITE), now=0, settled=False) == Reaction(WRITE)


def test_a_later_cause_of_the_same_generation_is_a_link() -> None:
    """It starts a new, sampled trace that points to its cause, once."""
    causes = Causes()
    causes.react(meta(WRITE), now=0)
    reaction = causes.react(meta(LATER), now=1)
    assert reaction == Reaction(None, (LATER,))
    assert reaction.arguments == {"parent": None, "links": (LATER,), "sampled": True}


def test_objects_without_generation_change_by_cause() -> None:
    """For a Service or ConfigMap another stamp is another change."""
    causes = Causes()
    assert causes.react(meta(WRITE, 0), now=0) == Reaction(WRITE)
    assert causes.react(meta(LATER, 0), now=0) == Reaction(LATER)


def test_merged_causes_are_links_beside_the_last() -> None:
    """Two writes seen before one reaction: the last is the parent, the other a link."""
    causes = Causes()
    causes.saw(meta(WRITE, 1))
    causes.saw(meta(LATER, 2))
    assert causes.react(meta(LATER, 2), now=0) == Reaction(LATER, (WRITE,))
    causes.saw(meta(LATER, 2))
    assert causes.react(meta(LATER, 2), now=1) == Reaction(LATER)


def test_uncaused_objects_and_forgotten_ones() -> None:
    """Nothing stamped, nothing joined; memory is bounded and a forgotten uid is new again."""
    causes = Causes(capacity=2)
    assert not causes.react(meta(None), now=0)
    for uid in "abc":
        causes.react(meta(WRITE, uid=uid), now=0, settled=True)
    assert causes.react(meta(WRITE, uid="a"), now=0) == Reaction(WRITE)
    causes.forget("c")
    assert causes.react(meta(WRITE, uid="c"), now=0) == Reaction(WRITE)


def test_hand_on() -> None:
    """A child carries the active span; without one it stays as it was."""
    obj: dict = {"kind": "Pod"}
    hand_on(obj, None)
    assert obj == {"kind": "Pod", "metadata": {}}
    with use(WRITE):
        assert cause_of(stamped(obj)["metadata"]) == WRITE


def test_models_of_client_libraries(tracer, kept) -> None:
    """lightkube's and the official client's objects are understood and stamped like plain ones."""
    from kubernetes.client import V1ObjectMeta, V1Pod
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.core_v1 import Pod

    for number, (pod, meta_type) in enumerate(((Pod, ObjectMeta), (V1Pod, V1ObjectMeta))):
        cause = pod(metadata=meta_type(name="p", uid=f"model-{number}", generation=1, annotations=stamp(None, WRITE)))
        with reconcile_span(cause, tracer=tracer):
            child = stamped(pod(metadata=meta_type(name="c")))
        assert kept.spans[-1].parent == WRITE
        assert cause_of(child.metadata) == SpanContext(WRITE.trace_id, kept.spans[-1].context.span_id, True, True)
        assert stamped(pod(metadata=meta_type(name="c"))).metadata.annotations is None


def test_operator_helper(tracer, kept) -> None:
    """The three lines: the handler's span is a child of the change, and what it writes carries it on."""
    body = {"kind": "Shop", "metadata": {"name": "s", "namespace": "n", **meta(WRITE, uid="operator-test")}}
    with reconcile_span(body, tracer=tracer):
        child = stamped({"kind": "Pod", "metadata": {"name": "p"}})
    span = kept.spans[0]
    assert span.name == "reconcile Shop" and span.parent == WRITE
    assert cause_of(child["metadata"]) == SpanContext(WRITE.trace_id, span.context.span_id, True, True)
    assert span.attributes["k8s.shop.name"] == "s" and span.attributes["k8s.namespace.name"] == "n"

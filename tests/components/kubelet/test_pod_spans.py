"""Whose change a pass over a pod belongs to, and what it waited for."""

from __future__ import annotations

from typing import Any

from kubeglass.components.api.objects import Pod, decode
from kubeglass.components.kubelet.observed import observe
from kubeglass.components.kubelet.pod_spans import SYNC, PodSpans
from kubeglass.components.kubelet.runtime.runtime import Container, ContainerState
from kubeglass.components.machinery import clock
from kubeglass.telemetry.tracing.causality import Causes
from kubeglass.telemetry.tracing.context import SpanContext, format_traceparent
from kubeglass.telemetry.tracing.tracer import ANNOTATION, RecordedSpan, Tracer

CHANGE = SpanContext(0xA, 0xB)


class Kept:
    """A sink that keeps what ended."""

    def __init__(self) -> None:
        self.spans: list[RecordedSpan] = []

    def offer(self, span: RecordedSpan) -> None:
        self.spans.append(span)

    async def run(self, started: Any) -> None: ...

    async def flush(self, timeout_seconds: float) -> bool:
        return True


def pod(**status: Any) -> Pod:
    metadata = {"name": "p", "namespace": "n", "uid": "u", "annotations": {ANNOTATION: format_traceparent(CHANGE)}}
    return decode(Pod, {"metadata": metadata, "spec": {"nodeName": "node-1"}, "status": status})


def spans() -> tuple[PodSpans, Tracer, Kept]:
    kept = Kept()
    tracer = Tracer(kept)
    return PodSpans(Causes(), tracer, lambda: 1.0), tracer, kept


def exited(started_at: int, finished_at: int) -> Container:
    return Container(
        "id", "s", "u", "c", "i", "i", 0, ContainerState.EXITED, started_at, started_at, finished_at, 3, "Error"
    )


def test_a_pass_is_a_step_of_the_change_under_what_woke_it() -> None:
    """Without a waker it is a child of the write, with one (a probe) of the probe, if that is of the same change."""
    of_pod, tracer, _ = spans()
    first = of_pod.begin(pod(), SYNC, "create")
    assert isinstance(first, RecordedSpan) and first.parent is not None
    assert first.parent.span_id == CHANGE.span_id and first.attributes["k8s.node.name"] == "node-1"
    for probe, expected in ((CHANGE, None), (SpanContext(0xC, 0xD), CHANGE.span_id)):
        with tracer.span("readiness probe", parent=probe) as asking:
            of_pod.woken()
        woken = of_pod.begin(pod(), SYNC, "sync")
        assert isinstance(woken, RecordedSpan) and woken.parent is not None
        assert woken.parent.span_id == (expected or asking.context.span_id)


def test_a_container_that_ended_while_its_pod_changed_is_told_once() -> None:
    """Its run is a span under the pass that saw the end; what ended before, or in a settled pod, is not."""
    of_pod, _, kept = spans()
    now = clock.now_ns()
    with of_pod.begin(pod(), SYNC, "sync") as seeing:
        of_pod.tell_ended(observe("u", (), [exited(now, now + 5)]))
        of_pod.tell_ended(observe("u", (), [exited(now, now + 5)]))
    run, pass_ = kept.spans
    assert (run.name, run.start_ns, run.end_ns, pass_.name) == ("container run", now, now + 5, SYNC)
    assert run.parent is not None and run.parent.span_id == seeing.context.span_id
    assert run.attributes["process.exit.code"] == 3

    settled, _, nothing = spans()
    ready = pod(phase="Running", conditions=[{"type": "Ready", "status": "True"}])
    with settled.begin(ready, SYNC, "sync"):
        settled.tell_ended(observe("u", (), [exited(now, now + 5)]))
    of_pod, _, nothing_either = spans()
    with of_pod.begin(pod(), SYNC, "sync"):
        of_pod.tell_ended(observe("u", (), [exited(1, 5)]))
    assert nothing.spans == nothing_either.spans == []

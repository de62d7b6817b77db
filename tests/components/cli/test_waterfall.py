"""A trace's tree and critical path."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from kubeglass.components.cli.waterfall import (
    WAITING,
    Span,
    bar,
    build,
    condensed,
    critical_path,
    duration,
    phase_seconds,
    rows,
)


def span(id: str, parent: str, start: int, end: int, service: str = "apiserver", name: str = "POST") -> Span:
    return Span(id, parent, service, name, start, end)


def test_a_change_across_watches_is_one_path():
    """Work of a later component belongs to the path; the silence before it is waiting."""
    trace = build(
        "t",
        [
            span("a", "client", 0, 10),
            span("b", "a", 15, 40, "kube-scheduler", "Schedule"),
            span("c", "b", 20, 35, "kube-scheduler", "binding cycle"),
        ],
    )
    path = [(s.span.id if s.span else WAITING, s.start, s.end) for s in critical_path(trace)]
    assert path == [("a", 0, 10), (WAITING, 10, 15), ("b", 15, 20), ("c", 20, 35), ("b", 35, 40)]
    assert phase_seconds(critical_path(trace)) == {"request": 1e-05, "schedule": 1e-05, "bind": 1.5e-05, WAITING: 5e-06}


def test_requests_count_for_the_work_that_makes_them():
    """Of a kubelet's request, client and server alike are part of starting the Pod; the change's own is the request."""
    trace = build(
        "t",
        [
            span("a", "client", 0, 10, name="POST /api/v1/namespaces/{:namespace}/pods"),
            span("b", "a", 10, 60, "kubelet", "syncPod"),
            span("c", "b", 20, 40, "kubelet", "HTTP PATCH"),
            span("d", "c", 25, 35, name="PATCH /api/v1/namespaces/{:namespace}/pods/{:name}/status"),
            span("e", "d", 26, 34, name="Patch"),
            span("f", "b", 45, 50, "kubelet", "runtime.v1.ImageService/PullImage"),
        ],
    )
    assert phase_seconds(critical_path(trace)) == {"request": 1e-05, "image": 5e-06, "start": 4.5e-05}
    assert [(row.span.name.split()[0], row.depth) for row in rows(condensed(trace), [])] == [
        ("POST", 0), ("syncPod", 1), ("PATCH", 2), ("runtime.v1.ImageService/PullImage", 2),
    ]  # fmt: skip


def test_what_runs_beside_the_path_is_not_on_it():
    """Of two children at work at once, the one that ends last is critical."""
    trace = build("t", [span("a", "", 0, 100), span("quick", "a", 10, 40), span("slow", "a", 10, 90)])
    assert {row.span.id for row in rows(trace, critical_path(trace)) if row.critical} == {"a", "slow"}


def test_a_late_reaction_waited_for_what_was_written_last():
    """A Deployment's second step is a child of its change, but waited for the Pod that its first step caused."""
    trace = build(
        "t",
        [
            span("change", "client", 0, 10, name="PATCH /apis/apps/v1/deployments/{:name}"),
            span("first", "change", 10, 20, "kube-controller-manager", "reconcile deployment"),
            span("pod", "first", 14, 18, name="POST /api/v1/pods"),
            span("start", "pod", 20, 80, "kubelet", "syncPod"),
            span("ready", "start", 70, 80, name="PATCH /api/v1/pods/{:name}/status"),
            span("second", "change", 85, 100, "kube-controller-manager", "reconcile deployment"),
            span("beside", "pod", 82, 84, "kubelet", "syncPod"),
        ],
    )
    path = [(s.span.id if s.span else WAITING, s.start, s.end) for s in critical_path(trace)]
    assert path == [
        ("change", 0, 10), ("first", 10, 14), ("pod", 14, 18), (WAITING, 18, 20), ("start", 20, 70), ("ready", 70, 80),
        (WAITING, 80, 85), ("second", 85, 100),
    ]  # fmt: skip


def test_a_reaction_waits_for_the_one_before_it():
    """Of one object's reactions one is at work at a time, and a child that began before its parent held the parent."""
    pod = {"k8s.pod.name": "a"}
    trace = build(
        "t",
        [
            span("change", "", 0, 10),
            Span("start", "change", "kubelet", "syncPod", 12, 30, attributes=pod),
            Span("other", "change", "kubelet", "syncPod", 12, 45, attributes={"k8s.pod.name": "b"}),
            Span("end", "change", "kubelet", "syncPod", 50, 60, attributes=pod),
            span("run", "end", 25, 48, "kubelet", "container run"),
        ],
    )
    path = [
        (s.span.id if s.span else WAITING, s.start, s.end) for s in critical_path(trace, to=trace_span(trace, "end"))
    ]
    assert path == [
        ("change", 0, 10), (WAITING, 10, 12), ("start", 12, 25), ("run", 25, 48), ("end", 48, 60),
    ]  # fmt: skip
    assert phase_seconds(critical_path(trace))["run"] == 2.3e-05


def trace_span(trace, id: str) -> Span:
    return next(row.span for row in rows(trace, []) if row.span.id == id)


def test_orphans_are_told_apart_from_the_clients_children():
    """Spans whose parent is missing are orphans, unless that parent is the same client's span as the first root's."""
    trace = build("t", [span("a", "client", 0, 10), span("b", "client", 20, 30), span("c", "lost", 40, 50)])
    assert [orphan.id for orphan in trace.orphans] == ["c"]


def test_drawing():
    """A bar is never empty and never leaves its width."""
    trace = build("t", [span("a", "", 0, 100), span("b", "a", 100, 100)])
    assert bar(trace.roots[0].span, trace, 10) == "█" * 10
    assert bar(trace.roots[0].children[0].span, trace, 10) == " " * 9 + "█"
    assert [duration(n) for n in (850, 12_300, 4_200_000)] == ["850 µs", "12.3 ms", "4.20 s"]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=30))
def test_the_path_covers_the_trace_without_gap_or_overlap(shape):
    """Whatever the tree, the critical path's segments join from the first start to the last end."""
    spans = [Span("0", "", "s", "n", 0, 10)]
    for number, (parent, offset, length) in enumerate(shape, start=1):
        above = spans[parent % len(spans)]
        start = above.start + offset
        spans.append(Span(str(number), above.id, "s", "n", start, start + length))
    trace = build("t", spans)
    path = critical_path(trace)
    assert path[0].start == trace.start
    assert path[-1].end == trace.end
    assert all(one.end == other.start for one, other in pairwise(path))

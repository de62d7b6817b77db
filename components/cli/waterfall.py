"""One trace as a tree, its critical path, and where the time went. Pure: spans in, values and text out.

In a trace that follows a change across watches a child may begin after its parent ended, so a span's reach is the
end of its last descendant. The critical path walks back from the end of the trace: at each moment it names the span
that the end was waiting for, or `waiting` where no span was at work (a watch event on its way, a queue).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

WAITING = "waiting"
_SERVER = "apiserver"


@dataclass(frozen=True, slots=True)
class Span:
    """One span; times are microseconds since the epoch."""

    id: str
    parent: str
    service: str
    name: str
    start: int
    end: int
    error: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the critical path. `span` is None while everything waited."""

    span: Span | None
    start: int
    end: int
    phase: str


@dataclass(slots=True)
class Node:
    """A span in its tree."""

    span: Span
    children: list[Node] = field(default_factory=list)
    reach: int = 0

    def settle(self) -> int:
        """Sort the children and compute how far the subtree reaches."""
        self.children.sort(key=lambda node: (node.span.start, node.span.id))
        self.reach = max([self.span.end, *(child.settle() for child in self.children)])
        return self.reach


@dataclass(frozen=True, slots=True)
class Trace:
    """A whole trace. `roots` are the spans without a known parent; more than one means a broken graph."""

    id: str
    roots: tuple[Node, ...]
    orphans: tuple[Span, ...]

    @property
    def start(self) -> int:
        return min(node.span.start for node in self.roots)

    @property
    def end(self) -> int:
        return max(node.reach for node in self.roots)


def from_jaeger(trace: Mapping[str, Any]) -> tuple[str, list[Span]]:
    """(trace id, spans) of one trace of Jaeger's legacy JSON."""
    services = {name: process["serviceName"] for name, process in trace["processes"].items()}
    spans = []
    for row in trace["spans"]:
        attributes = {tag["key"]: tag["value"] for tag in row.get("tags") or ()}
        parents = [ref["spanID"] for ref in row.get("references") or () if ref["refType"] == "CHILD_OF"]
        spans.append(
            Span(
                id=row["spanID"],
                parent=parents[0] if parents else "",
                service=services[row["processID"]],
                name=row["operationName"],
                start=row["startTime"],
                end=row["startTime"] + row["duration"],
                error=bool(attributes.get("error")),
                attributes=attributes,
            )
        )
    return trace["traceID"], spans


def build(trace_id: str, spans: Iterable[Span]) -> Trace:
    """The tree. A span whose parent is not in the trace is a root; of those, the earliest is the trace's, the others
    orphans. (The client's own span, when kubectl sent one, is outside the cluster and missing.)"""
    nodes = {span.id: Node(span) for span in spans}
    roots: list[Node] = []
    for node in nodes.values():
        parent = nodes.get(node.span.parent)
        (parent.children if parent else roots).append(node)
    roots.sort(key=lambda node: node.span.start)
    for root in roots:
        root.settle()
    outside = roots[0].span.parent if roots else ""
    orphans = tuple(node.span for node in roots[1:] if node.span.parent != outside)
    return Trace(trace_id, tuple(roots), orphans)


# -- the critical path ------------------------------------------------------------------------------------------------


def critical_path(trace: Trace) -> list[Segment]:
    """Segments from the start of the trace to its end, without gap or overlap."""
    segments: list[Segment] = []
    cursor = trace.end
    for root in sorted(trace.roots, key=lambda node: node.reach, reverse=True):
        if root.span.start >= cursor:
            continue
        end = min(root.reach, cursor)
        if end < cursor:
            segments.append(Segment(None, end, cursor, WAITING))
        segments.extend(_back(root, root.span.start, end, "request"))
        cursor = root.span.start
    return [segment for segment in reversed(segments) if segment.end > segment.start]


def _back(node: Node, since: int, until: int, outer_phase: str) -> Iterator[Segment]:
    """The subtree's part of the path from `until` back to `since`, last segment first."""
    cursor, phase = until, phase_of(node.span) or outer_phase
    for child in sorted(node.children, key=lambda each: each.reach, reverse=True):
        start = max(child.span.start, since)
        if start >= cursor:
            continue
        end = min(child.reach, cursor)
        if end <= start:
            continue
        yield from _own(node.span, phase, end, cursor)
        yield from _back(child, start, end, phase)
        cursor = start
    yield from _own(node.span, phase, since, cursor)


def _own(span: Span, phase: str, start: int, end: int) -> Iterator[Segment]:
    """The time between two moments that belongs to the span itself: work until its end, waiting after it."""
    if end > span.end:
        yield Segment(None, max(start, span.end), end, WAITING)
        end = span.end
    if end > start:
        yield Segment(span, start, end, phase)


# -- phases -----------------------------------------------------------------------------------------------------------

PHASES = (
    "request", "reconcile", "queue", "schedule", "bind", "network", "image", "start", "probe", "stop", WAITING, "other",
)  # fmt: skip
"""Where the time of a change can go, in the order it usually does."""

_PHASE_OF_NAME: Mapping[str, Sequence[tuple[str, str]]] = {
    "kube-scheduler": (("queue wait", "queue"), ("binding cycle", "bind"), ("Schedule", "schedule")),
    "kubelet": (
        ("syncTermin", "stop"), ("CNI ", "network"), ("ADD network", "network"), ("DEL network", "network"),
        ("runtime.v1.ImageService/", "image"), ("startup probe", "probe"), ("readiness probe", "probe"),
        ("liveness probe", "probe"), ("syncPod", "start"),
    ),
    "kube-proxy": (("sync proxy rules", "network"),),
    "kube-controller-manager": (("reconcile ", "reconcile"),),
    "apiserver": (),
}  # fmt: skip
"""By service, how a span's name begins and which kind of work it is."""


def phase_of(span: Span) -> str:
    """What kind of work a span begins; "" for what serves the work around it, such as requests and their handling."""
    names = _PHASE_OF_NAME.get(span.service)
    if names is None:
        return "reconcile" if span.name.startswith("reconcile") else ""
    if span.name.startswith("HTTP "):
        return ""
    return next((phase for beginning, phase in names if span.name.startswith(beginning)), "")


def phase_seconds(path: Iterable[Segment]) -> dict[str, float]:
    """Seconds of the critical path by phase, phases without time left out."""
    microseconds = dict.fromkeys(PHASES, 0)
    for segment in path:
        microseconds[segment.phase] += segment.end - segment.start
    return {phase: value / 1e6 for phase, value in microseconds.items() if value}


# -- condensing -------------------------------------------------------------------------------------------------------


def condensed(trace: Trace) -> Trace:
    """The same trace for a first look: of a request only its one line, not how client and server went about it.

    Times are untouched, so the critical path of the whole trace still fits.
    """
    return Trace(trace.id, tuple(_condensed(root) for root in trace.roots), trace.orphans)


def _condensed(node: Node) -> Node:
    children = node.children
    if node.span.name.startswith("HTTP ") and len(children) == 1 and children[0].span.service == _SERVER:
        served = children[0]
        span = replace(node.span, name=served.span.name, error=node.span.error or served.span.error)
        return Node(span, list(_kept(served)), node.reach)
    if node.span.service == _SERVER:
        return Node(node.span, list(_kept(node)), node.reach)
    return Node(node.span, [_condensed(child) for child in children], node.reach)


def _kept(request: Node) -> Iterator[Node]:
    """What lies behind a request without being its handling: reactions to it, and requests made for it."""
    for child in request.children:
        if child.span.service == _SERVER and not child.span.name.startswith("HTTP "):
            yield from _kept(child)
        else:
            yield _condensed(child)


# -- drawing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the waterfall."""

    depth: int
    span: Span
    critical: bool


def rows(trace: Trace, path: Sequence[Segment]) -> Iterator[Row]:
    """Every span in tree order."""
    critical = {segment.span.id for segment in path if segment.span is not None}

    def walk(node: Node, depth: int) -> Iterator[Row]:
        yield Row(depth, node.span, node.span.id in critical)
        for child in node.children:
            yield from walk(child, depth + 1)

    for root in trace.roots:
        yield from walk(root, 0)


def bar(span: Span, trace: Trace, width: int) -> str:
    """The span's place in the trace, `width` cells wide."""
    total = max(trace.end - trace.start, 1)
    first = min((span.start - trace.start) * width // total, width - 1)
    last = min(max((span.end - trace.start) * width // total, first + 1), width)
    return " " * first + "█" * (last - first) + " " * (width - last)


def duration(microseconds: int) -> str:
    """A length as people read it: 850 µs, 12.3 ms, 4.20 s."""
    if microseconds < 1000:
        return f"{microseconds} µs"
    if microseconds < 1_000_000:
        return f"{microseconds / 1000:.1f} ms"
    return f"{microseconds / 1e6:.2f} s"

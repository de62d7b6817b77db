"""One trace as a tree, its critical path, and where the time went. Pure: spans in, values and text out.

In a trace that follows a change across watches a child may begin after its parent ended, so a span's reach is the
end of its last descendant. The critical path walks back from the end of the trace: at each moment it names the span
that the end was waiting for, or `waiting` where no span was at work (a watch event on its way). Where a reaction began
long after its parent had ended, it waited for whatever was written last: a Deployment's next step for a Pod's status.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

WAITING = "waiting"
_SERVER, _KUBELET = "apiserver", "kubelet"
_POD = "k8s.pod.name"
_WRITES = ("POST /", "PUT /", "PATCH /", "DELETE /", "Create ", "GuaranteedUpdate ")


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


def critical_path(trace: Trace, to: Span | None = None) -> list[Segment]:
    """Segments from the start of the trace to the end of `to` (else to the trace's end), without gap or overlap."""
    return _Walk(trace).back_from(to.id if to else None)


class _Walk:
    """One walk back in time. Of a span's own work its last finished child is part; before its start it was either
    part of its parent's work, or a reaction to what had been written last."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._nodes: dict[str, Node] = {}
        self._requests: dict[str, Span | None] = {}
        self._phases: dict[str, str] = {}
        for root in trace.roots:
            self._learn(root, "request", None)
        self._by_end = sorted(self._nodes.values(), key=lambda node: (node.span.end, node.span.start))
        self._writes = [node for node in self._by_end if _is_write(node.span)]
        self._met: set[str] = set()

    def _learn(self, node: Node, phase: str, request: Span | None) -> None:
        span = node.span
        phase = phase_of(span) or phase
        request = span if "http.target" in span.attributes else request if span.service == _SERVER else None
        self._nodes[span.id], self._phases[span.id], self._requests[span.id] = node, phase, request
        for child in node.children:
            self._learn(child, phase, request)

    def back_from(self, last: str | None) -> list[Segment]:
        node: Node | None = self._nodes[last] if last else self._by_end[-1]
        assert node is not None
        cursor, segments = node.span.end, list[Segment]()
        while node is not None:
            self._met.add(node.span.id)
            if node.span.end < cursor:  # nobody was at work
                segments.append(Segment(None, node.span.end, cursor, WAITING))
                cursor = node.span.end
            cursor = self._inside(node, None, cursor, segments)
            node = self._before(node, cursor)
        if cursor > self._trace.start:
            segments.append(Segment(None, self._trace.start, cursor, WAITING))
        return [segment for segment in reversed(segments) if segment.end > segment.start]

    def _inside(self, node: Node, since: int | None, until: int, segments: list[Segment]) -> int:
        """What a span's time went to, last segment first; where that began. Of the outermost span it may be earlier
        than its own start: a child that began before its parent (a container's run) is what the parent waited for."""
        span, cursor, phase = node.span, until, self._phases[node.span.id]
        for child in sorted(node.children, key=lambda each: each.span.end, reverse=True):
            start = child.span.start if since is None else max(child.span.start, since)
            end = child.span.end
            if end <= cursor and start < end:
                segments.append(Segment(span, end, cursor, phase))
                self._inside(child, start, end, segments)
                cursor = start
        begin = span.start if since is None else since
        if begin < cursor:
            segments.append(Segment(span, begin, cursor, phase))
            cursor = begin
        return cursor

    def _before(self, node: Node, cursor: int) -> Node | None:
        """What came before a span began: its parent if that was still at work, else what the span reacted to."""
        parent = self._nodes.get(node.span.parent)
        if parent is not None and parent.span.end >= cursor:
            return parent
        if parent is None:
            earlier = (each for each in reversed(self._by_end) if each.span.start < cursor)
            return next((each for each in earlier if each.span.id not in self._met), None)
        write = self._written(node, parent.span.end, cursor)
        held = self._held_by(node, parent, cursor)
        if held is not None and (write is None or write.span.end < min(held.span.end, cursor)):
            return held
        return write or parent

    def _written(self, node: Node, since: int, until: int) -> Node | None:
        """The last write between two moments that a reaction may have waited for."""
        for write in reversed(self._writes):
            if write.span.end <= since:
                return None
            if write.span.end <= until and write.span.id not in self._met and self._concerns(write, node):
                return write
        return None

    def _held_by(self, node: Node, parent: Node, until: int) -> Node | None:
        """The reaction before this one by whoever reacts: an object is worked on by one at a time."""
        earlier = (
            each
            for each in parent.children
            if each.span.start < until and each.span.id not in self._met and _same_worker(each.span, node.span)
        )
        return max(earlier, key=lambda each: each.span.end, default=None)

    def _concerns(self, write: Node, reaction: Node) -> bool:
        """Whether `reaction` may have waited for a write: a kubelet's only for one of its own Pod."""
        request = self._requests[write.span.id]
        return reaction.span.service != _KUBELET or (request is not None and _same_pod(request, reaction.span))


def _same_worker(one: Span, other: Span) -> bool:
    """A controller has a worker per kind of work, a kubelet one per Pod."""
    if one.service != other.service:
        return False
    return _same_pod(one, other) if one.service == _KUBELET else one.name == other.name


def _same_pod(one: Span, other: Span) -> bool:
    return one.attributes.get(_POD) == other.attributes.get(_POD)


def _is_write(span: Span) -> bool:
    """A request that changes something, or the moment in it at which others can see the change."""
    return span.service == _SERVER and span.name.startswith(_WRITES)


# -- phases -----------------------------------------------------------------------------------------------------------

PHASES = (
    "request", "reconcile", "queue", "schedule", "bind", "network", "image", "start", "probe", "run", "stop", WAITING,
    "other",
)  # fmt: skip
"""Where the time of a change can go, in the order it usually does."""

_PHASE_OF_NAME: Mapping[str, Sequence[tuple[str, str]]] = {
    "kube-scheduler": (("queue wait", "queue"), ("binding cycle", "bind"), ("Schedule", "schedule")),
    "kubelet": (
        ("syncTermin", "stop"), ("CNI ", "network"), ("ADD network", "network"), ("DEL network", "network"),
        ("runtime.v1.ImageService/", "image"), ("startup probe", "probe"), ("readiness probe", "probe"),
        ("liveness probe", "probe"), ("syncPod", "start"), ("container run", "run"),
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

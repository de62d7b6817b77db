"""`kubeglass trace KIND/NAME`: one change as a waterfall in the terminal, its critical path, and where to open it.

The object's `tracing.k8s.io/traceparent` annotation names the trace; the collector has its spans.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from kubeglass.components.cli import waterfall
from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.kubectl import find
from kubeglass.components.cli.lookup import CommandError, Reader, add_data_dir_flag, data_dir_of, existing_plan
from kubeglass.components.cli.plan import HOST
from kubeglass.components.cli.waterfall import Segment, Span, Trace
from kubeglass.telemetry.tracing.tracer import ANNOTATION

_PATH = re.compile(r"^([A-Z]+) /apis?/(?:[^/]+/)??v\w+/(?:namespaces/\{:namespace\}/)?")
_NAMED = re.compile(r"k8s\.(?!namespace|node|container)[a-z]+\.name")
_NAME_WIDTH = 72
_BAR_WIDTH = 40


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb."""
    parser = verbs.add_parser(
        "trace", help="one change as a waterfall: who did what, and what took long", description=__doc__
    )
    add_data_dir_flag(parser)
    parser.add_argument("object", metavar="KIND/NAME", help="as kubectl names it: deployment/my-nginx, pod/web-0")
    parser.add_argument("-n", "--namespace", default="default", metavar="NAMESPACE", help="(%(default)s)")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="(%(default)s)")
    parser.add_argument("--all", action="store_true", help="show how each request was handled, too")
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Find the trace, draw it."""
    data = data_dir_of(flags)
    plan = existing_plan(data)
    query = f"http://{HOST}:{plan.ports.query}"
    trace_id = _trace_of(data, flags.object, flags.namespace)
    trace = _fetch(Reader(data), query, trace_id)
    path = waterfall.critical_path(trace)
    link = f"{query}/trace/{trace_id}"
    if flags.output == "json":
        print(json.dumps(document(trace, path, link), indent=2))
    else:
        print(text(trace if flags.all else waterfall.condensed(trace), path, link))
    return 0


def _trace_of(data: DataDir, name: str, namespace: str) -> str:
    """The trace id on the object. Raises CommandError in kubectl's words when there is no such object."""
    command = [str(find()), "--kubeconfig", str(data.kubeconfig), "-n", namespace, "get", name, "-o", "json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise CommandError(result.stderr.strip().removeprefix("Error from server "))
    annotations: Mapping[str, str] = json.loads(result.stdout)["metadata"].get("annotations") or {}
    traceparent = annotations.get(ANNOTATION, "")
    if not traceparent:
        raise CommandError(
            f"{name} carries no {ANNOTATION}: it was last changed while tracing was off, or its request was not "
            f"sampled (see --tracing-sampling-rate-per-million)"
        )
    return traceparent.split("-")[1]


def _fetch(reader: Reader, query: str, trace_id: str) -> Trace:
    answer = reader.get(f"{query}/api/traces/{trace_id}")
    if answer.status == 404:
        raise CommandError(f"the collector no longer has trace {trace_id} (its --retention-age may be over)")
    if not answer.ok:
        raise CommandError(f"the collector does not answer on {query}: {answer.error or answer.status}")
    return waterfall.build(*waterfall.from_jaeger(answer.json()["data"][0]))


def document(trace: Trace, path: Sequence[Segment], link: str) -> dict[str, Any]:
    """The trace for programs; times in seconds from the trace's start."""

    def seconds(moment: int) -> float:
        return round((moment - trace.start) / 1e6, 6)

    return {
        "traceID": trace.id,
        "link": link,
        "start": trace.start / 1e6,
        "durationSeconds": (trace.end - trace.start) / 1e6,
        "phases": waterfall.phase_seconds(path),
        "criticalPath": [
            {
                "service": segment.span.service if segment.span else "",
                "name": segment.span.name if segment.span else waterfall.WAITING,
                "phase": segment.phase,
                "start": seconds(segment.start),
                "end": seconds(segment.end),
            }
            for segment in path
        ],
        "spans": [
            {
                "id": row.span.id,
                "parent": row.span.parent,
                "service": row.span.service,
                "name": row.span.name,
                "start": seconds(row.span.start),
                "end": seconds(row.span.end),
                "error": row.span.error,
                "critical": row.critical,
                "attributes": dict(row.span.attributes),
            }
            for row in waterfall.rows(trace, path)
        ],
        "orphans": [span.id for span in trace.orphans],
    }


def _short(span: Span) -> str:
    """`PATCH pods/{:name}/status web-0`: the name without what every path has, and the object it is about."""
    name = _PATH.sub(r"\1 ", span.name).replace("/{:name}", "")
    about = (value for key, value in span.attributes.items() if _NAMED.fullmatch(key))
    return " ".join((name, *sorted({str(value) for value in about if str(value)})))


def text(trace: Trace, path: Sequence[Segment], link: str) -> str:
    """The trace for people; `*` marks the critical path."""
    colour = sys.stdout.isatty()
    total = trace.end - trace.start
    lines = [f"trace {trace.id}   {waterfall.duration(total)}   {link}", ""]
    for row in waterfall.rows(trace, path):
        label = f"{'  ' * row.depth}{row.span.service}: {_short(row.span)}"
        label = label if len(label) <= _NAME_WIDTH else label[: _NAME_WIDTH - 1] + "…"
        mark = "*" if row.critical else " "
        bar = waterfall.bar(row.span, trace, _BAR_WIDTH)
        line = f"{mark} {label:<{_NAME_WIDTH}} {bar} {waterfall.duration(row.span.end - row.span.start):>9}"
        if row.span.error:
            line += "  error"
        lines.append(f"\x1b[1m{line}\x1b[0m" if colour and row.critical else line)
    lines += ["", "where the time went (critical path):"]
    for phase, seconds in waterfall.phase_seconds(path).items():
        lines.append(
            f"  {phase:<10} {waterfall.duration(round(seconds * 1e6)):>9}  {seconds * 1e8 / max(total, 1):5.1f} %"
        )
    return "\n".join(lines)

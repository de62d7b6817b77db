"""Names, kinds, scopes, attributes, parents and events of the API server's and the kubelet's spans, held to a table."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.cluster import Cluster, eventually

from kubeglass.telemetry.tracing.context import SpanContext, format_traceparent
from kubeglass.telemetry.tracing.tracer import ANNOTATION

TABLE = yaml.safe_load((Path(__file__).parent / "data" / "span_shapes.yaml").read_text())
_TRANSPORT = frozenset({"span.kind", "otel.scope.name", "otel.status_code", "otel.status_description", "error"})
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "shape"},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "initContainers": [{"name": "before", "image": "busybox", "command": ["true"]}],
        "containers": [
            {
                "name": "c",
                "image": "nginx:1.27",
                "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1},
            }
        ],
    },
}


@dataclass(frozen=True)
class Seen:
    """One span as the collector has it."""

    service: str
    name: str
    kind: str
    scope: str
    parent: str
    attributes: frozenset[str]
    events: Sequence[str]


@pytest.fixture(scope="module")
def seen(one_node: Cluster) -> list[Seen]:
    """The spans of a Pod's life and of every verb, each asked for by a client with a context of its own."""
    caller = SpanContext(0xC0FFEE, 0xCAFE)
    header = ("-H", f"traceparent: {format_traceparent(caller)}", "-H", "Content-Type: application/json")
    pods, maps = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/configmaps"
    one_node.curl(pods, *header, "-X", "POST", "-d", json.dumps(POD))
    one_node.kubectl("wait", "--for=condition=Ready", "pod/shape", "--timeout=60s")
    one_node.curl(maps, *header, "-X", "POST", "-d", '{"metadata": {"name": "shape"}}')
    stored = json.loads(one_node.curl(f"{maps}/shape", *header))
    one_node.curl(maps, *header)
    watch = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    one_node.curl(f"{maps}?{watch}&timeoutSeconds=1", *header)
    one_node.curl(f"{maps}/shape", *header, "-X", "PUT", "-d", json.dumps({**stored, "data": {"a": "b"}}))
    merge = ("-H", f"traceparent: {format_traceparent(caller)}", "-H", "Content-Type: application/merge-patch+json")
    one_node.curl(f"{maps}/shape", *merge, "-X", "PATCH", "-d", '{"data": {"c": "d"}}')
    one_node.curl(f"{maps}/shape", *header, "-X", "DELETE")
    assert stored["metadata"]["annotations"][ANNOTATION].split("-")[1] == caller.trace_hex
    one_node.curl(f"{pods}/shape", *header, "-X", "DELETE")
    one_node.kubectl("wait", "--for=delete", "pod/shape", "--timeout=60s")
    query = one_node.status()["collector"]["query"]

    def complete() -> list[Seen]:
        before = list(_spans(query, caller.trace_hex))
        assert any(span.name == "syncTerminatedPod" for span in before)
        time.sleep(2.5)  # each component sends every second
        found = list(_spans(query, caller.trace_hex))
        assert len(found) == len(before)
        return found

    return eventually(complete, "the end of the Pod is in the trace", 30)


def _spans(query: str, trace_id: str) -> Iterator[Seen]:
    with urllib.request.urlopen(f"{query}/api/traces/{trace_id}", timeout=10) as answer:
        (document,) = json.loads(answer.read())["data"]
    names = {span["spanID"]: span["operationName"] for span in document["spans"]}
    for span in document["spans"]:
        tags = {tag["key"]: tag["value"] for tag in span["tags"]}
        above = [ref["spanID"] for ref in span["references"] if ref["refType"] == "CHILD_OF"]
        fields = [{field["key"]: field["value"] for field in log["fields"]} for log in span["logs"]]
        yield Seen(
            document["processes"][span["processID"]]["serviceName"],
            span["operationName"],
            tags["span.kind"],
            tags["otel.scope.name"],
            names.get(above[0], "-") if above else "-",
            frozenset(tags) - _TRANSPORT,
            [str(each.get("event")) for each in fields],
        )


@pytest.mark.parametrize(
    ("service", "row"), [pytest.param(service, row, id=row["name"]) for service in TABLE for row in TABLE[service]]
)
def test_each_span_has_its_shape(seen: list[Seen], service: str, row: Mapping[str, Any]) -> None:
    """Every span of a row is as the row says, and there is at least one."""
    found = [span for span in seen if span.service == service and _is(span.name, row["name"])]
    assert found
    upstream, ours = set(row.get("attributes", ())), row.get("ours", ())
    for span in found:
        assert (span.kind, span.scope) == (row["kind"], row["scope"])
        assert any(_is(span.parent, parent) for parent in row["parents"]), span
        assert upstream <= span.attributes, span
        assert [each for each in span.attributes - upstream if not any(_is(each, pattern) for pattern in ours)] == []
        assert not span.attributes & set(row.get("lacks", ())), "the table is out of date"
    assert any(_in_order(row.get("events", ()), span.events) for span in found), [span.events for span in found]


def test_no_span_is_missing_from_the_table(seen: list[Seen]) -> None:
    """A span that the table does not know is a mistake in one of the two."""
    known = {service: [row["name"] for row in rows] for service, rows in TABLE.items()}
    unknown = {
        (span.service, span.name)
        for span in seen
        if span.service in known and not any(_is(span.name, name) for name in known[span.service])
    }
    assert unknown == set()


def _is(text: str, pattern: str) -> bool:
    if len(pattern) > 1 and pattern.startswith("/") and pattern.endswith("/"):
        return re.fullmatch(pattern[1:-1], text) is not None
    return text == pattern


def _in_order(wanted: Sequence[str], events: Sequence[str]) -> bool:
    rest = iter(events)
    return all(name in rest for name in wanted)

"""The query API, as Grafana's data source and jaeger-query's clients use it."""

from __future__ import annotations

import json
import time

import pytest
from tests.collector.harness import Running, logs_of, request_of

BASE = (time.time_ns() // 1_000_000_000 - 60) * 1_000_000_000
ROOT = bytes.fromhex("0123456789abcdef0123456789abcdef")
SHORT = bytes(8) + bytes.fromhex("00000000000000ab")


@pytest.fixture
async def filled(running: Running) -> Running:
    """A shop that calls a database, and one slow failed trace with a short id."""
    await running.export(
        request_of(
            {
                "trace_id": ROOT,
                "span_id": b"a" * 8,
                "name": "POST /orders",
                "kind": 2,
                "flags": 1,
                "trace_state": "v=1",
                "start_time_unix_nano": BASE,
                "end_time_unix_nano": BASE + 50_000_000,
                "attributes": {"http.response.status_code": 201, "k8s.pod.name": "web", "ok": True, "ratio": 0.5},
            },
            {
                "trace_id": ROOT,
                "span_id": b"b" * 8,
                "parent_span_id": b"a" * 8,
                "name": "SELECT",
                "kind": 3,
                "start_time_unix_nano": BASE + 1_000_000,
                "end_time_unix_nano": BASE + 2_000_000,
                "links": [{"trace_id": SHORT, "span_id": b"z" * 8}],
                "events": [{"time_unix_nano": BASE + 1_500_000, "name": "row"}],
            },
        )
    )
    await running.export(
        request_of(
            {
                "trace_id": ROOT,
                "span_id": b"c" * 8,
                "parent_span_id": b"b" * 8,
                "name": "query",
                "kind": 2,
                "start_time_unix_nano": BASE + 1_200_000,
                "end_time_unix_nano": BASE + 1_900_000,
            },
            service="db",
        )
    )
    await running.export(
        request_of(
            {
                "trace_id": SHORT,
                "span_id": b"z" * 8,
                "name": "GET /slow",
                "kind": 2,
                "start_time_unix_nano": BASE + 1_000_000_000,
                "end_time_unix_nano": BASE + 3_000_000_000,
                "status": {"code": 2, "message": "boom"},
            }
        )
    )
    return running


async def test_names(filled: Running) -> None:
    """Services and operations, in the envelope the data source reads."""
    assert await filled.get("/api/services") == (
        200,
        {"data": ["db", "shop"], "total": 2, "limit": 0, "offset": 0, "errors": None},
    )
    _, names = await filled.get("/api/services/shop/operations")
    assert names["data"] == ["GET /slow", "POST /orders", "SELECT"] and names["total"] == 3
    _, kinds = await filled.get("/api/operations", service="shop", spanKind="client")
    assert kinds["data"] == [{"name": "SELECT", "spanKind": "client"}]
    assert (await filled.get("/api/operations"))[1]["errors"] == [
        {"code": 400, "msg": "parameter 'service' is required"}
    ]


async def test_trace(filled: Running) -> None:
    """One trace in the legacy model, field by field."""
    status, answer = await filled.get(f"/api/traces/{ROOT.hex()}")
    (trace,) = answer["data"]
    assert status == 200 and (answer["total"], answer["errors"]) == (0, None)
    assert trace["traceID"] == ROOT.hex() and trace["warnings"] is None
    root, select, query = trace["spans"]
    assert root == {
        "traceID": ROOT.hex(),
        "spanID": (b"a" * 8).hex(),
        "flags": 1,
        "operationName": "POST /orders",
        "references": [],
        "startTime": BASE // 1000,
        "duration": 50_000,
        "tags": [
            {"key": "http.response.status_code", "type": "int64", "value": 201},
            {"key": "k8s.pod.name", "type": "string", "value": "web"},
            {"key": "ok", "type": "bool", "value": True},
            {"key": "ratio", "type": "float64", "value": 0.5},
            {"key": "otel.scope.name", "type": "string", "value": "lib"},
            {"key": "span.kind", "type": "string", "value": "server"},
            {"key": "w3c.tracestate", "type": "string", "value": "v=1"},
        ],
        "logs": [],
        "processID": "p1",
        "warnings": None,
    }
    assert select["references"] == [
        {"refType": "CHILD_OF", "traceID": ROOT.hex(), "spanID": (b"a" * 8).hex()},
        {"refType": "FOLLOWS_FROM", "traceID": "00000000000000ab", "spanID": (b"z" * 8).hex()},
    ]
    assert select["logs"] == [
        {"timestamp": BASE // 1000 + 1500, "fields": [{"key": "event", "type": "string", "value": "row"}]}
    ]
    host = [{"key": "host.name", "type": "string", "value": "node-1"}]
    assert trace["processes"] == {
        "p1": {"serviceName": "shop", "tags": host},
        "p2": {"serviceName": "db", "tags": host},
    }
    assert query["processID"] == "p2"


async def test_failed_span_and_short_id(filled: Running) -> None:
    """Errors are tags; a trace id whose high half is zero is printed, and found, with 16 digits."""
    _, answer = await filled.get("/api/traces/ab")
    (trace,) = answer["data"]
    assert trace["traceID"] == "00000000000000ab"
    tags = {tag["key"]: tag["value"] for tag in trace["spans"][0]["tags"]}
    assert (tags["error"], tags["otel.status_code"], tags["otel.status_description"]) == (True, "ERROR", "boom")


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/api/traces/abc123", 404, "trace not found"),
        ("/api/traces/xyz", 400, 'strconv.ParseUint: parsing "xyz": invalid syntax'),
        (f"/api/traces/{'a' * 33}", 400, f"TraceID cannot be longer than 32 hex characters: {'a' * 33}"),
        ("/api/traces", 400, "parameter 'service' is required"),
        (
            "/api/traces?service=s&start=x",
            400,
            "unable to parse param 'start': strconv.ParseInt: parsing ",
        ),
        (
            "/api/traces?service=s&limit=x",
            400,
            "unable to parse param 'limit': strconv.ParseInt: parsing ",
        ),
        (
            "/api/traces?service=s&minDuration=20",
            400,
            "cannot not parse minDuration: time: missing unit in",
        ),
        (
            "/api/traces?service=s&minDuration=2s&maxDuration=1s",
            400,
            "'maxDuration' should be greater than 'minDuration'",
        ),
        ("/api/traces?service=s&tag=k", 400, "malformed 'tag' parameter, expecting key:value, received: k"),
        ("/api/traces?service=s&tags={", 400, "malformed 'tags' parameter, cannot unmarshal JSON: "),
        (
            '/api/traces?service=s&tags={"x":123}',
            400,
            "malformed 'tags' parameter, cannot unmarshal JSON: json: cannot unmarshal number into Go value of",
        ),
        ("/api/dependencies", 400, "unable to parse param 'endTs': strconv.ParseInt: parsing \"\": invalid syntax"),
    ],
)
async def test_legacy_errors(filled: Running, path: str, status: int, message: str) -> None:
    """Bad parameters and unknown traces: code and text are jaeger-query's, data is null."""
    got, answer = await filled.get(path)
    assert got == status and answer["data"] is None
    assert answer["errors"][0]["code"] == status and answer["errors"][0]["msg"].startswith(message)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, {ROOT.hex(), "00000000000000ab"}),
        ({"operation": "SELECT"}, {ROOT.hex()}),
        ({"operation": "nothing"}, set()),
        ({"tag": "k8s.pod.name:web"}, {ROOT.hex()}),
        ({"tags": json.dumps({"http.response.status_code": "201", "ok": "true", "ratio": "0.5"})}, {ROOT.hex()}),
        ({"tag": "k8s.pod.name:other"}, set()),
        ({"tag": "host.name:node-1"}, {ROOT.hex(), "00000000000000ab"}),
        ({"tag": "error:true"}, {"00000000000000ab"}),
        ({"tag": "span.kind:client"}, {ROOT.hex()}),
        ({"operation": "GET /slow", "tag": "k8s.pod.name:web"}, set()),
        ({"minDuration": "1s"}, {"00000000000000ab"}),
        ({"maxDuration": "40ms"}, {ROOT.hex()}),
        ({"minDuration": "40ms", "maxDuration": "60ms"}, {ROOT.hex()}),
        ({"operation": "POST /orders", "maxDuration": "10ms"}, set()),
        ({"limit": "1"}, {"00000000000000ab"}),
        ({"start": str(BASE // 1000 + 500_000)}, {"00000000000000ab"}),
        ({"end": str(BASE // 1000 + 500_000)}, {ROOT.hex()}),
        ({"flag": "error"}, {"00000000000000ab"}),
        ({"flag": "change"}, {ROOT.hex()}),
    ],
)
async def test_search(filled: Running, query: dict[str, str], found: set[str]) -> None:
    """Each condition restricts, all must hold for one span, the newest win."""
    status, answer = await filled.get("/api/traces", service="shop", **query)
    assert status == 200 and {trace["traceID"] for trace in answer["data"]} == found


async def test_search_by_ids(filled: Running) -> None:
    """Several trace ids at once; unknown ones are reported beside the found."""
    _, answer = await filled.get(f"/api/traces?traceID={ROOT.hex()}&traceID=ff")
    assert [trace["traceID"] for trace in answer["data"]] == [ROOT.hex()]
    assert answer["errors"] == [{"msg": "trace not found", "traceID": "00000000000000ff"}]


async def test_dependencies(filled: Running) -> None:
    """Calls across services are counted once, by the child's time; later traces are added."""
    filled.collector._graph._settle_seconds = 0
    now_ms = (time.time_ns() // 1_000_000) + 5000

    async def edges(**query: str) -> list[dict]:
        return (await filled.get("/api/dependencies", endTs=str(now_ms), **query))[1]["data"]

    assert await edges() == [{"parent": "shop", "child": "db", "callCount": 1}]
    await filled.export(
        request_of({"trace_id": ROOT, "parent_span_id": b"c" * 8, "start_time_unix_nano": BASE}, service="disk")
    )
    expected = [
        {"parent": "db", "child": "disk", "callCount": 1},
        {"parent": "shop", "child": "db", "callCount": 1},
    ]
    assert await edges() == expected == await edges()
    assert await edges(service="shop") == expected[1:]
    assert await edges(lookback="1") == []


async def test_v3(filled: Running) -> None:
    """The newer API: names, one trace and a search as OTLP JSON."""
    assert await filled.get("/api/v3/services") == (200, {"services": ["db", "shop"]})
    _, operations = await filled.get("/api/v3/operations", service="db")
    assert operations == {"operations": [{"name": "query", "spanKind": "server"}]}
    _, answer = await filled.get(f"/api/v3/traces/{ROOT.hex()}")
    spans = [s for r in answer["result"]["resourceSpans"] for g in r["scopeSpans"] for s in g["spans"]]
    assert {span["spanId"] for span in spans} == {(letter * 8).hex() for letter in (b"a", b"b", b"c")}
    assert spans[0]["traceId"] == ROOT.hex() and spans[0]["kind"] == 2
    assert spans[1]["links"][0]["traceId"] == SHORT.hex() and spans[1]["parentSpanId"] == (b"a" * 8).hex()
    for names in (
        ("serviceName", "startTimeMin", "startTimeMax"),
        ("service_name", "start_time_min", "start_time_max"),
    ):
        values = ("shop", "2020-01-01T00:00:00.5Z", "2100-01-01T00:00:00+01:00")
        query = {f"query.{name}": value for name, value in zip(names, values, strict=True)}
        status, answer = await filled.get("/api/v3/traces", **query, **{"query.attributes": '{"ok":"true"}'})
        assert status == 200 and len(answer["result"]["resourceSpans"]) == 2


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/api/v3/traces/ff", 404, "No traces found"),
        ("/api/v3/traces/xyz", 400, 'malformed parameter trace_id: strconv.ParseUint: parsing "xyz": invalid syntax'),
        ("/api/v3/traces", 400, "query.startTimeMin and query.startTimeMax are required"),
        (
            "/api/v3/traces?query.startTimeMin=x&query.startTimeMax=2100-01-01T00:00:00Z",
            400,
            'malformed parameter query.startTimeMin: parsing time "x"',
        ),
        (
            "/api/v3/traces?query.startTimeMin=2100-01-01T00:00:00Z&query.startTimeMax=2020-01-01T00:00:00Z",
            400,
            "query.startTimeMin must be before query.startTimeMax",
        ),
        (
            "/api/v3/traces?query.startTimeMin=2020-01-01T00:00:00Z&query.startTimeMax=2020-01-02T00:00:00Z",
            404,
            "No traces found",
        ),
    ],
)
async def test_v3_errors(filled: Running, path: str, status: int, message: str) -> None:
    """Errors in gRPC gateway's envelope."""
    got, answer = await filled.get(path)
    assert got == status and answer["error"]["httpCode"] == status
    assert answer["error"]["message"].startswith(message)


async def test_retried_spans_are_shown_once(running: Running) -> None:
    """A client that sends a batch twice does not double the trace."""
    request = request_of({"trace_id": ROOT, "span_id": b"s" * 8})
    await running.export(request)
    await running.export(request)
    await running.export(logs_of(ROOT, "once"))
    assert len((await running.get(f"/api/traces/{ROOT.hex()}"))[1]["data"][0]["spans"]) == 1
    _, v3 = await running.get(f"/api/v3/traces/{ROOT.hex()}")
    assert len(v3["result"]["resourceSpans"][0]["scopeSpans"][0]["spans"]) == 1

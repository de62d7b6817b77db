"""One change is one trace, on a live cluster: from the client's request to the settled state, for every kind of change.

`KUBEGLASS_TRACE_CHANGES=200` makes more of them.
"""

import asyncio
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.changes import Record, changing
from tests.e2e.cluster import Cluster, cluster, eventually
from tests.e2e.tracegraph import Traces, explained_until, spans_of

from kubeglass.telemetry.tracing.context import parse_traceparent
from kubeglass.telemetry.tracing.tracer import ANNOTATION

CHANGES = int(os.environ.get("KUBEGLASS_TRACE_CHANGES", "40"))
AT_ONCE = 4
_SLACK_SECONDS = 0.05  # of a change that takes a blink, the way of the last watch event to the client is a large part


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with cluster("--nodes", "3") as made:
        yield made


@pytest.fixture(scope="module")
def query(running: Cluster) -> str:
    found: str = running.status()["collector"]["query"]
    return found


@pytest.fixture(scope="module")
def records(running: Cluster) -> list[Record]:
    running.kubectl("create", "namespace", "changes")
    eventually(lambda: running.get("serviceaccount", "default", "-n", "changes"), "the namespace is ready")

    async def make() -> list[Record]:
        async with changing(str(running.data / "kubeconfig"), "changes") as changes:
            return await changes.run(CHANGES, AT_ONCE)

    found = asyncio.run(make())
    time.sleep(3)  # spans are sent every second; what follows the last change is part of its trace
    return found


@pytest.fixture(scope="module")
def traces(query: str) -> Traces:
    return Traces(query)


@pytest.mark.timeout(900)
def test_changes_are_connected_from_request_to_settled_state(records: list[Record], traces: Traces) -> None:
    """At least 99 of 100 changes give one graph, from the client's own span to all that the settled state needed."""
    broken = []
    for record in records:
        trace = traces.get(record.cause.trace_hex)
        if trace is None:
            broken.append(f"{record.what}: no trace")
            continue
        outside = {root.span.parent for root in trace.roots} - {record.cause.span_hex}
        missing = record.wanted - traces.names(record.cause.trace_hex)
        if missing:
            missing -= traces.merged(record.cause.trace_hex, record.settled)
        if outside or missing:
            broken.append(f"{record.what} {record.cause.trace_hex}: parents {outside} missing, spans {missing} missing")
    assert len(broken) <= len(records) // 100, "\n".join(broken)


def test_hardly_a_span_is_an_orphan(records: list[Record], traces: Traces) -> None:
    """Less than one span in a hundred has a parent that nobody sent."""
    found = [trace for record in records if (trace := traces.get(record.cause.trace_hex)) is not None]
    total = sum(len(spans_of(trace)) for trace in found)
    orphans = sum(root.span.parent != r.cause.span_hex for r, t in zip(records, found, strict=True) for root in t.roots)
    assert total > 50 * len(records)
    assert orphans < total / 100


def test_the_critical_path_is_the_time_the_user_waited(records: list[Record], traces: Traces) -> None:
    """From the client's request to the last step before it saw the settled state: within 5 % of the wall clock."""
    off, shares = [], []
    for record in records:
        trace = traces.get(record.cause.trace_hex)
        assert trace is not None
        path = explained_until(trace, record.settled) - record.asked
        shares.append(path / record.wall_seconds)
        if abs(path - record.wall_seconds) > max(0.05 * record.wall_seconds, _SLACK_SECONDS):
            off.append(f"{record.what} {record.cause.trace_hex}: {path:.3f} s of {record.wall_seconds:.3f} s")
    assert statistics.median(shares) >= 0.95
    assert len(off) <= len(records) // 20, "\n".join(off)


def test_what_settled_long_ago_does_not_grow(running: Cluster, query: str, records: list[Record]) -> None:
    """A container that dies in a settled Pod is restarted in a trace of its own, not in that of the Pod's creation."""
    script = "while [ ! -f /tmp/end ]; do sleep 0.2; done; exit 1"
    running.kubectl("run", "old", "--image=busybox", "--restart=Always", "--command", "--", "sh", "-c", script)
    running.kubectl("wait", "--for=condition=Ready", "pod/old", "--timeout=30s")
    trace_id = _stamp(running.get("pod", "old"))

    def quiet() -> int:
        """How many spans the trace has, once it has stopped growing."""
        before = _count(query, trace_id)
        time.sleep(2.5)
        assert _count(query, trace_id) == before
        return before

    before = eventually(quiet, "the trace is complete")
    running.kubectl("exec", "old", "--", "touch", "/tmp/end")
    eventually(lambda: running.get("pod", "old")["status"]["containerStatuses"][0]["restartCount"] >= 1, "it restarted")
    time.sleep(2.5)
    assert _count(query, trace_id) == before


def test_every_signal_points_to_the_trace(running: Cluster, query: str) -> None:
    """Log records, Events, exemplars and response headers name ids that the collector has."""
    running.kubectl("create", "deployment", "signals", "--image=nginx:1.27")
    running.kubectl("rollout", "status", "deployment/signals", "--timeout=60s")
    trace_id = _stamp(running.get("deployment", "signals"))
    events = [e for e in running.items("events") if e["involvedObject"]["name"].startswith("signals")]
    reasons = {e["reason"] for e in events if trace_id in e["metadata"].get("annotations", {}).get(ANNOTATION, "")}
    assert {"ScalingReplicaSet", "SuccessfulCreate", "Scheduled", "Pulled", "Created", "Started"} <= reasons

    def exemplars() -> set[str]:
        found: set[str] = set()
        for name in ("apiserver", "scheduler", "kubelet/node-1", "controller-manager"):
            for url in running.status()["components"][name]["metrics"]:
                text = running.curl(url, "-H", "Accept: application/openmetrics-text; version=1.0.0").decode()
                shown = set(re.findall(r'# \{trace_id="([0-9a-f]{32})"', text))
                assert name != "apiserver" or "/slis" in url or shown
                found |= shown
        return found

    time.sleep(2)
    shown = exemplars()
    assert shown
    known = {each for each in shown if _count(query, each)}
    assert len(known) >= 0.95 * len(shown), shown - known

    headers = running.curl("/api/v1/namespaces/default/pods", "-D", "-", "-o", "/dev/null").decode()
    named = parse_traceparent(re.search(r"(?im)^traceparent: (\S+)", headers).group(1))  # type: ignore[union-attr]
    assert named is not None
    eventually(lambda: _count(query, named.trace_hex), "the header's trace is there")


def test_kubeglass_trace(running: Cluster) -> None:
    """The waterfall names the phases, its JSON is one tree, and the path's phases add up to the trace's duration."""
    running.kubectl("create", "deployment", "shown", "--image=nginx:1.27")
    running.kubectl("rollout", "status", "deployment/shown", "--timeout=60s")
    time.sleep(2.5)
    text = running.kubeglass("trace", "deployment/shown").stdout
    for step in ("POST deployments", "reconcile deployment shown", "Schedule shown-", "syncPod shown-", "CNI ADD"):
        assert step in text
    found = json.loads(running.kubeglass("trace", "deployment/shown", "-o", "json").stdout)
    assert found["orphans"] == [] and len([span for span in found["spans"] if not span["parent"]]) == 1
    assert {"request", "reconcile", "schedule", "bind", "network", "start"} <= set(found["phases"])
    assert sum(found["phases"].values()) == pytest.approx(found["durationSeconds"], rel=0.01)
    pod = running.pods("app=shown")[0]["metadata"]["name"]
    assert found["traceID"] in running.kubeglass("trace", f"pod/{pod}").stdout


OPERATOR = """
import kopf, lightkube
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod
from kubeglass.telemetry.tracing import reconcile_span, stamped

@kopf.on.create("example.com", "v1", "shops")
def create(body, name, namespace, **_):
    with reconcile_span(body):
        spec = PodSpec(containers=[Container(name="c", image="nginx:1.27")])
        pod = Pod(metadata=ObjectMeta(name=f"{name}-till", namespace=namespace), spec=spec)
        lightkube.Client().create(stamped(pod))
"""

DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "shops.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "shops", "singular": "shop", "kind": "Shop"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def test_an_operator_in_the_middle(running: Cluster, query: str, tmp_path: Path) -> None:
    """With three lines, a kopf operator's reconcile is in the trace of the custom resource, and its Pod's start."""
    pytest.importorskip("kopf")
    running.kubectl("apply", "-f", "-", input=json.dumps(DEFINITION))
    running.kubectl("wait", "--for=condition=Established", "crd/shops.example.com", "--timeout=30s")
    program = tmp_path / "operator.py"
    program.write_text(OPERATOR)
    grpc = running.status()["collector"]["otlpGrpc"]
    settings = ("OTEL_SERVICE_NAME=shop-operator", f"OTEL_EXPORTER_OTLP_ENDPOINT=http://{grpc}")
    kopf = str(Path(sys.executable).parent / "kopf")
    operator = running.start("env", *settings, kopf, "run", "--all-namespaces", "--standalone", str(program))
    try:
        time.sleep(2)
        shop = {"apiVersion": "example.com/v1", "kind": "Shop", "metadata": {"name": "corner"}, "spec": {"size": 1}}
        running.kubectl("apply", "-f", "-", input=json.dumps(shop))
        eventually(lambda: running.get("pod", "corner-till"), "the operator made its Pod", 60)
        running.kubectl("wait", "--for=condition=Ready", "pod/corner-till", "--timeout=60s")
    finally:
        operator.terminate()
        output, _ = operator.communicate(timeout=30)
    trace_id = _stamp(running.get("shop", "corner"))

    def whole() -> set[tuple[str, str]]:
        trace = Traces(query).get(trace_id)
        assert trace is not None
        names = {(span.service, span.name) for span in spans_of(trace)}
        wanted = {("shop-operator", "reconcile Shop"), ("kube-scheduler", "Schedule"), ("kubelet", "syncPod")}
        assert wanted <= names, (names, output)
        assert len(trace.roots) == 1 and not trace.orphans
        return names

    eventually(whole, "the trace leads from kubectl apply through the operator to the Pod", 20)


def test_switched_off_nothing_is_stamped() -> None:
    """With an empty annotation key, objects carry nothing; requests are traced all the same."""
    with cluster("--component-flag", "apiserver=--tracing-annotation-key=") as made:
        made.kubectl("create", "configmap", "plain")
        assert ANNOTATION not in made.get("configmap", "plain")["metadata"].get("annotations", {})


def _stamp(obj: dict[str, object]) -> str:
    value = obj["metadata"]["annotations"][ANNOTATION]  # type: ignore[index]
    context = parse_traceparent(value)
    assert context is not None
    return context.trace_hex


def _count(query: str, trace_id: str) -> int:
    trace = Traces(query).get(trace_id)
    return len(spans_of(trace)) if trace is not None else 0

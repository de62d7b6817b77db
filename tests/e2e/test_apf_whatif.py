"""what-if against the truth: record a live crowd, predict a changed configuration, put it in force, and compare.

What the crowd asks for takes a fixed time (an admission webhook sleeps), so that the server is not faster or slower
under the other configuration; that is the one thing what-if does not predict.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.e2e.cluster import Cluster, eventually
from tests.e2e.crowd import Crowd, put_first

from kubeglass.components.apiserver.flowcontrol.simulator import objects_of
from kubeglass.components.apiserver.flowcontrol.whatif import Summary, read_recording, what_if
from kubeglass.components.cli.apf_simulate import read_yaml
from kubeglass.components.machinery import certs

SLEEP_SECONDS = 0.3
LOAD_SECONDS = 12.0
USER = "batch"
TOLERANCE = 0.05
TRIES = 3
"""How often the truth is measured: on a busy machine it is not the same twice."""


def _objects(shares: int, queue_length: int) -> str:
    return f"""
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {{name: batch}}
spec:
  type: Limited
  limited:
    nominalConcurrencyShares: {shares}
    borrowingLimitPercent: 0
    lendablePercent: 0
    limitResponse: {{type: Queue, queuing: {{queues: 1, handSize: 1, queueLengthLimit: {queue_length}}}}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {{name: batch}}
spec:
  priorityLevelConfiguration: {{name: batch}}
  matchingPrecedence: 50
  rules:
    - subjects: [{{kind: User, user: {{name: {USER}}}}}]
      resourceRules: [{{verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: ["*"], clusterScope: true}}]
"""


BEFORE, AFTER = _objects(2, 4), _objects(2, 12)


@contextmanager
def _sleeping_webhook(folder: Path) -> Iterator[tuple[str, bytes]]:
    """A webhook that allows everything after a fixed time; its URL and authority."""
    now = datetime.datetime.now(datetime.UTC)
    authority = certs.new_authority("webhook-ca", now)
    leaf = certs.new_leaf(authority, "webhook", now, addresses=("127.0.0.1",), server=True)
    leaf.write(folder / "webhook.crt", folder / "webhook.key")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "webhook.crt", folder / "webhook.key")
    port: list[int] = []
    ready, stop = threading.Event(), threading.Event()

    async def allow(request: web.BaseRequest) -> web.Response:
        review = json.loads(await request.read())
        await asyncio.sleep(SLEEP_SECONDS)
        answer = {"uid": review["request"]["uid"], "allowed": True}
        return web.json_response({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": answer})

    async def serve() -> None:
        runner = web.ServerRunner(web.Server(allow))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        port.append(runner.addresses[0][1])
        ready.set()
        while not stop.is_set():
            await asyncio.sleep(0.05)
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        yield f"https://127.0.0.1:{port[0]}/", authority.certificate_pem()
    finally:
        stop.set()
        thread.join()


def _register(cluster: Cluster, url: str, authority: bytes) -> None:
    webhook = {
        "name": "sleep.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": {"url": url, "caBundle": base64.b64encode(authority).decode()},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "asleep"}},
    }
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "sleep"},
        "webhooks": [webhook],
    }
    cluster.kubectl("create", "namespace", "asleep")
    cluster.kubectl("create", "-f", "-", input=json.dumps(configuration))


@pytest.fixture
def asleep(one_node: Cluster, tmp_path: Path) -> Iterator[Crowd]:
    """A cluster in which user batch may create ConfigMaps that take their time."""
    with _sleeping_webhook(tmp_path) as (url, authority):
        _register(one_node, url, authority)
        one_node.kubectl("create", "clusterrolebinding", "batch", "--clusterrole=edit", f"--user={USER}")
        put_first(one_node.pid("apiserver"))
        yield Crowd(one_node)
        one_node.kubectl("delete", "validatingwebhookconfiguration", "sleep")


def _configure(cluster: Cluster, objects: str, queue_length: int) -> None:
    cluster.kubectl("apply", "-f", "-", input=objects)

    def in_force() -> bool:
        level = json.loads(
            cluster.kubectl("get", "--raw", "/debug/api_priority_and_fairness/dump_recording").splitlines()[0]
        )
        (batch,) = [row for row in level["priorityLevels"] if row["metadata"]["name"] == "batch"]
        return bool(batch["spec"]["limited"]["limitResponse"]["queuing"]["queueLengthLimit"] == queue_length)

    eventually(in_force, "the configuration is in force")


def _record_under_load(crowd: Crowd, file: Path) -> None:
    """Record while 30 connections in a closed loop create ConfigMaps that are never stored."""
    body = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "x-"}})
    path = "/api/v1/namespaces/asleep/configmaps?dryRun=All"
    batch = crowd.flow(USER, USER, (), path, 30, pause_seconds=0.3, method="POST", body=body)
    asking = crowd.send([batch], LOAD_SECONDS + 6, first=True)
    time.sleep(LOAD_SECONDS)
    crowd.cluster.kubeglass("apf", "record", "-o", str(file))
    assert set(asking.result().flows[USER].statuses) == {"201", "429"}


def _seen(recording: Path, since_ns: int = 0) -> tuple[Summary, float]:
    """What the user met, and for how many seconds it was at it when it was recorded."""
    records = [
        record
        for record in read_recording(recording.read_bytes()).records
        if record.digest.user == USER and record.arrived_ns >= since_ns
    ]
    summary = Summary()
    for record in records:
        summary.add(record.outcome, record.waited_ns, record.priority_level)
    return summary, (records[-1].arrived_ns - records[0].arrived_ns) / 1e9


def _figures(summary: Summary) -> tuple[int, int, float]:
    """Requests, rejections, and the mean wait in seconds: recorded, replayed, predicted and measured, as printed."""
    return summary.requests, summary.rejections, round(summary.mean_wait_seconds, 4)


def _off(predicted: float, measured: float) -> float:
    return abs(predicted - measured) / measured


def test_a_prediction_comes_true(asleep: Crowd, tmp_path: Path, capsys: Any) -> None:
    """A queue three times as long: rejections and mean wait come out within 5 % of what what-if said."""
    cluster = asleep.cluster
    _configure(cluster, BEFORE, 4)
    recording, changed, truth = tmp_path / "before.jsonl", tmp_path / "after.yaml", tmp_path / "after.jsonl"
    _record_under_load(asleep, recording)
    changed.write_text(AFTER)

    found = read_recording(recording.read_bytes())
    schemas, levels = objects_of(list(read_yaml(changed)), found.header.flow_schemas, found.header.priority_levels)
    comparison = what_if(found, schemas, levels)
    recorded, replayed, predicted = (each[USER] for each in (comparison.recorded, comparison.before, comparison.after))
    _, recorded_seconds = _seen(recording)
    shown = cluster.kubeglass("apf", "what-if", "-f", str(changed), "--recording", str(recording)).stdout
    assert f"{predicted.mean_wait_seconds:.3f}s" in shown

    _configure(cluster, AFTER, 12)
    off = []
    for _ in range(TRIES):
        began = time.time_ns()
        _record_under_load(asleep, truth)
        measured, measured_seconds = _seen(truth, began)
        assert measured.rejections < recorded.rejections / 1.3
        assert measured.mean_wait_seconds > 2 * recorded.mean_wait_seconds
        off.append(
            (
                _off(predicted.rejections / recorded_seconds, measured.rejections / measured_seconds),
                _off(predicted.mean_wait_seconds, measured.mean_wait_seconds),
            )
        )
        with capsys.disabled():
            print("\n", *map(_figures, (recorded, replayed, predicted, measured)), off[-1], sep="\n")
        if max(off[-1]) <= TOLERANCE:
            return
    pytest.fail(f"how far rejections and mean wait were off: {off}")

"""Flow control inside a whole API server over TLS: versions, statuses, seats of slow readers, and life without it."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.components.apiserver.conftest import Api, serving

from kubeglass.components.apiserver.flowcontrol.turns import Turns
from kubeglass.components.apiserver.handlers import watch
from kubeglass.components.apiserver.options import Options
from kubeglass.components.apiserver.testing import quiet_telemetry
from kubeglass.logging import setup as logging_setup
from kubeglass.logging.setup import LoggingOptions

GROUP = "/apis/flowcontrol.apiserver.k8s.io"
OLDER = ("v1beta3", "v1beta2", "v1beta1", "v1alpha1")
ALL_ON = tuple(f"flowcontrol.apiserver.k8s.io/{version}=true" for version in OLDER)


def _level(version: str, name: str, **limited: Any) -> dict[str, Any]:
    return {
        "apiVersion": f"flowcontrol.apiserver.k8s.io/{version}",
        "kind": "PriorityLevelConfiguration",
        "metadata": {"name": name},
        "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}, **limited}},
    }


def _schema(name: str, level: str, user: str) -> dict[str, Any]:
    rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
    return {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": name},
        "spec": {
            "priorityLevelConfiguration": {"name": level},
            "matchingPrecedence": 50,
            "rules": [{"subjects": [{"kind": "User", "user": {"name": user}}], "resourceRules": [rule]}],
        },
    }


async def _until(condition: Callable[[], Any], what: str) -> Any:
    """The condition's value once it is true."""
    async with asyncio.timeout(20):
        while True:
            found = await condition()
            if found:
                return found
            await asyncio.sleep(0.02)
    raise AssertionError(what)


async def _exists(api: Api, path: str) -> bool:
    return (await api("GET", path)).status == 200


async def test_only_v1_is_served_by_default() -> None:
    """Without --runtime-config the older versions are not there."""
    async with serving() as api:
        assert (await api("GET", f"{GROUP}/v1beta3/flowschemas")).status == 404
        group = (await api("GET", GROUP)).json
        assert [version["version"] for version in group["versions"]] == ["v1"]
        assert not await _exists(
            api, "/apis/apiregistration.k8s.io/v1/apiservices/v1beta3.flowcontrol.apiserver.k8s.io"
        )


async def test_older_versions() -> None:
    """Switched on, every version reads, writes, lists, watches and documents the same objects in its own words."""
    async with serving(options=Options(runtime_config=ALL_ON)) as api:
        group = (await api("GET", GROUP)).json
        assert [version["version"] for version in group["versions"]] == ["v1", *OLDER]
        assert group["preferredVersion"]["version"] == "v1"
        assert await _exists(api, "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.flowcontrol.apiserver.k8s.io")

        plural = "prioritylevelconfigurations"
        created = await api("POST", f"{GROUP}/v1beta1/{plural}", _level("v1beta1", "old", assuredConcurrencyShares=7))
        assert (created.status, created.json["spec"]["limited"]["assuredConcurrencyShares"]) == (201, 7)
        current = (await api("GET", f"{GROUP}/v1/{plural}/old")).json
        assert current["spec"]["limited"]["nominalConcurrencyShares"] == 7
        assert "assuredConcurrencyShares" not in current["spec"]["limited"]

        jail = await api("POST", f"{GROUP}/v1/{plural}", _level("v1", "jail", nominalConcurrencyShares=0))
        assert jail.status == 201
        shown = (await api("GET", f"{GROUP}/v1beta3/{plural}/jail")).json
        assert shown["metadata"]["annotations"] == {"flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares": ""}

        patched = await api(
            "PATCH",
            f"{GROUP}/v1beta2/{plural}/old",
            {"spec": {"limited": {"assuredConcurrencyShares": 9}}},
            Content_Type="application/merge-patch+json",
        )
        assert patched.json["spec"]["limited"]["assuredConcurrencyShares"] == 9
        listed = (await api("GET", f"{GROUP}/v1alpha1/{plural}")).json
        assert listed["apiVersion"] == "flowcontrol.apiserver.k8s.io/v1alpha1"
        by_name = {item["metadata"]["name"]: item for item in listed["items"]}
        assert by_name["old"]["spec"]["limited"]["assuredConcurrencyShares"] == 9
        path = f"{GROUP}/v1beta2/{plural}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Dold"
        first = msgspec.json.decode((await api("GET", path)).body.splitlines()[0])
        assert first["object"]["apiVersion"] == "flowcontrol.apiserver.k8s.io/v1beta2"
        assert first["object"]["spec"]["limited"]["assuredConcurrencyShares"] == 9

        refused = await api("POST", f"{GROUP}/v1beta1/{plural}", _level("v1beta1", "bad", assuredConcurrencyShares=-1))
        (cause,) = refused.json["details"]["causes"]
        assert cause == {
            "reason": "FieldValueInvalid",
            "message": "Invalid value: -1: must be a non-negative integer",
            "field": "spec.limited.assuredConcurrencyShares",
        }
        document = (await api("GET", "/openapi/v3/apis/flowcontrol.apiserver.k8s.io/v1beta1")).json
        limited = document["components"]["schemas"]["io.k8s.api.flowcontrol.v1beta1.LimitedPriorityLevelConfiguration"]
        assert "assuredConcurrencyShares" in limited["properties"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl: pip install 'kubeglass[kubectl]'")
async def test_kubectl_speaks_older_versions() -> None:
    """kubectl applies a v1beta2 manifest, explains the old field and reads the object back in both versions."""
    async with serving(options=Options(runtime_config=ALL_ON)) as api:
        environment = {**os.environ, "KUBECONFIG": str(api.server.kubeconfig()), "HOME": str(api.server.folder)}

        async def kubectl(*argv: str, text: bytes | None = None) -> str:
            process = await asyncio.create_subprocess_exec(
                "kubectl",
                *argv,
                env=environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            out, _ = await process.communicate(text)
            return out.decode()

        manifest = msgspec.json.encode(_level("v1beta2", "mine", assuredConcurrencyShares=12))
        name = "prioritylevelconfigurations.{}.flowcontrol.apiserver.k8s.io"
        assert "mine created" in await kubectl("apply", "-f", "-", text=manifest)
        assert "mine unchanged" in await kubectl("apply", "-f", "-", text=manifest)
        path = "jsonpath={.spec.limited.assuredConcurrencyShares}"
        assert await kubectl("get", name.format("v1beta2"), "mine", "-o", path) == "12"
        path = "jsonpath={.spec.limited.nominalConcurrencyShares}"
        assert await kubectl("get", name.format("v1"), "mine", "-o", path) == "12"
        explained = await kubectl(
            "explain", "prioritylevelconfigurations.spec.limited",
            "--api-version=flowcontrol.apiserver.k8s.io/v1beta2",
        )  # fmt: skip
        assert "assuredConcurrencyShares" in explained


async def test_validation_is_upstreams() -> None:
    """Everything that is wrong with an object comes back at once, in upstream's words."""
    async with serving() as api:
        schema = _schema("wrong", "", "alice")
        schema["spec"] |= {"matchingPrecedence": 10001, "distinguisherMethod": {"type": "ByMood"}}
        schema["spec"]["rules"][0]["resourceRules"][0]["verbs"] = ["*", "get"]
        answer = await api("POST", f"{GROUP}/v1/flowschemas", schema)
        assert answer.status == 422
        assert {(cause["field"], cause["message"]) for cause in answer.json["details"]["causes"]} == {
            ("spec.matchingPrecedence", "Invalid value: 10001: must not be greater than 10000"),
            (
                "spec.distinguisherMethod.type",
                'Unsupported value: {"type":"ByMood"}: supported values: "ByNamespace", "ByUser"',
            ),
            ("spec.priorityLevelConfiguration.name", "Required value: must reference a priority level"),
            (
                "spec.rules[0].resourceRules[0].verbs",
                'Invalid value: ["*","get"]: if \'*\' is present, must not specify other verbs',
            ),
        }


async def test_dangling_conditions_are_applied() -> None:
    """A schema without its level is Dangling, applied by the consumer; with the level it is not. Nothing is logged."""
    log = io.StringIO()
    telemetry = replace(quiet_telemetry(), log=logging_setup.build(LoggingOptions(), stream=log))
    async with serving(telemetry=telemetry) as api:
        created = await api("POST", f"{GROUP}/v1/flowschemas", _schema("lost", "later", "alice"))
        assert created.status == 201

        def condition(status: str) -> Callable[[], Any]:
            async def look() -> Any:
                schema = (await api("GET", f"{GROUP}/v1/flowschemas/lost")).json
                found = schema.get("status", {}).get("conditions", [])
                return schema if [c["status"] for c in found if c["type"] == "Dangling"] == [status] else None

            return look

        schema = await _until(condition("True"), "Dangling")
        (dangling,) = schema["status"]["conditions"]
        assert dangling["reason"] == "NotFound"
        assert "later" in dangling["message"]
        (applied,) = [entry for entry in schema["metadata"]["managedFields"] if entry["operation"] == "Apply"]
        assert applied["manager"] == "api-priority-and-fairness-config-consumer-v1"
        assert applied["subresource"] == "status"
        await api(
            "POST",
            f"{GROUP}/v1/prioritylevelconfigurations",
            _level("v1", "later", nominalConcurrencyShares=1),
        )
        (found,) = (await _until(condition("False"), "no longer Dangling"))["status"]["conditions"]
        assert found["reason"] == "Found"
    telemetry.log.flush()
    assert [line for line in log.getvalue().splitlines() if line[:1] in "EW"] == []


async def test_a_request_says_what_flow_control_did(tmp_path: Path) -> None:
    """Response headers, the access log line, the audit event of one that had to wait, and the metrics agree."""
    log = io.StringIO()
    telemetry = replace(quiet_telemetry(), log=logging_setup.build(LoggingOptions(verbosity=3), stream=log))
    policy, events = tmp_path / "policy.yaml", tmp_path / "audit.log"
    policy.write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, users: [alice]}]\n")
    options = Options(audit_policy_file=str(policy), audit_log_path=str(events), authorization_mode=("AlwaysAllow",))
    async with serving(options=options, telemetry=telemetry) as api:
        queuing = {"queues": 1, "handSize": 1, "queueLengthLimit": 50}
        level = _level("v1", "narrow", nominalConcurrencyShares=1, borrowingLimitPercent=0)
        level["spec"]["limited"]["limitResponse"] = {"type": "Queue", "queuing": queuing}
        assert (await api("POST", f"{GROUP}/v1/prioritylevelconfigurations", level)).status == 201
        created = await api("POST", f"{GROUP}/v1/flowschemas", _schema("people", "narrow", "alice"))
        assert created.status == 201
        for index in range(12):
            body = {"metadata": {"name": f"large-{index}"}, "data": {"text": "x" * 900_000}}
            assert (await api("POST", "/api/v1/namespaces/default/configmaps", body)).status == 201

        async def in_force() -> bool:
            page = await api("GET", "/debug/api_priority_and_fairness/dump_priority_levels?format=json")
            return "narrow" in {row["name"] for row in page.json}

        await _until(in_force, "the level is in force")
        alice = Api(api.server, api.session, api.server.access("alice", ["people"]))
        path = "/api/v1/namespaces/default/configmaps"
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(alice("GET", path)) for _ in range(8)]
        answers = [task.result() for task in asked]
        schema = (await api("GET", f"{GROUP}/v1/flowschemas/people")).json["metadata"]["uid"]
        uid = (await api("GET", f"{GROUP}/v1/prioritylevelconfigurations/narrow")).json["metadata"]["uid"]
        for answer in answers:
            assert answer.headers["X-Kubernetes-PF-FlowSchema-UID"] == schema
            assert answer.headers["X-Kubernetes-PF-PriorityLevel-UID"] == uid
        labels = {"priority_level": "narrow", "flow_schema": "people"}
        registry = api.server.telemetry.metrics
        assert registry.value("apiserver_flowcontrol_dispatched_requests_total", **labels) == 8
    telemetry.log.flush()
    lines = [line for line in log.getvalue().splitlines() if '"HTTP"' in line and f'URI="{path}"' in line]
    (line, *_) = [line for line in lines if 'verb="LIST"' in line]
    keys = ("apf_pl=", "apf_fs=", "apf_iseats=", "apf_fseats=", "apf_additionalLatency=", "apf_execution_time=")
    assert [key for key in keys if key in line] == list(keys)
    assert 'apf_pl="narrow" apf_fs="people"' in line
    audited = [msgspec.json.decode(event) for event in events.read_bytes().splitlines()]
    waits = [event.get("annotations", {}).get("apiserver.latency.k8s.io/apf-queue-wait") for event in audited]
    assert any(waits)


async def test_a_slow_reader_holds_its_seats() -> None:
    """A client that does not read its large answer is still being served, and stops being so when it leaves."""
    async with serving() as api, AsyncExitStack() as stack:
        data = {"text": "x" * 900_000}
        for index in range(12):
            body = {"metadata": {"name": f"large-{index}"}, "data": data}
            assert (await api("POST", "/api/v1/namespaces/default/configmaps", body)).status == 201

        async def executing() -> int:
            dump = (await api("GET", "/debug/api_priority_and_fairness/dump_priority_levels?format=json")).json
            (level,) = [row for row in dump if row["name"] == "exempt"]
            return int(level["executing"]) - 1  # this request

        host, _, port = api.server.url.removeprefix("https://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=api.ssl, limit=1024)
        stack.callback(writer.close)
        writer.write(b"GET /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in await reader.readline()
        await asyncio.sleep(0.2)
        assert await executing() == 1
        writer.transport.abort()

        async def nobody() -> bool:
            return await executing() == 0

        await _until(nobody, "the seats are free again")


async def test_long_work_is_done_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large start of a watch lets the others in between its batches."""
    steps = 0

    async def take(turns: Turns, level: str, flow: object) -> float:
        nonlocal steps
        steps += 1
        return 0.0

    monkeypatch.setattr(Turns, "take", take)
    monkeypatch.setattr(
        Turns, "take_now", lambda turns: True
    )  # so that the first step of a request takes no other turn
    monkeypatch.setattr(watch, "_INITIAL_BATCH", 2)
    path = "/api/v1/namespaces/default/configmaps"
    async with serving(options=Options(authorization_mode=("AlwaysAllow",))) as api:
        alice = Api(api.server, api.session, api.server.access("alice", ["people"]))
        for index in range(5):
            assert (await alice("POST", path, {"metadata": {"name": f"map-{index}"}})).status == 201
        assert steps == 0
        selector = "fieldSelector=metadata.name!%3Dkube-root-ca.crt"
        answer = await alice("GET", f"{path}?watch=1&timeoutSeconds=1&{selector}")
        assert len(answer.body.splitlines()) == 5
        assert steps == 3


async def test_without_priority_and_fairness() -> None:
    """Two plain limits: over them 429 with Retry-After 1, but not for administrators; the gauges show the peak."""
    options = Options(
        enable_priority_and_fairness=False,
        max_requests_inflight=1,
        max_mutating_requests_inflight=1,
        authorization_mode=("AlwaysAllow",),
    )
    async with serving(options=options) as api, AsyncExitStack() as stack:
        for index in range(12):
            body = {"metadata": {"name": f"large-{index}"}, "data": {"text": "x" * 900_000}}
            assert (await api("POST", "/api/v1/namespaces/default/configmaps", body)).status == 201
        assert (await api("GET", "/debug/api_priority_and_fairness/dump_queues")).status == 404
        alice = Api(api.server, api.session, api.server.access("alice", ["people"]))
        host, _, port = api.server.url.removeprefix("https://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=alice.ssl, limit=1024)
        stack.callback(writer.close)
        writer.write(b"GET /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in await reader.readline()  # and takes no more: it is in flight
        await asyncio.sleep(0.2)
        refused = await alice("GET", "/api/v1/namespaces/default/pods")
        assert (refused.status, refused.body) == (429, b"Too many requests, please try again later.\n")
        assert refused.headers["Retry-After"] == "1"
        assert "X-Kubernetes-PF-FlowSchema-UID" not in refused.headers
        body = {"metadata": {"name": "small"}}
        assert (await alice("POST", "/api/v1/namespaces/default/configmaps", body)).status == 201
        assert (await api("GET", "/api/v1/namespaces/default/pods")).status == 200
        await asyncio.sleep(1.2)
        registry = api.server.telemetry.metrics
        assert registry.value("apiserver_current_inflight_requests", request_kind="readOnly") == 1
        labels = {"code": "429", "component": "apiserver", "group": "", "resource": "pods", "subresource": ""}
        labels |= {"scope": "namespace", "verb": "LIST", "version": "v1"}
        assert registry.value("apiserver_request_terminations_total", **labels) == 1
        writer.transport.abort()

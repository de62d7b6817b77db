"""Each metric of the apiserver moves at its moment: one request, one delta."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from tests.telemetry.metrics.moments import Moments

from kubeglass.components.api.errors import AlreadyExists, ApiError, Forbidden, NotFound
from kubeglass.components.api.kinds import (
    API_SERVICE,
    CLUSTER_ROLE_BINDING,
    CONFIG_MAP,
    ENDPOINTS,
    FLOW_SCHEMA,
    PRIORITY_LEVEL_CONFIGURATION,
    VALIDATING_WEBHOOK_CONFIGURATION,
)
from kubeglass.components.api.user import UserInfo
from kubeglass.components.apiserver.inprocess import LOOPBACK, InProcess
from kubeglass.components.apiserver.metrics import REQUEST_TOTAL
from kubeglass.components.apiserver.options import Options
from kubeglass.components.apiserver.storage.backend import Entry, StoreUnavailable
from kubeglass.components.apiserver.storage.memory import MemoryBackend
from kubeglass.components.apiserver.testing import RunningServer, running
from kubeglass.components.apiserver.wire import Request
from kubeglass.components.machinery.client import Client
from kubeglass.telemetry.metrics.instruments import CounterInstrument

WORKLOAD = UserInfo("system:serviceaccount:default:robot", "", ("system:serviceaccounts", "system:authenticated"), {})
"""Somebody whose requests pass flow control's workload-low level."""


@pytest.fixture
async def server() -> AsyncIterator[RunningServer]:
    async with running() as server:
        await _settled(server)
        yield server


async def _settled(server: RunningServer) -> None:
    """Wait until the server has written what it writes for itself at its start."""
    async with asyncio.timeout(20):
        seen = -1
        while seen != (now := sum(child.value for child in _requests(server).children.values())):
            seen = int(now)
            await asyncio.sleep(0.3)


def _requests(server: RunningServer) -> CounterInstrument:
    return server.telemetry.metrics.bind(REQUEST_TOTAL)


async def _may_read(client: Client) -> bool:
    try:
        await client.list(CONFIG_MAP, "default")
    except Forbidden:
        return False
    return True


async def _status(server: RunningServer, user: UserInfo) -> int:
    """The status of a list of ConfigMaps, without a client's retries."""
    transport = InProcess(lambda: server.server.handler, user)
    answer = await transport.request("GET", "/api/v1/configmaps", headers={}, body=None, timeout_seconds=5)
    return answer.status


def _map(name: str) -> dict[str, object]:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"a": "b"}}


WRITE = """
apiserver_request_total{verb="POST",resource="configmaps",scope="resource",component="apiserver",code="201"}    +1
apiserver_request_duration_seconds_count{verb="POST",resource="configmaps",dry_run=""}                          +1
apiserver_request_sli_duration_seconds_count{verb="POST",resource="configmaps"}                                 +1
apiserver_request_body_size_bytes_count{group="",resource="configmaps",verb="create"}                           +1
apiserver_admission_step_admission_duration_seconds_count{type="admit",operation="CREATE",rejected="false"}     +1
apiserver_admission_step_admission_duration_seconds_count{type="validate",operation="CREATE",rejected="false"}  +1
apiserver_admission_controller_admission_duration_seconds_count{name="NamespaceLifecycle",operation="CREATE"}   +
etcd_requests_total{operation="create",group="",resource="configmaps"}                                          +1
etcd_request_duration_seconds_count{operation="create",group="",resource="configmaps"}                          +1
apiserver_storage_events_received_total{group="",resource="configmaps"}                                         +1
apiserver_watch_cache_events_received_total{group="",resource="configmaps"}                                     +1
apiserver_watch_cache_events_dispatched_total{group="",resource="configmaps"}                                   +1
apiserver_request_filter_duration_seconds_count{filter="authentication"}                                        +1
apiserver_request_filter_duration_seconds_count{filter="authorization"}                                         +1
apiserver_request_filter_duration_seconds_count{filter="priorityandfairness"}                                   +1
authentication_attempts{result="success"}                                                                       +1
authentication_duration_seconds_count{result="success"}                                                         +1
authenticated_user_requests{username="other"}                                                                   +1
authorization_attempts_total{result="allowed"}                                                                  +1
authorization_duration_seconds_count{result="allowed"}                                                          +1
apiserver_authorization_decisions_total{type="RBAC",decision="allowed"}                                         +1
apiserver_flowcontrol_dispatched_requests_total{priority_level="workload-low",flow_schema="service-accounts"}   +1
apiserver_flowcontrol_request_execution_seconds_count{priority_level="workload-low",type="regular"}             +1
apiserver_flowcontrol_request_wait_duration_seconds_count{priority_level="workload-low",execute="true"}         +1
apiserver_flowcontrol_work_estimated_seats_count{priority_level="workload-low"}                                 +1
apiserver_flowcontrol_request_queue_length_after_enqueue_count{priority_level="workload-low"}                   +1
apiserver_flowcontrol_priority_level_seat_utilization_count{priority_level="workload-low"}                      +
apiserver_flowcontrol_priority_level_request_utilization_count{priority_level="workload-low",phase="executing"} +
apiserver_flowcontrol_demand_seats_count{priority_level="workload-low"}                                         +
apiserver_flowcontrol_current_executing_requests{priority_level="workload-low"}                                 =0
apiserver_flowcontrol_current_executing_seats{priority_level="workload-low"}                                    =0
apiserver_flowcontrol_current_inqueue_requests{priority_level="workload-low"}                                   =0
apiserver_flowcontrol_current_inqueue_seats{priority_level="workload-low"}                                      =0
"""

READS = """
apiserver_request_total{verb="LIST",resource="configmaps",scope="namespace",code="200"}                         +1
apiserver_request_total{verb="LIST",resource="configmaps",scope="cluster",code="200"}                           +1
apiserver_response_sizes_count{verb="LIST",resource="configmaps",scope="namespace"}                             +1
apiserver_response_sizes_count{verb="LIST",resource="configmaps",scope="cluster"}                               +1
apiserver_cache_list_total{group="",resource="configmaps"}                                                      +2
apiserver_cache_list_fetched_objects_total{group="",resource="configmaps"}                                      +
apiserver_cache_list_returned_objects_total{group="",resource="configmaps"}                                     +
apiserver_watch_cache_consistent_read_total{group="",resource="configmaps",success="true",fallback="false"}     +2
"""

START = """
apiserver_storage_list_total{group="",resource="configmaps"}                                                    =1
apiserver_storage_list_fetched_objects_total{group="",resource="configmaps"}                                    =0
apiserver_storage_list_evaluated_objects_total{group="",resource="configmaps"}                                  =0
apiserver_storage_list_returned_objects_total{group="",resource="configmaps"}                                   =0
apiserver_watch_cache_initializations_total{group="",resource="configmaps"}                                     =1
watch_cache_capacity{group="",resource="configmaps"}                                                            +0
apiserver_current_inqueue_requests{request_kind="readOnly"}                                                     =0
apiserver_flowcontrol_nominal_limit_seats{priority_level="workload-low"}                                        =245
apiserver_flowcontrol_lower_limit_seats{priority_level="workload-low"}                                          =24
apiserver_flowcontrol_upper_limit_seats{priority_level="workload-low"}                                          =845
"""


async def test_a_write_is_counted_once_everywhere(server: RunningServer) -> None:
    """Authentication, flow control, authorization, admission, storage, cache and the request itself move by one."""
    subject = {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:serviceaccounts"}
    role = {"kind": "ClusterRole", "apiGroup": "rbac.authorization.k8s.io", "name": "cluster-admin"}
    binding = {
        "kind": "ClusterRoleBinding",
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": "robots"},
    }
    await server.client().create(CLUSTER_ROLE_BINDING, {**binding, "subjects": [subject], "roleRef": role})
    client = server.client(WORKLOAD)
    async with asyncio.timeout(10):
        while not await _may_read(client):  # until the authorizer has seen the binding
            await asyncio.sleep(0.01)
    moments = Moments(server.telemetry.metrics)
    await client.create(CONFIG_MAP, _map("one"), "default")
    await moments.until_moved(WRITE)


async def test_reads_are_told_apart_by_scope(server: RunningServer) -> None:
    """A list of one namespace and of all: both consistent, both from the cache, both with a response size."""
    client = server.client()
    await client.create(CONFIG_MAP, _map("read"), "default")
    moments = Moments(server.telemetry.metrics)
    await client.list(CONFIG_MAP, "default")
    await client.list(CONFIG_MAP)
    moments.assert_moved(READS)


async def test_a_read_at_a_version_waits_for_the_cache(server: RunningServer) -> None:
    """Not older than a version that the cache has: waited for, in no time."""
    client = server.client()
    version = (await client.list(CONFIG_MAP, "default")).resource_version
    moments = Moments(server.telemetry.metrics)
    await client.list(CONFIG_MAP, "default", resource_version=version)
    moments.assert_moved('apiserver_watch_cache_read_wait_seconds_count{group="",resource="configmaps"} +1')


async def test_a_started_server_has_read_its_store(server: RunningServer) -> None:
    """One list per resource, empty caches of a known capacity, the seats of the default configuration."""
    moments = Moments(server.telemetry.metrics)
    moments.assert_moved(START.replace("=0\n", "+0\n"))
    metrics = server.telemetry.metrics
    assert metrics.value("apiserver_watch_cache_resource_version", group="", resource="configmaps") is not None
    await moments.until_moved(
        """
        apiserver_resource_objects{group="",resource="namespaces"}              =4
        apiserver_storage_objects{resource="namespaces"}                        =4
        apiserver_resource_size_estimate_bytes{group="",resource="namespaces"}  +0
        apiserver_storage_size_bytes{storage_cluster_id="etcd-0"}               +0
        """
    )
    async with asyncio.timeout(15):  # the first adjustment of borrowing comes after ten seconds
        for name in ("apiserver_flowcontrol_demand_seats_high_watermark", "apiserver_flowcontrol_current_limit_seats"):
            while metrics.value(name, priority_level="workload-low") is None:
                await asyncio.sleep(0.1)


async def test_failures_carry_their_code(server: RunningServer) -> None:
    """404 for what is not there, 409 for what is there already; the store itself has not failed."""
    client = server.client()
    await client.create(CONFIG_MAP, _map("two"), "default")
    moments = Moments(server.telemetry.metrics)
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAP, "nobody", "default")
    with pytest.raises(AlreadyExists):
        await client.create(CONFIG_MAP, _map("two"), "default")
    moments.assert_moved(
        """
        apiserver_request_total{verb="GET",resource="configmaps",scope="resource",code="404"}   +1
        apiserver_request_total{verb="POST",resource="configmaps",scope="resource",code="409"}  +1
        etcd_request_errors_total                                                               +0
        """
    )


async def test_a_watch_counts_its_events_and_itself_at_its_end(server: RunningServer) -> None:
    """Long-running while open; events as they are written; the request when the stream ends."""
    client = server.client()
    version = (await client.list(CONFIG_MAP, "default")).resource_version
    moments = Moments(server.telemetry.metrics)

    async def follow() -> None:
        async for _ in client.watch(CONFIG_MAP, "default", resource_version=version):
            moments.assert_moved(
                'apiserver_longrunning_requests{verb="WATCH",resource="configmaps",scope="namespace"} +1'
            )
            return

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(follow())
        await moments.until_moved('apiserver_longrunning_requests{verb="WATCH",resource="configmaps"} +1')
        await client.create(CONFIG_MAP, _map("three"), "default")
    moments.assert_moved(
        """
        apiserver_watch_events_total{group="",version="v1",resource="configmaps"}        +
        apiserver_watch_events_sizes_count{group="",version="v1",resource="configmaps"}  +
        """
    )
    await moments.until_moved('apiserver_longrunning_requests{verb="WATCH",resource="configmaps"} =0')


async def test_a_watch_list_is_timed_to_its_bookmark(server: RunningServer) -> None:
    """Initial events by watch: each is counted as one, and the time to the bookmark that ends them is observed."""
    client = server.client()
    await client.create(CONFIG_MAP, _map("initial"), "default")
    moments = Moments(server.telemetry.metrics)
    wanted = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with client.stream("GET", f"/api/v1/configmaps?watch=1&timeoutSeconds=1&{wanted}") as stream:
        async for _ in stream.lines:
            pass
    await moments.until_moved(
        """
        apiserver_watch_list_duration_seconds_count{group="",version="v1",resource="configmaps",scope="cluster"} +1
        apiserver_init_events_total{group="",resource="configmaps"}                                              +
        """
    )


async def test_refusals_are_authorization_results(server: RunningServer) -> None:
    """A user without rights: authenticated, not allowed; and a 403 that reaches no handler."""
    stranger = server.client(UserInfo("stranger", "", ("system:authenticated",), {}))
    moments = Moments(server.telemetry.metrics)
    with suppress(ApiError):
        await stranger.get(CONFIG_MAP, "one", "default")
    moments.assert_moved(
        """
        authorization_attempts_total{result="no-opinion"}           +1
        authorization_duration_seconds_count{result="no-opinion"}   +1
        authentication_attempts{result="success"}                   +1
        authenticated_user_requests{username="other"}               +1
        """
    )


async def test_certificates_and_tokens_are_told_apart() -> None:
    """A certificate's remaining life; a wrong token is an error; nothing at all, without anonymous, a failure."""
    async with running(Options(anonymous_auth=False)) as server:
        moments = Moments(server.telemetry.metrics)
        client = Client(server.access(), server.telemetry)
        await client.list(CONFIG_MAP, "default")
        await moments.until_moved("apiserver_client_certificate_expiration_seconds_count +")
        await _plain_get(server, {"Authorization": "Bearer nonsense"})
        await _plain_get(server, {})
        await client.close()
        await moments.until_moved(
            """
            authentication_attempts{result="error"}                                     +1
            authentication_attempts{result="failure"}                                   +1
            authentication_token_cache_request_total{status="miss"}                     +1
            authentication_token_cache_request_duration_seconds_count{status="miss"}    +1
            """
        )


async def _plain_get(server: RunningServer, headers: dict[str, str]) -> int:
    """A request without a certificate; its status."""
    context = ssl.create_default_context(cafile=str(server.folder / "ca.crt"))
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{server.url}/api/v1/pods", headers=headers, ssl=context) as answer:
            return answer.status


async def test_deprecated_apis_are_remembered(server: RunningServer) -> None:
    """Asking for Endpoints, deprecated without a date of removal, sets the gauge."""
    moments = Moments(server.telemetry.metrics)
    await server.client().list(ENDPOINTS, "default")
    moments.assert_moved('apiserver_requested_deprecated_apis{resource="endpoints",removed_release=""} =1')


async def test_a_failed_handshake_is_counted(server: RunningServer) -> None:
    """A client that speaks plain HTTP to the TLS port."""
    moments = Moments(server.telemetry.metrics)
    host, port = server.url.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /livez HTTP/1.1\r\n\r\n")
    with suppress(ConnectionError):
        await reader.read()
    writer.close()
    await moments.until_moved("apiserver_tls_handshake_errors_total +1")


async def test_an_api_service_becomes_unavailable(server: RunningServer) -> None:
    """None is at the start; one whose condition turns is counted once with its reason, and shown until it is back."""
    found = {name: server.telemetry.metrics.value("aggregator_unavailable_apiservice", name=name) for name in _NAMES}
    assert found == dict.fromkeys(_NAMES, 0)
    moments = Moments(server.telemetry.metrics)
    condition = {"type": "Available", "status": "False", "reason": "EndpointsNotFound", "message": "x"}
    condition["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    patch = {"status": {"conditions": [condition]}}
    await server.client().patch(API_SERVICE, "v1.batch", patch, subresource="status")
    await moments.until_moved(
        """
        aggregator_unavailable_apiservice_total{name="v1.batch",reason="EndpointsNotFound"} +1
        aggregator_unavailable_apiservice{name="v1.batch"}                                  =1
        """
    )


_NAMES = ("v1.", "v1.apps", "v1.batch", "v1.rbac.authorization.k8s.io")


async def test_overload_is_refused_and_counted(server: RunningServer) -> None:
    """A level without seats rejects: 429 as request, as termination and with the reason of flow control."""
    client = server.client()
    limited = {"nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0}
    level = {"type": "Limited", "limited": {**limited, "limitResponse": {"type": "Reject"}}}
    await client.create(PRIORITY_LEVEL_CONFIGURATION, _flowcontrol("PriorityLevelConfiguration", level))
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"], "namespaces": ["*"], "clusterScope": True}
    rule = {"subjects": [{"kind": "User", "user": {"name": "noisy"}}], "resourceRules": [everything]}
    schema = {"matchingPrecedence": 10, "priorityLevelConfiguration": {"name": "closed"}, "rules": [rule]}
    await client.create(FLOW_SCHEMA, _flowcontrol("FlowSchema", schema))
    noisy = UserInfo("noisy", "", ("system:authenticated",), {})
    moments = Moments(server.telemetry.metrics)
    async with asyncio.timeout(10):
        while await _status(server, noisy) != 429:
            await asyncio.sleep(0.05)
    moments.assert_moved(
        """
        apiserver_request_total{verb="LIST",resource="configmaps",code="429"}                            +
        apiserver_request_terminations_total{verb="LIST",resource="configmaps",code="429"}               +
        apiserver_flowcontrol_rejected_requests_total{flow_schema="closed",reason="concurrency-limit"} +
        """
    )


def _flowcontrol(kind: str, spec: dict[str, object]) -> dict[str, object]:
    api_version = "flowcontrol.apiserver.k8s.io/v1"
    return {"kind": kind, "apiVersion": api_version, "metadata": {"name": "closed"}, "spec": spec}


async def test_webhooks_are_counted_by_their_outcome(server: RunningServer) -> None:
    """Nobody answers: ignored by one, which fails open, and fatal for the other, which rejects."""
    hooks = [_hook("ignored.example.com", "Ignore"), _hook("required.example.com", "Fail")]
    body = {"kind": "ValidatingWebhookConfiguration", "apiVersion": "admissionregistration.k8s.io/v1"}
    await server.client().create(
        VALIDATING_WEBHOOK_CONFIGURATION, {**body, "metadata": {"name": "nobody"}, "webhooks": hooks}
    )
    moments = Moments(server.telemetry.metrics)
    with pytest.raises(ApiError):
        await server.client().create(CONFIG_MAP, _map("hooked"), "default")
    moments.assert_moved(
        """
        apiserver_admission_webhook_request_total{name="ignored.example.com",code="0",rejected="false"} +1
        apiserver_admission_webhook_request_total{name="required.example.com",code="0",rejected="true"} +1
        apiserver_admission_webhook_admission_duration_seconds_count{name="ignored.example.com",rejected="false"} +1
        apiserver_admission_webhook_admission_duration_seconds_count{name="required.example.com",rejected="true"} +1
        apiserver_admission_webhook_fail_open_count{name="ignored.example.com",type="validating"} +1
        apiserver_admission_webhook_rejection_count{name="required.example.com",error_type="calling_webhook_error"} +1
        apiserver_admission_step_admission_duration_seconds_count{type="validate",operation="CREATE",rejected="true"} +1
        """
    )


def _hook(name: str, policy: str) -> dict[str, object]:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}
    return {
        "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 1,
        "failurePolicy": policy, "clientConfig": {"url": "https://127.0.0.1:1/"}, "rules": [rule],
    }  # fmt: skip


async def test_audit_counts_levels_events_and_what_it_could_not_write(tmp_path: Path) -> None:
    """Two events per request at level Metadata; on a full disk, in strict mode, the request is refused."""
    (tmp_path / "policy.yaml").write_text(
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, users: [auditee]}, {level: None}]\n"
    )
    auditee = UserInfo("auditee", "", ("system:masters",), {})
    for sink, expected in (("/dev/full", True), (str(tmp_path / "log"), False)):
        options = Options(
            audit_policy_file=str(tmp_path / "policy.yaml"), audit_log_path=sink, audit_log_mode="blocking-strict"
        )
        async with running(options) as server:
            moments = Moments(server.telemetry.metrics)
            refused = False
            try:
                await server.client(auditee).raw("GET", "/api/v1/namespaces/default")
            except ApiError as error:
                refused = error.status_code == 500
            assert refused is expected
            moments.assert_moved(
                f"""
                apiserver_audit_level_total{{level="Metadata"}}     +1
                apiserver_audit_event_total                         +{1 if refused else 2}
                apiserver_audit_requests_rejected_total             +{int(refused)}
                apiserver_audit_error_total{{plugin="log"}}         +{int(refused)}
                """
            )


class _FailingBackend(MemoryBackend):
    """A store that cannot be read any more."""

    failing = False

    async def get(self, key: str, revision: int = 0) -> Entry | None:
        if self.failing:
            raise StoreUnavailable("no connection")
        return await super().get(key, revision)


async def test_a_failing_store_is_counted() -> None:
    """A call that the store could not answer is an error of the store."""
    backend = _FailingBackend()
    async with running(backend=backend) as server:
        moments = Moments(server.telemetry.metrics)
        backend.failing = True
        with suppress(ApiError):
            await server.client().delete(CONFIG_MAP, "any", "default")
        backend.failing = False
        moments.assert_moved(
            """
            etcd_requests_total{operation="get",group="",resource="configmaps"}        +1
            etcd_request_errors_total{operation="get",group="",resource="configmaps"}  +1
            """
        )


class _Left:
    """The connection of a client that has gone: whatever is asked of it fails."""

    def __getattr__(self, name: str) -> Callable[..., Awaitable[None]]:
        async def fail(*args: object) -> None:
            raise ConnectionResetError("the client has gone")

        return fail


@pytest.mark.parametrize(("method", "query", "aborts"), [("POST", "", 1), ("GET", "watch=1", 0)], ids=["POST", "WATCH"])
async def test_a_client_that_leaves_is_an_abort(server: RunningServer, method: str, query: str, aborts: int) -> None:
    """Amid its request, that is; a watch ends when its client leaves."""
    path = "/api/v1/namespaces/default/configmaps"
    request = Request(method, path, query, {}, "127.0.0.1:1", cast(Any, _Left()), time.monotonic(), user=LOOPBACK)
    request.vouched = True
    moments = Moments(server.telemetry.metrics)
    with pytest.raises(ConnectionResetError):
        await server.server.handler(request)
    moments.assert_moved(f"apiserver_request_aborts_total +{aborts}")

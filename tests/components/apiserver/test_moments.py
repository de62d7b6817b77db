"""Each metric of the apiserver moves at its moment: one request, one delta."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from kubeglass.components.api.errors import AlreadyExists, ApiError, NotFound
from kubeglass.components.api.kinds import CONFIG_MAP, ENDPOINTS
from kubeglass.components.api.user import UserInfo
from kubeglass.components.apiserver.metrics import REQUEST_TOTAL
from kubeglass.components.apiserver.testing import RunningServer, running
from kubeglass.components.machinery.client import Client
from kubeglass.telemetry.metrics.instruments import CounterInstrument

API = {"component": "apiserver", "dry_run": "", "group": "", "version": "v1", "resource": "configmaps"}
SLI = {name: value for name, value in API.items() if name != "dry_run"}


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


class Deltas:
    """What moved since it was made."""

    def __init__(self, server: RunningServer) -> None:
        self._metrics = server.telemetry.metrics
        self._before = self._all()

    def _all(self) -> dict[str, float]:
        lines = self._metrics.expose()[1].decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    def of(self, name: str, **labels: str) -> float:
        """By how much one series grew; a new one counts from nothing."""
        series = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
        key = f"{name}{{{series}}}" if series else name
        return self._all().get(key, 0) - self._before.get(key, 0)


def _map(name: str) -> dict[str, object]:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"a": "b"}}


async def test_a_write_is_counted_once_everywhere(server: RunningServer) -> None:
    """Request, duration, SLI, body size, admission, authorization and storage each move by one."""
    deltas = Deltas(server)
    await server.client().create(CONFIG_MAP, _map("one"), "default")
    post = {"verb": "POST", "subresource": "", "scope": "resource"}
    assert deltas.of("apiserver_request_total", **API, **post, code="201") == 1
    assert deltas.of("apiserver_request_duration_seconds_count", **API, **post) == 1
    assert deltas.of("apiserver_request_sli_duration_seconds_count", **SLI, **post) == 1
    body = {"group": "", "resource": "configmaps", "verb": "create"}
    assert deltas.of("apiserver_request_body_size_bytes_count", **body) == 1
    for phase in ("admit", "validate"):
        step = {"type": phase, "operation": "CREATE", "rejected": "false"}
        assert deltas.of("apiserver_admission_step_admission_duration_seconds_count", **step) == 1
    stored = {"operation": "create", "group": "", "resource": "configmaps"}
    assert deltas.of("etcd_requests_total", **stored) == 1
    assert deltas.of("etcd_request_duration_seconds_count", **stored) == 1
    async with asyncio.timeout(5):
        while not deltas.of("apiserver_storage_events_received_total", group="", resource="configmaps"):
            await asyncio.sleep(0.01)


async def test_failures_carry_their_code(server: RunningServer) -> None:
    """404 for what is not there, 409 for what is there already."""
    client = server.client()
    await client.create(CONFIG_MAP, _map("two"), "default")
    deltas = Deltas(server)
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAP, "nobody", "default")
    with pytest.raises(AlreadyExists):
        await client.create(CONFIG_MAP, _map("two"), "default")
    assert deltas.of("apiserver_request_total", **API, verb="GET", subresource="", scope="resource", code="404") == 1
    assert deltas.of("apiserver_request_total", **API, verb="POST", subresource="", scope="resource", code="409") == 1


async def test_reads_are_told_apart_by_scope(server: RunningServer) -> None:
    """A list of one namespace and of all; both have a response size."""
    deltas = Deltas(server)
    client = server.client()
    await client.list(CONFIG_MAP, "default")
    await client.list(CONFIG_MAP)
    for scope in ("namespace", "cluster"):
        found = {"verb": "LIST", "subresource": "", "scope": scope}
        assert deltas.of("apiserver_request_total", **API, **found, code="200") == 1
        assert deltas.of("apiserver_response_sizes_count", **SLI, **found) == 1


async def test_a_watch_counts_its_events_and_itself_at_its_end(server: RunningServer) -> None:
    """Long-running while open; events as they are written; the request when the stream ends."""
    client = server.client()
    version = (await client.list(CONFIG_MAP, "default")).resource_version
    deltas = Deltas(server)
    watching = {"verb": "WATCH", "subresource": "", "scope": "namespace"}

    async def follow(client: Client) -> None:
        async for _ in client.watch(CONFIG_MAP, "default", resource_version=version):
            assert deltas.of("apiserver_longrunning_requests", **SLI, **watching) == 1
            return

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(follow(client))
        await asyncio.sleep(0.05)
        await client.create(CONFIG_MAP, _map("three"), "default")
    assert deltas.of("apiserver_watch_events_total", group="", version="v1", resource="configmaps") >= 1
    assert deltas.of("apiserver_watch_events_sizes_count", group="", version="v1", resource="configmaps") >= 1


async def test_refusals_are_authorization_results(server: RunningServer) -> None:
    """A user without rights: denied or no opinion, and a 403 that reaches no handler and is not counted as one."""
    stranger = server.client(UserInfo("stranger", "", ("system:authenticated",), {}))
    deltas = Deltas(server)
    with suppress(ApiError):
        await stranger.get(CONFIG_MAP, "one", "default")
    results = ("denied", "no-opinion")
    assert sum(deltas.of("authorization_attempts_total", result=result) for result in results) == 1
    assert deltas.of("authentication_attempts", result="success") == 1
    assert deltas.of("authenticated_user_requests", username="other") == 1


async def test_deprecated_apis_are_remembered(server: RunningServer) -> None:
    """Asking for Endpoints, deprecated without a date of removal, sets the gauge."""
    await server.client().list(ENDPOINTS, "default")
    labels = {"group": "", "version": "v1", "resource": "endpoints", "subresource": "", "removed_release": ""}
    assert server.telemetry.metrics.value("apiserver_requested_deprecated_apis", **labels) == 1


async def test_a_failed_handshake_is_counted(server: RunningServer) -> None:
    """A client that speaks plain HTTP to the TLS port."""
    deltas = Deltas(server)
    host, port = server.url.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /livez HTTP/1.1\r\n\r\n")
    await reader.read()
    writer.close()
    assert deltas.of("apiserver_tls_handshake_errors_total") == 1


async def test_local_api_services_are_available(server: RunningServer) -> None:
    """Every group version that is served has an APIService, and none is unavailable."""
    found = {name: server.telemetry.metrics.value("aggregator_unavailable_apiservice", name=name) for name in _NAMES}
    assert found == dict.fromkeys(_NAMES, 0)


_NAMES = ("v1.", "v1.apps", "v1.batch", "v1.rbac.authorization.k8s.io")

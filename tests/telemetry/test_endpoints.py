"""A component's pages over real HTTP."""

from __future__ import annotations

import io
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from prometheus_client.parser import text_string_to_metric_families

from kubeglass.components.machinery import certs
from kubeglass.logging.setup import LoggingOptions, build
from kubeglass.logging.verbosity import Verbosity
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.endpoints import Decision, Serving, serve
from kubeglass.telemetry.health import Health
from kubeglass.telemetry.metrics.definitions import Counter, Gauge
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.pages import Answer, Asked, Pages
from kubeglass.telemetry.tracing.tracer import Tracer
from kubeglass.telemetry.zpages import About

STARTED = datetime(2026, 1, 5, 3, 4, 5, tzinfo=UTC)
BOUND = Counter("requests_total", "Requests.", ("verb",))


class World:
    """A component's telemetry, its log as text, and its pages."""

    def __init__(self) -> None:
        self.log = io.StringIO()
        self.verbosity = Verbosity(2)
        logger = build(LoggingOptions(), stream=self.log, verbosity=self.verbosity)
        self.telemetry = Telemetry(logger, Registry(), Tracer(), Health())
        self.resources = self.telemetry.metrics.companion()
        self.pages = Pages(
            self.telemetry,
            About("kube-scheduler", "v1.36.2+kubeglass", "1.36", "python3.11.7", STARTED),
            flags={"v": "2"},
            verbosity=self.verbosity,
            registries={"/metrics/resources": self.resources},
            resettable=("/metrics",),
        )


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def server(world: World) -> AsyncIterator[Serving]:
    async with serve(world.pages, "127.0.0.1", 0) as serving:
        yield serving


@pytest.fixture
async def http(server: Serving) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(server.url) as session:
        yield session


async def test_metrics_are_scraped(world: World, http: aiohttp.ClientSession) -> None:
    """The page parses, says when the process started, and is gzipped for those who take it."""
    world.telemetry.metrics.bind(BOUND).labels("GET").inc()
    async with http.get("/metrics", headers={"Accept-Encoding": "gzip"}) as response:
        page = await response.text()
        assert response.headers["Content-Encoding"] == "gzip"
        assert response.headers["Process-Start-Time-Unix"] == str(int(STARTED.timestamp()))
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
    assert 'requests_total{verb="GET"} 1\n' in page
    assert list(text_string_to_metric_families(page))
    async with http.get("/metrics", headers={"Accept-Encoding": "identity"}) as response:
        assert "Content-Encoding" not in response.headers
        assert await response.text() == page


async def test_openmetrics_is_negotiated(http: aiohttp.ClientSession) -> None:
    """A scraper that prefers OpenMetrics gets it."""
    async with http.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"}) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert (await response.text()).endswith("# EOF\n")


async def test_delete_resets_where_it_may(world: World, http: aiohttp.ClientSession) -> None:
    """`metrics reset` on a resettable endpoint, 405 on the others."""
    world.telemetry.metrics.bind(BOUND).labels("GET").inc()
    async with http.delete("/metrics") as response:
        assert (response.status, await response.text()) == (200, "metrics reset\n")
    assert world.telemetry.metrics.value("requests_total", verb="GET") == 0
    async with http.delete("/metrics/resources") as response:
        assert response.status == 405


async def test_a_failing_collector_is_a_500(world: World, http: aiohttp.ClientSession) -> None:
    """With the collector's text, before any sample was sent."""
    row = Gauge("disk_bytes", "Disk.")

    def broken() -> list[tuple[Gauge, tuple[()], float]]:
        raise OSError("no such device")

    world.resources.collect((row,), broken)
    async with http.get("/metrics/resources") as response:
        assert response.status == 500
        assert "no such device" in await response.text()


async def test_health_over_http(world: World, http: aiohttp.ClientSession) -> None:
    """Status and text of the three endpoints and of single checks; why a check failed is logged."""

    def broken() -> None:
        raise RuntimeError("secret details")

    world.telemetry.health.add("etcd", broken, ("readyz",))
    expected = {
        "/livez": (200, "ok"),
        "/livez?verbose": (200, "[+]ping ok\nlivez check passed\n"),
        "/livez/ping": (200, "ok"),
        "/livez/nope": (404, "404 page not found\n"),
        "/readyz": (500, "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n"),
        "/readyz?exclude=etcd": (200, "ok"),
        "/readyz/etcd": (500, "internal server error: secret details\n"),
        "/healthz": (200, "ok"),
    }
    for path, answer in expected.items():
        async with http.get(path) as response:
            assert (response.status, await response.text()) == answer, path
            assert response.headers["X-Content-Type-Options"] == "nosniff"
    world.telemetry.log.flush()
    assert "[-]etcd failed: secret details" in world.log.getvalue()


async def test_slis_count_root_checks_only(http: aiohttp.ClientSession) -> None:
    """Each executed check moves gauge and counter; single checks and excluded ones do not."""
    for path in ("/livez", "/livez", "/readyz?exclude=ping", "/healthz/ping"):
        await http.get(path)
    async with http.get("/metrics/slis") as response:
        page = await response.text()
    samples = [line for line in page.splitlines() if not line.startswith("#")]
    assert samples == [
        'kubernetes_healthcheck{name="ping",type="livez"} 1',
        'kubernetes_healthchecks_total{name="ping",status="success",type="livez"} 2',
        "process_start_time_seconds 1.767582245e+09",
    ]
    assert "# HELP process_start_time_seconds [ALPHA] " in page
    assert "# HELP kubernetes_healthcheck [STABLE] " in page


async def test_verbosity_is_set_at_run_time(world: World, http: aiohttp.ClientSession) -> None:
    """PUT /debug/flags/v in upstream's words."""
    async with http.put("/debug/flags/v", data="5") as response:
        assert (response.status, await response.text()) == (200, "successfully set klog.logging.verbosity to 5")
    assert world.verbosity.level == 5
    async with http.put("/debug/flags/v", data="loud") as response:
        assert response.status == 400
        assert (await response.text()).startswith("failed set klog.logging.verbosity loud: ")
    async with http.get("/debug/flags/v") as response:
        assert response.status == 406


async def test_zpages_are_served(http: aiohttp.ClientSession) -> None:
    """/statusz lists the paths there are, /flagz the flags."""
    async with http.get("/statusz") as response:
        assert "/metrics /metrics/resources /metrics/slis" in await response.text()
    async with http.get("/flagz") as response:
        assert "\nv=2\n" in await response.text()


async def test_other_paths_are_not_found(http: aiohttp.ClientSession) -> None:
    """As Go's mux says it."""
    async with http.get("/nope") as response:
        assert (response.status, await response.text()) == (404, "404 page not found\n")


@asynccontextmanager
async def _guarded(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    async def authorize(headers: Mapping[str, str], certificate: bytes | None, method: str, path: str) -> Decision:
        token = headers.get("Authorization", "")
        if token == "Bearer good":
            return Decision(user="prometheus")
        return Decision(401) if token else Decision(403, "", "system:anonymous")

    async with serve(world.pages, "127.0.0.1", 0, authorize=authorize) as serving:
        async with aiohttp.ClientSession(serving.url) as session:
            yield session


async def test_refusals_are_status_objects(world: World) -> None:
    """401 without valid credentials, 403 without the right; health stays open."""
    async with _guarded(world) as http:
        async with http.get("/metrics", headers={"Authorization": "Bearer good"}) as response:
            assert response.status == 200
        async with http.get("/metrics", headers={"Authorization": "Bearer bad"}) as response:
            assert response.status == 401
            assert json.loads(await response.read()) == {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Failure",
                "message": "Unauthorized",
                "reason": "Unauthorized",
                "code": 401,
            }
        async with http.get("/metrics/slis") as response:
            assert response.status == 403
            body = json.loads(await response.read())
            assert body["message"] == 'forbidden: User "system:anonymous" cannot get path "/metrics/slis"'
            assert (body["reason"], body["details"], body["code"]) == ("Forbidden", {}, 403)
        for path in ("/healthz", "/livez/ping", "/readyz"):
            async with http.get(path) as response:
                assert response.status == 200, path
        async with http.get("/livezz") as response:
            assert response.status == 403


async def test_extra_routes_are_exact_paths(world: World) -> None:
    """A component may add pages of its own."""

    async def configz(asked: Asked) -> Answer:
        return Answer(200, "application/json", (b"{}",))

    async with serve(world.pages, "127.0.0.1", 0, extra_routes={"/configz": configz}) as serving:
        async with aiohttp.ClientSession(serving.url) as session, session.get("/configz") as response:
            assert await response.json() == {}


async def test_a_client_certificate_reaches_the_authorizer(world: World, tmp_path: Path) -> None:
    """With CERT_OPTIONAL the peer's certificate arrives as DER, and None without one."""
    now = datetime.now(UTC)
    authority = certs.new_authority("test-ca", now)
    server = certs.new_leaf(authority, "server", now, addresses=("127.0.0.1",), server=True)
    client = certs.new_leaf(authority, "alice", now, client=True)
    ca = tmp_path / "ca.crt"
    ca.write_bytes(authority.certificate_pem())
    server.write(tmp_path / "server.crt", tmp_path / "server.key")
    client.write(tmp_path / "client.crt", tmp_path / "client.key")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca))
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    context.verify_mode = ssl.CERT_OPTIONAL
    seen: list[bytes | None] = []

    async def authorize(headers: Mapping[str, str], certificate: bytes | None, method: str, path: str) -> Decision:
        seen.append(certificate)
        return Decision()

    trusting = ssl.create_default_context(cafile=str(ca))
    presenting = ssl.create_default_context(cafile=str(ca))
    presenting.load_cert_chain(tmp_path / "client.crt", tmp_path / "client.key")
    async with serve(world.pages, "127.0.0.1", 0, ssl_context=context, authorize=authorize) as serving:
        assert serving.url.startswith("https://")
        for tls in (trusting, presenting):
            connector = aiohttp.TCPConnector(ssl=tls)
            async with aiohttp.ClientSession(serving.url, connector=connector) as session:
                assert (await session.get("/metrics")).status == 200
    assert seen == [None, client.certificate.public_bytes(Encoding.DER)]

"""A real Prometheus scrapes a real server, in text, OpenMetrics and protobuf."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from kubeglass.logging.setup import LoggingOptions, build
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.endpoints import serve
from kubeglass.telemetry.health import Health
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.pages import Pages
from kubeglass.telemetry.tracing.tracer import Tracer
from kubeglass.telemetry.zpages import About

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is missing: apt-get install prometheus"
)

CONFIG = """
global: {{scrape_interval: 200ms}}
scrape_configs:
- job_name: kubeglass
  static_configs: [{{targets: ["{target}"]}}]
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def _prometheus(folder: Path, target: str, *features: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A Prometheus that scrapes `target` five times a second; the session speaks to its API."""
    (folder / "prometheus.yml").write_text(CONFIG.format(target=target))
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--enable-feature={','.join(('exemplar-storage', *features))}",
        "--log.level=error",
    )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            yield session
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def _served(registry: Registry) -> AsyncIterator[str]:
    telemetry = Telemetry(build(LoggingOptions()), registry, Tracer(), Health())
    pages = Pages(telemetry, About("kube-scheduler", "v1.36.2", "1.36", "python3", datetime.now(UTC)))
    async with serve(pages, "127.0.0.1", 0) as serving:
        yield f"{serving.host}:{serving.port}"


async def _eventually(ask: Callable[[], Awaitable[Any]], seconds: float = 30) -> Any:
    """The first answer that is not empty."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                if found := await ask():
                    return found
            except aiohttp.ClientConnectionError:
                pass  # it is still starting
            await asyncio.sleep(0.1)


async def _query(session: aiohttp.ClientSession, query: str) -> list[dict[str, Any]]:
    async with session.get("/api/v1/query", params={"query": query}) as response:
        if response.status != 200:
            return []
        found: list[dict[str, Any]] = (await response.json())["data"]["result"]
        return found


async def test_openmetrics_with_exemplars_is_ingested(everything: Registry, tmp_path: Path) -> None:
    """Prometheus prefers OpenMetrics: every family arrives, and exemplars carry the trace id."""
    async with _served(everything) as target, _prometheus(tmp_path, target) as prometheus:
        (requests,) = await _eventually(lambda: _query(prometheus, 'requests_total{code="404"}'))
        assert requests["value"][1] == "2"
        bounds = {series["metric"]["le"] for series in await _query(prometheus, "seconds_bucket")}
        assert bounds == {"0.005", "1", "2.5", "1e+06", "+Inf"}

        async def exemplars() -> Any:
            window = {"query": '{__name__=~"seconds_bucket|requests_total"}', "start": "0", "end": "9999999999"}
            async with prometheus.get("/api/v1/query_exemplars", params=window) as response:
                return (await response.json())["data"]

        found = await _eventually(exemplars)
        ids = {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}
        assert {series["seriesLabels"]["__name__"] for series in found} == {"seconds_bucket", "requests_total"}
        assert ids == {"0af7651916cd43dd8448eb211c80319c"}
        (up,) = await _query(prometheus, "up")
        assert up["value"][1] == "1"


async def test_text_is_ingested(everything: Registry, tmp_path: Path) -> None:
    """A server that only ever answers in the text format: the same series, values and bounds."""

    async def plain(request: web.BaseRequest) -> web.Response:
        content_type, body = everything.expose("text/plain;version=0.0.4")
        return web.Response(body=body, headers={"Content-Type": content_type})

    async with _answering(plain) as target, _prometheus(tmp_path, target) as prometheus:
        (requests,) = await _eventually(lambda: _query(prometheus, 'requests_total{code="404"}'))
        assert requests["value"][1] == "2"
        bounds = {series["metric"]["le"] for series in await _query(prometheus, "seconds_bucket")}
        assert bounds == {"0.005", "1", "2.5", "1e+06", "+Inf"}
        (up,) = await _query(prometheus, "up")
        assert up["value"][1] == "1"


@asynccontextmanager
async def _answering(handler: Callable[[web.BaseRequest], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """A server with one answer to everything."""
    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"{host}:{port}"
    finally:
        await runner.cleanup()


async def test_native_histograms_are_ingested(everything_native: Registry, tmp_path: Path) -> None:
    """A Prometheus that asks for protobuf gets native histograms and computes quantiles from them."""
    async with _served(everything_native) as target:
        async with _prometheus(tmp_path, target, "native-histograms") as prometheus:
            (sizes,) = await _eventually(lambda: _query(prometheus, "histogram_count(sizes)"))
            assert sizes["value"][1] == "1"
            (median,) = await _query(prometheus, "histogram_quantile(0.5, sizes)")
            assert 3.6 < float(median["value"][1]) < 4.4

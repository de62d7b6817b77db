"""Metrics against prometheus_client: the hot path, the exposition at 50,000 series, memory."""

from __future__ import annotations

import asyncio
import gc
import http.client
import multiprocessing
import os
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import prometheus_client
import uvloop
from prometheus_client.exposition import generate_latest
from tests.benchmarks.report import Row, alternate

from kubeglass.logging.setup import LoggingOptions, build
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.endpoints import serve
from kubeglass.telemetry.health import Health
from kubeglass.telemetry.metrics.definitions import Counter, Gauge, Histogram
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.pages import Pages
from kubeglass.telemetry.tracing.tracer import Tracer
from kubeglass.telemetry.zpages import About

BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
LABELS = ("verb", "group", "version", "resource", "scope")
COUNTERS, GAUGES, HISTOGRAMS = 10_000, 5_000, 1_346  # 10,000 + 5,000 + 1,346 x 26 lines = 50,000 series
CALLS = 100_000


def run(rounds: int) -> Iterable[Row]:
    """All comparisons; each alternates ours and theirs `rounds` times and compares medians."""
    yield from _hot_path(rounds)
    yield from _exposition(rounds)
    yield from _memory()
    yield from _requests_during_scrapes(rounds)


def _values(number: int) -> tuple[str, ...]:
    return ("GET", f"group{number % 7}.k8s.io", "v1", f"resource{number}", "namespace")


def _ours() -> Registry:
    registry = Registry()
    counter = registry.bind(Counter("bench_requests_total", "Requests.", LABELS))
    gauge = registry.bind(Gauge("bench_inflight", "Requests.", LABELS))
    histogram = registry.bind(Histogram("bench_duration_seconds", "Seconds.", LABELS, buckets=BUCKETS))
    _fill(counter, gauge, histogram)
    return registry


def _theirs() -> prometheus_client.CollectorRegistry:
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.disable_created_metrics()
    counter = prometheus_client.Counter("bench_requests", "Requests.", LABELS, registry=registry)
    gauge = prometheus_client.Gauge("bench_inflight", "Requests.", LABELS, registry=registry)
    histogram = prometheus_client.Histogram(
        "bench_duration_seconds", "Seconds.", LABELS, registry=registry, buckets=BUCKETS
    )
    _fill(counter, gauge, histogram)
    return registry


def _fill(counter: object, gauge: object, histogram: object) -> None:
    for number in range(COUNTERS):
        counter.labels(*_values(number)).inc(number)  # type: ignore[attr-defined]
    for number in range(GAUGES):
        gauge.labels(*_values(number)).set(number / 8)  # type: ignore[attr-defined]
    for number in range(HISTOGRAMS):
        child = histogram.labels(*_values(number))  # type: ignore[attr-defined]
        for observed in range(5):
            child.observe(observed * 0.37)


def _hot_path(rounds: int) -> Iterable[Row]:
    ours, theirs = Registry(), prometheus_client.CollectorRegistry()
    our_counter = ours.bind(Counter("bench_total", "x", LABELS)).labels(*_values(1))
    their_counter = prometheus_client.Counter("bench", "x", LABELS, registry=theirs).labels(*_values(1))
    yield _calls("counter inc, cached child", our_counter.inc, their_counter.inc, (), rounds)
    our_histogram = ours.bind(Histogram("bench_seconds", "x", LABELS, buckets=BUCKETS)).labels(*_values(1))
    their_histogram = prometheus_client.Histogram(
        "bench_seconds", "x", LABELS, registry=theirs, buckets=BUCKETS
    ).labels(*_values(1))
    for value in (0.003, 7.0):
        yield _calls(
            f"histogram observe({value}), 23 buckets, cached child",
            our_histogram.observe,
            their_histogram.observe,
            (value,),
            rounds,
        )


def _calls(
    what: str,
    ours: Callable[..., object],
    theirs: Callable[..., object],
    arguments: tuple[float, ...],
    rounds: int,
) -> Row:
    seconds = alternate((lambda: _repeat(ours, arguments), lambda: _repeat(theirs, arguments)), rounds)
    nanoseconds = [value / CALLS * 1e9 for value in seconds]
    return _row(what, f"{nanoseconds[0]:.0f} ns", f"{nanoseconds[1]:.0f} ns", seconds[1] / seconds[0], 2)


def _repeat(call: Callable[..., object], arguments: tuple[float, ...]) -> None:
    if arguments:
        (value,) = arguments
        for _ in range(CALLS):
            call(value)
    else:
        for _ in range(CALLS):
            call()


def _exposition(rounds: int) -> Iterable[Row]:
    ours, theirs = _ours(), _theirs()
    seconds = alternate((ours.expose, lambda: generate_latest(theirs)), rounds)
    lines = sum(not line.startswith(b"#") for line in ours.expose()[1].splitlines())
    what = f"text exposition of {lines:,} series"
    yield _row(what, f"{seconds[0] * 1e3:.1f} ms", f"{seconds[1] * 1e3:.0f} ms", seconds[1] / seconds[0], 20)
    blocks = []
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in ours.exposition().blocks:
            blocks.append(time.perf_counter() - started)
            started = time.perf_counter()
    longest = statistics.quantiles(blocks, n=100)[98]
    yield _row(
        "p99 of the time a scrape holds the event loop",
        f"{longest * 1e3:.2f} ms",
        f"{seconds[1] * 1e3:.0f} ms",
        seconds[1] / longest,
        20,
    )


def _memory() -> Iterable[Row]:
    ours, theirs = _allocated(_ours), _allocated(_theirs)
    yield _row("memory of 50,000 series", f"{ours / 2**20:.1f} MiB", f"{theirs / 2**20:.1f} MiB", theirs / ours, 1)


def _requests_during_scrapes(rounds: int) -> Iterable[Row]:
    """GET /livez of a server that is scraped without pause, of one whose neighbour is, and of one left in peace.

    The neighbour keeps the machine as busy; what remains is what a scrape takes from the event loop.
    """
    fork = multiprocessing.get_context("fork")
    servers = []
    for _ in range(2):
        here, there = fork.Pipe()
        server = fork.Process(target=_serve, args=(there,), daemon=True)
        server.start()
        servers.append((server, here.recv()))
    (_, asked), (_, neighbour) = servers
    latencies: dict[int, list[float]] = {asked: [], neighbour: [], 0: []}
    for _ in range(rounds):
        for scraped, found in latencies.items():
            scraper = fork.Process(target=_scrape_forever, args=(scraped,), daemon=True)
            if scraped:
                scraper.start()
            found += _latencies(asked)
            if scraped:
                scraper.kill()
                scraper.join()
    for server, _ in servers:
        server.kill()
        server.join()
    here_p99, next_door_p99, idle_p99 = (statistics.quantiles(found, n=100)[98] for found in latencies.values())
    for against, other in (("scraping next door", next_door_p99), ("idle", idle_p99)):
        ratio = here_p99 / other
        what = f"p99 of GET /livez while 50,000 series are scraped, against {against}"
        yield Row(what, f"{here_p99 * 1e3:.2f} ms", f"{other * 1e3:.2f} ms", ratio, "<= 2x", ratio <= 2)


def _serve(parent: Any) -> None:
    async def main() -> None:
        telemetry = Telemetry(build(LoggingOptions()), _ours(), Tracer(), Health())
        pages = Pages(telemetry, About("bench", "v1.36.2", "1.36", "python3", datetime.now(UTC)))
        async with serve(pages, "127.0.0.1", 0) as serving:
            parent.send(serving.port)
            await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def _scrape_forever(port: int) -> None:
    os.nice(10)  # what it takes from the client that is measured, where both share a core, is not the server's doing
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while True:
        connection.request("GET", "/metrics", headers={"Accept-Encoding": "identity"})
        response = connection.getresponse()
        while response.read(1 << 20):
            pass
        time.sleep(0.01)


def _latencies(port: int, requests: int = 500) -> list[float]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    found = []
    for _ in range(requests):
        started = time.perf_counter()
        connection.request("GET", "/livez")
        connection.getresponse().read()
        found.append(time.perf_counter() - started)
        time.sleep(0.001)
    connection.close()
    return found


def _allocated(build: Callable[[], object]) -> int:
    """Bytes that live once `build` has returned."""
    gc.collect()
    tracemalloc.start()
    kept = build()
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    return size


def _row(what: str, ours: str, theirs: str, ratio: float, bound: float) -> Row:
    return Row(what=what, ours=ours, theirs=theirs, ratio=ratio, bound=f">= {bound}x", ok=ratio >= bound)

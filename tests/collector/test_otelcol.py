"""otelcol.yaml in the real OpenTelemetry Collector, built by its own builder, fed by our exporter.

The first build downloads some hundred Go modules and compiles for two to four minutes on two cores; the binary is kept
in the user's cache folder.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import kubeglass.collector
from kubeglass.logging.setup import LoggingOptions, build
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.setup import TracingConfiguration, build_tracer
from kubeglass.telemetry.tracing.tracer import SERVER, Link

VERSION = "v0.165.0"
CONFIG = Path(kubeglass.collector.__file__).parent / "otelcol.yaml"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kubeglass"
BUILDER = f"go.opentelemetry.io/collector/cmd/builder@{VERSION}"
COMPONENTS = {
    "receivers": ["receiver/otlpreceiver"],
    "processors": ["processor/batchprocessor", "processor/memorylimiterprocessor"],
    "exporters": ["exporter/debugexporter"],
}


def manifest(output: Path) -> str:
    """What the builder is told: the components that otelcol.yaml names, no others."""
    lines = ["dist:", "  name: otelcol", "  description: otelcol.yaml's components", f"  output_path: {output}"]
    for kind, modules in COMPONENTS.items():
        lines += [f"{kind}:", *(f"  - gomod: go.opentelemetry.io/collector/{module} {VERSION}" for module in modules)]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def otelcol() -> Path:
    """The real collector's binary."""
    binary = CACHE / f"otelcol-{VERSION}" / "otelcol"
    if binary.exists():
        return binary
    if shutil.which("go") is None:
        pytest.skip("no Go toolchain to build the real collector with: apt-get install golang-go")
    binary.parent.mkdir(parents=True, exist_ok=True)
    config = binary.parent / "manifest.yaml"
    config.write_text(manifest(binary.parent))
    environment = {**os.environ, "GOFLAGS": "-buildvcs=false"}
    built = subprocess.run(["go", "run", BUILDER, "--config", config], env=environment, capture_output=True, text=True)
    if built.returncode:
        if "dial tcp" in built.stderr or "no such host" in built.stderr:
            pytest.skip("the Go module proxy is out of reach, and the real collector is not in the cache")
        pytest.fail(built.stderr[-3000:])
    return binary


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def endpoint(otelcol: Path) -> AsyncIterator[tuple[str, asyncio.Queue[str]]]:
    """The address of a running real collector, and the lines it prints."""
    grpc_port, http_port, metrics_port = free_port(), free_port(), free_port()
    environment = {
        **os.environ,
        "OTLP_GRPC_ENDPOINT": f"127.0.0.1:{grpc_port}",
        "OTLP_HTTP_ENDPOINT": f"127.0.0.1:{http_port}",
    }
    prometheus = f"{{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics_port}}}}}}}"
    telemetry = f"--set=service.telemetry.metrics.readers=[{{pull: {prometheus}}}]"
    process = await asyncio.create_subprocess_exec(
        str(otelcol), f"--config={CONFIG}", telemetry, env=environment, stderr=asyncio.subprocess.PIPE
    )
    lines: asyncio.Queue[str] = asyncio.Queue()
    assert process.stderr is not None

    async def read() -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            lines.put_nowait(line.decode())

    async with asyncio.TaskGroup() as group:
        reader = group.create_task(read())
        await until(lines, "Everything is ready")
        yield f"127.0.0.1:{grpc_port}", lines
        process.terminate()
        await process.wait()
        await reader


async def until(lines: asyncio.Queue[str], text: str) -> str:
    """Everything printed up to the line with `text`."""
    printed = ""
    async with asyncio.timeout(30):
        while text not in printed:
            try:
                printed += await asyncio.wait_for(lines.get(), 20)
            except TimeoutError:
                pytest.fail(f"the collector never said {text!r}, but:\n{printed}")
    return printed


@pytest.mark.timeout(1200)
async def test_the_real_collector_prints_our_spans(endpoint: tuple[str, asyncio.Queue[str]]) -> None:
    """Every part of our spans is understood: ids, kind, status, attributes of each type, events, links, resource."""
    target, lines = endpoint
    log = build(LoggingOptions(), io.StringIO())
    config = TracingConfiguration(target, 1_000_000)
    registry = Registry()
    tracer = build_tracer("apiserver", config, {"service.instance.id": "apiserver-abc"}, log, registry, environ={})
    started = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(tracer.run(started.set))
        await started.wait()
        with tracer.named("k8s.io/component-base/tracing").span("outer", kind=SERVER) as outer:
            attributes = {"text": "ü", "yes": True, "n": -7, "ratio": 0.5, "list": ["a", "b"]}
            with tracer.span("inner", attributes=attributes, links=[Link(outer.context, {"why": "test"})]) as inner:
                inner.event("About to write", size=3)
                inner.error("broken pipe")
        assert await tracer.flush(10)
        task.cancel()
    printed = await until(lines, "outer")
    printed += await until(lines, "\n\t")
    for expected in (
        "service.name: Str(apiserver)",
        "service.instance.id: Str(apiserver-abc)",
        "InstrumentationScope k8s.io/component-base/tracing",
        f"Trace ID       : {inner.context.trace_hex}",
        f"Parent ID      : {outer.context.span_hex}",
        f"ID             : {inner.context.span_hex}",
        "Kind           : Server",
        "Status code    : Error",
        "Status message : broken pipe",
        "text: Str(ü)",
        "yes: Bool(true)",
        "n: Int(-7)",
        "ratio: Double(0.5)",
        'list: Slice(["a","b"])',
        "Name: About to write",
        "size: Int(3)",
        "why: Str(test)",
    ):
        assert expected in printed, expected
    assert registry.value("kubeglass_tracing_spans_exported_total") == 2

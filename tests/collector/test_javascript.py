"""The official JavaScript SDK's exporters against our collector, in Node.js."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.collector.harness import Running

VERSIONS = {
    "@opentelemetry/api": "1.9.0",
    "@opentelemetry/sdk-trace-node": "2.0.1",
    "@opentelemetry/resources": "2.0.1",
    "@opentelemetry/exporter-trace-otlp-grpc": "0.203.0",
    "@opentelemetry/exporter-trace-otlp-http": "0.203.0",
    "@opentelemetry/exporter-trace-otlp-proto": "0.203.0",
}
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kubeglass" / "opentelemetry-js"
PROGRAM = """
const { NodeTracerProvider, SimpleSpanProcessor } = require('@opentelemetry/sdk-trace-node');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const { OTLPTraceExporter } = require(process.argv[1]);
const exporter = new OTLPTraceExporter({ url: process.argv[2] });
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ 'service.name': 'node' }),
  spanProcessors: [new SimpleSpanProcessor(exporter)],
});
const span = provider.getTracer('js').startSpan('from javascript', { attributes: { n: 1, list: ['a'] } });
span.addEvent('hello');
span.end();
provider.shutdown().then(() => console.log(span.spanContext().traceId));
"""


@pytest.fixture(scope="module")
def modules() -> Path:
    """A folder with the SDK installed, kept in the user's cache."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no Node.js: apt-get install nodejs npm")
    if not (CACHE / "installed").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        packages = [f"{name}@{version}" for name, version in VERSIONS.items()]
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(CACHE), *packages]
        installed = subprocess.run(command, capture_output=True, text=True, timeout=240)
        if installed.returncode:
            pytest.skip(f"npm could not install the JavaScript SDK: {installed.stderr.strip()[-300:]}")
        (CACHE / "installed").touch()
    return CACHE


@pytest.mark.parametrize(
    ("package", "way"),
    [
        ("@opentelemetry/exporter-trace-otlp-grpc", "grpc"),
        ("@opentelemetry/exporter-trace-otlp-http", "http"),
        ("@opentelemetry/exporter-trace-otlp-proto", "http"),
    ],
)
async def test_official_javascript_exporters(running: Running, modules: Path, package: str, way: str) -> None:
    """gRPC, HTTP with JSON and HTTP with protobuf: each is accepted and its span comes out whole."""
    collector = running.collector
    url = f"http://{collector.grpc}" if way == "grpc" else f"http://{collector.http}/v1/traces"
    node = await asyncio.create_subprocess_exec(
        "node", "-e", PROGRAM, "--", package, url, cwd=modules, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(node.communicate(), 60)
    trace = output.decode().strip()
    status, found = await running.get(f"/api/traces/{trace}")
    assert status == 200
    (span,) = found["data"][0]["spans"]
    assert span["operationName"] == "from javascript" and span["logs"][0]["fields"][0]["value"] == "hello"
    assert {"key": "n", "type": "int64", "value": 1} in span["tags"]
    assert found["data"][0]["processes"]["p1"]["serviceName"] == "node"

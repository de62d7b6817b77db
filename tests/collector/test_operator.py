"""The three lines for operators, in a program of their own, as users write it."""

from __future__ import annotations

import asyncio
import os
import sys

from tests.collector.harness import Running

from kubeglass.telemetry.tracing.causality import stamp
from kubeglass.telemetry.tracing.context import SpanContext

PROGRAM = """
import sys
from kubeglass.telemetry.tracing import reconcile_span, stamped
metadata = {"name": "s", "uid": "u", "generation": 1, "annotations": {sys.argv[1]: sys.argv[2]}}
body = {"kind": "Shop", "metadata": metadata}
with reconcile_span(body):
    print(stamped({"metadata": {"name": "child"}})["metadata"]["annotations"][sys.argv[1]])
"""


async def test_a_whole_operator(running: Running) -> None:
    """Its span arrives although the program ends at once, in the trace of the change, under its own service name."""
    write = SpanContext(0x0123456789ABCDEF0123456789ABCDEF, 0xAB)
    ((key, value),) = stamp(None, write).items()
    environment = {
        **os.environ,
        "OTEL_SERVICE_NAME": "shop-operator",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{running.collector.grpc}",
    }
    operator = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, key, value, env=environment, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(operator.communicate(), 60)
    assert operator.returncode == 0
    _, found = await running.get(f"/api/traces/{write.trace_hex}")
    (span,) = found["data"][0]["spans"]
    assert output.decode().strip() == f"00-{write.trace_hex}-{span['spanID']}-01"
    assert span["operationName"] == "reconcile Shop" and span["references"][0]["spanID"] == write.span_hex
    assert found["data"][0]["processes"]["p1"]["serviceName"] == "shop-operator"

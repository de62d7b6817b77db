"""Components are forked from one preloaded parent: nothing of tracing may be open or shared before that."""

from __future__ import annotations

import subprocess
import sys

LOADED = """
import sys
from kubeglass.telemetry.tracing import causality, encode, exporter, setup, tracer
print(*[name for name in ("grpc", "aiohttp", "opentelemetry.sdk", "opentelemetry.proto") if name in sys.modules])
"""

FORKED = """
import os, sys
from kubeglass.telemetry.tracing.tracer import Tracer
class Forget:
    def offer(self, span):
        pass
tracer = Tracer(Forget())
tracer.start("before").end()
for _ in range(4):
    if os.fork() == 0:
        os.write(1, f"{tracer.start('after').context.trace_hex}\\n".encode())
        os._exit(0)
    os.wait()
"""


def run(program: str) -> list[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()


def test_no_network_library_is_loaded() -> None:
    """Importing all of tracing loads neither grpc nor aiohttp: their threads and sockets come after the fork."""
    assert run(LOADED) == []


def test_forked_processes_have_ids_of_their_own() -> None:
    """Children of one parent never make the same trace id."""
    assert len(set(run(FORKED))) == 4

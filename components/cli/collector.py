"""The collector as a component process: it lives outside components/, so its row of the table is here."""

from __future__ import annotations

import argparse

from kubeglass.collector.collector import Collector, add_flags, build, config_from
from kubeglass.components.machinery.process import ComponentSpec, Context, Started, host_and_port
from kubeglass.telemetry.endpoints import serve


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add_flags(parser)
    parser.add_argument("--metrics-bind-address", default="127.0.0.1:8888", help="host:port for metrics and health")


class _CollectorProcess:
    """The collector and, around it, the pages that show it."""

    def __init__(self, collector: Collector, context: Context) -> None:
        self._collector = collector
        self._context = context

    async def run(self, started: Started) -> None:
        host, port = host_and_port(self._context.flags.metrics_bind_address)
        async with serve(self._context.pages(), host, port):
            await self._collector.run(started)


def _build(context: Context) -> _CollectorProcess:
    return _CollectorProcess(build(config_from(context.flags), context.telemetry), context)


COMPONENT = ComponentSpec(
    name="collector",
    binary="kubeglass-collector",
    summary="Receives OTLP, keeps traces and logs, answers Jaeger's query API and shows a console.",
    add_flags=_add_flags,
    build=_build,
    kubeconfig=False,
)

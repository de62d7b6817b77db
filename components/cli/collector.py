"""The collector as a component process: it lives outside components/, so its row of the table is here."""

from __future__ import annotations

from kubeglass.collector.collector import add_flags, build
from kubeglass.components.machinery.process import Component, ComponentSpec, Context


def _build(context: Context) -> Component:
    return build(context.flags, context.telemetry)


COMPONENT = ComponentSpec(
    name="collector",
    binary="kubeglass-collector",
    summary="Receives OTLP, keeps traces and logs, answers Jaeger's query API and shows a console.",
    add_flags=add_flags,
    build=_build,
    kubeconfig=False,
)

"""For operators written with kopf, lightkube or the official client: a span per reconcile, in the trace of the change.

    from kubeglass.telemetry.tracing import reconcile_span, stamped
    with reconcile_span(body):                # the change that caused this handler to run is the parent
        api.create(stamped(child))            # and the child carries it on

Configured by the usual OTEL_SERVICE_NAME and OTEL_EXPORTER_OTLP_ENDPOINT; without a collector nothing waits or fails.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
import time
from collections.abc import Mapping, MutableMapping
from functools import cache
from typing import Any, TypeVar

from kubeglass.telemetry.tracing.causality import Causes, hand_on, stamp
from kubeglass.telemetry.tracing.context import current_context
from kubeglass.telemetry.tracing.setup import TracingConfiguration, build_tracer
from kubeglass.telemetry.tracing.tracer import CONSUMER, Span, Tracer

T = TypeVar("T")


def reconcile_span(body: Any, name: str = "", *, tracer: Tracer | None = None, settled: bool = False) -> Span:
    """The span of one reconcile of `body` (kopf's body, a plain mapping, or a lightkube object); use it with `with`."""
    meta = body.get("metadata", {}) if isinstance(body, Mapping) else body.metadata
    kind = (body.get("kind") if isinstance(body, Mapping) else getattr(body, "kind", "")) or "object"
    reaction = default_causes().react(meta, now=time.monotonic(), settled=settled)
    return (tracer or default_tracer()).span(
        name or f"reconcile {kind}", kind=CONSUMER, attributes=_describe(kind, meta), **reaction.arguments
    )


def stamped(obj: T) -> T:
    """`obj` (a dict, or a model of lightkube or the official client), carrying the active span to whoever reacts."""
    if isinstance(obj, MutableMapping):
        hand_on(obj, current_context())
    else:
        metadata: Any = obj.metadata  # type: ignore[attr-defined]
        metadata.annotations = stamp(metadata.annotations, current_context()) or None
    return obj


@cache
def default_causes() -> Causes:
    """What this process has reacted to."""
    return Causes()


@cache
def default_tracer() -> Tracer:
    """The tracer of this process, exporting from its own thread until exit."""
    from kubeglass.logging.setup import LoggingOptions, build
    from kubeglass.telemetry.metrics.registry import Registry

    service = os.environ.get("OTEL_SERVICE_NAME", "operator")
    log = build(LoggingOptions(), sys.stderr)
    config = TracingConfiguration(sampling_rate_per_million=1_000_000)
    tracer = build_tracer(service, config, {}, log, Registry())
    _run_in_thread(tracer)
    return tracer


def _run_in_thread(tracer: Tracer) -> None:
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    task = loop.create_task(tracer.run(ready.set))

    def work() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        finally:
            loop.close()

    thread = threading.Thread(target=work, name="kubeglass-tracing", daemon=True)
    thread.start()
    ready.wait()

    def stop() -> None:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()

    atexit.register(stop)


def _describe(kind: str, meta: Any) -> dict[str, Any]:
    def get(name: str) -> Any:
        return meta.get(name) if isinstance(meta, Mapping) else getattr(meta, name, None)

    lower = kind.lower()
    described = {
        "k8s.namespace.name": get("namespace"),
        f"k8s.{lower}.name": get("name"),
        f"k8s.{lower}.uid": get("uid"),
        "k8s.object.generation": get("generation"),
    }
    return {key: value for key, value in described.items() if value is not None}

"""One frozen object that says how a component shows itself; built by machinery/process.py, handed to constructors."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from kubeglass.logging.klog import Logger
from kubeglass.logging.sanitize import Sanitizer
from kubeglass.telemetry.health import Health
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.tracer import Tracer


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Everything a component needs to be seen: log, metrics, tracer, health.

    Each component has its own, even when two share a process. `sanitizer` is the one its log and its spans use; what
    leaves the process another way (Events, audit, echoes in errors) asks it too.
    """

    log: Logger
    metrics: Registry
    tracer: Tracer
    health: Health
    sanitizer: Sanitizer = field(default_factory=Sanitizer)

    def named(self, name: str) -> Telemetry:
        """The same telemetry for a part of the component: its log lines carry `logger=name`."""
        return replace(self, log=self.log.with_name(name))

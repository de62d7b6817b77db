"""Telemetry for components under test."""

import pytest

from kubeglass.logging.klog import Logger
from kubeglass.logging.setup import LoggingOptions, build
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.health import Health
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.tracer import Tracer


@pytest.fixture
def telemetry() -> Telemetry:
    log: Logger = build(LoggingOptions())
    return Telemetry(log=log, metrics=Registry(), tracer=Tracer(), health=Health())

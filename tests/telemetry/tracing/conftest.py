"""A logger whose lines a test can read, a registry, and a sink that keeps spans."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from kubeglass.logging.klog import Logger
from kubeglass.logging.setup import LoggingOptions, build
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.tracer import RecordedSpan, Tracer


class Kept:
    """A sink for tests: the ended spans, in order."""

    def __init__(self) -> None:
        self.spans: list[RecordedSpan] = []

    def offer(self, span: RecordedSpan) -> None:
        self.spans.append(span)

    async def run(self, started: Callable[[], None]) -> None:
        started()

    async def flush(self, timeout_seconds: float) -> bool:
        return True


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def tracer(kept: Kept) -> Tracer:
    return Tracer(kept)


@pytest.fixture
def log_text() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(log_text: io.StringIO) -> Logger:
    return build(LoggingOptions(), log_text)


@pytest.fixture
def registry() -> Registry:
    return Registry()

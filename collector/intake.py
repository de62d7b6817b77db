"""What happens to a request, whichever way it came: limit, decode, split, sample, keep, pass on.

    admit → decode → segments → forward ┐
                              → sample  ┴→ store
A request is either accepted whole (but for items with invalid ids, which the answer counts) or refused whole.
"""

from __future__ import annotations

import time
from typing import Any

from kubeglass.collector import logrecords, otlp, segments
from kubeglass.collector.forwarding import Forwarder
from kubeglass.collector.metrics import (
    DISCARDED_POINTS,
    MEMORY_HELD,
    MEMORY_LIMIT,
    RECEIVED,
    REFUSED,
    REJECTED,
    SAMPLED_OUT,
)
from kubeglass.collector.otlp import LOGS, METRICS, TRACES, Answer, Signal
from kubeglass.collector.processors import MemoryLimiter, TailSampler
from kubeglass.collector.segments import Groups, Received, Segment
from kubeglass.collector.store import Store
from kubeglass.telemetry.metrics.registry import Registry

RETRY_SECONDS = 1.0
_INVALID_IDS = "trace id must be 16 bytes and span id 8 bytes, neither all zero"


class Refused(Exception):
    """Too much is held; come back after RETRY_SECONDS."""

    def __init__(self) -> None:
        super().__init__("data refused due to high memory usage")


class IntakeMetrics:
    """The intake's instruments."""

    def __init__(self, registry: Registry, limiter: MemoryLimiter) -> None:
        self.received = registry.bind(RECEIVED)
        self.refused = registry.bind(REFUSED)
        self.rejected = registry.bind(REJECTED)
        self.sampled_out = registry.bind(SAMPLED_OUT)
        self.discarded_points = registry.bind(DISCARDED_POINTS)
        registry.function(MEMORY_HELD, lambda: limiter.held)
        registry.function(MEMORY_LIMIT, lambda: limiter.limit)


class Intake:
    """One per collector, shared by its receivers."""

    def __init__(
        self,
        limiter: MemoryLimiter,
        sampler: TailSampler,
        store: Store,
        groups: Groups,
        forwarder: Forwarder | None,
        metrics: IntakeMetrics,
    ) -> None:
        self._limiter = limiter
        self._sampler = sampler
        self._store = store
        self._groups = groups
        self._forwarder = forwarder
        self.metrics = metrics

    def accept(self, signal: Signal, body: bytes, transport: str, *, json: bool = False) -> Answer:
        """Take one request. Raises Refused (retryable) or otlp.Malformed (not)."""
        if not self._limiter.admits(len(body)):
            self.refuse(signal, transport, "memory")
            raise Refused
        try:
            request = otlp.decode_json(signal, body) if json else otlp.decode(signal, body)
        except otlp.Malformed:
            self.refuse(signal, transport, "malformed")
            raise
        count, rejected = self._keep(signal, request, body, json)
        self.metrics.received.labels(signal.name, transport).inc(count)
        if not rejected:
            return Answer()
        self.metrics.rejected.labels(signal.name).inc(rejected)
        return Answer(rejected, _INVALID_IDS)

    def refuse(self, signal: Signal, transport: str, reason: str) -> None:
        """Count a request that was not accepted."""
        self.metrics.refused.labels(signal.name, transport, reason).inc()

    def judge(self, *, everything: bool = False) -> None:
        """Let the sampler decide about traces whose wait is over."""
        self._settle(*self._sampler.judge(time.monotonic(), everything=everything))

    def _keep(self, signal: Signal, request: Any, body: bytes, json: bool) -> tuple[int, int]:
        if signal is METRICS:
            return self._keep_metrics(request, body, json), 0
        if signal is LOGS:
            received = logrecords.split(request, self._groups)
            self._hold(received)
            self._store.append_logs(received.segments)
            self._forward(LOGS, request.SerializeToString() if json else body)
            return received.spans, received.rejected
        received = segments.split(request, self._groups)
        self._hold(received)
        self._settle(*self._sampler.offer(received.segments, time.monotonic()))
        return received.spans, received.rejected

    def _keep_metrics(self, request: Any, body: bytes, json: bool) -> int:
        points = otlp.count_points(request)
        if self._forwarder is None:
            self.metrics.discarded_points.inc(points)
        self._forward(METRICS, request.SerializeToString() if json else body)
        return points

    def _hold(self, received: Received) -> None:
        self._limiter.hold(sum(segment.size for segment in received.segments))

    def _settle(self, kept: list[Segment], thrown: list[Segment]) -> None:
        if thrown:
            self._limiter.release(sum(segment.size for segment in thrown))
            self.metrics.sampled_out.inc(sum(segment.count for segment in thrown))
        if kept:
            self._store.append_spans(kept)
            if self._forwarder is not None:
                self._forward(TRACES, segments.to_request(kept))

    def _forward(self, signal: Signal, body: bytes) -> None:
        if self._forwarder is not None and body:
            self._forwarder.offer(signal, body)

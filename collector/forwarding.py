"""Everything kept, passed on to any OTLP backend: a bounded queue of requests, retries, counted losses.

Bound: `queue_bytes` of encoded requests; when full the newest is dropped. Receivers never wait for the backend.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from kubeglass.collector.metrics import FORWARDED
from kubeglass.collector.otlp import SIGNALS, Signal
from kubeglass.logging.klog import Logger
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.delivery import Patience, deliver
from kubeglass.telemetry.tracing.outcome import Outcome, Verdict
from kubeglass.telemetry.tracing.transport import GrpcTransport, HttpTransport, Transport

_SENDERS = 4
_TIMEOUT_SECONDS = 10.0
_FLUSH_SECONDS = 5.0


class Forwarder:
    """One backend. `endpoint` is host:port for gRPC or an http(s) URL, whose paths are OTLP's."""

    def __init__(self, endpoint: str, registry: Registry, log: Logger, *, queue_bytes: int = 32 << 20) -> None:
        self._endpoint = endpoint
        self._limit = queue_bytes
        self._log = log
        self._forwarded = registry.bind(FORWARDED)
        self._queue: deque[tuple[Signal, bytes]] = deque()
        self._bytes = 0
        self._closing = False
        self._ready = asyncio.Event()
        self._patience = Patience(retry_seconds=300)

    def offer(self, signal: Signal, body: bytes) -> None:
        """Queue one request or drop it and count."""
        if self._bytes + len(body) > self._limit:
            self._forwarded.labels(signal.name, "queue_full").inc()
            return
        self._queue.append((signal, body))
        self._bytes += len(body)
        self._ready.set()

    async def run(self, started: Callable[[], None]) -> None:
        """Send until cancelled, then for a few seconds what waits."""
        transports = {signal.name: self._connect(signal) for signal in SIGNALS}
        started()
        try:
            async with asyncio.TaskGroup() as group:
                senders = [group.create_task(self._send_all(transports)) for _ in range(_SENDERS)]
                try:
                    await asyncio.Event().wait()
                finally:
                    await self._finish(senders)
        finally:
            for transport in transports.values():
                await transport.close()

    async def _finish(self, senders: list[asyncio.Task[None]]) -> None:
        """Let the senders empty the queue, for a while; what is under way is not sent twice."""
        self._closing = True
        self._ready.set()
        _, late = await asyncio.wait(senders, timeout=_FLUSH_SECONDS)
        for sender in late:
            sender.cancel()
        if late:
            left = len(late) + len(self._queue)
            self._log.error(None, "Backend did not take everything before the exit", requests=left)

    async def _send_all(self, transports: dict[str, Transport]) -> None:
        """Send until the forwarder closes and nothing waits."""
        while True:
            while not self._queue:
                if self._closing:
                    return
                self._ready.clear()
                await self._ready.wait()
            signal, body = self._queue.popleft()
            outcome = await deliver(transports[signal.name], body, self._patience)
            self._bytes -= len(body)
            self._record(signal, outcome)

    def _record(self, signal: Signal, outcome: Outcome) -> None:
        if outcome.verdict is Verdict.ACCEPTED:
            self._forwarded.labels(signal.name, "sent").inc()
            return
        reason = "retries_exhausted" if outcome.verdict is Verdict.RETRY else "refused"
        self._forwarded.labels(signal.name, reason).inc()
        values = {"signal": signal.name, "endpoint": self._endpoint, "code": outcome.code, "reason": outcome.message}
        self._log.error(None, "Failed to forward", **values)

    def _connect(self, signal: Signal) -> Transport:
        if self._endpoint.startswith(("http://", "https://")):
            return HttpTransport(self._endpoint.rstrip("/") + signal.path, {}, _TIMEOUT_SECONDS)
        return GrpcTransport(self._endpoint, {}, _TIMEOUT_SECONDS, f"/{signal.service}/Export")

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
from kubeglass.telemetry.tracing.outcome import Verdict
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
            async with asyncio.TaskGroup() as senders:
                for _ in range(_SENDERS):
                    senders.create_task(self._send_forever(transports))
        finally:
            try:
                async with asyncio.timeout(_FLUSH_SECONDS):
                    while self._queue:
                        await self._send_next(transports)
            except TimeoutError:
                self._log.error(None, "Backend did not take everything before the exit", requests=len(self._queue))
            for transport in transports.values():
                await transport.close()

    async def _send_forever(self, transports: dict[str, Transport]) -> None:
        while True:
            while not self._queue:
                self._ready.clear()
                await self._ready.wait()
            await self._send_next(transports)

    async def _send_next(self, transports: dict[str, Transport]) -> None:
        signal, body = self._queue.popleft()
        try:
            outcome = await deliver(transports[signal.name], body, self._patience)
        except asyncio.CancelledError:
            self._queue.appendleft((signal, body))
            raise
        self._bytes -= len(body)
        if outcome.verdict is Verdict.ACCEPTED:
            self._forwarded.labels(signal.name, "sent").inc()
            return
        self._forwarded.labels(
            signal.name, "retries_exhausted" if outcome.verdict is Verdict.RETRY else "refused"
        ).inc()
        self._log.error(
            None,
            "Failed to forward",
            signal=signal.name,
            endpoint=self._endpoint,
            code=outcome.code,
            reason=outcome.message,
        )

    def _connect(self, signal: Signal) -> Transport:
        if self._endpoint.startswith(("http://", "https://")):
            return HttpTransport(self._endpoint.rstrip("/") + signal.path, {}, _TIMEOUT_SECONDS)
        return GrpcTransport(self._endpoint, {}, _TIMEOUT_SECONDS, f"/{signal.service}/Export")

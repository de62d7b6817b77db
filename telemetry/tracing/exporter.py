"""The way of ended spans to the collector: a bounded queue, batches, retries. No request ever waits for it.

Ended spans are encoded a few at a time: the code is then in the processor's cache for all of them, the spans still are,
and no request waits longer than that. What waits to be sent is bytes that the garbage collector never looks at.
Bound: `queue_limit` spans wait and `concurrency` batches are under way. When the queue is full the newest span is
dropped, as in Go; a batch is dropped when the server refuses it for good or patience ends (60 s). Every lost
span is counted by reason. A collector that is down costs memory up to the bound, and nothing else.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from kubeglass.logging.klog import Logger
from kubeglass.telemetry.tracing import encode
from kubeglass.telemetry.tracing.delivery import DEFAULT_PATIENCE, Patience, deliver
from kubeglass.telemetry.tracing.encode import Encoded
from kubeglass.telemetry.tracing.metrics import ExporterMetrics
from kubeglass.telemetry.tracing.outcome import Outcome, Verdict
from kubeglass.telemetry.tracing.tracer import RecordedSpan
from kubeglass.telemetry.tracing.transport import Transport

_AT_ONCE = 64
"""How many ended spans are encoded together: the spans of a few requests, a tenth of a millisecond."""
_BATCH_BYTES = 2 << 20
"""What a batch may come to; receivers refuse messages beyond 4 MiB."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Bounds and times. Names in brackets are the OTEL_* variables that set them."""

    queue_limit: int = 16384  # OTEL_BSP_MAX_QUEUE_SIZE
    batch_limit: int = 2048  # OTEL_BSP_MAX_EXPORT_BATCH_SIZE
    delay_seconds: float = 1.0  # OTEL_BSP_SCHEDULE_DELAY
    timeout_seconds: float = 10.0  # OTEL_EXPORTER_OTLP_TIMEOUT
    concurrency: int = 4
    patience: Patience = DEFAULT_PATIENCE
    flush_seconds: float = 5.0


class Exporter:
    """A tracer's sink. `connect` is called inside the running loop, so nothing is open before a fork."""

    def __init__(
        self,
        connect: Callable[[], Transport],
        resource: bytes,
        options: ExportOptions,
        metrics: ExporterMetrics,
        log: Logger,
        clean: encode.Clean = encode.as_is,
    ) -> None:
        self._connect = connect
        self._resource = resource
        self._options = options
        self._metrics = metrics
        self._log = log
        self._encoder = encode.Encoder(clean)
        self._ended: deque[RecordedSpan] = deque()  # not encoded yet
        self._queue: deque[Encoded] = deque()
        self._under_way = 0  # spans taken from the queue whose fate is not decided
        self._closed = False
        self._flushing = 0
        self._wake = asyncio.Event()
        self._settled = asyncio.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        metrics.watch_queue(self._waiting, options.queue_limit)

    def offer(self, span: RecordedSpan) -> None:
        """Queue or drop `span`. Any thread may call."""
        if self._closed:
            self._drop("shutdown", 1)
            return
        ended = self._ended
        waiting = len(self._queue) + len(ended)
        if waiting >= self._options.queue_limit:
            self._drop("queue_full", 1)
            return
        ended.append(span)
        if len(ended) >= _AT_ONCE:
            self._encode()
        if waiting + 1 == self._options.batch_limit:
            self._rouse()

    def _waiting(self) -> int:
        return len(self._queue) + len(self._ended)

    def _encode(self) -> None:
        """Bring what has ended into the queue."""
        ended, queue, encoded = self._ended, self._queue, self._encoder.span
        while ended:
            try:
                span = ended.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                queue.append(Encoded(span.scope, encoded(span)))
            except Exception as error:
                self._drop("invalid", 1)
                self._log.error(error, "Failed to encode span", span=span.name)

    async def run(self, started: Callable[[], None]) -> None:
        """Export until cancelled; then send what waits, for at most `flush_seconds`."""
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        transport = self._connect()
        started()
        try:
            await self._pump(transport)
        finally:
            self._closed = True
            self._drop("shutdown", self._waiting())
            self._queue.clear()
            self._ended.clear()
            await transport.close()

    async def flush(self, timeout_seconds: float) -> bool:
        """Ask the running exporter to send what waits now; whether it did in time."""
        if self._loop is None:
            return not self._waiting()
        self._flushing += 1
        self._rouse()
        try:
            async with asyncio.timeout(timeout_seconds), self._settled:
                await self._settled.wait_for(lambda: not self._waiting() and not self._under_way)
            return True
        except TimeoutError:
            return False
        finally:
            self._flushing -= 1

    def _rouse(self) -> None:
        if self._loop is None:
            return  # not running yet: run() looks at the queue first
        if threading.get_ident() == self._thread:
            self._wake.set()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    async def _pump(self, transport: Transport) -> None:
        slots = asyncio.Semaphore(self._options.concurrency)
        async with asyncio.TaskGroup() as senders:
            under_way: set[asyncio.Task[None]] = set()

            async def send(count: int) -> None:
                while count > 0:
                    await slots.acquire()
                    batch = self._take(count)
                    count -= len(batch)
                    task = senders.create_task(self._send_and_release(transport, batch, slots))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)

            try:
                while True:
                    await send(await self._ripe())
            finally:
                self._encode()
                await self._finish(send(len(self._queue)), under_way)

    async def _finish(self, send_rest: Coroutine[Any, Any, None], under_way: set[asyncio.Task[None]]) -> None:
        """Send what waits and let finish what is under way, for a while; the rest goes back to the queue."""
        try:
            async with asyncio.timeout(self._options.flush_seconds):
                await send_rest
                if under_way:
                    await asyncio.wait(under_way)
        except TimeoutError:
            for task in under_way:
                task.cancel()

    async def _ripe(self) -> int:
        """Wait for a full batch, a flush, or the delay; how many spans to send now. What is no full batch may wait."""
        limit = self._options.batch_limit
        self._wake.clear()
        self._encode()
        if len(self._queue) < limit and not (self._flushing and self._queue):
            try:
                async with asyncio.timeout(self._options.delay_seconds):
                    await self._wake.wait()
            except TimeoutError:
                self._encode()
                return len(self._queue)
        self._encode()
        waiting = len(self._queue)
        return waiting if self._flushing else waiting - waiting % limit

    def _take(self, count: int) -> list[Encoded]:
        count = min(count, self._options.batch_limit)
        batch: list[Encoded] = []
        size = 0
        while self._queue and len(batch) < count and size < _BATCH_BYTES:
            batch.append(self._queue.popleft())
            size += len(batch[-1].data)
        self._under_way += len(batch)
        return batch

    async def _send_and_release(self, transport: Transport, batch: list[Encoded], slots: asyncio.Semaphore) -> None:
        try:
            await self._send(transport, batch)
        finally:
            slots.release()

    async def _send(self, transport: Transport, batch: list[Encoded]) -> None:
        """Deliver one batch or count it lost; put back what a cancellation interrupts."""
        try:
            outcome = await deliver(
                transport, encode.request(self._resource, batch), self._options.patience, self._observe
            )
        except asyncio.CancelledError:
            self._queue.extendleft(reversed(batch))
            raise
        else:
            self._record(outcome, len(batch))
        finally:
            self._under_way -= len(batch)
            async with self._settled:
                self._settled.notify_all()

    def _observe(self, outcome: Outcome, seconds: float) -> None:
        self._metrics.duration.observe(seconds)
        self._metrics.requests.labels(outcome.code).inc()

    def _record(self, outcome: Outcome, count: int) -> None:
        if outcome.verdict is Verdict.ACCEPTED:
            lost = min(outcome.rejected, count)
            self._metrics.exported.inc(count - lost)
            self._drop("rejected", lost)
            if outcome.message or lost:
                self._log.warning("Collector accepted spans in part", rejected=lost, reason=outcome.message)
            return
        self._drop("retries_exhausted" if outcome.verdict is Verdict.RETRY else "refused", count)
        self._log.error(None, "Failed to export spans", spans=count, code=outcome.code, reason=outcome.message)

    def _drop(self, reason: str, count: int) -> None:
        if count:
            self._metrics.dropped.labels(reason).inc(count)

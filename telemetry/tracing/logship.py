"""Log records on their way to the collector that spans go to, so that a trace shows its logs.

logging/otlp.py collects and encodes; this module owns the connection. Bound: its queue of records, and one request
under way that is tried for a few seconds. Losing log records here loses nothing of the log itself.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from kubeglass.logging.otlp import LogExporter
from kubeglass.logging.record import Record
from kubeglass.logging.sanitize import Sanitizer
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.delivery import Patience, deliver
from kubeglass.telemetry.tracing.metrics import LOGS_DROPPED, LOGS_EXPORTED
from kubeglass.telemetry.tracing.outcome import Verdict
from kubeglass.telemetry.tracing.setup import TracingConfiguration, connect
from kubeglass.telemetry.tracing.transport import LOGS, Transport

_DELAY_SECONDS = 1.0
_TIMEOUT_SECONDS = 5.0
_FLUSH_SECONDS = 2.0
_PATIENCE = Patience(backoff_seconds=1.0, retry_seconds=10.0)


class LogShipper:
    """A listener for `logging.setup.build`. With `only_traced`, records outside any sampled span stay here."""

    def __init__(
        self,
        config: TracingConfiguration,
        resource: Mapping[str, Any],
        sanitizer: Sanitizer,
        *,
        only_traced: bool = True,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._config = config
        self._environ = environ
        self._only_traced = only_traced
        self._outgoing: deque[tuple[bytes, int]] = deque()
        self._collected = LogExporter(resource, self._take, sanitizer)
        self._waiting = self._lost = self._sent = 0

    def __call__(self, record: Record) -> None:
        """Take one record. Never raises, never waits."""
        if record.trace_ids is not None or not self._only_traced:
            self._collected(record)

    def show(self, registry: Registry) -> None:
        """Say at every scrape what was sent and lost."""
        registry.function(LOGS_EXPORTED, lambda: self._sent)
        registry.function(LOGS_DROPPED, lambda: self._collected.dropped + self._lost)

    async def run(self, started: Callable[[], None]) -> None:
        """Ship once a second until cancelled, then what is left."""
        transport = connect(self._config.endpoint, self._environ, _TIMEOUT_SECONDS, LOGS)
        started()
        try:
            while True:
                await asyncio.sleep(_DELAY_SECONDS)
                await self._ship(transport)
        finally:
            try:
                async with asyncio.timeout(_FLUSH_SECONDS):
                    await self._ship(transport)
            except TimeoutError:
                pass
            await transport.close()

    async def _ship(self, transport: Transport) -> None:
        self._waiting = self._collected.waiting
        self._collected.export()
        while self._outgoing:
            body, count = self._outgoing.popleft()
            self._lost += count  # until the answer says otherwise, even if none comes
            outcome = await deliver(transport, body, _PATIENCE)
            if outcome.verdict is Verdict.ACCEPTED:
                lost = min(outcome.rejected, count)
                self._lost += lost - count
                self._sent += count - lost

    def _take(self, body: bytes) -> None:
        """Called by the collecting side for each batch, whose records have just left its queue."""
        left = self._collected.waiting
        self._outgoing.append((body, self._waiting - left))
        self._waiting = left

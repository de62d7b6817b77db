"""Sending one request until it is accepted, refused for good, or patience ends. Shared by exporter and collector."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from kubeglass.telemetry.tracing.outcome import Outcome, Verdict
from kubeglass.telemetry.tracing.transport import Transport


@dataclass(frozen=True, slots=True)
class Patience:
    """Back-off with jitter, as OTLP asks; a server's own delay is waited for when it is longer."""

    backoff_seconds: float = 1.0
    backoff_limit_seconds: float = 30.0
    retry_seconds: float = 60.0


DEFAULT_PATIENCE = Patience()


async def deliver(
    transport: Transport,
    body: bytes,
    patience: Patience,
    observe: Callable[[Outcome, float], None] = lambda outcome, seconds: None,
) -> Outcome:
    """The last answer; a RETRY verdict means that patience ended. `observe` is told of every attempt."""
    give_up = time.monotonic() + patience.retry_seconds
    backoff = patience.backoff_seconds
    while True:
        begun = time.monotonic()
        outcome = await transport.send(body)
        observe(outcome, time.monotonic() - begun)
        wait = max(outcome.delay_seconds, backoff * random.uniform(0.5, 1.5))
        if outcome.verdict is not Verdict.RETRY or time.monotonic() + wait > give_up:
            return outcome
        await asyncio.sleep(wait)
        backoff = min(backoff * 1.5, patience.backoff_limit_seconds)

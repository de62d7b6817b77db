"""A client that is faster than its own limit waits; the wait is a span, a measurement and, when long, a record."""

from __future__ import annotations

import io
from dataclasses import dataclass

from tests.spans import Kept

from kubeglass.components.api.kinds import CONFIG_MAP
from kubeglass.components.machinery.access import Access
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.ratelimit import TokenBucket
from kubeglass.components.machinery.transport import Reply
from kubeglass.logging.options import LoggingOptions
from kubeglass.logging.setup import build
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.health import Health
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.tracing.tracer import Tracer

WAIT_SECONDS = 0.06  # long enough for a record


class Answers:
    """A transport that answers everything at once."""

    host = "127.0.0.1:6443"

    async def request(self, method, path, *, headers, body, timeout_seconds):
        return Reply(200, {}, b"{}")


@dataclass
class Empty(TokenBucket):
    """A bucket whose next token is there after WAIT_SECONDS, or at once; it does not matter how fast the test runs."""

    seconds: float

    def reserve(self, now: float) -> float:
        return self.seconds


async def asked(seconds: float) -> tuple[Kept, str, str]:
    """Spans, metrics and log of a GET within the span `work`."""
    kept, lines = Kept(), io.StringIO()
    telemetry = Telemetry(build(LoggingOptions(verbosity=3), lines), Registry(), Tracer(kept), Health())
    client = Client(Access("https://127.0.0.1:6443"), telemetry, "test", Answers(), Empty(seconds))
    with telemetry.tracer.span("work"):
        await client.get(CONFIG_MAP, "a", "d")
    return kept, telemetry.metrics.expose("text/plain")[1].decode(), lines.getvalue()


async def test_a_wait_is_a_span_before_the_request() -> None:
    """Both are steps of what wants the request, one after the other."""
    kept, metrics, log = await asked(WAIT_SECONDS)
    (waited,), (sent,), (work,) = map(kept.named, ("client-side throttling", "HTTP GET", "work"))
    assert waited.parent == sent.parent == work.context
    assert (waited.end_ns - waited.start_ns) / 1e9 >= WAIT_SECONDS
    assert waited.end_ns <= sent.start_ns
    rate_limiter = 'rest_client_rate_limiter_duration_seconds_bucket{host="127.0.0.1:6443",verb="GET",le="%s"}'
    assert f"{rate_limiter % '0.025'} 0\n" in metrics and f"{rate_limiter % '0.1'} 1\n" in metrics
    assert '"Waited before sending request" delay="0.060000s"' in log
    assert 'reason="client-side throttling, not priority and fairness" verb="GET"' in log


async def test_no_wait_leaves_no_span() -> None:
    """It is measured all the same: most of a limit's requests do not wait."""
    kept, metrics, log = await asked(0.0)
    assert {span.name for span in kept.spans} == {"HTTP GET", "work"}
    assert 'rest_client_rate_limiter_duration_seconds_sum{host="127.0.0.1:6443",verb="GET"} 0' in metrics
    assert log == ""

"""What the client shows of each request: wire records by verbosity, metrics, and what its span says.

Levels follow client-go: 6 the line, 7 request headers, 8 and up bodies, cut as upstream cuts them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from kubeglass.components.machinery.metrics import RestClientMetrics
from kubeglass.components.machinery.transport import Reply, Unreachable
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.tracing.tracer import Span

_LONG_THROTTLE_SECONDS = 0.05
_BODY_LIMITS = {8: 1024, 9: 10240}
_MASKED_SCHEMES = ("bearer", "basic", "negotiate")


def shown_body(body: bytes, level: int) -> str:
    """A body as the wire log prints it: cut at 1 KiB (8) or 10 KiB (9), whole from 10 on."""
    limit = _BODY_LIMITS.get(level)
    text = body[:limit].decode(errors="replace")
    cut = len(body) - limit if limit is not None and len(body) > limit else 0
    return f"{text} [truncated {cut} chars]" if cut else text


def masked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers with the credential of Authorization masked; its scheme stays where it is a common one."""
    shown = dict(headers)
    value = shown.get("Authorization")
    if value:
        scheme = value.split(" ", 1)[0]
        shown["Authorization"] = f"{scheme} <masked>" if scheme.lower() in _MASKED_SCHEMES else "<masked>"
    return shown


class WireLog:
    """Measures and records the requests of one client."""

    def __init__(self, telemetry: Telemetry, server: str, host: str) -> None:
        self._log = telemetry.log
        self._metrics = RestClientMetrics(telemetry.metrics, host)
        self._server = server
        self._host, _, self._port = host.partition(":")

    def begin(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> float:
        """A request leaves; the answer is its start on the monotonic clock."""
        if self._log.v(7):
            self._log.v(7).info("Request", verb=method, url=self._server + path, headers=masked_headers(headers))
            if body and self._log.v(8):
                self._log.v(8).info("Request Body", body=shown_body(body, self._level()))
        return time.monotonic()

    def throttled(self, method: str, path: str, seconds: float) -> None:
        """An attempt had to wait `seconds` for the client's own rate limit."""
        self._metrics.throttled(method, seconds)
        if seconds > _LONG_THROTTLE_SECONDS:
            self._log.v(3).info(
                "Waited before sending request",
                delay=f"{seconds:.6f}s",
                reason="client-side throttling, not priority and fairness",
                verb=method,
                URL=self._server + path,
            )

    def answered(self, started: float, method: str, path: str, reply: Reply, *, retry: bool) -> None:
        """One attempt was answered."""
        self._metrics.attempted(method, str(reply.status), retry=retry)
        if not self._log.v(6):
            return
        milliseconds = int((time.monotonic() - started) * 1000)
        self._log.v(6).info(
            "Response", verb=method, url=self._server + path, status=reply.status, milliseconds=milliseconds
        )
        if reply.body and self._log.v(8):
            self._log.v(8).info("Response Body", body=shown_body(reply.body, self._level()))

    def unanswered(self, method: str, path: str, error: Unreachable, *, retry: bool) -> None:
        """One attempt got no answer."""
        self._metrics.attempted(method, "<error>", retry=retry)
        self._log.v(6).info("Response", verb=method, url=self._server + path, status="", err=str(error))

    def completed(self, started: float, method: str, body: bytes | None, reply: Reply) -> None:
        """The request is over, retries included."""
        self._metrics.completed(method, time.monotonic() - started, len(body or b""), len(reply.body))

    def describe(self, span: Span, method: str, path: str, status: int) -> None:
        """Put the HTTP facts on the client span (current OpenTelemetry names)."""
        span.set("http.request.method", method)
        span.set("url.full", self._server + path)
        span.set("server.address", self._host)
        if self._port:
            span.set("server.port", int(self._port))
        span.set("http.response.status_code", status)
        if status >= 400:
            span.error("")

    def _level(self) -> int:
        return next(level for level in (10, 9, 8) if self._log.v(level))

"""What the client shows of each request: wire records by verbosity, metrics, and what its span says.

Answers to client-go's transport/round_trippers.go and rest/request.go: 6 a response with its URL, 7 and 8 request and
response with headers, 9 a curl command, bodies from 8 on. What is secret in a body is replaced before it is cut.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from kubeglass.components.machinery.metrics import RestClientMetrics
from kubeglass.components.machinery.transport import Reply
from kubeglass.logging.goquote import quote
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.tracing.tracer import Span

_LONG_THROTTLE_SECONDS = 0.05
_BODY_LIMITS = {8: 1024, 9: 10240}
_MASKED_SCHEMES = ("bearer", "basic", "negotiate")
_LEVELS = (10, 9, 8, 7, 6)
_OF_SECRETS = re.compile(r"^/api/v1/(?:namespaces/[^/]+/)?secrets(?:[/?]|$)")


class Headers:
    """Headers as a record shows them: lines in text, lists of values in JSON, credentials masked in both."""

    __slots__ = ("_values",)

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._values = [(name, _masked(name, value)) for name, value in sorted(headers.items())]

    def __str__(self) -> str:
        return "".join(f"{name}: {value}\n" for name, value in self._values)

    def marshal_log(self) -> dict[str, list[str]]:
        """For formats with structure."""
        shown: dict[str, list[str]] = {}
        for name, value in self._values:
            shown.setdefault(name, []).append(value)
        return shown

    def as_arguments(self) -> str:
        """For a curl command."""
        return "".join(f" -H {quote(f'{name}: {value}')}" for name, value in self._values)


def _masked(name: str, value: str) -> str:
    """The credential of Authorization is masked; its scheme stays where it is a common one."""
    if name.lower() != "authorization":
        return value
    scheme = value.split(" ", 1)[0]
    return f"{scheme} <masked>" if scheme.lower() in _MASKED_SCHEMES else "<masked>"


def shown_body(body: bytes, level: int) -> str:
    """A body as the wire log prints it: cut at 1 KiB (8) or 10 KiB (9), whole from 10 on."""
    limit = _BODY_LIMITS.get(level)
    text = body[:limit].decode(errors="replace")
    cut = len(body) - limit if limit is not None and len(body) > limit else 0
    return f"{text} [truncated {cut} chars]" if cut else text


def curl_command(method: str, url: str, headers: Mapping[str, str]) -> str:
    """The request as a command line."""
    return f"curl -v -X{method} {Headers(headers).as_arguments()} '{url}'"


class WireLog:
    """Measures and records the requests of one client."""

    def __init__(self, telemetry: Telemetry, server: str, host: str) -> None:
        self._log = telemetry.log
        self._sanitizer = telemetry.sanitizer
        self._metrics = RestClientMetrics(telemetry.metrics, host)
        self._server = server
        self._host, _, self._port = host.partition(":")

    def sending(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> float:
        """An attempt leaves; the answer is its start on the monotonic clock."""
        if self._log.v(7):
            self._request(method, path, body, headers)
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
        if self._log.v(6):
            self._response(started, method, path, _status_line(reply.status), reply.headers)
            self._body("Response Body", path, reply.body)

    def unanswered(self, started: float, method: str, path: str, *, retry: bool) -> None:
        """One attempt got no answer."""
        self._metrics.attempted(method, "<error>", retry=retry)
        if self._log.v(6):
            self._response(started, method, path, "", {})

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

    def _request(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> None:
        level, url = self._level(), self._server + path
        self._body("Request Body", path, body or b"")
        if level >= 9:
            self._log.v(9).info("Request", curlCommand=curl_command(method, url, headers))
        else:
            self._log.v(7).info("Request", verb=method, url=url, headers=Headers(headers))

    def _response(self, started: float, method: str, path: str, status: str, headers: Mapping[str, str]) -> None:
        level = self._level()
        values: dict[str, Any] = {}
        if level not in (7, 8):  # those have said so with the request
            values |= {"verb": method, "url": self._server + path}
        values["status"] = status
        if level >= 8:
            values["headers"] = Headers(headers)
        values["milliseconds"] = int((time.monotonic() - started) * 1000)
        self._log.v(6).info("Response", **values)

    def _body(self, message: str, path: str, body: bytes) -> None:
        log = self._log.v(8)
        if log and body:
            clean = self._sanitizer.body(body, kind="Secret" if _OF_SECRETS.match(path) else "")
            log.info(message, body=shown_body(clean, self._level()))

    def _level(self) -> int:
        """The highest level that is printed, of those that make a difference; asked when 6 is."""
        return next((level for level in _LEVELS if self._log.v(level)), 6)


def _status_line(status: int) -> str:
    """`404 Not Found`, as on the wire."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)

"""Request and Response: the values that filters and handlers pass, free of any HTTP library.

A handler answers with a Response. One that streams (watch, logs) or takes the connection over (exec, port-forward)
first asks the request's `exchange` for the stream and returns a Response that says `sent`; so every filter sees the
whole life of a request between its call and its return, and measures it.
The sockets live in listener.py; inprocess.py is their twin without a socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qs, unquote

import msgspec

from kubeglass.components.api import user
from kubeglass.components.api.errors import ApiError, RequestEntityTooLarge
from kubeglass.components.api.user import UserInfo
from kubeglass.components.apiserver.requestinfo import RequestInfo
from kubeglass.telemetry.tracing.context import SpanContext
from kubeglass.telemetry.tracing.nest import Nest
from kubeglass.telemetry.tracing.tracer import Fixed

MAX_BODY_BYTES = 3 * 1024 * 1024
LARGE_BODY_BYTES = 64 * 1024
"""From here on an answer is sent in pieces of this size."""
JSON = "application/json"
ANONYMOUS = UserInfo(name=user.ANONYMOUS, groups=(user.ALL_UNAUTHENTICATED,))
UNREAD = RequestInfo(path="", verb="")
"""What `Request.info` is until the request info filter has run."""


class Stream(Protocol):
    """The open body of a response."""

    async def write(self, data: bytes) -> None:
        """Send; waits while the peer is slow. Raises ConnectionError when it has gone."""


class Tunnel(Protocol):
    """A connection that was taken over: raw bytes both ways, starting with the response head."""

    async def read(self) -> bytes:
        """The next bytes from the client, b"" at its end."""

    async def write(self, data: bytes) -> None:
        """Send; waits while the client is slow."""


class Exchange(Protocol):
    """The connection side of one request."""

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises RequestEntityTooLarge."""

    async def open(self, status: int, headers: Mapping[str, str]) -> Stream:
        """Send the head of a streamed response."""

    async def send(self, status: int, headers: Mapping[str, str], body: bytes, pause: Pause) -> int:
        """Send a whole response, compressed if the client likes, pausing between its pieces; the bytes of its body."""

    def take_over(self) -> Tunnel:
        """Hand out the raw connection; nothing else may be sent afterwards."""


Pause = Callable[[], Awaitable[object]]
"""Lets other requests run between two steps of long work."""


async def breathe() -> None:
    """The plainest Pause: one pass of the event loop."""
    await asyncio.sleep(0)


@dataclass(slots=True)
class Request:
    """One request on its way in; filters fill the second half."""

    method: str
    path: str
    query_string: str
    headers: Mapping[str, str]
    """Case-insensitive."""
    peer: str
    """`host:port` of the client."""
    exchange: Exchange
    received: float
    """When it arrived, by time.monotonic (a loop's own clock may stand still within one turn)."""
    received_ns: int = 0
    """When it arrived, nanoseconds since the epoch."""
    client_certificate: bytes | None = None
    """DER of the certificate the client presented in the TLS handshake."""
    host: str = ""

    info: RequestInfo = UNREAD
    user: UserInfo = ANONYMOUS
    impersonated: UserInfo | None = None
    """As whom the caller acts; then `user` is this one, too."""
    vouched: bool = False
    """Whether `user` was set by this process itself and needs no proof."""
    audit_id: str = ""
    trace: SpanContext | None = None
    """The request span, once there is one."""
    nest: Nest | None = None
    """Where the spans of filters lie; None when the request leaves none."""
    trusted: bool = False
    """Whether what the caller says about traces counts: its context is the cause of what it writes."""
    filter_began: float = 0.0
    """When the filter that has the request began, by time.monotonic; 0 once it has passed the request on."""
    authenticated_ns: tuple[int, int] = (0, 0)
    """When authentication began and ended, for its span."""
    annotations: dict[str, str] = field(default_factory=dict)
    """What filters, handlers and admission add to the audit event."""
    log_values: dict[str, object] = field(default_factory=dict)
    """What filters and handlers add to the access log line, in order."""
    response_headers: dict[str, str] = field(default_factory=dict)
    """What filters add to the response, streamed ones included."""
    warnings: list[str] = field(default_factory=list)
    """Texts for `Warning` headers."""
    streamed_status: int = 0
    """The status of a streamed answer once it has begun."""
    stream_began: Callable[[int], object] | None = None
    """Told the status when a streamed answer begins."""
    pause: Pause = breathe
    """To be awaited before each step of long work; flow control decides whose step is next."""
    failure: BaseException | None = None
    """What went wrong inside, for the access log."""
    not_counted_seconds: float = 0.0
    """Time spent in webhooks and in the queue, which the SLI duration leaves out."""
    _identity: Fixed | None = None
    _query: dict[str, list[str]] | None = None
    _body: bytes | None = None

    @property
    def identity(self) -> Fixed:
        """What every span of the request says."""
        if self._identity is None:
            self._identity = Fixed({"audit-id": self.audit_id})
        return self._identity

    @property
    def query(self) -> dict[str, list[str]]:
        """The decoded query parameters."""
        if self._query is None:
            self._query = parse_qs(self.query_string, keep_blank_values=True) if self.query_string else {}
        return self._query

    def param(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        values = self.query.get(name)
        return values[0] if values else default

    @property
    def uri(self) -> str:
        """Path and query as they were sent."""
        return f"{self.path}?{self.query_string}" if self.query_string else self.path

    async def body(self, limit: int = MAX_BODY_BYTES) -> bytes:
        """The body, read once. Raises RequestEntityTooLarge."""
        if self._body is None:
            self._body = await self.exchange.read(limit)
        return self._body

    @property
    def read_body(self) -> bytes:
        """The body as far as a handler has read it."""
        return self._body or b""

    async def stream(self, status: int, headers: Mapping[str, str]) -> Stream:
        """Start a streamed response with the headers that filters asked for."""
        self.streamed_status = status
        if self.stream_began is not None:
            self.stream_began(status)
        return await self.exchange.open(status, {**self.response_headers, **warning_headers(self.warnings), **headers})

    def answer_headers(self, response: Response) -> dict[str, str]:
        """All headers of an answer: what filters, warnings and the handler asked for."""
        headers = {**self.response_headers, **warning_headers(self.warnings), **response.headers}
        headers["Content-Type"] = response.content_type
        return headers

    async def send(self, response: Response) -> Response:
        """Send a large answer from inside the chain, so that whoever waits for the client is still being served."""
        if response.sent or len(response.body) < LARGE_BODY_BYTES:
            return response
        self.streamed_status = response.status
        headers = self.answer_headers(response)
        response.size = await self.exchange.send(response.status, headers, response.body, self.pause)
        response.sent = True
        return response


@dataclass(slots=True)
class Response:
    """An answer. `sent` says that the body already went out through the exchange."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: MutableMapping[str, str] = field(default_factory=dict)
    sent: bool = False
    hijacked: bool = False
    size: int = 0
    """Bytes that were streamed; `len(body)` otherwise."""

    @property
    def body_size(self) -> int:
        """How many bytes of body the client gets."""
        return self.size if self.sent else len(self.body)


Handler = Callable[[Request], Awaitable[Response]]
Filter = Callable[[Request, Handler], Awaitable[Response]]


def json_response(value: object, status: int = 200) -> Response:
    """Any JSON-able value as a response, newline-ended as upstream writes it."""
    return Response(status, msgspec.json.encode(value) + b"\n")


def error_response(error: ApiError) -> Response:
    """The Status of an error, with `Retry-After` where it says so."""
    response = json_response(error.status(), error.status_code)
    if error.retry_after_seconds:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def text_response(text: str, status: int = 200) -> Response:
    """A plain-text response."""
    return Response(status, text.encode(), "text/plain; charset=utf-8")


def warning_headers(warnings: list[str]) -> dict[str, str]:
    """The `Warning` header; several warnings are one comma-separated value, as RFC 9110 allows."""
    unique = dict.fromkeys(warnings)
    return {"Warning": ", ".join(f"299 - {_quoted(text)}" for text in unique)} if unique else {}


def too_large(limit: int) -> RequestEntityTooLarge:
    """What a body over the limit is answered with."""
    return RequestEntityTooLarge(f"Request entity too large: limit is {limit}")


def decoded_path(raw: str) -> str:
    """The path with percent-escapes resolved."""
    return unquote(raw) if "%" in raw else raw


def _quoted(text: str) -> str:
    plain = "".join(character if character >= " " else " " for character in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'

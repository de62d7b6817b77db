"""The two ways to a collector: OTLP over gRPC and over HTTP. Plain text, as upstream's exporter always is.

grpc and aiohttp are imported, and connections made, only inside a running process: never before a fork.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from kubeglass.telemetry.tracing.outcome import Outcome, Verdict, accepted, grpc_failure, http_answer

if TYPE_CHECKING:
    import aiohttp
    import grpc.aio


@dataclass(frozen=True, slots=True)
class Signal:
    """Where one kind of telemetry goes: its gRPC method and its HTTP path."""

    method: str
    path: str


TRACES = Signal("/opentelemetry.proto.collector.trace.v1.TraceService/Export", "/v1/traces")
LOGS = Signal("/opentelemetry.proto.collector.logs.v1.LogsService/Export", "/v1/logs")


class Transport(Protocol):
    """Sends encoded export requests of one signal. Never raises for what the network or the server does."""

    async def send(self, body: bytes) -> Outcome:
        """Deliver one request."""

    async def close(self) -> None:
        """Let go of connections."""


class GrpcTransport:
    """OTLP/gRPC. The message is ready-made bytes, so neither stubs nor serializers are needed."""

    def __init__(
        self, target: str, headers: Mapping[str, str], timeout_seconds: float, method: str = TRACES.method
    ) -> None:
        import grpc.aio

        self._channel: grpc.aio.Channel = grpc.aio.insecure_channel(
            target, options=(("grpc.initial_reconnect_backoff_ms", 500), ("grpc.max_reconnect_backoff_ms", 5000))
        )
        self._call = self._channel.unary_unary(method, None, None)
        self._metadata = tuple((name.lower(), value) for name, value in headers.items())
        self._timeout = timeout_seconds

    async def send(self, body: bytes) -> Outcome:
        import grpc

        try:
            return accepted("OK", await self._call(body, timeout=self._timeout, metadata=self._metadata))
        except grpc.aio.AioRpcError as error:
            return grpc_failure(error.code().name, error.details() or "", _details(error))

    async def close(self) -> None:
        await self._channel.close(None)


def _details(error: grpc.aio.AioRpcError) -> bytes | None:
    trailers: Any = error.trailing_metadata() or ()
    for key, value in trailers:
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            return value
    return None


class HttpTransport:
    """OTLP/HTTP with binary protobuf."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout_seconds: float) -> None:
        import aiohttp

        self._url = url
        self._session: aiohttp.ClientSession = aiohttp.ClientSession(
            headers={**headers, "Content-Type": "application/x-protobuf"},
            timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        )

    async def send(self, body: bytes) -> Outcome:
        import aiohttp

        try:
            async with self._session.post(self._url, data=body) as answer:
                return http_answer(answer.status, await answer.read(), answer.headers.get("Retry-After", ""))
        except (aiohttp.ClientError, TimeoutError) as error:
            return Outcome(Verdict.RETRY, "unreachable", str(error) or type(error).__name__)

    async def close(self) -> None:
        await self._session.close()

"""OTLP in: gRPC with ready-made bytes, and HTTP in protobuf and JSON, gzip on both. Texts as the real collector's.

| case                  | gRPC                 | HTTP                                              |
| malformed             | INVALID_ARGUMENT     | 400 with a google.rpc.Status                      |
| over the size limit   | RESOURCE_EXHAUSTED   | 413                                               |
| too much is held      | UNAVAILABLE, RetryInfo | 503, Retry-After                                |
| another type, method  | UNIMPLEMENTED        | 415, 405                                          |
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from aiohttp import web

from kubeglass.collector import otlp
from kubeglass.collector.intake import RETRY_SECONDS, Intake, Refused
from kubeglass.collector.otlp import SIGNALS, Malformed, Signal

GRPC_LIMIT = 4 << 20  # the real receiver's default
HTTP_LIMIT = 20 << 20
_JSON, _PROTOBUF = "application/json", "application/x-protobuf"
_GRACE_SECONDS = 2.0


class GrpcReceiver:
    """The three services on one port."""

    def __init__(self, intake: Intake, address: str) -> None:
        self._intake = intake
        self._address = address
        self.port = 0

    async def run(self, started: Callable[[], None]) -> None:
        """Serve until cancelled; calls under way are finished."""
        server = grpc.aio.server(
            options=(("grpc.max_receive_message_length", GRPC_LIMIT), ("grpc.so_reuseport", 0)),
            compression=grpc.Compression.NoCompression,
        )
        for signal in SIGNALS:
            handler = grpc.unary_unary_rpc_method_handler(self._export(signal))
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(signal.service, {"Export": handler}),)
            )
        self.port = server.add_insecure_port(self._address)
        await server.start()
        started()
        try:
            await server.wait_for_termination()
        finally:
            await server.stop(_GRACE_SECONDS)

    def _export(self, signal: Signal) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def export(body: bytes, context: Any) -> bytes:
            try:
                return otlp.answer(self._intake.accept(signal, body, "grpc"))
            except Refused as error:
                status = otlp.status(otlp.UNAVAILABLE, str(error), RETRY_SECONDS)
                context.set_trailing_metadata((("grpc-status-details-bin", status),))
                await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
            except Malformed as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            raise AssertionError("abort raises")

        return export


class HttpReceiver:
    """`POST /v1/traces`, `/v1/logs` and `/v1/metrics`."""

    def __init__(self, intake: Intake, host: str, port: int) -> None:
        self._intake = intake
        self._host = host
        self.port = port

    async def run(self, started: Callable[[], None]) -> None:
        """Serve until cancelled."""
        app = web.Application(client_max_size=HTTP_LIMIT)
        for signal in SIGNALS:
            app.router.add_route("*", signal.path, self._export(signal))

        def serving(port: int) -> None:
            self.port = port
            started()

        await serve(app, self._host, self.port, serving)

    def _export(self, signal: Signal) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def export(request: web.Request) -> web.Response:
            if request.method != "POST":
                return _text(405, "405 method not allowed, supported: [POST]")
            if request.content_type not in (_JSON, _PROTOBUF):
                self._intake.refuse(signal, "http", "unsupported")
                return _text(415, f"415 unsupported media type, supported: [{_JSON}, {_PROTOBUF}]")
            as_json = request.content_type == _JSON
            try:
                body = await request.read()
            except web.HTTPRequestEntityTooLarge:
                self._intake.refuse(signal, "http", "too_large")
                return _failure(413, otlp.INVALID_ARGUMENT, "http: request body too large", as_json)
            except (web.HTTPException, web.RequestPayloadError, ConnectionError) as error:
                self._intake.refuse(signal, "http", "malformed")
                return _failure(400, otlp.INVALID_ARGUMENT, str(error), as_json)
            return self._accept(signal, body, as_json)

        return export

    def _accept(self, signal: Signal, body: bytes, as_json: bool) -> web.Response:
        try:
            given = self._intake.accept(signal, body, "http", json=as_json)
        except Refused as error:
            response = _failure(503, otlp.UNAVAILABLE, str(error), as_json)
            response.headers["Retry-After"] = str(round(RETRY_SECONDS))
            return response
        except Malformed as error:
            return _failure(400, otlp.INVALID_ARGUMENT, str(error), as_json)
        encoded = otlp.answer_json(signal, given) if as_json else otlp.answer(given)
        return web.Response(body=encoded, content_type=_JSON if as_json else _PROTOBUF)


async def serve(app: web.Application, host: str, port: int, started: Callable[[int], None]) -> None:
    """Serve an application until cancelled; `started` is told the port."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_GRACE_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        started(runner.addresses[0][1])
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text)


def _failure(status: int, code: int, message: str, as_json: bool) -> web.Response:
    if as_json:
        return web.Response(status=status, body=otlp.status_json(code, message), content_type=_JSON)
    return web.Response(status=status, body=otlp.status(code, message), content_type=_PROTOBUF)

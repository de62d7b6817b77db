"""Asks a container something: run a command in it, get a page from it, open a port. Used by probes and by hooks.

An HTTP status of 200 to 399 is an answer; redirects to other hosts are not followed. Ports below the unprivileged
limit are where `host_port` says.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

import aiohttp

from kubeglass.components.api.objects import Container, ExecAction, HTTPGetAction, TCPSocketAction
from kubeglass.components.kubelet.runtime.runtime import ExecTimeoutError, Runtime, RuntimeCallError
from kubeglass.components.machinery.loopback import host_port

_MAX_BODY_BYTES = 10 * 1024


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of asking once: True it is well, False it is not, None it could not be asked."""

    ok: bool | None
    output: str = ""


def resolve_port(port: int | str | None, container: Container) -> int | None:
    """A number, or the container's port of that name."""
    if isinstance(port, int):
        return port
    named = next((p.container_port for p in container.ports if p.name == port), None)
    if named is None and port is not None and port.isdecimal():
        return int(port)
    return named


class Handlers:
    """Carries out the actions that specs describe."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._session: aiohttp.ClientSession | None = None
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def exec(self, action: ExecAction, container_id: str, timeout_seconds: float) -> Verdict:
        try:
            result = await self._runtime.exec_sync(container_id, action.command, timeout_seconds)
        except ExecTimeoutError as error:
            return Verdict(False, str(error))
        except RuntimeCallError as error:
            return Verdict(False, str(error))
        output = (result.stdout + result.stderr)[:_MAX_BODY_BYTES].decode(errors="replace")
        return Verdict(result.exit_code == 0, output)

    async def http_get(
        self, action: HTTPGetAction, container: Container, pod_ip: str, timeout_seconds: float, agent: str
    ) -> Verdict:
        port = resolve_port(action.port, container)
        if port is None:
            return Verdict(None, f"couldn't find port: {action.port}")
        scheme = (action.scheme or "HTTP").lower()
        host = action.host or pod_ip
        path = action.path if action.path.startswith("/") else f"/{action.path}"
        url, shown = f"{scheme}://{host}:{host_port(port)}{path}", f"{scheme}://{host}:{port}{path}"
        headers = {"User-Agent": agent, "Accept": "*/*", "Connection": "close"}
        headers |= {header.name: header.value for header in action.http_headers}
        try:
            async with (
                asyncio.timeout(timeout_seconds),
                self._http().get(url, headers=headers, ssl=self._tls, allow_redirects=False) as response,
            ):
                body = (await response.content.read(_MAX_BODY_BYTES)).decode(errors="replace")
        except TimeoutError:
            why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            return Verdict(False, f'Get "{shown}": {why}')
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Verdict(False, f'Get "{shown}": {_dial_error(error, host, port)}')
        if 200 <= response.status < 400:
            return Verdict(True, body)
        return Verdict(False, f"HTTP probe failed with statuscode: {response.status}")

    async def tcp_socket(
        self, action: TCPSocketAction, container: Container, pod_ip: str, timeout_seconds: float
    ) -> Verdict:
        port = resolve_port(action.port, container)
        if port is None:
            return Verdict(None, f"couldn't find port: {action.port}")
        host = action.host or pod_ip
        try:
            async with asyncio.timeout(timeout_seconds):
                _, writer = await asyncio.open_connection(host, host_port(port))
            writer.close()
        except TimeoutError:
            return Verdict(False, f"dial tcp {host}:{port}: i/o timeout")
        except OSError as error:
            return Verdict(False, _dial_error(error, host, port))
        return Verdict(True)

    async def grpc(self, port: int, service: str, pod_ip: str, timeout_seconds: float) -> Verdict:
        """grpc.health.v1.Health/Check, by hand: the request is one string field, the answer one enum."""
        import grpc

        target = f"{pod_ip}:{host_port(port)}"
        name = service.encode()
        request = b"\x0a" + bytes([len(name)]) + name if name else b""
        async with grpc.aio.insecure_channel(target) as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check", None, None)
            try:
                answer = await check(request, timeout=timeout_seconds)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    return Verdict(
                        False, f'timeout: failed to connect service "{pod_ip}:{port}" within {timeout_seconds:g}s'
                    )
                return Verdict(False, f"error: health rpc probe failed: {error.details()}")
        status = answer[1] if len(answer) > 1 else 0
        names = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
        if status == 1:
            return Verdict(True, "service healthy")
        return Verdict(False, f'service unhealthy (responded with "{names.get(status, status)}")')

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, limit=0))
        return self._session


def _dial_error(error: BaseException, host: str, port: int) -> str:
    """Go's words for what went wrong with a connection."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ConnectionRefusedError):
        return f"dial tcp {host}:{port}: connect: connection refused"
    if isinstance(cause, OSError) and cause.strerror:
        return f"dial tcp {host}:{port}: connect: {cause.strerror.lower()}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "EOF"
    return str(error)

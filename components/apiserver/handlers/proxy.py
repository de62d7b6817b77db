"""Requests that end elsewhere: logs, exec, attach and port-forward at a kubelet; node, pod and service proxies.

A request is sent on with its own method, headers and body. An answer that upgrades the connection turns both sides
into raw bytes, so WebSockets and whatever is tunnelled in them pass unseen; any other answer is streamed as it comes.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from kubeglass.components.api import errors, kinds
from kubeglass.components.api.errors import ApiError, BadRequest, InternalError, ServiceUnavailable
from kubeglass.components.apiserver.handlers.kubelets import Backend, Kubelets, connect
from kubeglass.components.apiserver.metrics import PodLogMetrics
from kubeglass.components.apiserver.storage.reads import Reads
from kubeglass.components.apiserver.storage.records import Filter
from kubeglass.components.apiserver.wire import Request, Response
from kubeglass.components.machinery.loopback import host_port
from kubeglass.telemetry.tracing.context import inject
from kubeglass.telemetry.tracing.tracer import CLIENT, Tracer

_NOT_FORWARDED = frozenset(
    {"host", "authorization", "connection", "keep-alive", "proxy-authorization", "te", "trailer", "transfer-encoding",
     "content-length", "accept-encoding", "traceparent", "tracestate"}
)  # fmt: skip
_NOT_RETURNED = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "trailer"})
_MAX_HEAD_BYTES = 64 * 1024
_PROTOCOL_HEADERS = ("connection", "upgrade")
_LOG_OPTIONS = ("follow", "previous", "timestamps", "tailLines", "limitBytes", "sinceSeconds", "sinceTime", "stream")
_EXEC_OPTIONS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
_TRUE = ("true", "1")
_REFUSED = {
    401: ("the server has asked for the client to provide credentials", "Unauthorized"),
    403: ("", "Forbidden"),
    404: ("the server could not find the requested resource", "NotFound"),
    422: ("the server rejected our request due to an error in our request", "Invalid"),
}
_MAX_REFUSAL_BYTES = 50_000
Refuse = Callable[[Request, int, str], ApiError]


@dataclass(frozen=True, slots=True)
class _Head:
    """The start of an HTTP answer."""

    status: int
    headers: list[tuple[str, str]]
    raw: bytes

    def get(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")


class Proxy:
    """Passes requests on to kubelets, Pods and Services."""

    def __init__(self, reads: Reads, kubelets: Kubelets, metrics: PodLogMetrics, tracer: Tracer) -> None:
        self._reads = reads
        self._kubelets = kubelets
        self._metrics = metrics
        self._tracer = tracer

    async def log(self, request: Request) -> Response:
        """pods/log: the kubelet's containerLogs of one container."""
        pod = await self._pod(request)
        container = _container(pod, request.param("container"), request.info.name, logs=True)
        options = {name: request.param(name) for name in _LOG_OPTIONS if request.param(name)}
        if not _node_of(pod):
            return Response(204)  # not scheduled yet: there is nothing to show
        self._metrics.pod_logs_insecure_backend_total.labels("enforce_tls").inc()
        self._metrics.pod_logs_pods_logs_insecure_backend_total.labels("enforce_tls").inc()
        path = _path("containerLogs", request.info.namespace, request.info.name, container)
        kubelet = await self._kubelets.connect(_node_of(pod))
        return await self._pass_on(request, kubelet, "GET", path, urlencode(options), refuse=_log_refused)

    async def stream(self, request: Request) -> Response:
        """pods/exec, pods/attach, pods/portforward."""
        pod = await self._pod(request)
        info = request.info
        node = _node_of(pod)
        if not node:
            raise BadRequest(f"pod {info.name} does not have a host assigned")
        query: list[tuple[str, str]] = []
        if info.subresource == "portforward":
            path = _path("portForward", info.namespace, info.name)
            query = [("port", value) for value in request.query.get("ports", ())]
        else:
            container = _container(pod, request.param("container"), info.name)
            path = _path(info.subresource, info.namespace, info.name, container)
            query = [(theirs, "1") for ours, theirs in _EXEC_OPTIONS.items() if request.param(ours) in _TRUE]
            query += [("command", word) for word in request.query.get("command", ())]
            if info.subresource == "exec" and not request.query.get("command"):
                raise BadRequest("you must specify at least one command for the container")
        if request.headers.get("Upgrade", "").lower() == "websocket":
            self._metrics.websocket_streaming_requests_total.labels(info.subresource, "passthrough").inc()
        return await self._pass_on(request, await self._kubelets.connect(node), request.method, path, urlencode(query))

    async def node(self, request: Request) -> Response:
        """nodes/proxy."""
        name, _, _ = _target(request.info.name)
        return await self._proxied(request, await self._kubelets.connect(name))

    async def pod(self, request: Request) -> Response:
        """pods/proxy: straight to the Pod's address. The name may be `scheme:name:port`."""
        scheme, name, port = _schemed(request.info.name)
        record = await self._reads.get(kinds.POD, request.info.namespace, name)
        if record is None:
            raise errors.not_found("pods", "", name)
        pod = record.decode()
        address = (pod.get("status") or {}).get("podIP", "")
        if not address:
            raise BadRequest("address not allowed")
        number = int(port) if port.isdigit() else _first_port(pod)
        return await self._proxied(request, await connect(address, host_port(number), _insecure(scheme)))

    async def service(self, request: Request) -> Response:
        """services/proxy: to one ready endpoint of the Service, picked at random."""
        scheme, name, port = _schemed(request.info.name)
        address, number = await self._endpoint(request.info.namespace, name, port)
        return await self._proxied(request, await connect(address, host_port(number), _insecure(scheme)))

    async def _endpoint(self, namespace: str, name: str, port: str) -> tuple[str, int]:
        if await self._reads.get(kinds.SERVICE, namespace, name) is None:
            raise errors.not_found("services", "", name)
        listing = (await self._reads.list(Filter(kinds.ENDPOINT_SLICE, namespace))).listing
        found: list[tuple[str, int]] = []
        for record in listing.records:
            if record.labels.get("kubernetes.io/service-name") != name:
                continue
            found += _ready(record.decode(), port)
        if not found:
            raise ServiceUnavailable(f'no endpoints available for service "{name}"')
        return random.choice(found)

    async def _pod(self, request: Request) -> Mapping[str, Any]:
        record = await self._reads.get(kinds.POD, request.info.namespace, request.info.name)
        if record is None:
            raise errors.not_found("pods", "", request.info.name)
        return record.decode()

    async def _proxied(self, request: Request, backend: Backend) -> Response:
        """With the rest of the path behind `proxy`."""
        rest = request.path.split("/proxy", 1)[1] if "/proxy" in request.path else ""
        return await self._pass_on(request, backend, request.method, quote(rest or "/"), request.query_string)

    async def _pass_on(
        self, request: Request, backend: Backend, method: str, path: str, query: str, refuse: Refuse | None = None
    ) -> Response:
        """The answer of the backend; with `refuse` a failure becomes an error of this server."""
        target = f"{path}?{query}" if query else path
        with self._tracer.span(f"HTTP {method}", kind=CLIENT, attributes={"http.request.method": method}) as span:
            try:
                await backend.write(await self._request_bytes(request, method, target))
                head = await _read_head(backend)
                span.set("http.response.status_code", head.status)
                if head.status == 101:
                    return await _tunnel(request, backend, head)
                if refuse is not None and not 200 <= head.status <= 206:
                    text = b"".join([data async for data in _body(backend, head)])[:_MAX_REFUSAL_BYTES]
                    raise refuse(request, head.status, text.decode(errors="replace").rstrip("\n"))
                return await _stream_back(request, backend, head)
            finally:
                backend.close()

    async def _request_bytes(self, request: Request, method: str, target: str) -> bytes:
        upgrade = request.headers.get("Upgrade", "")
        body = b"" if upgrade else await request.body()
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _NOT_FORWARDED]
        trace: dict[str, str] = {}
        inject(trace)
        headers += [("Host", request.host or "kubelet"), ("Connection", "Upgrade" if upgrade else "close")]
        headers += [*trace.items(), ("X-Forwarded-For", request.peer.rpartition(":")[0])]
        if body:
            headers.append(("Content-Length", str(len(body))))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
        return "\r\n".join(lines).encode() + body


def _log_refused(request: Request, status: int, text: str) -> ApiError:
    """What the kubelet refused, as registry/generic/rest's response checker tells the client."""
    if status == 400:
        return BadRequest(text)
    if status == 500:
        return InternalError(f"Internal error occurred: {text}")
    message, reason = _REFUSED.get(status, ("an error on the server has prevented the request from succeeding", ""))
    return ApiError(f"{message or text} ( pods {request.info.name})", code=status, reason=reason)


async def _read_head(backend: Backend) -> _Head:
    try:
        raw = await backend.reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
        raise ServiceUnavailable("error trying to reach service: EOF") from error
    first, *lines = raw[:-4].decode("latin-1").split("\r\n")
    headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return _Head(int(first.split(" ", 2)[1]), headers, raw)


async def _tunnel(request: Request, backend: Backend, head: _Head) -> Response:
    """Both connections become one until either side ends."""
    tunnel = request.exchange.take_over()

    async def upstream() -> None:
        while data := await tunnel.read():
            await backend.write(data)

    async def downstream() -> None:
        while data := await backend.read():
            await tunnel.write(data)

    try:
        await tunnel.write(head.raw)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(upstream()), group.create_task(downstream())]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
    except* (ConnectionError, OSError):
        pass
    return Response(101, sent=True, hijacked=True)


async def _stream_back(request: Request, backend: Backend, head: _Head) -> Response:
    headers = {name: value for name, value in head.headers if name.lower() not in _NOT_RETURNED}
    stream = await request.stream(head.status, headers)
    sent = 0
    async for data in _body(backend, head):
        await stream.write(data)
        sent += len(data)
    return Response(head.status, sent=True, size=sent)


async def _body(backend: Backend, head: _Head) -> Any:
    """The body's bytes as they arrive, chunking removed."""
    if head.status in (204, 304):
        return
    if "chunked" in head.get("transfer-encoding").lower():
        while size := int((await backend.reader.readline()).split(b";")[0] or b"0", 16):
            yield await backend.reader.readexactly(size)
            await backend.reader.readline()
        return
    length = head.get("content-length")
    left = int(length) if length else -1
    while left != 0 and (data := await backend.read()):
        yield data
        left = left - len(data) if left > 0 else left


def _path(*parts: str) -> str:
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _node_of(pod: Mapping[str, Any]) -> str:
    return str((pod.get("spec") or {}).get("nodeName", ""))


def _container(pod: Mapping[str, Any], asked: str, name: str, *, logs: bool = False) -> str:
    """The container meant. Raises BadRequest with upstream's question."""
    spec = pod.get("spec") or {}
    main, init, ephemeral = (
        [container["name"] for container in spec.get(field) or ()]
        for field in ("containers", "initContainers", "ephemeralContainers")
    )
    if asked:
        if asked not in (*main, *init, *ephemeral):
            raise BadRequest(f"container {asked} is not valid for pod {name}")
        return asked
    default = ((pod.get("metadata") or {}).get("annotations") or {}).get("kubectl.kubernetes.io/default-container", "")
    if len(main) == 1:
        return str(main[0])
    if default in main:
        return str(default)
    choose = f"a container name must be specified for pod {name}, choose one of: [{' '.join(main)}]"
    if init:
        choose += f" or one of the init containers: [{' '.join(init)}]"
    raise BadRequest(choose)


def _target(name: str) -> tuple[str, str, str]:
    scheme, plain, port = _schemed(name)
    return plain, scheme, port


def _schemed(name: str) -> tuple[str, str, str]:
    """(scheme, name, port) of `name`, `name:port` or `scheme:name:port`."""
    parts = name.split(":")
    if len(parts) == 1:
        return "http", parts[0], ""
    if len(parts) == 2:
        return "http", parts[0], parts[1]
    return parts[0] or "http", parts[1], parts[2]


def _insecure(scheme: str) -> ssl.SSLContext | None:
    """Pods and Services bring certificates nobody here can check, as upstream accepts."""
    if scheme != "https":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _first_port(pod: Mapping[str, Any]) -> int:
    for container in (pod.get("spec") or {}).get("containers") or ():
        for port in container.get("ports") or ():
            return int(port["containerPort"])
    return 80


def _ready(endpoint_slice: Mapping[str, Any], port: str) -> list[tuple[str, int]]:
    ports = endpoint_slice.get("ports") or ()
    numbers = [
        entry["port"] for entry in ports if not port or port in (entry.get("name") or "", str(entry.get("port")))
    ]
    return [
        (address, number)
        for endpoint in endpoint_slice.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready", True)
        for address in endpoint.get("addresses") or ()
        for number in numbers[:1]
    ]

"""The kubelet's HTTPS server: pods, logs, exec, attach, portForward, statistics, and the component's own pages.

Callers are authenticated by client certificate or TokenReview and authorized by SubjectAccessReview on the node's
subresources, as upstream's pkg/kubelet/server does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec
from aiohttp import web

from kubeglass import GIT_VERSION, KUBERNETES_VERSION
from kubeglass.components.api.objects import Pod
from kubeglass.components.kubelet.cadvisor import Cadvisor
from kubeglass.components.kubelet.cgroups.manager import PodGroups
from kubeglass.components.kubelet.channels import PROTOCOLS, Channels, Wanted, failure_status, stream
from kubeglass.components.kubelet.configuration import KubeletConfig
from kubeglass.components.kubelet.logs import BadLogQuery, LogQuery, read
from kubeglass.components.kubelet.logserver import LogServer
from kubeglass.components.kubelet.metrics import HttpMetrics
from kubeglass.components.kubelet.observed import observe, spec_of
from kubeglass.components.kubelet.portforward import (
    CHANNEL_PROTOCOLS,
    TUNNEL_PROTOCOL,
    forward_channels,
    forward_tunnel,
)
from kubeglass.components.kubelet.runtime.runtime import Container, ContainerState, Runtime, RuntimeCallError
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.delegation import DelegatedAuthorizer
from kubeglass.components.machinery.process import ConfigError, server_ssl_context
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.pages import Asked, Pages
from kubeglass.telemetry.tracing.context import extract
from kubeglass.telemetry.tracing.tracer import SERVER
from kubeglass.telemetry.zpages import About

Handler = Callable[[web.BaseRequest, "tuple[str, ...]"], Awaitable[web.StreamResponse]]
MakePages = Callable[[Mapping[str, Registry]], Pages]
"""Makes the component's pages around its metric endpoints."""

_OPEN_PATHS = ("/healthz", "/livez", "/readyz")
_LONG_RUNNING = ("exec", "attach", "debug")
_MEASURED_PATHS = (
    "healthz", "pods", "stats", "run", "exec", "attach", "portForward", "containerLogs", "configz", "runningpods",
    "checkpoint", "pprof", "logs", "debug", "flagz", "statusz",
)  # fmt: skip
_SUBRESOURCES = {"stats": "stats", "metrics": "metrics", "logs": "log", "pods": "pods", "configz": "configz"}
_BODY_BYTES = 1 << 16


class HttpError(Exception):
    """A refusal in plain text, as upstream's handlers answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class HasPods(Protocol):
    """The pods of the node, by `namespace/name`."""

    def get(self, key: str) -> Pod | None: ...

    def list(self) -> list[Pod]: ...


class HasProbeRegistry(Protocol):
    """What the server needs of the kubelet beside its collaborators."""

    @property
    def probe_registry(self) -> Registry: ...


class KubeletServer:
    """Serves one node."""

    def __init__(
        self,
        config: KubeletConfig,
        client: Client,
        runtime: Runtime,
        pods: HasPods,
        groups: PodGroups,
        kubelet: HasProbeRegistry,
        telemetry: Telemetry,
        pages: MakePages | None = None,
    ) -> None:
        self._tls = server_ssl_context(config.cert_file, config.key_file, config.client_ca_file)
        self.port = config.port  # the real one once it listens, where 0 was asked for
        self._config = config
        self._runtime = runtime
        self._pods = pods
        self._log = telemetry.log
        self._tracer = telemetry.tracer
        self._metrics = HttpMetrics(telemetry.metrics)
        self._cadvisor = Cadvisor(config, runtime, pods.list, groups, telemetry.metrics)
        self._authorizers = {
            subresource: DelegatedAuthorizer(
                client, {"resource": "nodes", "subresource": subresource, "name": config.node_name, "version": "v1"}
            )
            for subresource in ("proxy", *_SUBRESOURCES.values())
        }
        registries = {
            "/metrics/cadvisor": self._cadvisor.cadvisor,
            "/metrics/resource": self._cadvisor.resource,
            "/metrics/probes": kubelet.probe_registry,
        }
        self._pages = (pages or _plain_pages(telemetry))(registries)
        self._handlers: Mapping[str, Handler] = {
            "pods": self._get_pods,
            "runningpods": self._get_running_pods,
            "containerLogs": self._container_logs,
            "exec": self._exec,
            "attach": self._attach,
            "portForward": self._port_forward,
            "run": self._run,
            "stats": self._stats,
            "configz": self._configz,
            "logs": LogServer(config, clock.now).answer,
        }

    def use(self, file: str) -> None:
        """Serve whoever connects from now on with the pair in `file`."""
        if self._tls is not None:
            self._tls.load_cert_chain(file)

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Serve until cancelled."""
        config = self._config
        server = web.Server(self._answer, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, config.address, config.port, ssl_context=self._tls)
            try:
                await site.start()
            except OSError as error:
                raise ConfigError(f"cannot listen on {config.address}:{config.port}: {error.strerror}") from error
            self.port = int(runner.addresses[0][1])
            self._log.info("Starting to listen", address=config.address, port=self.port)
            started()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    # -- one request ----------------------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Measure, trace, authorize, dispatch."""
        first, *rest = request.path.strip("/").split("/")
        labels = _metric_labels(request.method, first, request.path)
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._metrics.http_requests_total.labels(*labels).inc()
        self._metrics.http_inflight_requests.labels(*labels).inc()
        attributes = {"http.request.method": request.method, "url.path": request.path}
        try:
            with self._tracer.span(
                f"{request.method} /{first}", kind=SERVER, parent=extract(request.headers), attributes=attributes
            ) as span:
                response = await self._dispatch(request, first, tuple(rest))
                span.set("http.response.status_code", response.status)
                return response
        finally:
            self._metrics.http_inflight_requests.labels(*labels).dec()
            self._metrics.http_requests_duration_seconds.labels(*labels).observe(loop.time() - started)

    async def _dispatch(self, request: web.BaseRequest, first: str, rest: tuple[str, ...]) -> web.StreamResponse:
        refused = await self._refusal(request, first)
        if refused is not None:
            return refused
        handler = self._handlers.get(first)
        try:
            if handler is not None:
                return await handler(request, rest)
            return await self._page(request)
        except HttpError as error:
            return web.Response(status=error.status, text=f"{error.message}\n")
        except RuntimeCallError as error:
            return web.Response(status=500, text=f"{error}\n")

    async def _refusal(self, request: web.BaseRequest, first: str) -> web.Response | None:
        if request.path in _OPEN_PATHS or request.path.startswith(tuple(f"{path}/" for path in _OPEN_PATHS)):
            return None
        if not self._config.cert_file:  # plain text on a private address: nobody to tell apart
            return None
        transport = request.transport
        tls = transport.get_extra_info("ssl_object") if transport is not None else None
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        verb = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "DELETE": "delete"}
        subresources = dict.fromkeys((_SUBRESOURCES.get(first, "proxy"), "proxy"))
        for subresource in subresources:
            decision = await self._authorizers[subresource](
                request.headers, certificate, verb.get(request.method, "get"), request.path
            )
            if decision.status == 200:
                return None
        if decision.status == 403:
            message = (
                f"Forbidden (user={decision.user}, verb={verb.get(request.method, 'get')}, resource=nodes, "
                f"subresource(s)={list(subresources)})"
            )
            return web.Response(status=403, text=message)
        return web.Response(status=decision.status, text=decision.message)

    async def _page(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path in ("/metrics/cadvisor", "/metrics/resource"):
            await self._cadvisor.refresh()
        body = await request.content.read(_BODY_BYTES) if request.can_read_body else b""
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = await self._pages.answer(Asked(request.method, request.path, request.query_string, headers, body))
        if answer is None:
            raise HttpError(404, "404 page not found")
        content = b"".join(answer.blocks)
        return web.Response(
            status=answer.status, body=content, headers={**answer.headers, "Content-Type": answer.content_type}
        )

    # -- data -----------------------------------------------------------------------------------------------------

    async def _get_pods(self, request: web.BaseRequest, rest: tuple[str, ...]) -> web.Response:
        items = [msgspec.to_builtins(pod) for pod in self._pods.list()]
        return _json({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})

    async def _get_running_pods(self, request: web.BaseRequest, rest: tuple[str, ...]) -> web.Response:
        running = {c.pod_uid for c in await self._runtime.list_containers() if c.state is ContainerState.RUNNING}
        items = [msgspec.to_builtins(pod) for pod in self._pods.list() if pod.metadata.uid in running]
        return _json({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})

    async def _stats(self, request: web.BaseRequest, rest: tuple[str, ...]) -> web.Response:
        if rest not in (("summary",), ("summary", "")):
            raise HttpError(404, "404 page not found")
        await self._cadvisor.refresh()
        return _json(self._cadvisor.summary())

    async def _configz(self, request: web.BaseRequest, rest: tuple[str, ...]) -> web.Response:
        config = self._config
        return _json(
            {
                "kubeletconfig": {
                    "address": config.address,
                    "port": config.port,
                    "clusterDomain": config.cluster_domain,
                    "clusterDNS": list(config.cluster_dns),
                    "containerLogMaxSize": str(config.container_log_max_size),
                    "containerLogMaxFiles": config.container_log_max_files,
                    "maxPods": config.max_pods,
                    "podCIDR": config.pod_cidr,
                    "syncFrequency": f"{config.sync_frequency_seconds:g}s",
                    "nodeStatusUpdateFrequency": f"{config.node_status_update_seconds:g}s",
                    "nodeStatusReportFrequency": f"{config.node_status_report_seconds:g}s",
                    "nodeLeaseDurationSeconds": config.lease_duration_seconds,
                    "registerNode": config.register_node,
                }
            }
        )

    # -- containers -----------------------------------------------------------------------------------------------

    def _pod(self, namespace: str, name: str, uid: str = "") -> Pod:
        pod = self._pods.get(f"{namespace}/{name}")
        if pod is None or (uid and pod.metadata.uid != uid):
            raise HttpError(404, f'pod "{name}" does not exist')
        return pod

    async def _container(self, pod: Pod, name: str, *, previous: bool = False) -> Container:
        sandboxes, containers = await self._runtime.list_pod_sandboxes(), await self._runtime.list_containers()
        observed = observe(pod.metadata.uid, sandboxes, containers)
        if previous:
            found = observed.previous(name)
            latest = observed.latest(name)
            if found is None and latest is not None and latest.state is ContainerState.EXITED:
                found = latest  # it waits for its restart: the one that ended is the previous one
            if found is None:
                raise HttpError(400, f'previous terminated container "{name}" in pod "{pod.metadata.name}" not found')
            return found
        found = observed.latest(name)
        if found is None:
            self._explain_missing(pod, name)
            raise HttpError(400, f'container "{name}" in pod "{pod.metadata.name}" is not available')
        return found

    def _explain_missing(self, pod: Pod, name: str) -> None:
        reported = pod.status
        statuses = (
            *reported.container_statuses,
            *reported.init_container_statuses,
            *reported.ephemeral_container_statuses,
        )
        status = next((s for s in statuses if s.name == name), None)
        if status is None and spec_of(pod, name) is None:
            raise HttpError(400, f"container {name} is not valid for pod {pod.metadata.name}")
        waiting = status.state.waiting if status else None
        reason = waiting.reason if waiting else "ContainerCreating"
        message = f'container "{name}" in pod "{pod.metadata.name}" is waiting to start: {reason}'
        if waiting and waiting.reason in ("ErrImagePull", "ImagePullBackOff"):
            message = (
                f'container "{name}" in pod "{pod.metadata.name}" is waiting to start: trying and failing to pull image'
            )
        raise HttpError(400, message)

    async def _container_logs(self, request: web.BaseRequest, rest: tuple[str, ...]) -> web.StreamResponse:
        namespace, name, container_name = _three(rest)
        try:
            query = LogQuery.parse(request.query)
        except BadLogQuery as error:
            raise HttpError(422, str(error)) from error
        pod = self._pod(namespace, name)
        container = await self._container(pod, container_name, previous=query.previous)

        async def still_running() -> bool:
            found = [c for c in await self._runtime.list_containers() if c.id == container.id]
            return bool(found) and found[0].state in (ContainerState.RUNNING, ContainerState.CREATED)

        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            async for block in read(Path(container.log_path), query, still_running):
                await response.write(block)
        except ConnectionError:
            return response
        await response.write_eof()
        return response

    # -- streams --------------------------------------------------------------------------------------------------

    async def _exec(self, request: web.BaseRequest, rest: tuple[str, ...]) -> web.StreamResponse:
        _, container = await self._target(rest)
        command = request.query.getall("command", [])
        if not command:
            raise HttpError(400, "you must specify at least 1 command")
        wanted = _wanted(request)
        if not (wanted.stdin or wanted.stdout or wanted.stderr):
            raise HttpError(400, "you must specify at least 1 of stdin, stdout, stderr")
        self._metrics.websocket_streaming_requests_total.labels("exec").inc()
        return await self._stream(
            request,
            wanted,
            lambda: self._runtime.exec(container.id, command, tty=wanted.tty, stdin=wanted.stdin),
        )

    async def _attach(self, request: web.BaseRequest, rest: tuple[str, ...]) -> web.StreamResponse:
        pod, container = await self._target(rest)
        spec = spec_of(pod, container.name)
        wanted = _wanted(request)
        if spec is not None and spec.tty:
            wanted = Wanted(wanted.stdin, wanted.stdout, False, tty=True)
        self._metrics.websocket_streaming_requests_total.labels("attach").inc()
        return await self._stream(request, wanted, lambda: self._runtime.attach(container.id))

    async def _target(self, rest: tuple[str, ...]) -> tuple[Pod, Container]:
        """/exec/NS/POD[/UID]/CONTAINER."""
        namespace, name, container_name = _three(rest if len(rest) == 3 else (*rest[:2], *rest[3:]))
        pod = self._pod(namespace, name)
        container = await self._container(pod, container_name)
        if container.state is not ContainerState.RUNNING:
            raise HttpError(404, f'container not found ("{container_name}")')
        return pod, container

    async def _stream(
        self, request: web.BaseRequest, wanted: Wanted, open_: Callable[[], Awaitable[Any]]
    ) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise HttpError(400, "unable to upgrade: only WebSocket streaming is supported")
        socket = web.WebSocketResponse(protocols=PROTOCOLS, max_msg_size=0, heartbeat=30)
        await socket.prepare(request)
        channels = Channels(socket)
        try:
            process = await open_()
        except RuntimeCallError as error:
            await channels.send_status(failure_status(f"error executing command in container: {error}"))
            await socket.close()
            return socket
        try:
            await stream(channels, process, wanted)
        except* ConnectionError:
            pass
        finally:
            process.close()
            await socket.close()
        return socket

    async def _run(self, request: web.BaseRequest, rest: tuple[str, ...]) -> web.Response:
        """POST /run/NS/POD/CONTAINER?cmd=…: the command's output as one answer."""
        _, container = await self._target(rest)
        result = await self._runtime.exec_sync(container.id, request.query.get("cmd", "").split(), 0)
        return web.Response(body=result.stdout + result.stderr, content_type="text/plain")

    async def _port_forward(self, request: web.BaseRequest, rest: tuple[str, ...]) -> web.StreamResponse:
        """/portForward/NS/POD[/UID]."""
        if len(rest) < 2:
            raise HttpError(404, "404 page not found")
        pod = self._pod(rest[0], rest[1])
        sandboxes = await self._runtime.list_pod_sandboxes()
        sandbox = observe(pod.metadata.uid, sandboxes, ()).ready_sandbox
        if sandbox is None:
            raise HttpError(500, f'pod "{pod.metadata.name}" is not running')
        self._metrics.websocket_streaming_requests_total.labels("portforward").inc()
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise HttpError(400, "unable to upgrade: only WebSocket streaming is supported")
        socket = web.WebSocketResponse(protocols=(TUNNEL_PROTOCOL, *CHANNEL_PROTOCOLS), max_msg_size=0)
        await socket.prepare(request)
        try:
            if socket.ws_protocol == TUNNEL_PROTOCOL:
                await forward_tunnel(socket, sandbox.ip, pod.metadata.name)
            else:
                asked = [*request.query.getall("port", []), *request.query.getall("ports", [])]
                ports = [int(port) for text in asked for port in text.split(",")]
                await forward_channels(socket, sandbox.ip, pod.metadata.name, ports)
        except* ConnectionError:
            pass
        await socket.close()
        return socket


def _plain_pages(telemetry: Telemetry) -> MakePages:
    """Pages of a kubelet that was not started by flags."""
    version = KUBERNETES_VERSION.removeprefix("v")
    about = About("kubelet", GIT_VERSION, version, "python", datetime.now(UTC))
    return lambda registries: Pages(telemetry, about, registries=registries)


def _three(rest: tuple[str, ...]) -> tuple[str, str, str]:
    if len(rest) != 3:
        raise HttpError(404, "404 page not found")
    return rest[0], rest[1], rest[2]


def _wanted(request: web.BaseRequest) -> Wanted:
    """The stream options, in the kubelet's spelling (input=1) or the API's (stdin=true)."""
    query = request.query

    def asked(*names: str) -> bool:
        return any(query.get(name, "").lower() in ("1", "true") for name in names)

    tty = asked("tty")
    return Wanted(asked("input", "stdin"), asked("output", "stdout"), asked("error", "stderr") and not tty, tty)


def _metric_labels(method: str, first: str, path: str) -> tuple[str, str, str, str]:
    if first == "metrics":
        shown = (
            path.strip("/")
            if path in ("/metrics", "/metrics/cadvisor", "/metrics/probes", "/metrics/resource")
            else "other"
        )
    else:
        shown = first if first in _MEASURED_PATHS else "other"
    return method, shown, "readwrite", str(first in _LONG_RUNNING).lower()


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")

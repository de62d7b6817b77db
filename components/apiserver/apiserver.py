"""The composition root: storage → registry → handlers → chain → listener. It wires, and decides nothing.

`COMPONENT` is the row by which `kubeglass apiserver` runs it; tests start one with testing.py.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path as FilePath
from typing import IO, Any

from kubeglass.components.api import conversion, kinds
from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.user import UserInfo
from kubeglass.components.apiserver import chain
from kubeglass.components.apiserver.admission.certificates import MayUseSigner
from kubeglass.components.apiserver.admission.chain import Chain
from kubeglass.components.apiserver.admission.metrics import AdmissionMetrics, WebhookMetrics
from kubeglass.components.apiserver.admission.plugins import default_plugins
from kubeglass.components.apiserver.admission.pods import TolerationSeconds
from kubeglass.components.apiserver.admission.webhooks import Webhooks
from kubeglass.components.apiserver.apiservices import ApiServiceAvailability
from kubeglass.components.apiserver.audit import Auditor, read_policy
from kubeglass.components.apiserver.auth import build as auth_build
from kubeglass.components.apiserver.auth.build import Auth
from kubeglass.components.apiserver.bootstrap import Address, Bootstrap
from kubeglass.components.apiserver.cleanup import clean_definition
from kubeglass.components.apiserver.dispatch import Dispatcher, KindHandler, Path, Routes
from kubeglass.components.apiserver.fairness import Fairness
from kubeglass.components.apiserver.filters import Parts
from kubeglass.components.apiserver.handlers import debug
from kubeglass.components.apiserver.handlers.discovery import Discovery
from kubeglass.components.apiserver.handlers.kubelets import Kubelets
from kubeglass.components.apiserver.handlers.openapi import OpenApi
from kubeglass.components.apiserver.handlers.proxy import Proxy
from kubeglass.components.apiserver.handlers.read import Forms, Reader
from kubeglass.components.apiserver.handlers.reviews import Reviews
from kubeglass.components.apiserver.handlers.subresources import SubresourceHandlers
from kubeglass.components.apiserver.handlers.watch import WatchHandler
from kubeglass.components.apiserver.handlers.write import Writer
from kubeglass.components.apiserver.handshakes import report_failed_handshakes
from kubeglass.components.apiserver.inprocess import LOOPBACK, InProcess
from kubeglass.components.apiserver.listener import Bound, listen
from kubeglass.components.apiserver.measure import RequestRecorder
from kubeglass.components.apiserver.metrics import AllocatorMetrics, CertificateMetrics, PodLogMetrics, WatchMetrics
from kubeglass.components.apiserver.options import Options, add_flags, options_from
from kubeglass.components.apiserver.registry.allocation import Allocator, ServiceRanges, show_allocations
from kubeglass.components.apiserver.registry.certificates import IssuedCertificates
from kubeglass.components.apiserver.registry.context import WriteContext
from kubeglass.components.apiserver.registry.definitions import Definitions
from kubeglass.components.apiserver.registry.served import ServedKinds
from kubeglass.components.apiserver.registry.stamps import Stamps
from kubeglass.components.apiserver.registry.store import Store
from kubeglass.components.apiserver.registry.subresources import Subresources
from kubeglass.components.apiserver.registry.tables import KindTables
from kubeglass.components.apiserver.storage.backend import Backend, StorageError
from kubeglass.components.apiserver.storage.measured import MeasuredBackend
from kubeglass.components.apiserver.storage.memory import MemoryBackend
from kubeglass.components.apiserver.storage.metrics import GrpcClientMetrics
from kubeglass.components.apiserver.storage.reads import DecodedReads, Reads
from kubeglass.components.apiserver.storage.sqlite import SqliteBackend
from kubeglass.components.apiserver.storage.upkeep import Upkeep
from kubeglass.components.apiserver.storage.watchcaches import WatchCaches
from kubeglass.components.apiserver.views import Convert
from kubeglass.components.apiserver.webhookclient import WebhookClient
from kubeglass.components.apiserver.wire import Handler
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.access import Access
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.process import ComponentSpec, ConfigError, Context, server_ssl_context
from kubeglass.logging.klog import Logger
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.pages import Pages
from kubeglass.telemetry.tracing.operations import OperationTracer

Object = dict[str, Any]
_HOOKS = {
    "bootstrap": (
        "poststarthook/rbac/bootstrap-roles",
        "poststarthook/scheduling/bootstrap-system-priority-classes",
        "poststarthook/bootstrap-controller",
        "poststarthook/start-system-namespaces-controller",
        "poststarthook/start-cluster-authentication-info-controller",
    ),
    "caches": ("poststarthook/storage-readiness", "poststarthook/start-apiextensions-informers"),
}


class NotReady(Exception):
    """Why a health check fails."""


@dataclass(frozen=True, slots=True)
class _Objects:
    """What knows, reads and writes objects."""

    caches: WatchCaches
    served: ServedKinds
    reads: Reads
    reader: DecodedReads
    ranges: ServiceRanges
    store: Store
    definitions: Definitions
    webhooks: WebhookClient


class ApiServer:
    """One API server. `run` serves until cancelled; everything it needs is built there, on its loop."""

    def __init__(self, options: Options, telemetry: Telemetry, pages: Pages, backend: Backend | None = None) -> None:
        self.options = options
        self.telemetry = telemetry
        self.bound = Bound(options.bind_address, options.secure_port)
        self.handler: Handler = _not_started
        self._pages = pages
        backend = backend or backend_of(options, telemetry)
        self._backend = MeasuredBackend(backend, telemetry.metrics, OperationTracer(telemetry.tracer, telemetry.log))
        self._done: set[str] = set()
        self._add_checks()

    @property
    def url(self) -> str:
        """Where clients of this host reach the server."""
        scheme = "https" if self.options.tls_cert_file else "http"
        return f"{scheme}://{self.bound.host}:{self.bound.port}"

    def client(self, user: UserInfo = LOOPBACK, user_agent: str = "kube-apiserver") -> Client:
        """A client without a socket, acting as `user`."""
        return Client(Access(self.url), self.telemetry, user_agent, InProcess(lambda: self.handler, user))

    async def run(self, started: Callable[[], None]) -> None:
        """Serve; `started` is called when everything is ready."""
        try:
            await self._backend.start()
        except StorageError as error:
            raise ConfigError(str(error)) from error
        try:
            async with asyncio.TaskGroup() as group:
                await self._serve(group, started)
        finally:
            await self._backend.close()

    async def _serve(self, group: asyncio.TaskGroup, started: Callable[[], None]) -> None:
        telemetry, options = self.telemetry, self.options
        caches = WatchCaches(self._backend, telemetry.metrics, telemetry.log)
        await caches.add(kinds.KINDS)
        filled = asyncio.Event()
        group.create_task(caches.run(filled.set), name="watch caches")
        await filled.wait()
        self._done.add("caches")
        auth = auth_build.build(options, caches, telemetry.metrics)
        objects = await self._objects(caches, auth.may_use_signer)
        recorder = RequestRecorder(telemetry.metrics, objects.served)
        auditor = _auditor(options, telemetry)
        fairness = Fairness(options, telemetry, recorder.rejected, auditor.annotate)
        self.handler = self._chain(objects, auth, recorder, auditor, fairness)
        availability = ApiServiceAvailability(telemetry.metrics, caches.of(kinds.API_SERVICE))
        group.create_task(availability.run(), name="availability of APIServices")
        async with _listening(self.handler, options, recorder, telemetry.log) as self.bound:
            await self._bootstrap(objects)
            for name, task in self._upkeep(objects, fairness).items():
                group.create_task(task, name=name)
            telemetry.log.info("Serving securely", address=f"{self.bound.host}:{self.bound.port}")
            started()
            try:
                await asyncio.Event().wait()
            finally:
                await objects.webhooks.close()

    async def _objects(self, caches: WatchCaches, may_use_signer: MayUseSigner) -> _Objects:
        """The store of all kinds, with admission before it."""
        telemetry, options = self.telemetry, self.options
        served = ServedKinds(options.runtime_config)
        reads = Reads(caches)
        reader = DecodedReads(reads)

        async def spend(namespace: str, quota: str, change: Callable[[Object], Object]) -> None:
            context = WriteContext(user=LOOPBACK)
            await store.update(
                context, kinds.RESOURCE_QUOTA, namespace, quota, lambda current: change(current or {}), "status"
            )

        webhooks = WebhookClient(reads, telemetry.tracer)
        spans = OperationTracer(telemetry.tracer, telemetry.log)
        calls = Webhooks(reader, webhooks.call, WebhookMetrics(telemetry.metrics), spans)
        try:
            plugins = default_plugins(
                reader,
                spend,
                may_use_signer,
                calls,
                options.disable_admission_plugins,
                TolerationSeconds(
                    options.default_not_ready_toleration_seconds, options.default_unreachable_toleration_seconds
                ),
                options.enable_admission_plugins,
            )
        except ValueError as error:
            raise ConfigError(str(error)) from error
        ranges = ServiceRanges.of(options.service_cluster_ip_range, options.node_ports)
        show_allocations(telemetry.metrics, ranges, caches.of(kinds.SERVICE).records)
        store = Store(
            self._backend,
            served,
            Chain(plugins, AdmissionMetrics(telemetry.metrics)),
            Allocator(ranges, reader, AllocatorMetrics(telemetry.metrics)),
            stamps=Stamps(telemetry.tracer.annotation),
            updated=IssuedCertificates(CertificateMetrics(telemetry.metrics)),
        )
        definitions = Definitions(reader, served, caches.add)
        await definitions.refresh()
        return _Objects(caches, served, reads, reader, ranges, store, definitions, webhooks)

    def _chain(
        self, objects: _Objects, auth: Auth, recorder: RequestRecorder, auditor: Auditor, fairness: Fairness
    ) -> Handler:
        """From a request to its handler: the filters, the routes, what they lead to."""
        telemetry, options = self.telemetry, self.options
        served, reads = objects.served, objects.reads

        async def written(kind: Kind) -> None:
            if kind == kinds.CUSTOM_RESOURCE_DEFINITION:
                await objects.definitions.refresh()

        forms = Forms(KindTables(served), _conversion, served.selectable)
        tracer = OperationTracer(telemetry.tracer, telemetry.log)
        reader = Reader(reads, forms, tracer)
        writer = Writer(objects.store, reads, served, forms, recorder, tracer, written)
        watches = WatchHandler(
            reads, forms, WatchMetrics(telemetry.metrics), telemetry.log, options.min_request_timeout, tracer
        )
        subresources = Subresources(objects.store, objects.reader, served, auth.sign)
        proxy = Proxy(reads, Kubelets(reads, _kubelet_tls(options)), PodLogMetrics(telemetry.metrics), tracer)
        reviews = Reviews(auth.tokens, auth.authorization, auth.rbac, options.audiences)
        paths = [*debug.pages_paths(self._pages), *fairness.paths(), *_discovery(served)]
        if auth.accounts is not None:
            paths += debug.openid_paths(auth.accounts, lambda: self.url)
        routes = Routes(
            _verbs(reader, watches, writer),
            {**SubresourceHandlers(reader, writer, subresources).routes(), **_streams(proxy)},
            reviews.create,
            paths,
        )
        return chain.build(
            Parts(
                telemetry, recorder, auth.authentication, auth.authorization, auditor, fairness.filter,
                options.request_timeout, options.tracing_trusted_groups,
            ),
            Dispatcher(served, routes, recorder),
        )  # fmt: skip

    async def _bootstrap(self, objects: _Objects) -> None:
        """Write what every cluster has, once it is known where this server listens."""
        options = self.options
        address = Address(objects.ranges.kubernetes_ip(), options.advertise_address or self.bound.host, self.bound.port)
        authorities = (options.client_ca_file, options.requestheader_client_ca_file)
        await Bootstrap(objects.store, objects.reads, address, *authorities, objects.served.builtin).run()
        self._done.add("bootstrap")

    def _upkeep(self, objects: _Objects, fairness: Fairness) -> Mapping[str, Coroutine[Any, Any, None]]:
        """What goes on beside the requests, by name."""
        telemetry, caches, definitions = self.telemetry, objects.caches, objects.definitions
        interval = self.options.etcd_compaction_interval
        upkeep = Upkeep(self._backend, caches, telemetry.metrics, telemetry.log, clock.now, interval)
        return {
            "store upkeep": upkeep.run(),
            "custom resource definitions": definitions.run(
                partial(clean_definition, objects.store, definitions, caches.remove)
            ),
            "definitions by other servers": definitions.follow(caches.of(kinds.CUSTOM_RESOURCE_DEFINITION)),
            "priority and fairness": fairness.run(self.client(), caches),
        }

    def _add_checks(self) -> None:
        health = self.telemetry.health
        health.add("log", lambda: None)
        health.add("etcd", self._check_store)
        health.add("etcd-readiness", self._check_store, ("readyz",))
        for step, names in _HOOKS.items():
            for name in names:
                health.add(name, partial(self._check_done, step, name))
        health.add("informer-sync", lambda: self._check_done("caches", "informer-sync"), ("readyz",))

    async def _check_store(self) -> None:
        await self._backend.current_revision()

    def _check_done(self, step: str, name: str) -> None:
        if step not in self._done:
            raise NotReady(f"{name} is not finished")


async def _not_started(request: Any) -> Any:
    raise ConnectionError("the server has not started")


def backend_of(options: Options, telemetry: Telemetry) -> Backend:
    """The store the flags name."""
    if options.etcd_servers:
        from kubeglass.components.apiserver.storage.etcd import EtcdBackend, EtcdOptions  # loads protobuf

        files = (options.etcd_cafile, options.etcd_certfile, options.etcd_keyfile)
        tracer = telemetry.tracer.named("go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc")
        return EtcdBackend(EtcdOptions(options.etcd_servers, *files), GrpcClientMetrics(telemetry.metrics), tracer)
    return SqliteBackend(options.storage_file) if options.storage_file else MemoryBackend()


def _verbs(reader: Reader, watches: WatchHandler, writer: Writer) -> Mapping[str, KindHandler]:
    return {
        "get": reader.get,
        "list": reader.list,
        "watch": watches.watch,
        "create": writer.create,
        "update": writer.update,
        "patch": writer.patch,
        "delete": writer.delete,
        "deletecollection": writer.delete_collection,
    }


def _streams(proxy: Proxy) -> Mapping[tuple[str, str], KindHandler]:
    """Subresources that end at a kubelet, a Pod or a Service."""
    return {
        ("pods", "log"): lambda request, kind: proxy.log(request),
        ("pods", "exec"): lambda request, kind: proxy.stream(request),
        ("pods", "attach"): lambda request, kind: proxy.stream(request),
        ("pods", "portforward"): lambda request, kind: proxy.stream(request),
        ("pods", "proxy"): lambda request, kind: proxy.pod(request),
        ("services", "proxy"): lambda request, kind: proxy.service(request),
        ("nodes", "proxy"): lambda request, kind: proxy.node(request),
    }


def _discovery(served: ServedKinds) -> list[Path]:
    """What clients ask for before anything else."""
    discovery, openapi = Discovery(served), OpenApi(served)
    return [
        Path("/api", discovery.core_versions),
        Path("/api/", discovery.below, prefix=True),
        Path("/apis", discovery.groups),
        Path("/apis/", discovery.below, prefix=True),
        Path("/version", discovery.version),
        Path("/openapi/v2", openapi.v2),
        Path("/openapi/v3", openapi.v3),
        Path("/openapi/v3/", openapi.v3_group_version, prefix=True),
    ]


def _conversion(kind: Kind) -> Convert | None:
    return conversion.from_stored if conversion.needed(kind) else None


def _auditor(options: Options, telemetry: Telemetry) -> Auditor:
    """Raises ConfigError."""
    if not options.audit_log_path or not options.audit_policy_file:
        return Auditor(registry=telemetry.metrics)
    try:
        rules, sink = read_policy(options.audit_policy_file), _sink(options.audit_log_path)
        return Auditor(
            rules,
            sink,
            telemetry.metrics,
            strict=options.audit_log_mode == "blocking-strict",
            sanitizer=telemetry.sanitizer,
        )
    except (OSError, ValueError) as error:
        raise ConfigError(str(error)) from error


def _sink(path: str) -> IO[bytes]:
    return sys.stdout.buffer if path == "-" else FilePath(path).open("ab")  # open as long as the server


def _kubelet_tls(options: Options) -> ssl.SSLContext | None:
    """How to speak to kubelets. Raises ConfigError."""
    if not options.kubelet_client_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the certificate is checked against the authority; nodes are addressed by IP
    try:
        context.load_cert_chain(options.kubelet_client_certificate, options.kubelet_client_key or None)
        if options.kubelet_certificate_authority:
            context.load_verify_locations(options.kubelet_certificate_authority)
        else:
            context.verify_mode = ssl.CERT_NONE
    except OSError as error:
        raise ConfigError(f"cannot use {options.kubelet_client_certificate} for kubelets: {error}") from error
    return context


def _listening(handler: Handler, options: Options, recorder: RequestRecorder, log: Logger) -> Any:
    """The listener with the TLS of the flags; client certificates of both authorities reach the filters."""
    context = server_ssl_context(options.tls_cert_file, options.tls_private_key_file, options.client_ca_file)
    if context is not None and options.requestheader_client_ca_file:
        context.load_verify_locations(options.requestheader_client_ca_file)
        context.verify_mode = ssl.CERT_OPTIONAL
    if context is not None:

        def failed(error: ssl.SSLError) -> None:
            recorder.rows.tls_handshake_errors_total.inc()
            log.info("http: TLS handshake error", err=error)

        report_failed_handshakes(context, failed)
    return listen(handler, options.bind_address, options.secure_port, context)


def build(context: Context) -> ApiServer:
    """The server that the flags describe."""
    pages = context.pages(resettable=("/metrics",))
    return ApiServer(options_from(context.flags), context.telemetry, pages)


COMPONENT = ComponentSpec(
    name="apiserver",
    binary="kube-apiserver",
    summary="Serves the Kubernetes API from a SQLite file, etcd or memory.",
    add_flags=add_flags,
    build=build,
    service_name="apiserver",
    kubeconfig=False,
)

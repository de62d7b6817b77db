"""How a component process lives: read its flags, build its telemetry, lead if it must, run, and leave in good order.

Sinks start first and stop last: telemetry, then the endpoints, then the component. One loop, one root TaskGroup.
What a component is, is said by its ComponentSpec; this file never knows which one it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import signal
import socket
import ssl
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol, runtime_checkable

from kubeglass import GIT_VERSION
from kubeglass.components.machinery import clock, features, logs
from kubeglass.components.machinery.access import Access, KubeconfigError, load_kubeconfig
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.leases import LeaderElector, Timing
from kubeglass.components.machinery.logs import ProcessLog
from kubeglass.components.machinery.ratelimit import TokenBucket
from kubeglass.logging.klog import Logger
from kubeglass.logging.verbosity import Verbosity
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.endpoints import serve
from kubeglass.telemetry.health import Health
from kubeglass.telemetry.metrics import options as metrics_options
from kubeglass.telemetry.metrics.process import collect_process
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.metrics.selfmetrics import Build, describe_build, describe_features, describe_version
from kubeglass.telemetry.pages import Answer, Asked, Pages
from kubeglass.telemetry.tracing import setup as tracing_setup
from kubeglass.telemetry.tracing.setup import TracingConfiguration
from kubeglass.telemetry.tracing.tracer import ANNOTATION
from kubeglass.telemetry.zpages import About

Started = Callable[[], None]

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # channels are made after the last fork; no handlers wanted
_FLUSH_SECONDS = 5.0


class Component(Protocol):
    """A part of a cluster that runs until it is cancelled."""

    async def run(self, started: Started) -> None:
        """Serve; call `started` once everything works. Cancellation ends it in good order."""
        ...


@runtime_checkable
class WithRegistries(Protocol):
    """A component with metric endpoints beside /metrics: path to registry."""

    registries: Mapping[str, Registry]


@runtime_checkable
class Answering(Protocol):
    """A component that answers more than its pages."""

    def answer(self, asked: Asked) -> Answer | None:
        """None: it is not for this component either."""


class ConfigError(Exception):
    """Flags or files that a component cannot work with. The text says what, why and what to do."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a component is built from."""

    flags: argparse.Namespace
    telemetry: Telemetry
    spec: ComponentSpec
    verbosity: Verbosity
    log: ProcessLog

    def pages(
        self,
        *,
        registries: Mapping[str, Registry] | None = None,
        resettable: Collection[str] = (),
        extra_paths: Sequence[str] = (),
        others: Callable[[Asked], Answer | None] = lambda asked: None,
    ) -> Pages:
        """What the component answers on /metrics, the health paths, /statusz, /flagz and /debug/flags/v."""
        about = About(
            component=self.spec.binary,
            binary_version=GIT_VERSION,
            emulation_version=self.telemetry.metrics.options.version.major_minor(),
            runtime=f"python{platform.python_version()}",
            started=datetime.fromtimestamp(clock.now(), UTC),
        )
        return Pages(
            self.telemetry,
            about,
            flags={name.replace("_", "-"): str(value) for name, value in sorted(vars(self.flags).items())},
            verbosity=self.verbosity,
            registries=registries,
            resettable=resettable,
            extra_paths=extra_paths,
            others=others,
        )

    def client(self, user_agent: str = "", access: Access | None = None) -> Client:
        """A client for the component's kubeconfig, or for another `access` of the same component."""
        flags = self.flags
        limit = TokenBucket(flags.kube_api_qps, flags.kube_api_burst) if flags.kube_api_qps > 0 else None
        return Client(access or self.access(), self.telemetry, user_agent or self.spec.binary, limit=limit)

    def access(self) -> Access:
        """The component's kubeconfig. Raises ConfigError."""
        try:
            return load_kubeconfig(self.flags.kubeconfig)
        except KubeconfigError as error:
            raise ConfigError(str(error)) from error


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """One row of the table of components."""

    name: str  # `kubeglass NAME`
    binary: str  # what upstream calls it: kube-scheduler
    summary: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    build: Callable[[Context], Component]
    service_name: str = ""  # of its spans; the binary's name by default
    secure_port: int = 0  # 0: the component serves its own endpoints
    leader_election: bool = False
    kubeconfig: bool = True
    tracing: Callable[[argparse.Namespace], TracingConfiguration | None] = lambda flags: (
        tracing_setup.load(flags.tracing_config_file) if flags.tracing_config_file else None
    )


class _Parser(argparse.ArgumentParser):
    """Refuses in upstream's form: the message, then where help is, exit status 1."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"Error: {message}\nRun '{self.prog} --help' for usage.\n")
        raise SystemExit(1)


def parser_of(spec: ComponentSpec) -> argparse.ArgumentParser:
    """The flags of a component."""
    parser = _Parser(prog=f"kubeglass {spec.name}", description=spec.summary, allow_abbrev=False)
    own = parser.add_argument_group(f"{spec.name} flags")
    spec.add_flags(own)  # type: ignore[arg-type]  # a group takes flags exactly as a parser does
    if spec.kubeconfig:
        connection = parser.add_argument_group("connection flags")
        connection.add_argument("--kubeconfig", metavar="FILE", default="", help="how to reach the API server")
        connection.add_argument(
            "--kube-api-qps",
            type=float,
            default=50,
            metavar="N",
            help="requests per second; negative: any (%(default)s)",
        )
        connection.add_argument(
            "--kube-api-burst", type=int, default=100, metavar="N", help="requests at once (%(default)s)"
        )
    if spec.secure_port:
        _add_serving_flags(parser, spec.secure_port)
    if spec.leader_election:
        _add_leader_flags(parser)
    tracing = parser.add_argument_group("traces flags")
    tracing.add_argument("--tracing-config-file", metavar="FILE", default="", help="a TracingConfiguration")
    tracing.add_argument(
        "--tracing-annotation-key",
        metavar="KEY",
        default=ANNOTATION,
        help="annotation by which objects carry the trace of their change; empty: they carry none (%(default)s)",
    )
    logs.add_flags(parser)
    metrics_options.add_flags(parser)
    features.add_flags(parser)
    return parser


def _add_serving_flags(parser: argparse.ArgumentParser, port: int) -> None:
    serving = parser.add_argument_group("secure serving flags")
    serving.add_argument("--bind-address", default="127.0.0.1", metavar="IP", help="address to listen on (%(default)s)")
    serving.add_argument("--secure-port", type=int, default=port, metavar="PORT", help="HTTPS port (%(default)s)")
    serving.add_argument("--tls-cert-file", default="", metavar="FILE", help="certificate to serve with")
    serving.add_argument("--tls-private-key-file", default="", metavar="FILE", help="its key")
    serving.add_argument("--client-ca-file", default="", metavar="FILE", help="authority of client certificates")


def _add_leader_flags(parser: argparse.ArgumentParser) -> None:
    leader = parser.add_argument_group("leader election flags")
    leader.add_argument(
        "--leader-elect",
        type=lambda text: text.lower() not in ("false", "0"),
        nargs="?",
        const=True,
        default=True,
        metavar="BOOL",
        help="work only while holding the lease (%(default)s)",
    )
    leader.add_argument(
        "--leader-elect-identity",
        default="",
        metavar="NAME",
        help="holder of the lease; one that survives restarts takes its own lease back at once (host and pid)",
    )
    timing = Timing()
    for flag, default in (
        ("--leader-elect-lease-duration", timing.lease_duration_seconds),
        ("--leader-elect-renew-deadline", timing.renew_deadline_seconds),
        ("--leader-elect-retry-period", timing.retry_period_seconds),
    ):
        leader.add_argument(flag, type=seconds, default=default, metavar="DURATION", help="(%(default)ss)")


def seconds(text: str) -> float:
    """A Go duration such as `1m30s` or `500ms`, in seconds, for flags."""
    from kubeglass.logging.goduration import parse_duration

    try:
        return parse_duration(text) / 1e9
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run_component(spec: ComponentSpec, argv: Sequence[str], on_started: Started = lambda: None) -> int:
    """Run one component until SIGTERM or SIGINT; the answer is its exit status."""
    flags = parser_of(spec).parse_args(argv)
    try:
        context = build_context(spec, flags)
    except (ConfigError, ValueError, OSError) as error:
        sys.stderr.write(f"Error: {spec.name}: {error}\n")
        return 1
    log = context.telemetry.log
    context.log.take_over()
    log.info("Starting", component=spec.binary, version=GIT_VERSION, pid=os.getpid())
    try:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(_run(context, _once(on_started)))
    except BaseExceptionGroup as group:
        return _report(log, spec, group)
    except (ConfigError, OSError) as error:
        return _report(log, spec, error)
    finally:
        log.flush()
    return 0


def _once(started: Started) -> Started:
    """A component may say so again after it lost and regained its server; the outside hears it once."""
    pending = [started]

    def first() -> None:
        if pending:
            pending.pop()()

    return first


def _report(log: Logger, spec: ComponentSpec, error: BaseException) -> int:
    """A failure goes to the log, and in one line to whoever started the component."""
    cause = _innermost(error)
    log.error(cause, "Failed to run", component=spec.binary)
    if not isinstance(cause, (ConfigError, OSError)):
        traceback.print_exception(cause)  # a defect of ours: whoever reports it needs the place
    sys.stderr.write(f"Error: {spec.name}: {cause or type(cause).__name__}\n")
    return 1


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _new_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def build_context(spec: ComponentSpec, flags: argparse.Namespace) -> Context:
    """Log, metrics, tracer and health for a component's flags. Raises ConfigError, ValueError or OSError."""
    verbosity = Verbosity(flags.v, tuple(flags.vmodule))
    chosen = features.features_from(flags)
    gates = {name: on for name, (_, on) in chosen.states().items()}
    service = spec.service_name or spec.binary
    tracing = spec.tracing(flags)
    process_log = logs.build(flags, service, tracing, verbosity, gates)
    log, sanitizer = process_log.log, process_log.sanitizer
    registry = _registry(spec, flags, chosen, log)
    process_log.show(registry)
    instance = {"service.instance.id": f"{spec.binary}-{socket.gethostname()}"}
    tracer = tracing_setup.build_tracer(
        service, tracing, instance, log, registry, clean=sanitizer.pair, annotation=flags.tracing_annotation_key
    )
    telemetry = Telemetry(log=log, metrics=registry, tracer=tracer, health=Health(), sanitizer=sanitizer)
    return Context(flags, telemetry, spec, verbosity, process_log)


def _registry(spec: ComponentSpec, flags: argparse.Namespace, chosen: features.Features, log: Logger) -> Registry:
    """The component's metrics, with what is known of its process, its build, its gates and its version."""
    version = features.emulated_version_from(flags)
    options = metrics_options.options_from(flags, version, native_histograms=chosen.enabled("NativeHistograms"))
    registry = Registry(options, warn=log.warning)
    collect_process(registry)
    describe_build(registry, Build(GIT_VERSION))
    describe_features(registry, chosen.states())
    if spec.binary in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        binary, emulated = features.BINARY.major_minor(), version.major_minor()
        describe_version(registry, "kube", binary, emulated, min_compat=version.previous_minor())
    return registry


async def _run(context: Context, on_started: Started) -> None:
    """The root task: everything a process does is a child of this group."""
    telemetry, shipper = context.telemetry, context.log.shipper
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as sinks:
        tasks = [sinks.create_task(telemetry.tracer.run(lambda: None), name="tracer")]
        if shipper is not None:
            tasks.append(sinks.create_task(shipper.run(lambda: None), name="log shipper"))
        try:
            await _serve(context, on_started, stop)
        finally:
            await telemetry.tracer.flush(_FLUSH_SECONDS)
            for task in tasks:
                task.cancel()


async def _serve(context: Context, on_started: Started, stop: asyncio.Event) -> None:
    spec, log = context.spec, context.telemetry.log
    async with AsyncExitStack() as served, asyncio.TaskGroup() as group:
        component = spec.build(context)
        if spec.secure_port:
            await served.enter_async_context(_endpoints(context, component))
        run = _lead(context, component, on_started) if _must_lead(context) else component.run(on_started)
        task = group.create_task(run, name=spec.name)
        signalled = group.create_task(stop.wait(), name="signal")
        await asyncio.wait((task, signalled), return_when=asyncio.FIRST_COMPLETED)
        if signalled.done():
            log.info("Received termination signal, shutting down", component=spec.binary)
        task.cancel()
        signalled.cancel()  # a component whose work is done ends its process


def _must_lead(context: Context) -> bool:
    return context.spec.leader_election and bool(context.flags.leader_elect)


async def _lead(context: Context, component: Component, on_started: Started) -> None:
    """Wait as a stand-by, then run the component while the lease is held."""
    flags = context.flags
    client = context.client(f"{context.spec.binary}/leader-election")
    identity = flags.leader_elect_identity or f"{socket.gethostname()}_{os.getpid()}"
    timing = Timing(
        flags.leader_elect_lease_duration, flags.leader_elect_renew_deadline, flags.leader_elect_retry_period
    )
    elector = LeaderElector(client, context.spec.binary, identity, context.telemetry, timing=timing)
    context.telemetry.health.add("leaderElection", lambda: None)
    try:
        await elector.acquire()
        async with asyncio.TaskGroup() as leading:
            leading.create_task(elector.renew_forever(), name="leader-election")
            leading.create_task(component.run(on_started), name=context.spec.name)
    finally:
        await elector.release()
        await client.close()


@asynccontextmanager
async def _endpoints(context: Context, component: Component) -> AsyncIterator[None]:
    """The HTTPS endpoints of a component that has no server of its own."""
    from kubeglass.components.machinery.delegation import DelegatedAuthorizer

    flags = context.flags
    client = context.client(f"{context.spec.binary}/authentication")
    registries = component.registries if isinstance(component, WithRegistries) else {}
    others = component.answer if isinstance(component, Answering) else lambda asked: None
    resettable = ("/metrics", "/metrics/slis", *registries)
    try:
        async with serve(
            context.pages(registries=registries, resettable=resettable, others=others),
            flags.bind_address,
            flags.secure_port,
            ssl_context=server_ssl_context(flags.tls_cert_file, flags.tls_private_key_file, flags.client_ca_file),
            authorize=DelegatedAuthorizer(client),
        ):
            context.telemetry.log.info("Serving securely", address=f"{flags.bind_address}:{flags.secure_port}")
            yield
    finally:
        await client.close()


def server_ssl_context(cert_file: str, key_file: str, client_ca_file: str) -> ssl.SSLContext | None:
    """TLS for a server that accepts, but does not demand, client certificates. None without a certificate."""
    if not cert_file:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0  # no client of ours, nor client-go, resumes; making two takes a third of a handshake
    try:
        context.load_cert_chain(cert_file, key_file or None)
        if client_ca_file:
            context.load_verify_locations(client_ca_file)
            context.verify_mode = ssl.CERT_OPTIONAL
    except OSError as error:
        raise ConfigError(f"cannot use certificate {cert_file} with key {key_file}: {error}") from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def host_and_port(address: str) -> tuple[str, int]:
    """`HOST:PORT` as upstream's bind-address flags take it. Raises ConfigError."""
    host, found, port = address.rpartition(":")
    if not found or not port.isdecimal():
        raise ConfigError(f"{address!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


async def start(
    group: asyncio.TaskGroup, run: Callable[[Started], Coroutine[Any, Any, None]], name: str
) -> asyncio.Task[None]:
    """Start a part in the group and wait until it says it has started; one that fails before ends the group."""
    ready = asyncio.Event()
    task = group.create_task(run(ready.set), name=name)
    task.add_done_callback(lambda ended: ready.set())
    await ready.wait()
    return task

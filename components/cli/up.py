"""`kubeglass up`: boot a cluster, or bring back what is missing of one.

Decide (plan.py), provide (pki.py, tracing configuration), fork (launcher.py), wait for every node, say where to look.
A failure names the component, the reason and its log, and ends everything this command started.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from kubeglass.components.cli import pki, processes
from kubeglass.components.cli import plan as plans
from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.down import stop_cluster
from kubeglass.components.cli.launcher import Child, Launcher, StartError
from kubeglass.components.cli.lookup import CommandError, Reader, add_data_dir_flag, data_dir_of, plan_of
from kubeglass.components.cli.plan import HOST, Plan, Ports, Process
from kubeglass.components.cli.status import look, node_readiness, text
from kubeglass.components.machinery.loopback import SLOTS, AddressPlan, host_port

_NODE_POLL_SECONDS = 0.02


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb."""
    parser = verbs.add_parser("up", help="boot a cluster", description=__doc__)
    add_data_dir_flag(parser)
    parser.add_argument("--nodes", type=_positive, metavar="N", help="nodes with a real kubelet (1)")
    parser.add_argument("--simulated-nodes", type=_natural, metavar="N", help="nodes whose Pods are only data (0)")
    parser.add_argument("--network", choices=("loopback",), help="how Pods are reached (loopback)")
    parser.add_argument("--runtime", choices=("process", "simulated"), help="how containers run (process)")
    parser.add_argument(
        "--etcd-servers", metavar="URLS", help="store objects in this etcd instead of the embedded store"
    )
    parser.add_argument("--ports", choices=("default", "auto"), help="upstream's ports, or any free ones (default)")
    parser.add_argument("--detach", action="store_true", help="return once the cluster is ready")
    parser.add_argument(
        "--wait", type=float, default=60.0, metavar="SECONDS", help="give up after this long (%(default)s)"
    )
    parser.add_argument(
        "-v", "--v", dest="verbosity", type=int, metavar="N", help="log verbosity of the components (2)"
    )
    parser.add_argument("--logging-format", choices=("text", "json"), help="log format of the components (text)")
    parser.add_argument(
        "--tracing-sampling-rate-per-million", type=int, metavar="N", help="how many traces are kept (1000000: all)"
    )
    parser.add_argument(
        "--component-flag",
        action="append",
        default=[],
        metavar="NAME=FLAG",
        help="one more flag for a component, as in apiserver=--max-requests-inflight=50; repeatable",
    )
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Boot, then stay until Ctrl-C, or return at once with --detach."""
    started_at = time.monotonic()
    data = data_dir_of(flags)
    with _locked(data):
        plan = decide(flags, plan_of(data))
        missing = [process for process in plans.processes(plan, data) if not processes.running(data.pid(process.name))]
        refuse_taken_ports(missing)
        _provide(data, plan)
        children = _boot(data, plan, missing, started_at, started_at + flags.wait)
    print(f"\nready in {time.monotonic() - started_at:.1f} s\n\n{text(look(data, plan))}")
    if flags.detach:
        return 0
    return _stay(data, children)


# -- deciding ---------------------------------------------------------------------------------------------------------


def decide(flags: argparse.Namespace, existing: Plan | None) -> Plan:
    """The plan: what there was, changed by the flags given now."""
    plan = existing or _new_plan(flags.ports or "default")
    changes: dict[str, object] = {
        "simulated_nodes": flags.simulated_nodes,
        "network": flags.network,
        "runtime": flags.runtime,
        "etcd_servers": flags.etcd_servers,
        "verbosity": flags.verbosity,
        "logging_format": flags.logging_format,
        "sampling_rate_per_million": flags.tracing_sampling_rate_per_million,
        "nodes": tuple(f"node-{index}" for index in range(1, flags.nodes + 1)) if flags.nodes else None,
        "extra_flags": _extra_flags(flags.component_flag) if flags.component_flag else None,
    }
    return msgspec.structs.replace(plan, **{key: value for key, value in changes.items() if value is not None})


def _new_plan(ports: str) -> Plan:
    if ports == "default":
        return Plan()
    return Plan(slot=_free_slot(), ports=_free_ports())


def _extra_flags(assignments: Sequence[str]) -> dict[str, tuple[str, ...]]:
    flags: dict[str, tuple[str, ...]] = {}
    for assignment in assignments:
        component, found, flag = assignment.partition("=")
        if not found or not flag.startswith("-"):
            raise CommandError(f"--component-flag wants NAME=--flag=value, got {assignment!r}")
        flags[component] = (*flags.get(component, ()), flag)
    return flags


def _free_slot() -> int:
    """A loopback slot nobody serves from: each cluster's proxies hold the kubernetes Service's address."""
    for slot in range(1, SLOTS):
        addresses = AddressPlan(slot)
        if _bindable(addresses.kubernetes_service_ip, host_port(443)) and _bindable(addresses.node_ip(1), 10250):
            return slot
    raise CommandError(f"all {SLOTS} loopback address slots are in use; stop a cluster with `kubeglass down`")


def _free_ports() -> Ports:
    """One free port per field, all different: they are held open together while they are chosen."""
    sockets = {}
    try:
        for name in Ports.__struct_fields__:
            sockets[name] = listener = socket.socket()
            listener.bind((HOST, 0))
        return Ports(**{name: listener.getsockname()[1] for name, listener in sockets.items()})
    finally:
        for listener in sockets.values():
            listener.close()


def _bindable(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def refuse_taken_ports(wanted: Sequence[Process]) -> None:
    """Raise CommandError naming the first address in use and, where the system tells, who holds it."""
    for process in wanted:
        for address, port in process.listens:
            if not _bindable(address, port):
                holder = processes.holder_of(address, port)
                by = f" by {holder}" if holder else ""
                raise CommandError(
                    f"{process.name} cannot listen on {address}:{port}: the port is in use{by}; "
                    f"end that process, or use another data dir with --ports auto"
                )


# -- providing --------------------------------------------------------------------------------------------------------


@contextmanager
def _locked(data: DataDir) -> Iterator[None]:
    """One command at a time changes a cluster."""
    try:
        data.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(data.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CommandError(f"cannot use data dir {data.root}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise CommandError(f"another kubeglass command is changing {data.root}; wait for it to end") from error
    finally:
        os.close(lock)


def _provide(data: DataDir, plan: Plan) -> None:
    try:
        pki.ensure(data, plan)
        data.tracing_config.write_text(
            "apiVersion: apiserver.config.k8s.io/v1\n"
            "kind: TracingConfiguration\n"
            f"endpoint: {HOST}:{plan.ports.otlp_grpc}\n"
            f"samplingRatePerMillion: {plan.sampling_rate_per_million}\n"
        )
        temporary = data.plan.with_suffix(".new")
        temporary.write_bytes(plans.encode(plan))
        temporary.replace(data.plan)
    except OSError as error:
        raise CommandError(f"cannot use data dir {data.root}: {error.filename}: {error.strerror}") from error


# -- booting ----------------------------------------------------------------------------------------------------------


def _boot(data: DataDir, plan: Plan, missing: Sequence[Process], started_at: float, deadline: float) -> list[Child]:
    launcher = Launcher(data)
    launcher.preload(missing)
    children: list[Child] = []
    try:
        children = [launcher.fork(process) for process in missing]
        width = max((len(process.name) for process in missing), default=0)
        launcher.await_ready(children, deadline, lambda child, seconds: _report(child, started_at, width))
        _await_nodes(data, plan, deadline)
    except (StartError, KeyboardInterrupt) as error:
        processes.stop([child.pid for child in children], 5.0)
        for child in children:
            data.pid(child.process.name).unlink(missing_ok=True)
        if isinstance(error, KeyboardInterrupt):
            raise
        raise CommandError(f"the cluster did not start\n  {error}") from error
    return children


def _report(child: Child, started_at: float, width: int) -> None:
    print(
        f"  {child.process.name:<{width}}  up after {time.monotonic() - started_at:4.2f} s  {child.process.url}",
        flush=True,
    )


def _await_nodes(data: DataDir, plan: Plan, deadline: float) -> None:
    reader = Reader(data)
    while True:
        nodes = node_readiness(reader, plan)
        unready = [node for node in plan.nodes if not nodes.get(node)]
        if not unready:
            return
        if time.monotonic() > deadline:
            raise StartError(f"not Ready in time: {', '.join(unready)}\n  log: {data.log(f'kubelet/{unready[0]}')}")
        time.sleep(_NODE_POLL_SECONDS)


def _stay(data: DataDir, children: Sequence[Child]) -> int:
    """Wait for Ctrl-C (or SIGTERM), telling of components that end, then stop the cluster."""
    print("\nCtrl-C stops the cluster.", flush=True)
    wanted = {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    names = {child.pid: child.process.name for child in children}
    while signal.sigwait(wanted) == signal.SIGCHLD:
        for pid, name in _ended(names):
            print(f"{name} (pid {pid}) ended; see {data.log(name)}; `kubeglass up` brings it back", file=sys.stderr)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted - {signal.SIGINT, signal.SIGTERM})
    print("\nstopping")
    stop_cluster(data, print)
    return 0


def _ended(names: dict[int, str]) -> Iterator[tuple[int, str]]:
    for pid in list(names):
        try:
            ended, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            ended = pid
        if ended:
            yield pid, names.pop(pid)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a number from 1, got {text!r}")
    return int(text)


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a number from 0, got {text!r}")
    return int(text)

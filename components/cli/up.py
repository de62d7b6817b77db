"""`kubeglass up`: boot a cluster, or bring back what is missing of one.

Without --detach it stays in the foreground; Ctrl-C stops the cluster. Flags given to a cluster that exists change it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator

from kubeglass.components.cli import plan as plans
from kubeglass.components.cli import processes
from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.loading import loading
from kubeglass.components.cli.lookup import add_data_dir_flag, data_dir_of, plan_of
from kubeglass.components.cli.status import look, text


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
    parser.add_argument(
        "--ports",
        choices=("default", "auto"),
        help="upstream's ports, or any free ones (default); auto also moves a stopped cluster whose ports were taken",
    )
    parser.add_argument("--detach", action="store_true", help="return once the cluster is ready")
    parser.add_argument(
        "--wait", type=float, default=60.0, metavar="SECONDS", help="give up after this long (%(default)s)"
    )
    parser.add_argument(
        "-v", "--v", dest="verbosity", type=int, metavar="N", help="log verbosity of the components (2)"
    )
    parser.add_argument("--logging-format", choices=("text", "json"), help="log format of the components (text)")
    parser.add_argument(
        "--log-otlp",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="also send the components' log records to the collector, which shows them with their traces",
    )
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
    parser.add_argument(
        "--prometheus",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="run the Prometheus, Alertmanager and node_exporter found on PATH as parts of the cluster",
    )
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Boot, then stay until Ctrl-C, or return at once with --detach."""
    started_at = time.monotonic()
    # Loaded only now: `--help` should not carry it. The weight of the cluster itself is loaded by `provide`.
    with loading():
        from kubeglass.components.cli.boot import boot, locked, provide
        from kubeglass.components.cli.decide import decide, refuse_taken_ports, with_free_ports
        from kubeglass.components.cli.prometheus import missing_extras, require_prometheus, servers
        from kubeglass.components.cli.prometheus import start as start_monitoring

    data = data_dir_of(flags)
    with locked(data):
        plan = decide(flags, plan_of(data))
        if plan.prometheus:
            require_prometheus()
        if flags.ports == "auto" and not any(processes.running(record) for record in data.pids()):
            plan = with_free_ports(plan, [*plans.processes(plan, data), *servers(plan, data)])
        missing = [process for process in plans.processes(plan, data) if not processes.running(data.pid(process.name))]
        watchers = [server for server in servers(plan, data) if not processes.running(data.pid(server.name))]
        refuse_taken_ports([*missing, *watchers])
        provide(data, plan)
        children = boot(data, plan, missing, started_at, started_at + flags.wait)
        names = {child.pid: child.process.name for child in children}
        if plan.prometheus:
            names |= start_monitoring(plan, data)
            for absence in missing_extras():
                print(f"  {absence}")
    print(f"\nready in {time.monotonic() - started_at:.1f} s\n\n{text(look(data, plan))}")
    if flags.detach:
        return 0
    return _stay(data, names)


def _stay(data: DataDir, names: dict[int, str]) -> int:
    """Wait for Ctrl-C (or SIGTERM), telling of components that end, then stop the cluster."""
    from kubeglass.components.cli.down import stop_cluster

    print("\nCtrl-C stops the cluster.", flush=True)
    wanted = {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
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

"""How a cluster comes up once it is decided: certificates, configuration, processes, nodes.

A failure names the component, the reason and its log, and ends everything that was started here.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kubeglass.components.cli import pki, processes
from kubeglass.components.cli import plan as plans
from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.launcher import Child, Launcher, StartError
from kubeglass.components.cli.lookup import CommandError, Reader
from kubeglass.components.cli.plan import HOST, Plan, Process
from kubeglass.components.cli.status import node_readiness

_NODE_POLL_SECONDS = 0.02


@contextmanager
def locked(data: DataDir) -> Iterator[None]:
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


def provide(data: DataDir, plan: Plan) -> None:
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


def boot(data: DataDir, plan: Plan, missing: Sequence[Process], started_at: float, deadline: float) -> list[Child]:
    launcher = Launcher(data)
    children: list[Child] = []
    try:
        children.extend(launcher.start(process) for process in missing)
        width = max((len(process.name) for process in missing), default=0)
        launcher.await_ready(children, deadline, lambda child, seconds: _report(child, started_at, width))
        _await_nodes(data, plan, deadline)
    except BaseException as error:  # whatever it is, nothing that was started here stays
        processes.stop([child.pid for child in children], 5.0)
        for child in children:
            data.pid(child.process.name).unlink(missing_ok=True)
        if isinstance(error, StartError):
            raise CommandError(f"the cluster did not start\n  {error}") from error
        raise
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

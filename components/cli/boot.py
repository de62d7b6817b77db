"""How a cluster comes up once it is decided: certificates, configuration, processes, nodes.

Two cores are kept busy. Certificates are made in a process of their own while common code is loaded. The API server
starts first, alone; beside it those who talk to it load their code, one after the other, and then the collector starts.
They run when it answers: none of them asks again and again, on a core that the API server needs.

A failure names the component, the reason and its log, and ends everything that was started here.
"""

from __future__ import annotations

import fcntl
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from kubeglass.components.cli import plan as plans
from kubeglass.components.cli import processes
from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.launcher import Child, Launcher, StartError
from kubeglass.components.cli.loading import load_common, rehearse_tls
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
    """Everything that processes find in the data dir, and the code they share."""
    with aside(lambda: _provide_files(data, plan)):
        load_common()
    both = data.pki / "controller-manager"  # a certificate for either side of a connection
    rehearse_tls(both.with_suffix(".crt"), both.with_suffix(".key"), data.pki / "ca.crt")


@contextmanager
def aside(work: Callable[[], None]) -> Iterator[None]:
    """Do `work` in a process of its own while the block runs. Raises CommandError with what it died of."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _work_and_exit(work, writer)
    os.close(writer)
    try:
        yield
    finally:
        with open(reader, encoding="utf-8") as said:
            words = said.read()
        _, status = os.waitpid(pid, 0)
    if status != 0:
        raise CommandError(words.strip() or f"it ended with status {os.waitstatus_to_exitcode(status)}")


def _work_and_exit(work: Callable[[], None], said: int) -> None:
    """In the child. Never returns."""
    words = ""
    try:
        work()
    except CommandError as error:
        words = str(error)
    except BaseException:
        words = traceback.format_exc()
    os.write(said, words.encode())
    os._exit(1 if words else 0)


def _provide_files(data: DataDir, plan: Plan) -> None:
    from kubeglass.components.cli import pki  # only here: it loads all of cryptography

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
    """Start what is missing and wait until all of it serves and all nodes are Ready."""
    launcher = Launcher(data)
    width = max((len(process.name) for process in missing), default=0)

    def start(component: str) -> list[Child]:
        return [launcher.start(process) for process in missing if process.component == component]

    def await_ready(waiting: Sequence[Child]) -> None:
        launcher.await_ready(waiting, deadline, lambda child, seconds: _report(child, started_at, width))

    try:
        servers = start("apiserver")
        clients = [launcher.prepare(process, deadline) for process in missing if process.needs_server]
        servers += start("collector")
        await_ready(servers)
        launcher.release(clients)
        await_ready(clients)
        _await_nodes(data, plan, deadline)
    except BaseException as error:  # whatever it is, nothing that was started here stays
        processes.stop([child.pid for child in launcher.children], 5.0)
        for child in launcher.children:
            data.pid(child.process.name).unlink(missing_ok=True)
        if isinstance(error, StartError):
            raise CommandError(f"the cluster did not start\n  {error}") from error
        raise
    return launcher.children


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

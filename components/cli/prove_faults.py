"""Faults as they really happen in a cluster, each with its way back: `injected` is entered when things go wrong, left
when they are put right. What a scenario can ask for is in prove_scenario.py.
"""

from __future__ import annotations

import datetime
import http.client
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from kubeglass.components.cli import processes
from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.kubectl import find as find_kubectl
from kubeglass.components.cli.lookup import CommandError
from kubeglass.components.cli.plan import HOST, Plan, Process
from kubeglass.components.cli.plan import processes as planned
from kubeglass.components.cli.prove_replace import replaced, rewired, skewed
from kubeglass.components.cli.prove_scenario import (
    Apply,
    Fault,
    Freeze,
    Kill,
    Partition,
    Requests,
    SkewClock,
    StalledWatch,
    StallStore,
)
from kubeglass.components.cli.prove_wire import Wire, wire_to
from kubeglass.components.machinery import certs
from kubeglass.logging.goduration import parse_duration

_COMMAND_SECONDS = 120.0
_RETRY_SECONDS = 0.2
_SMALL_BUFFER_BYTES = 4096


class Saboteur:
    """Whoever breaks one cluster and puts it right again."""

    def __init__(self, data: DataDir, plan: Plan) -> None:
        self._data = data
        self._plan = plan
        self._wires: dict[str, Wire] = {}

    @contextmanager
    def wired(self, faults: tuple[Fault, ...]) -> Iterator[None]:
        """Give components that will be cut off a wire to the API server that can be cut. Raises CommandError."""
        cut_off = [self._process(fault.component) for fault in faults if isinstance(fault, Partition)]
        with ExitStack() as unwiring:
            if cut_off:
                unwiring.callback(self.restore)
            for process in cut_off:
                wire = unwiring.enter_context(wire_to(self._plan.ports.apiserver))
                other = unwiring.enter_context(rewired(process, self._data, wire.port))
                unwiring.enter_context(replaced(self._data, other))
                self._wires[process.name] = wire
            yield

    @contextmanager
    def injected(self, faults: tuple[Fault, ...]) -> Iterator[None]:
        """All faults at once; on leaving they are healed, the last one first. Raises CommandError."""
        with ExitStack() as healing:
            if any(isinstance(fault, Kill | SkewClock) for fault in faults):
                healing.callback(self.restore)
            for fault in faults:
                healing.enter_context(self._injected(fault))
            yield

    def _injected(self, fault: Fault) -> Any:
        match fault:
            case Apply():
                return self._applied(fault)
            case Kill():
                os.kill(self._pid(fault.component), signal.SIGKILL)  # `injected` restores it
                return nullcontext()
            case Freeze():
                return self._frozen(fault)
            case Partition():
                return self._cut(self._wires[fault.component])
            case SkewClock():
                return replaced(self._data, self._process(fault.component), skewed(fault.by))
            case StallStore():
                return self._in_background(lambda stop: self._stall_store(fault, stop), 1)
            case Requests():
                return self._requesting(fault)
            case StalledWatch():
                return self._watching(fault)

    def make_whole(self) -> None:
        """Bring back what an earlier fault took along later, as a leader that lost its lease. Raises CommandError."""
        if not all(processes.running(self._data.pid(one.name)) for one in planned(self._plan, self._data)):
            self.restore()

    def restore(self) -> None:
        """Bring back every component that is gone. Raises CommandError."""
        self._run([sys.executable, "-m", "kubeglass", "up", "--detach", "--data-dir", str(self._data.root)])

    # -- objects ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _applied(self, fault: Apply) -> Iterator[None]:
        self._kubectl("apply", "-f", "-", manifest=fault.manifest)
        try:
            yield
        finally:
            self._kubectl(
                "delete", "--ignore-not-found", "--wait=false", "--grace-period=1", "-f", "-", manifest=fault.manifest
            )

    def _kubectl(self, *argv: str, manifest: str) -> None:
        self._run([str(find_kubectl()), "--kubeconfig", str(self._data.kubeconfig), *argv], manifest)

    def _run(self, argv: list[str], text: str = "") -> None:
        result = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False)
        if result.returncode:
            raise CommandError(f"{' '.join(argv[:4])} …: {result.stderr.strip() or result.stdout.strip()}")

    # -- processes ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _frozen(self, fault: Freeze) -> Iterator[None]:
        pid = self._pid(fault.component)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextmanager
    def _cut(self, wire: Wire) -> Iterator[None]:
        wire.cut()
        try:
            yield
        finally:
            wire.mend()

    def _process(self, component: str) -> Process:
        self._pid(component)  # refuses what does not run
        return next(one for one in planned(self._plan, self._data) if one.name == component)

    def _pid(self, component: str) -> int:
        pid = processes.running(self._data.pid(component))
        if pid is None:
            raise CommandError(f"there is no running component {component!r} to break; see `kubeglass status`")
        return pid

    # -- store --------------------------------------------------------------------------------------------------------

    def _stall_store(self, fault: StallStore, stop: threading.Event) -> None:
        """Hold the write lock, again and again. Reads go on: the file is in WAL mode."""
        hold, pause = parse_duration(fault.hold) / 1e9, parse_duration(fault.pause) / 1e9
        connection = sqlite3.connect(self._data.store, isolation_level=None, timeout=30)
        try:
            while not stop.is_set():
                connection.execute("BEGIN IMMEDIATE")
                stop.wait(hold)
                connection.execute("ROLLBACK")
                stop.wait(pause)
        finally:
            connection.close()

    # -- clients ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _requesting(self, fault: Requests) -> Iterator[None]:
        with tempfile.TemporaryDirectory(prefix="kubeglass-prove-") as folder:
            context = self._credentials(fault, Path(folder))
            with self._in_background(lambda stop: self._request(fault, context, stop), fault.connections):
                yield

    def _credentials(self, fault: Requests, folder: Path) -> ssl.SSLContext:
        """The TLS of a client: the administrator's, or with a certificate made for the user that the fault names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self._data.pki / "ca.crt")
        if fault.token:
            return context
        now = datetime.datetime.now(datetime.UTC)
        groups = fault.groups or (("system:masters",) if fault.user == "kubernetes-admin" else ())
        days = parse_duration(fault.certificate_lifetime) / 86400e9
        authority = certs.read_pair(self._data.pki / "ca.crt", self._data.pki / "ca.key")
        leaf = certs.new_leaf(authority, fault.user, now, organizations=groups, client=True, days=days)
        leaf.write(folder / "client.crt", folder / "client.key")
        context.load_cert_chain(folder / "client.crt", folder / "client.key")
        return context

    def _request(self, fault: Requests, context: ssl.SSLContext, stop: threading.Event) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "kubeglass-prove"}
        if fault.token:
            headers["Authorization"] = f"Bearer {fault.token}"
        connection = http.client.HTTPSConnection(HOST, self._plan.ports.apiserver, timeout=30, context=context)
        while not stop.is_set():
            began = time.monotonic()
            try:
                connection.request(fault.method, fault.path, fault.body or None, headers)
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                connection.close()
                stop.wait(_RETRY_SECONDS)
            if fault.per_second:
                stop.wait(max(0.0, 1 / fault.per_second - (time.monotonic() - began)))
        connection.close()

    @contextmanager
    def _watching(self, fault: StalledWatch) -> Iterator[None]:
        with tempfile.TemporaryDirectory(prefix="kubeglass-prove-") as folder:
            context = self._credentials(Requests(fault.path), Path(folder))
            with self._in_background(lambda stop: self._watch(fault, context, stop), 1):
                yield

    def _watch(self, fault: StalledWatch, context: ssl.SSLContext, stop: threading.Event) -> None:
        hold = parse_duration(fault.hold) / 1e9
        separator = "&" if "?" in fault.path else "?"
        request = (
            f"GET {fault.path}{separator}watch=true HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: kubeglass-prove\r\n\r\n"
        )
        while not stop.is_set():
            with socket.socket() as plain, suppress(OSError):
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER_BYTES)
                plain.settimeout(_RETRY_SECONDS + hold)
                plain.connect((HOST, self._plan.ports.apiserver))
                with context.wrap_socket(plain, server_hostname=HOST) as connection:
                    connection.sendall(request.encode())
                    stop.wait(hold)
            stop.wait(_RETRY_SECONDS)

    @contextmanager
    def _in_background(self, work: Callable[[threading.Event], None], count: int) -> Iterator[None]:
        stop = threading.Event()
        threads = [threading.Thread(target=work, args=(stop,), name=f"fault-{index}") for index in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

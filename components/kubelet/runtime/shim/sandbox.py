"""The shim of one pod sandbox: a unix socket, JSON lines in and out, and the pod's containers. Stdlib only.

Request `{"id": 1, "call": "start", "container": ID}` → `{"id": 1, "result": …}` or `{"id": 1, "error": …}`.
`exec` and `attach` answer with the process's streams as passed descriptors, later with `{"exit_code": N}`.
Every connection also hears `{"event": "exit", "status": {…}}`. Files: sandbox.json, shim.pid (locked while the
shim lives), shim.sock, containers/ID/{config,status}.json.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from kubeglass.components.kubelet.runtime.shim import linux
from kubeglass.components.kubelet.runtime.shim.container import Container
from kubeglass.components.kubelet.runtime.shim.loop import Loop
from kubeglass.components.kubelet.runtime.shim.memory import tree_memory_bytes
from kubeglass.components.kubelet.runtime.shim.sockets import PodPorts, Supervisor
from kubeglass.components.kubelet.runtime.shim.spawn import (
    Isolation,
    StartError,
    Streams,
    enter_pod_namespaces,
    start_exec,
)

_MEMORY_CHECK_SECONDS = 0.5
_SHUTDOWN_SECONDS = 2.0


class RequestError(Exception):
    """A request that cannot be served: (code, message)."""


class Connection:
    """One client. Writes are small and the peer reads at once; a client that does not is dropped."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.buffer = b""

    def send(self, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
        data = json.dumps(message).encode() + b"\n"
        try:
            if descriptors:
                socket.send_fds(self.socket, [data], descriptors)
            else:
                self.socket.sendall(data)
        except OSError:
            pass


class Sandbox:
    """Serves one sandbox directory until told to shut down."""

    def __init__(self, directory: str, isolation: Isolation) -> None:
        os.chdir(directory)
        self._directory = directory
        self._lock = os.open("shim.pid", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(self._lock, 0)
        os.write(self._lock, f"{os.getpid()}\n".encode())
        with open("sandbox.json") as stream:
            config = json.load(stream)
        self._isolation = isolation
        shift = int(config.get("port_shift") or 0)
        self._ports = PodPorts(config.get("ip") or "", shift, int(config.get("first_free_port") or 0))
        if isolation.namespaces:
            enter_pod_namespaces(config.get("hostname") or "", user=isolation.user_namespace)
        linux.become_subreaper()
        self._loop = Loop(self._child_ended)
        self._containers: dict[str, Container] = {}
        self._connections: dict[int, Connection] = {}
        self._execs: dict[int, Connection] = {}
        self._supervisors: list[Supervisor] = []
        self._stopping: dict[str, list[Callable[[], None]]] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listen()

    def _listen(self) -> None:
        if os.path.exists("shim.sock"):
            os.unlink("shim.sock")
        self._listener.bind("shim.sock")  # relative: the path of a data dir may exceed the limit of 107 bytes
        self._listener.listen(16)
        self._loop.on_readable(self._listener.fileno(), self._accept)

    def run(self) -> None:
        """Serve until `shutdown` or SIGTERM; every process of the pod is gone afterwards."""
        signal.signal(signal.SIGTERM, lambda number, frame: self._loop.stop())
        self._loop.run()
        self._kill_everything()
        os.unlink("shim.sock")

    # -- connections ----------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        self._connections[sock.fileno()] = Connection(sock)
        self._loop.on_readable(sock.fileno(), partial(self._receive, sock.fileno()))

    def _receive(self, fd: int) -> None:
        connection = self._connections[fd]
        try:
            data = connection.socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._close(fd)
            return
        *lines, connection.buffer = (connection.buffer + data).split(b"\n")
        for line in lines:
            self._handle(connection, json.loads(line))

    def _close(self, fd: int) -> None:
        connection = self._connections.pop(fd)
        self._loop.forget(fd)
        connection.socket.close()
        for pid, owner in tuple(self._execs.items()):
            if owner is connection:  # nobody will read its output or its exit code
                del self._execs[pid]
                _kill_group(pid)

    def _handle(self, connection: Connection, request: dict[str, Any]) -> None:
        number = request.get("id")
        try:
            calls: dict[str, Callable[[Connection, dict[str, Any]], Any]] = {
                "create": self._create, "start": self._start, "stop": self._stop, "remove": self._remove,
                "update": self._update, "reopen_log": self._reopen_log, "list": self._list, "exec": self._exec,
                "attach": self._attach, "shutdown": self._shutdown,
            }  # fmt: skip
            result = calls[request["call"]](connection, request)
        except StartError as error:
            connection.send({"id": number, "error": {"code": "StartError", "message": str(error)}})
        except RequestError as error:
            code, message = error.args
            connection.send({"id": number, "error": {"code": code, "message": message}})
        except OSError as error:
            connection.send({"id": number, "error": {"code": "Internal", "message": str(error)}})
        else:
            if result is not None:
                connection.send({"id": number, "result": result})

    def _container(self, request: dict[str, Any]) -> Container:
        container = self._containers.get(request["container"])
        if container is None:
            raise RequestError("NotFound", f"container {request['container']} not found")
        return container

    # -- calls ----------------------------------------------------------------------------------------------------

    def _create(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        directory = f"{self._directory}/containers/{request['container']}"
        os.makedirs(directory, exist_ok=True)
        container = Container(directory, request["config"], self._ports)
        self._containers[container.id] = container
        return container.status

    def _start(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        container = self._container(request)
        container.start(self._isolation, self._loop)
        if container.memory_limit and not container.group.limits_memory:
            self._loop.after(_MEMORY_CHECK_SECONDS, lambda: self._check_memory(container))
        return container.status

    def _update(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        """Limit a container anew."""
        container = self._container(request)
        watched = bool(container.memory_limit)
        container.limit(request["resources"])
        if container.memory_limit and not watched and not container.group.limits_memory:
            self._check_memory(container)
        return {}

    def _stop(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any] | None:
        """Ask, wait for the grace period, then kill. Answers once the process is gone."""
        container = self._container(request)
        if not container.running:
            return container.status
        number, grace = request.get("id"), float(request["grace_seconds"])
        self._stopping.setdefault(container.id, []).append(
            lambda: connection.send({"id": number, "result": container.status})
        )
        if grace > 0:
            container.signal(getattr(signal, container.config.get("stop_signal") or "SIGTERM", signal.SIGTERM))
            self._loop.after(grace, lambda: container.signal(signal.SIGKILL))
        else:
            container.signal(signal.SIGKILL)
        return None

    def _remove(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        container = self._container(request)
        if container.running:
            raise RequestError("FailedPrecondition", f"container {container.id} is running")
        del self._containers[container.id]
        return {}

    def _reopen_log(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        self._container(request).reopen_log()
        return {}

    def _list(self, connection: Connection, request: dict[str, Any]) -> list[dict[str, Any]]:
        return [container.status for container in self._containers.values()]

    def _exec(self, connection: Connection, request: dict[str, Any]) -> None:
        container = self._container(request)
        if not container.running:
            raise RequestError("FailedPrecondition", "container is not running")
        streams, own = _exec_streams(bool(request.get("tty")), bool(request.get("stdin")))
        spec = {**container.config, "args": request["args"], "tty": bool(request.get("tty"))}
        try:
            pid, listener = start_exec(spec, container.status["pid"], streams, self._isolation)
            if listener >= 0:
                self._supervise(Supervisor(listener, self._ports))
            self._execs[pid] = connection
            connection.send({"id": request.get("id"), "result": {"pid": pid}}, own)
        finally:
            for fd in {streams.stdin, streams.stdout, streams.stderr, *own}:
                os.close(fd)

    def _supervise(self, supervisor: Supervisor) -> None:
        self._supervisors.append(supervisor)
        self._loop.on_readable(supervisor.listener, supervisor.answer)

    def _end_supervision(self) -> None:
        """Of commands run by exec; what they left running in the background is supervised on."""
        for supervisor in [found for found in self._supervisors if found.is_over()]:
            self._supervisors.remove(supervisor)
            self._loop.forget(supervisor.listener)
            os.close(supervisor.listener)

    def _attach(self, connection: Connection, request: dict[str, Any]) -> None:
        container = self._container(request)
        if not container.running:
            raise RequestError("FailedPrecondition", "container is not running")
        descriptors = container.attach()
        connection.send({"id": request.get("id"), "result": {"tty": bool(container.config.get("tty"))}}, descriptors)
        for fd in descriptors:
            os.close(fd)

    def _shutdown(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        self._loop.after(0, self._loop.stop)
        return {}

    # -- ends -----------------------------------------------------------------------------------------------------

    def _child_ended(self, pid: int, wait_status: int) -> None:
        if pid in self._execs:
            code = os.waitstatus_to_exitcode(wait_status)
            self._execs.pop(pid).send({"exit_code": code if code >= 0 else 128 - code})
            self._end_supervision()
            return
        for container in self._containers.values():
            if container.running and container.status["pid"] == pid:
                container.exited(wait_status, self._loop)
                self._announce(container)
                return

    def _announce(self, container: Container) -> None:
        for reply in self._stopping.pop(container.id, ()):
            reply()
        for connection in tuple(self._connections.values()):
            if connection not in self._execs.values():
                connection.send({"event": "exit", "status": container.status})

    def _check_memory(self, container: Container) -> None:
        """Without a memory cgroup the limit is enforced by looking twice a second."""
        if not container.running:
            return
        if tree_memory_bytes(container.status["pid"]) > container.memory_limit:
            container.oom_killed = True
            container.signal(signal.SIGKILL)
        self._loop.after(_MEMORY_CHECK_SECONDS, lambda: self._check_memory(container))

    def _kill_everything(self) -> None:
        for container in self._containers.values():
            container.signal(signal.SIGKILL)
        for pid in self._execs:
            _kill_group(pid)
        for pid in _children(os.getpid()):
            _kill_group(pid)
        signal.alarm(int(_SHUTDOWN_SECONDS))
        while True:
            try:
                self._child_ended(*os.wait())
            except ChildProcessError:
                break


def _exec_streams(tty: bool, stdin: bool) -> tuple[Streams, list[int]]:
    if tty:
        master, slave = pty.openpty()
        return Streams(slave, slave, slave, terminal=True), [master]
    if stdin:
        reader, writer = os.pipe()
    else:
        reader, writer = os.open("/dev/null", os.O_RDONLY), os.open("/dev/null", os.O_WRONLY)
    out_reader, out = os.pipe()
    err_reader, err = os.pipe()
    return Streams(reader, out, err, terminal=False), [writer, out_reader, err_reader]


def _kill_group(pid: int) -> None:
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except OSError:
            pass


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as stream:
            return [int(child) for child in stream.read().split()]
    except OSError:
        return []

"""One container as its shim knows it: state on disk, output to the log and to attached clients. Stdlib only."""

from __future__ import annotations

import json
import os
import pty
import signal
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from kubeglass.components.kubelet.runtime.shim.cgroup import Group, container_limits
from kubeglass.components.kubelet.runtime.shim.loop import Loop
from kubeglass.components.kubelet.runtime.shim.sockets import PodPorts, Supervisor
from kubeglass.components.kubelet.runtime.shim.spawn import Isolation, StartError, Streams, start_container
from kubeglass.logging.cri import ContainerLog, LineSplitter

CREATED, RUNNING, EXITED = "CREATED", "RUNNING", "EXITED"
START_ERROR_EXIT_CODE = 128
_READ_BYTES = 65536
_DRAIN_SECONDS = 0.5


def write_json(path: str, value: Any) -> None:
    """Replace a small file so that a reader never sees half of it."""
    with open(f"{path}.new", "w") as stream:
        json.dump(value, stream)
    os.replace(f"{path}.new", path)


class Container:
    """The life of one container: created, running, exited. `status` is what the kubelet sees."""

    def __init__(self, directory: str, config: dict[str, Any], ports: PodPorts) -> None:
        self.id = os.path.basename(directory)
        self.config = config
        self.oom_killed = False
        self.group = Group(config.get("cgroup_folders") or [])
        self._ports = ports
        self._supervisor: Supervisor | None = None
        self.attached: list[int] = []
        self.stdin = -1
        self.terminal = -1
        self._directory = directory
        self._outputs: dict[int, LineSplitter] = {}
        self._log: ContainerLog | None = None
        self.status: dict[str, Any] = {
            "id": self.id, "state": CREATED, "pid": 0, "created_at": time.time_ns(), "started_at": 0, "finished_at": 0,
            "exit_code": 0, "reason": "", "message": "",
        }  # fmt: skip
        self.save()

    def save(self) -> None:
        """Keep the status for a kubelet that comes later."""
        write_json(f"{self._directory}/status.json", self.status)

    @property
    def running(self) -> bool:
        return bool(self.status["state"] == RUNNING)

    @property
    def memory_limit(self) -> int:
        """In bytes, 0 without one."""
        return int(self.config.get("memory_limit_bytes") or 0)

    def limit(self, resources: dict[str, Any]) -> None:
        """Change what the container may use while it runs. Raises OSError."""
        wanted = {**self.config, **resources}
        self.group.set(container_limits(wanted))
        self.config = wanted

    # -- start ----------------------------------------------------------------------------------------------------

    def start(self, isolation: Isolation, loop: Loop) -> None:
        """Run the container's first process. Raises StartError, and keeps it as the container's end."""
        self._log = self._open_log()
        streams, own = self._open_streams()
        try:
            self._make_group()
            pid, listener = start_container(self.config, f"{self._directory}/rootfs", streams, isolation)
        except StartError as error:
            for fd in own:
                os.close(fd)
            self.group.remove()
            self._finish(START_ERROR_EXIT_CODE, "StartError", str(error), started=False)
            raise
        finally:
            for fd in {streams.stdin, streams.stdout, streams.stderr}:
                os.close(fd)
        if listener >= 0:
            self._supervisor = Supervisor(listener, self._ports)
            loop.on_readable(listener, self._supervisor.answer)
        self.status.update(state=RUNNING, pid=pid, started_at=time.time_ns())
        self.save()
        for fd in self._outputs:
            os.set_blocking(fd, False)
            loop.on_readable(fd, partial(self._pump, fd, loop))

    def _make_group(self) -> None:
        try:
            self.group.create(container_limits(self.config))
        except OSError as error:
            raise StartError(f"failed to apply cgroup configuration: {error.strerror} {error.filename}") from error

    def _open_streams(self) -> tuple[Streams, list[int]]:
        """The child's ends, and ours."""
        if self.config.get("tty"):
            master, slave = pty.openpty()
            self.terminal = master
            self._outputs = {master: LineSplitter("stdout")}
            return Streams(slave, slave, slave, terminal=True), [master]
        own: list[int] = []
        if self.config.get("stdin"):
            stdin, self.stdin = os.pipe()
            own.append(self.stdin)
        else:
            stdin = os.open("/dev/null", os.O_RDONLY)
        out_reader, out = os.pipe()
        err_reader, err = os.pipe()
        self._outputs = {out_reader: LineSplitter("stdout"), err_reader: LineSplitter("stderr")}
        return Streams(stdin, out, err, terminal=False), [*own, out_reader, err_reader]

    # -- output ---------------------------------------------------------------------------------------------------

    def _pump(self, fd: int, loop: Loop) -> None:
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # a terminal whose last process closed it
            data = b""
        splitter = self._outputs[fd]
        if data:
            self._write(splitter.feed(data))
            self._tee(data, 1 if fd == next(iter(self._outputs), fd) else 2)
            return
        self._write(splitter.end())
        loop.forget(fd)
        os.close(fd)
        del self._outputs[fd]

    def _open_log(self) -> ContainerLog | None:
        if not self.config.get("log_path"):
            return None
        limits = {key: self.config[f"log_{key}"] for key in ("max_bytes", "max_files") if self.config.get(f"log_{key}")}
        return ContainerLog(self.config["log_path"], **limits)

    def _write(self, records: Iterable[bytes]) -> None:
        """All records of a read in one write. A full disk loses lines, not the pod."""
        data = b"".join(records)
        if self._log and data:
            try:
                self._log.write(data)
            except OSError:
                pass

    def _tee(self, data: bytes, stream: int) -> None:
        """Copy output to attached clients; one that does not keep up loses bytes rather than stalling the pod."""
        for index in range(0, len(self.attached), 2):
            try:
                os.write(self.attached[index + stream - 1], data)
            except OSError:
                pass

    def attach(self) -> list[int]:
        """Descriptors for one more client: stdin, stdout, stderr (a terminal: itself, then its output)."""
        readers = []
        for _ in range(2):
            reader, writer = os.pipe()
            os.set_blocking(writer, False)
            self.attached.append(writer)
            readers.append(reader)
        if self.terminal >= 0:
            source = os.dup(self.terminal)
        elif self.stdin >= 0:
            source = os.dup(self.stdin)
            if self.config.get("stdin_once"):
                os.close(self.stdin)
                self.stdin = -1
        else:
            source = os.open("/dev/null", os.O_WRONLY)
        return [source, *readers]

    def reopen_log(self) -> None:
        """Continue in a new file after the old one was moved away."""
        if self._log:
            self._log.close()
            self._log = self._open_log()

    # -- end ------------------------------------------------------------------------------------------------------

    def signal(self, number: int) -> None:
        """Signal the first process. SIGKILL of it takes the whole pid namespace; without one, the whole session."""
        if not self.running:
            return
        pid = self.status["pid"]
        try:
            os.kill(pid, number)
            if number == signal.SIGKILL:
                os.killpg(pid, number)
        except ProcessLookupError:
            pass

    def exited(self, wait_status: int, loop: Loop) -> None:
        """The first process ended: note how, then drain what it wrote."""
        code = os.waitstatus_to_exitcode(wait_status)
        exit_code = code if code >= 0 else 128 - code
        if self.oom_killed or (exit_code and self.group.oom_kills()):
            reason = "OOMKilled"
        else:
            reason = "Completed" if exit_code == 0 else "Error"
        self._kill_session()
        if self._supervisor is not None:
            loop.forget(self._supervisor.listener)
            os.close(self._supervisor.listener)
            self._supervisor = None
        self._drain(loop)
        self.group.remove()
        self._finish(exit_code, reason, "", started=True)
        for fd in self.attached:
            os.close(fd)
        self.attached = []
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1

    def _kill_session(self) -> None:
        try:
            os.killpg(self.status["pid"], signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass

    def _drain(self, loop: Loop) -> None:
        deadline = time.monotonic() + _DRAIN_SECONDS
        for fd in tuple(self._outputs):
            while fd in self._outputs and time.monotonic() < deadline and _has_data(fd):
                self._pump(fd, loop)
            if fd in self._outputs:
                self._write(self._outputs.pop(fd).end())
                loop.forget(fd)
                os.close(fd)

    def _finish(self, exit_code: int, reason: str, message: str, *, started: bool) -> None:
        if self._log:
            self._log.close()
            self._log = None
        self.status.update(
            state=EXITED, pid=0, finished_at=time.time_ns(), exit_code=exit_code, reason=reason, message=message
        )
        if not started:
            self._outputs = {}
        self.save()


def _has_data(fd: int) -> bool:
    """Whether a read would return at once (data or end of stream)."""
    import select

    return bool(select.select([fd], [], [], 0)[0])

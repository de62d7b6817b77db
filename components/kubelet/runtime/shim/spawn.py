"""Start one process of a container: namespaces, file tree, identity, standard streams, exec. Stdlib only.

The child reports a failure before exec through a close-on-exec pipe, so the caller gets the exact reason.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import termios
from functools import partial
from typing import Any, NamedTuple, NoReturn

from kubeglass.components.kubelet.runtime.shim import linux, rootfs, sockets
from kubeglass.components.kubelet.runtime.shim.cgroup import Group

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class StartError(Exception):
    """A process that could not be started; the text says why."""


class Isolation(NamedTuple):
    """What this host lets the shim do; probed once by `probe`."""

    namespaces: bool  # mount and pid namespaces per container
    user_namespace: bool  # they needed a user namespace, because the shim is not root


class Streams(NamedTuple):
    """The child's ends of its standard streams. With a terminal all three are the same."""

    stdin: int
    stdout: int
    stderr: int
    terminal: bool


def probe() -> Isolation:
    """What this host allows, found out by doing it in a child."""
    user = os.geteuid() != 0
    child = os.fork()
    if child == 0:
        try:
            enter_pod_namespaces("probe", user=user)
            inner = linux.clone(linux.CLONE_NEWNS | linux.CLONE_NEWPID)
            if inner == 0:
                linux.mount("tmpfs", "/tmp", "tmpfs")
                os._exit(0)
            os._exit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]))
        except BaseException:
            os._exit(1)
    works = os.waitpid(child, 0)[1] == 0
    return Isolation(namespaces=works, user_namespace=works and user)


def enter_pod_namespaces(hostname: str, *, user: bool) -> None:
    """Give the calling shim namespaces of its own; those of its containers nest inside. Raises OSError."""
    uid, gid = os.geteuid(), os.getegid()
    linux.unshare((linux.CLONE_NEWUSER if user else 0) | linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC)
    if user:
        linux.map_identity(0, 0, uid, gid)
    linux.mount("", "/", flags=linux.MS_REC | linux.MS_SLAVE)
    if hostname:
        linux.set_hostname(hostname)


def start_container(spec: dict[str, Any], root: str, streams: Streams, isolation: Isolation) -> tuple[int, int]:
    """Start a container's first process in its own tree. Raises StartError.

    Returns its pid, and the descriptor that hears of its bind and connect calls (-1: they are not supervised).
    """
    reports, child_reports = socket.socketpair()

    def prepare() -> None:
        if isolation.namespaces:
            rootfs.build(root, {**spec, "new_proc": not spec.get("host_pid")})
            if spec.get("read_only_root"):
                rootfs.make_read_only(root)
            linux.pivot_root(root)
        _supervise_sockets(spec, isolation, child_reports)

    flags = 0
    if isolation.namespaces:
        os.makedirs(root, exist_ok=True)
        flags = linux.CLONE_NEWNS | (0 if spec.get("host_pid") else linux.CLONE_NEWPID)
    with reports, child_reports:
        pid = _start(spec, streams, isolation, flags, prepare)
        return pid, _received(reports)


def _supervise_sockets(spec: dict[str, Any], isolation: Isolation, reports: socket.socket) -> None:
    """In the child: have its bind and connect calls answered by the shim, where that is asked for and permitted."""
    if not spec.get("supervise_sockets") or not (isolation.namespaces or os.geteuid() == 0):
        return
    listener = sockets.install()
    if listener >= 0:
        socket.send_fds(reports, [b"."], [listener])
        os.close(listener)


def _received(reports: socket.socket) -> int:
    """The descriptor that the child sent before exec, -1 if it sent none."""
    reports.setblocking(False)
    try:
        _, descriptors, _, _ = socket.recv_fds(reports, 1, 1)
    except BlockingIOError:
        return -1
    return descriptors[0] if descriptors else -1


def start_exec(spec: dict[str, Any], container_pid: int, streams: Streams, isolation: Isolation) -> tuple[int, int]:
    """Start another process inside a running container; answers as `start_container`. Raises StartError."""
    reports, child_reports = socket.socketpair()
    with reports, child_reports:
        supervise = partial(_supervise_sockets, spec, isolation, child_reports)
        if isolation.namespaces:
            pid = _start_inside(spec, container_pid, streams, isolation, supervise)
        else:
            pid = _start(spec, streams, isolation, 0, supervise)
        return pid, _received(reports)


def _start_inside(
    spec: dict[str, Any], container_pid: int, streams: Streams, isolation: Isolation, prepare: Any
) -> int:
    """By way of a helper process that joins the container's namespaces and forks there."""
    report, child_report = os.pipe()
    helper = os.fork()
    if helper == 0:
        _enter_and_fork(spec, container_pid, streams, isolation, prepare, child_report)
    os.close(child_report)
    text = _read_all(report)
    os.waitpid(helper, 0)
    answer = json.loads(text.splitlines()[-1]) if text else {"error": "the process ended before it was started"}
    if "error" in answer:
        raise StartError(answer["error"])
    return int(answer["pid"])


def _enter_and_fork(
    spec: dict[str, Any], container_pid: int, streams: Streams, isolation: Isolation, prepare: Any, report: int
) -> NoReturn:
    """In a helper process: join the container, start the process as a child of the shim, report its pid, end."""
    try:
        Group(spec.get("cgroup_folders") or []).join()  # before the host's tree is out of sight
        spec = {**spec, "cgroup_folders": []}
        pidfd = os.pidfd_open(container_pid)
        linux.setns(pidfd, linux.CLONE_NEWPID)
        linux.setns(pidfd, linux.CLONE_NEWNS)

        def prepare_inside() -> None:
            os.chdir("/")
            prepare()

        pid = _start(spec, streams, isolation, linux.CLONE_PARENT, prepare_inside)
        answer: dict[str, Any] = {"pid": pid}
    except (StartError, OSError) as error:
        answer = {"error": str(error)}
    os.write(report, json.dumps(answer).encode() + b"\n")
    os._exit(0)


def _start(spec: dict[str, Any], streams: Streams, isolation: Isolation, flags: int, prepare: Any) -> int:
    failure, child_failure = os.pipe()
    try:
        pid = linux.clone(flags)
    except OSError as error:
        os.close(failure)
        os.close(child_failure)
        raise StartError(f"failed to start container process: {error}") from error
    if pid == 0:
        _become(spec, streams, isolation, prepare, child_failure)
    os.close(child_failure)
    text = _read_all(failure)
    if text:
        if not flags & linux.CLONE_PARENT:
            os.waitpid(pid, 0)
        raise StartError(text)
    return pid


def _become(spec: dict[str, Any], streams: Streams, isolation: Isolation, prepare: Any, failure: int) -> NoReturn:
    """In the child: everything between fork and exec. Never returns."""
    try:
        os.setsid()
        Group(spec.get("cgroup_folders") or []).join()
        prepare()
        _connect(streams)
        _enter_directory(spec.get("working_dir") or "/", created=isolation.namespaces)
        _take_identity(spec, isolation)
        _restore_signals()
        linux.die_with_parent()
        _exec(spec["args"], spec["env"])
    except StartError as error:
        os.write(failure, str(error).encode())
    except OSError as error:
        subject = f" {error.filename}" if error.filename else ""
        os.write(failure, f"error during container init: {error.strerror}{subject}".encode())
    except BaseException as error:  # a forked child must not unwind into the shim's loop
        os.write(failure, f"error during container init: {error!r}".encode())
    os._exit(127)


def _connect(streams: Streams) -> None:
    for number, fd in enumerate((streams.stdin, streams.stdout, streams.stderr)):
        os.dup2(fd, number)
    if streams.terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _enter_directory(path: str, *, created: bool) -> None:
    if created and not os.path.isdir(path):
        os.makedirs(path, exist_ok=True)
    os.chdir(path)


def _take_identity(spec: dict[str, Any], isolation: Isolation) -> None:
    uid, gid = spec.get("uid"), spec.get("gid")
    if isolation.user_namespace:
        if uid or gid:  # only one user exists here: show it under the asked ids
            linux.unshare(linux.CLONE_NEWUSER)
            linux.map_identity(uid or 0, gid or 0, 0, 0)
        return
    if os.geteuid() != 0:
        return
    os.setgroups(spec.get("groups") or [])
    if gid is not None:
        os.setgid(gid)
    if uid is not None:
        os.setuid(uid)


def _restore_signals() -> None:
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _exec(args: list[str], env: dict[str, str]) -> NoReturn:
    program = _find(args[0], env.get("PATH", DEFAULT_PATH))
    try:
        os.execve(program, args, env)
    except OSError as error:
        raise StartError(_exec_failed(args[0], (error.strerror or str(error)).lower())) from error


def _find(name: str, search_path: str) -> str:
    if "/" in name:
        try:
            os.stat(name)
        except OSError as error:
            raise StartError(_exec_failed(name, f"stat {name}: {(error.strerror or '').lower()}")) from error
        if os.path.isdir(name):
            raise StartError(_exec_failed(name, "is a directory"))
        if not os.access(name, os.X_OK):
            raise StartError(_exec_failed(name, os.strerror(errno.EACCES).lower()))
        return name
    for directory in search_path.split(":"):
        candidate = f"{directory or '.'}/{name}"
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return candidate
    raise StartError(_exec_failed(name, "executable file not found in $PATH"))


def _exec_failed(name: str, why: str) -> str:
    quoted = json.dumps(name)
    return f"failed to start container process: exec: {quoted}: {why}"


def _read_all(fd: int) -> str:
    chunks = []
    while chunk := os.read(fd, 65536):
        chunks.append(chunk)
    os.close(fd)
    return b"".join(chunks).decode(errors="replace")

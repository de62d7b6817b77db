"""Gives a program that listens on every address the Pod's address instead. Stdlib only; see seccomp_unotify(2).

On the loopback network all Pods share the host's stack: two programs that bind 0.0.0.0:8080 would exclude each other.
A seccomp filter lets the shim answer bind(2) and connect(2) of a container, on a duplicate of its socket:

    bind    0.0.0.0:P or [::]:P  → POD_IP:P (a port that needs privilege: shifted, as everywhere)
    connect 127.0.0.1:P          → POD_IP:P, for ports bound that way, so that sidecars reach each other by localhost

x86-64 and arm64. Where the kernel refuses the filter everything stays as it is. This is no security boundary.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import socket
import struct
from typing import NamedTuple


class _Numbers(NamedTuple):
    """System calls and the name of the architecture for the filter."""

    audit: int
    seccomp: int
    bind: int
    connect: int


_NUMBERS = {
    "x86_64": _Numbers(0xC000003E, 317, 49, 42),
    "aarch64": _Numbers(0xC00000B7, 277, 200, 203),
}.get(os.uname().machine)
_PIDFD_GETFD = 438
_SET_MODE_FILTER, _NEW_LISTENER = 1, 8
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_NOTIFY, _ALLOW = 0x7FC00000, 0x7FFF0000
_CONTINUE = 1
_NOTIFICATION = struct.Struct("QIIiIQ6Q")  # id, pid, flags, nr, arch, instruction pointer, arguments
_RESPONSE = struct.Struct("QqiI")  # id, value, error, flags
_MAX_SOCKADDR = 128
_CONNECT_SECONDS = 1.0
_libc = ctypes.PyDLL(None, use_errno=True)


def install() -> int:
    """In the child, while it still has its privileges: the descriptor that hears of its calls, or -1."""
    if _NUMBERS is None:
        return -1
    program = _filter(_NUMBERS)
    code = ctypes.create_string_buffer(program)
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code)))
    return int(_libc.syscall(_NUMBERS.seccomp, _SET_MODE_FILTER, _NEW_LISTENER, header))


def _filter(numbers: _Numbers) -> bytes:
    """The BPF program: bind and connect ask, everything else goes its way."""

    def row(code: int, jump_true: int, jump_false: int, value: int) -> bytes:
        return struct.pack("HBBI", code, jump_true, jump_false, value)

    load, equal, answer = 0x20, 0x15, 0x06
    return b"".join(
        (
            row(load, 0, 0, 4),  # architecture
            row(equal, 0, 4, numbers.audit),
            row(load, 0, 0, 0),  # number of the call
            row(equal, 1, 0, numbers.bind),
            row(equal, 0, 1, numbers.connect),
            row(answer, 0, 0, _NOTIFY),
            row(answer, 0, 0, _ALLOW),
        )
    )


class PodPorts:
    """What the containers of one Pod have bound in place of every address: (protocol, port) → the real port."""

    def __init__(self, ip: str, shift: int, first_free: int) -> None:
        self.ip = ip
        self.bound: dict[tuple[int, int], int] = {}
        self._shift = shift
        self._first_free = first_free

    def real(self, port: int) -> int:
        """Where a port is really bound."""
        return port + self._shift if self._shift and port < self._first_free else port


class Supervisor:
    """Answers the calls of one container."""

    def __init__(self, listener: int, ports: PodPorts) -> None:
        self.listener = listener
        self._ports = ports

    def is_over(self) -> bool:
        """Whether nobody is left who could call."""
        poll = select.poll()
        poll.register(self.listener, 0)
        return bool(poll.poll(0))

    def answer(self) -> None:
        """One call."""
        note = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(self.listener, _RECEIVE, note)
        except OSError:  # the caller was killed meanwhile
            return
        id_, pid, _, number, _, _, *arguments = _NOTIFICATION.unpack(note)
        try:
            error, flags = self._carry_out(pid, number, arguments)
        except (OSError, struct.error):  # whatever cannot be looked into is the kernel's own business
            error, flags = 0, _CONTINUE
        try:
            fcntl.ioctl(self.listener, _SEND, _RESPONSE.pack(id_, 0, error, flags))
        except OSError:
            pass

    def _carry_out(self, pid: int, number: int, arguments: list[int]) -> tuple[int, int]:
        """(negative errno, flags). Raises OSError when the call is to go on unchanged."""
        assert _NUMBERS is not None
        address = _read(pid, arguments[1], min(arguments[2], _MAX_SOCKADDR))
        family, port = _family(address), _port(address)
        if port == 0 or family not in (socket.AF_INET, socket.AF_INET6):
            return 0, _CONTINUE
        if number == _NUMBERS.bind and (_is_any(address) or self._needs_shift(address, port)):
            return self._bind(pid, arguments[0], family, port)
        if number == _NUMBERS.connect and _is_localhost(address):
            return self._connect(pid, arguments[0], family, port)
        return 0, _CONTINUE

    def _needs_shift(self, address: bytes, port: int) -> bool:
        own = _family(address) == socket.AF_INET and socket.inet_ntoa(address[4:8]) == self._ports.ip
        return own and self._ports.real(port) != port

    def _bind(self, pid: int, descriptor: int, family: int, port: int) -> tuple[int, int]:
        real = self._ports.real(port)
        with _duplicate(pid, descriptor) as sock:
            protocol = sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            try:
                sock.bind((_mapped(self._ports.ip, family), real))
            except OSError as error:
                return -(error.errno or errno.EINVAL), 0
        self._ports.bound[protocol, port] = real
        return 0, 0

    def _connect(self, pid: int, descriptor: int, family: int, port: int) -> tuple[int, int]:
        with _duplicate(pid, descriptor) as sock:
            real = self._ports.bound.get((sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE), port))
            if real is None:
                return 0, _CONTINUE
            blocks = os.get_blocking(sock.fileno())
            os.set_blocking(sock.fileno(), False)
            try:
                sock.connect((_mapped(self._ports.ip, family), real))
            except BlockingIOError:
                if not blocks:
                    return -errno.EINPROGRESS, 0
                select.select([], [sock], [], _CONNECT_SECONDS)
                return -sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0
            except OSError as error:
                return -(error.errno or errno.EINVAL), 0
            finally:
                os.set_blocking(sock.fileno(), blocks)
        return 0, 0


def _read(pid: int, address: int, length: int) -> bytes:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        return os.pread(memory.fileno(), length, address)


def _family(address: bytes) -> int:
    return int(struct.unpack_from("H", address)[0])


def _port(address: bytes) -> int:
    return int(struct.unpack_from(">H", address, 2)[0]) if len(address) >= 4 else 0


def _is_any(address: bytes) -> bool:
    if _family(address) == socket.AF_INET6:
        return address[8:24] == bytes(16)
    return address[4:8] == bytes(4)


def _is_localhost(address: bytes) -> bool:
    if _family(address) == socket.AF_INET6:
        return address[8:24] in (bytes(15) + b"\1", bytes(10) + b"\xff\xff\x7f\0\0\1")
    return address[4:8] == b"\x7f\0\0\1"


def _mapped(ip: str, family: int) -> str:
    return f"::ffff:{ip}" if family == socket.AF_INET6 else ip


def _duplicate(pid: int, descriptor: int) -> socket.socket:
    """The caller's socket, here. Raises OSError."""
    pidfd = os.pidfd_open(_leader(pid))
    try:
        copy = _libc.syscall(_PIDFD_GETFD, pidfd, ctypes.c_int(descriptor & 0xFFFFFFFF), 0)
        if copy < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
    finally:
        os.close(pidfd)
    return socket.socket(fileno=copy)


def _leader(thread: int) -> int:
    """The process of a thread."""
    with open(f"/proc/{thread}/status") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("Tgid:"))

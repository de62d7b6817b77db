"""Forwarding by this process itself: a listening socket per frontend, bytes copied both ways. Needs no privilege.

On the loopback network ClusterIPs are real addresses of the host, so the proxies of several nodes bind the same
ones: all with SO_REUSEPORT, so that any of them answers and the others go on when one dies. A frontend without
backends is not listened on: the kernel refuses connections, as upstream's rules do.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import cast

from kubeglass.components.machinery.loopback import host_port
from kubeglass.components.proxy.balancing import Balancer
from kubeglass.components.proxy.modes.mode import Mode, Outcome
from kubeglass.components.proxy.rules import Backend, Frontend, Rule, Ruleset, changed
from kubeglass.logging.klog import Logger

_MIN_SYNC_SECONDS = 0.05
_RETRY_SECONDS = 5.0
_OVERDUE_SECONDS = 60.0
_BACKLOG = 1024
_CONNECT_SECONDS = 5.0
_UDP_IDLE_SECONDS = 60.0
_UDP_SESSIONS = 16384
_NO_LINGER = struct.pack("ii", 1, 0)


def userspace_mode(log: Logger) -> Mode:
    """The mode."""

    @asynccontextmanager
    async def opened(want_sync: Callable[[], None]) -> AsyncIterator[UserspaceProxier]:
        async with asyncio.TaskGroup() as connections:
            proxier = UserspaceProxier(connections, log)
            try:
                yield proxier
            finally:
                proxier.close()

    return Mode("userspace", _MIN_SYNC_SECONDS, _RETRY_SECONDS, _OVERDUE_SECONDS, opened)


class UserspaceProxier:
    """The sockets of one node."""

    def __init__(self, group: asyncio.TaskGroup, log: Logger) -> None:
        self._group = group
        self._log = log
        self._rules: dict[Frontend, Rule] = {}
        self._listeners: dict[Frontend, _Listener] = {}
        self._failed: dict[Frontend, str] = {}

    async def sync(self, ruleset: Ruleset) -> Outcome:
        """Forward what a node must forward. An address that cannot be bound is logged once per cause."""
        outcome = await self.forward(ruleset.rules)
        for frontend, why in outcome.failed.items():
            if self._failed.get(frontend) != why:
                self._log.error(OSError(why), "Failed to bind service address", address=str(frontend))
        self._failed = outcome.failed
        return outcome

    async def forward(self, rules: Iterable[Rule]) -> Outcome:
        """Make the sockets what the rules say. Open connections live on, whatever happens to their rule."""
        outcome = Outcome()
        wanted = [rule for rule in rules if rule.backends]
        different, gone = changed(self._rules, wanted)
        for frontend in gone:
            del self._rules[frontend]
            listener = self._listeners.pop(frontend, None)
            if listener is not None:
                listener.close()
                outcome.closed += 1
        for rule in different:
            listener = self._listeners.get(rule.frontend)
            if listener is not None:
                listener.balancer.update(rule)
                outcome.updated += 1
            elif await self._open(rule, outcome):
                outcome.opened += 1
            else:
                continue
            self._rules[rule.frontend] = rule
        return outcome

    async def _open(self, rule: Rule, outcome: Outcome) -> bool:
        balancer = Balancer(rule)
        try:
            if rule.frontend.protocol == "UDP":
                listener: _Listener = await _UdpListener.open(balancer)
            elif rule.frontend.protocol == "TCP":
                listener = await _TcpListener.open(balancer, self._group)
            else:
                raise OSError(f"protocol {rule.frontend.protocol} is not supported in userspace mode")
        except OSError as error:
            outcome.failed[rule.frontend] = error.strerror or str(error)
            return False
        self._listeners[rule.frontend] = listener
        return True

    def close(self) -> None:
        """Stop listening everywhere."""
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        self._rules.clear()


class _Listener(ABC):
    balancer: Balancer

    @abstractmethod
    def close(self) -> None:
        """Stop listening."""


def _socket(frontend: Frontend, kind: socket.SocketKind) -> socket.socket:
    bound = socket.socket(socket.AF_INET, kind)
    try:
        bound.setblocking(False)
        if kind is socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((frontend.ip, host_port(frontend.port)))
    except OSError:
        bound.close()
        raise
    return bound


# -- TCP --------------------------------------------------------------------------------------------------------------


class _TcpListener(_Listener):
    def __init__(self, balancer: Balancer, server: asyncio.Server) -> None:
        self.balancer = balancer
        self._server = server

    @classmethod
    async def open(cls, balancer: Balancer, group: asyncio.TaskGroup) -> _TcpListener:
        loop = asyncio.get_running_loop()
        bound = _socket(balancer.rule.frontend, socket.SOCK_STREAM)
        server = await loop.create_server(lambda: _Client(balancer, group), sock=bound, backlog=_BACKLOG)
        return cls(balancer, server)

    def close(self) -> None:
        self._server.close()


class _End(asyncio.Protocol):
    """One end of a forwarded connection: what arrives here is written to `peer`."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.peer: _End | None = None
        self._eof = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.write(data)

    def eof_received(self) -> bool:
        self._eof = True
        peer = self.peer
        if peer is not None and peer.transport is not None and not peer.transport.is_closing():
            peer.transport.write_eof()
            return not peer._eof  # both directions are done: close
        return False

    def pause_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None and not self.peer.transport.is_closing():
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None and not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        peer = self.peer
        if peer is None or peer.transport is None:
            return
        if exc is not None:
            _reset(peer.transport)  # a reset is passed on as a reset
        else:
            peer.transport.close()


def _reset(transport: asyncio.Transport) -> None:
    """Close with a reset, as the kernel refuses: asyncio's abort resets only while bytes wait to be read or sent."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


class _Client(_End):
    """The accepted end. It is paused until a backend has been reached; what arrives all the same is kept for it
    (uvloop starts reading after `connection_made`, whatever that asked for)."""

    def __init__(self, balancer: Balancer, group: asyncio.TaskGroup) -> None:
        super().__init__()
        self._balancer = balancer
        self._group = group
        self._early: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        if self.peer is None:
            self._early.append(data)
        else:
            super().data_received(data)

    def eof_received(self) -> bool:
        if self.peer is not None:
            return super().eof_received()
        self._eof = True
        return True

    def _join(self, end: _End) -> None:
        """Let the bytes flow, those that came early first."""
        assert self.transport is not None and end.transport is not None
        self.peer, end.peer = end, self
        for data in self._early:
            end.transport.write(data)
        self._early.clear()
        if self._eof:
            end.transport.write_eof()
        self.transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        peer = self.transport.get_extra_info("peername")
        if peer is None:  # gone before we looked
            self.transport.abort()
            return
        choices = self._balancer.choices(peer[0], asyncio.get_running_loop().time())
        self._group.create_task(self._connect(choices))

    async def _connect(self, choices: list[Backend]) -> None:
        assert self.transport is not None
        loop = asyncio.get_running_loop()
        for backend in choices:
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    _, end = await loop.create_connection(_End, backend.ip, host_port(backend.port))
            except (OSError, TimeoutError):
                continue
            if self.transport.is_closing():
                assert end.transport is not None
                end.transport.abort()
                return
            self._join(end)
            return
        _reset(self.transport)


# -- UDP --------------------------------------------------------------------------------------------------------------


class _UdpListener(_Listener):
    def __init__(self, balancer: Balancer, transport: asyncio.DatagramTransport) -> None:
        self.balancer = balancer
        self._transport = transport

    @classmethod
    async def open(cls, balancer: Balancer) -> _UdpListener:
        loop = asyncio.get_running_loop()
        bound = _socket(balancer.rule.frontend, socket.SOCK_DGRAM)
        transport, _ = await loop.create_datagram_endpoint(lambda: _UdpFrontend(balancer), sock=bound)
        return cls(balancer, transport)

    def close(self) -> None:
        self._transport.close()


class _UdpFrontend(asyncio.DatagramProtocol):
    """Keeps one upstream socket per client, so that answers find their way back."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer
        self._transport: asyncio.DatagramTransport | None = None
        self._sessions: dict[tuple[str, int], _UdpSession] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        session = self._sessions.get(addr)
        if session is None or session.backend not in self._balancer.rule.backends:
            session = self._open(addr)
        if session is not None:
            session.send(data)

    def _open(self, client: tuple[str, int]) -> _UdpSession | None:
        self._drop(client)
        choices = self._balancer.choices(client[0], asyncio.get_running_loop().time())
        if not choices or len(self._sessions) >= _UDP_SESSIONS:
            return None
        session = _UdpSession(choices[0], lambda data: self._answer(data, client), lambda: self._drop(client))
        self._sessions[client] = session
        return session

    def _answer(self, data: bytes, client: tuple[str, int]) -> None:
        if self._transport is not None:
            self._transport.sendto(data, client)

    def _drop(self, client: tuple[str, int]) -> None:
        session = self._sessions.pop(client, None)
        if session is not None:
            session.close()

    def connection_lost(self, exc: Exception | None) -> None:
        for client in list(self._sessions):
            self._drop(client)


class _UdpSession:
    """One client's conversation with one backend, closed after a minute of silence."""

    def __init__(self, backend: Backend, answer: Callable[[bytes], None], expired: Callable[[], None]) -> None:
        self.backend = backend
        self._answer = answer
        self._expired = expired
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect((backend.ip, host_port(backend.port)))
        self._loop.add_reader(self._socket, self._readable)
        self._timer = self._loop.call_later(_UDP_IDLE_SECONDS, expired)

    def send(self, data: bytes) -> None:
        self._touch()
        try:
            self._socket.send(data)
        except OSError:
            self._expired()

    def _readable(self) -> None:
        try:
            data = self._socket.recv(65535)
        except BlockingIOError:
            return
        except OSError:
            self._expired()
            return
        self._touch()
        self._answer(data)

    def _touch(self) -> None:
        self._timer.cancel()
        self._timer = self._loop.call_later(_UDP_IDLE_SECONDS, self._expired)

    def close(self) -> None:
        self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()

"""Connections that the kernel tracks, by netlink: finds UDP flows that go where no Service sends them any more.

A flow keeps the endpoint of its first packet for as long as packets follow, whatever the rules say by then. TCP finds
out by itself when an endpoint is gone; over UDP such a flow has to be deleted, and its next packet starts a new one.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from kubeglass.components.proxy.rules import Ruleset

Address = tuple[str, int]
Targets = Mapping[Address, frozenset[Address]]
"""Address of a Service to the addresses that its flows may be answered from."""

_NETLINK_NETFILTER = 12
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port
_GENERIC = struct.pack("=BBH", socket.AF_INET, 0, 0)  # nfgenmsg: family, version, resource
_ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
_GET, _DELETE = 0x0101, 0x0102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_…
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_NESTED = 0x8000
_ORIGINAL, _REPLY = 1, 2  # CTA_TUPLE_…
_IP, _PROTOCOL = 1, 2  # CTA_TUPLE_…
_SOURCE, _DESTINATION = 1, 2  # CTA_IP_V4_…
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3  # CTA_PROTO_…


@dataclass(frozen=True, slots=True)
class Flow:
    """One tracked UDP flow."""

    key: bytes  # the kernel's own words for it
    destination: Address  # where the client sent to
    answered_by: Address  # where that was sent on to


def targets(ruleset: Ruleset) -> Targets:
    """The UDP addresses of all Services, and their endpoints, here or elsewhere."""
    return {
        (rule.frontend.ip, rule.frontend.port): frozenset(
            (backend.ip, backend.port) for backend in (*port.anywhere, *port.here)
        )
        for port in ruleset.ports
        if port.protocol == "UDP"
        for rule in port.rules(ruleset.node_ips)
    }


def stale(flows: Iterable[Flow], wanted: Targets) -> list[Flow]:
    """Flows to a Service's address that are not answered by an endpoint of it."""
    return [flow for flow in flows if flow.answered_by not in wanted.get(flow.destination, (flow.answered_by,))]


def delete_stale(wanted: Targets) -> int:
    """Delete stale flows of this network namespace; their number. Blocks while the kernel looks. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
        return sum(_delete(netlink, flow) for flow in stale(list(_dump(netlink)), wanted))


def _dump(netlink: socket.socket) -> Iterator[Flow]:
    _send(netlink, _GET, _REQUEST | _DUMP, b"")
    while True:
        for kind, body in _messages(netlink.recv(1 << 16)):
            if kind == _DONE:
                return
            if kind == _ERROR:
                _raise_error(body)
            if flow := flow_of(body):
                yield flow


def _delete(netlink: socket.socket, flow: Flow) -> bool:
    """False when it ended by itself before."""
    _send(netlink, _DELETE, _REQUEST | _ACK, flow.key)
    for kind, body in _messages(netlink.recv(1 << 16)):
        if kind == _ERROR:
            try:
                _raise_error(body)
            except FileNotFoundError:
                return False
    return True


def _send(netlink: socket.socket, kind: int, flags: int, attributes: bytes) -> None:
    body = _GENERIC + attributes
    netlink.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        yield kind, data[at + _HEADER.size : at + length]
        at += _aligned(length)


def _raise_error(body: bytes) -> None:
    (code,) = struct.unpack_from("=i", body)
    if code:
        raise OSError(-code, os.strerror(-code))


def flow_of(body: bytes) -> Flow | None:
    """The flow in a message of the tracker; None when it is not UDP over IPv4."""
    attributes = dict(_attributes(body[len(_GENERIC) :]))
    original, reply = _tuple(attributes.get(_ORIGINAL, b"")), _tuple(attributes.get(_REPLY, b""))
    if original is None or reply is None:
        return None
    key = attributes[_ORIGINAL]
    whole = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(key), _ORIGINAL | _NESTED) + key
    return Flow(whole, original[1], reply[0])


def _tuple(data: bytes) -> tuple[Address, Address] | None:
    """(source, destination) of a UDP packet."""
    parts = dict(_attributes(data))
    ip, protocol = dict(_attributes(parts.get(_IP, b""))), dict(_attributes(parts.get(_PROTOCOL, b"")))
    if protocol.get(_NUMBER, b"")[:1] != bytes((socket.IPPROTO_UDP,)) or _SOURCE not in ip or _DESTINATION not in ip:
        return None
    source, destination = (socket.inet_ntoa(ip[side][:4]) for side in (_SOURCE, _DESTINATION))
    ports = (int.from_bytes(protocol[side][:2], "big") for side in (_SOURCE_PORT, _DESTINATION_PORT))
    return (source, next(ports)), (destination, next(ports))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & ~_NESTED, data[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3

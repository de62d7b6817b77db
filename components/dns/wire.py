"""DNS messages: the question in, the answer out. Pure. Upstream: RFC 1035, and EDNS for sizes only."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address

from kubeglass.components.dns.records import AAAA, SOA, TXT, A, Answer, Record

TTL_SECONDS = 30
_IN = 1
_UDP_LIMIT = 512


class MalformedQuery(ValueError):
    """The message is no DNS query."""


@dataclass(frozen=True, slots=True)
class Query:
    """The first question of a message."""

    id: int
    opcode: int
    recursion_desired: bool
    name: str
    type: int
    question: bytes  # as it came, to be repeated in the answer
    udp_limit: int = _UDP_LIMIT


def read_query(message: bytes) -> Query:
    """The question of a message. Raises MalformedQuery."""
    try:
        identity, flags, questions, _, _, additional = struct.unpack_from(">6H", message)
        if flags & 0x8000 or questions != 1:
            raise MalformedQuery("not a single question")
        labels, at = [], 12
        while (length := message[at]) != 0:
            if length > 63:
                raise MalformedQuery("compressed name in a question")
            labels.append(message[at + 1 : at + 1 + length].decode("ascii"))
            at += 1 + length
        kind, _ = struct.unpack_from(">2H", message, at + 1)
        end = at + 5
        limit = _UDP_LIMIT
        if additional and message[end : end + 3] == b"\x00\x00\x29":  # EDNS: the size the asker can take
            limit = max(_UDP_LIMIT, struct.unpack_from(">H", message, end + 3)[0])
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise MalformedQuery(str(error)) from error
    return Query(identity, (flags >> 11) & 0xF, bool(flags & 0x100), ".".join(labels), kind, message[12:end], limit)


def write_answer(query: Query, answer: Answer, domain: str, limit: int | None) -> bytes:
    """The response message; what does not fit `limit` bytes is cut and marked as truncated."""
    body = b"".join(_encode(record) for record in answer.records)
    authority = b"" if answer.records else _start_of_authority(domain)
    truncated = limit is not None and 12 + len(query.question) + len(body) + len(authority) > limit
    if truncated:
        body = authority = b""
    flags = 0x8400 | (0x200 if truncated else 0) | (0x100 if query.recursion_desired else 0) | 0x80 | answer.code
    answers = 0 if truncated else len(answer.records)
    header = struct.pack(">6H", query.id, flags, 1, answers, 1 if authority else 0, 0)
    return header + query.question + body + authority


def _name(name: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode("ascii") for label in name.split(".") if label) + b"\x00"


def _encode(record: Record) -> bytes:
    match record.value:
        case (int(priority), int(weight), int(port), str(target)):
            data = struct.pack(">3H", priority, weight, port) + _name(target)
        case str(text) if record.type in (A, AAAA):
            data = ip_address(text).packed
        case str(text) if record.type == TXT:
            data = bytes((len(text),)) + text.encode("ascii")
        case text:
            data = _name(str(text))
    return _name(record.name) + struct.pack(">2HIH", record.type, _IN, TTL_SECONDS, len(data)) + data


def _start_of_authority(domain: str) -> bytes:
    data = _name(f"ns.dns.{domain}") + _name(f"hostmaster.{domain}") + struct.pack(">5I", 1, 7200, 1800, 86400, 30)
    return _name(domain) + struct.pack(">2HIH", SOA, _IN, TTL_SECONDS, len(data)) + data

"""Clients of an API server, many at once, as a process of their own: `python load.py PLAN.json` prints what they saw.

A user's connections are all open before its first request. Every one asks again as soon as it was answered and has
paused (a closed loop), over one kept-alive TLS connection. Bodies are counted, not kept. The plan and the result are
the dataclasses below, as JSON.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import uvloop


@dataclass(frozen=True, slots=True)
class Flow:
    """What one user does over all its connections."""

    name: str
    certificate: str
    key: str
    path: str
    connections: int = 1
    pause_seconds: float = 0.0
    begins_seconds: float = 0.0
    heeds_retry_after: bool = False
    method: str = "GET"
    body: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What all of them do; `measured_from` cuts the start off."""

    server: str
    authority: str
    seconds: float
    flows: Sequence[Flow]
    measured_from: float = 0.0


@dataclass(slots=True)
class Seen:
    """What one user was answered, after the start."""

    latencies: list[float] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    """The rejections, by the header that attributes them."""
    bytes: int = 0
    unanswered: int = 0
    """Asked, and still waiting at the end."""
    unanswered_seconds: float = 0.0
    """How long these have waited until then, all together."""

    def percentile(self, share: float) -> float:
        """A latency in seconds, of the answers that were no rejection."""
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]

    def rate(self, pause_seconds: float) -> float:
        """Answers per second of a connection that pauses after each."""
        answers = len(self.latencies)
        return answers / (sum(self.latencies) + self.unanswered_seconds + answers * pause_seconds)


@dataclass(slots=True)
class Result:
    """What all saw, rejections of the start included in `all_rejections`."""

    flows: dict[str, Seen]
    all_rejections: int = 0
    asked_at: float = 0.0
    """When the first request was sent, seconds since the epoch."""


class _Client(asyncio.Protocol):
    """One connection: feeds a user's figures."""

    def __init__(self, run: _Run, flow: Flow, request: bytes) -> None:
        self._run, self._flow, self._request = run, flow, request
        self._seen = run.seen[flow.name]
        self._head = bytearray()
        self._rest = -1  # bytes of the body still to come; -1: reading the head
        self._chunked = False
        self._tail = b""
        self._sent = 0.0
        self._status, self._reason, self._retry_after = "", "", 0.0
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def ask(self) -> None:
        if self._run.over or self._transport.is_closing():
            return
        self._run.asked_at = self._run.asked_at or time.time()
        self._sent, self.busy = time.monotonic(), True
        self._transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if self._rest < 0:
            self._head += data
            head, found, body = bytes(self._head).partition(b"\r\n\r\n")
            if not found:
                return
            self._head.clear()
            self._begin(head.decode("latin-1"))
            data = body
        self._seen.bytes += len(data)
        if self._chunked:
            self._tail = (self._tail + data)[-7:]
            if self._tail.endswith(b"\r\n0\r\n\r\n") or self._tail == b"0\r\n\r\n":
                self._answered()
            return
        self._rest -= len(data)
        if self._rest <= 0:
            self._answered()

    def _begin(self, head: str) -> None:
        lines = head.split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        self._status = lines[0].split()[1]
        self._reason = headers.get("x-kubeglass-pf-rejected", "")
        self._retry_after = float(headers.get("retry-after", 0))
        self._chunked = headers.get("transfer-encoding") == "chunked"
        self._rest, self._tail = int(headers.get("content-length", 0)), b""

    def _answered(self) -> None:
        self._rest, self.busy = -1, False
        self._run.answered(self._flow, self._status, self._reason, time.monotonic() - self._sent)
        pause = self._flow.pause_seconds
        if self._status == "429" and self._flow.heeds_retry_after:
            pause = max(pause, self._retry_after)
        if pause:
            self._run.loop.call_later(pause, self.ask)
        else:
            self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._run.over:
            self._run.answered(self._flow, "lost", "", 0.0)

    def close(self) -> None:
        if self.busy:
            self._seen.unanswered += 1
            self._seen.unanswered_seconds += time.monotonic() - self._sent
        self._transport.close()


class _Run:
    """The whole plan, once."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.seen = {flow.name: Seen() for flow in plan.flows}
        self.rejections: Counter[str] = Counter()
        self.over = False
        self.asked_at = 0.0
        self.loop = asyncio.get_running_loop()
        self._began = time.monotonic()

    def answered(self, flow: Flow, status: str, reason: str, seconds: float) -> None:
        if status == "429":
            self.rejections[flow.name] += 1
        if time.monotonic() - self._began < self._plan.measured_from:
            return
        seen = self.seen[flow.name]
        seen.statuses[status] = seen.statuses.get(status, 0) + 1
        if status == "429":
            seen.reasons[reason] = seen.reasons.get(reason, 0) + 1
        else:
            seen.latencies.append(seconds)

    async def run(self) -> Result:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._connections(flow)) for flow in self._plan.flows]
            await asyncio.sleep(max(self._plan.seconds - (time.monotonic() - self._began), 0))
            self.over = True
        for task in tasks:
            for client in task.result():
                client.close()
        return Result(self.seen, self.rejections.total(), self.asked_at)

    async def _connections(self, flow: Flow) -> list[_Client]:
        await asyncio.sleep(flow.begins_seconds)
        tls = ssl.create_default_context(cafile=self._plan.authority)
        tls.load_cert_chain(flow.certificate, flow.key)
        host, _, port = self._plan.server.removeprefix("https://").partition(":")
        lines = [f"{flow.method} {flow.path} HTTP/1.1", f"Host: {host}", f"User-Agent: {flow.name}/1.0"]
        lines += ["Accept: application/json"]
        if flow.body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(flow.body)}"]
        head = "".join(f"{line}\r\n" for line in (*lines, "")) + flow.body
        clients = []
        for _ in range(flow.connections):
            make = lambda: _Client(self, flow, head.encode())  # noqa: E731
            _, client = await self.loop.create_connection(make, host, int(port), ssl=tls)
            clients.append(client)
        for client in clients:
            client.ask()
        return clients


async def _main(plan: Plan) -> Result:
    return await _Run(plan).run()


if __name__ == "__main__":
    plan = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_main(plan))))

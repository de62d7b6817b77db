"""Container logs as `kubectl logs` asks for them, read across rotations. Written by the container's shim.

The format is kubeglass.logging.cri; the reader that survives rotation is kubeglass.logging.rotation.Follower.
Upstream: pkg/kubelet/kuberuntime/logs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kubeglass.components.machinery import clock
from kubeglass.logging.cri import LogLine, parse
from kubeglass.logging.rotation import Follower

_POLL_SECONDS = 0.1
_BLOCK_BYTES = 64 * 1024


class BadLogQuery(Exception):
    """A log query that cannot be answered; the text is for the client."""


@dataclass(frozen=True, slots=True)
class LogQuery:
    """The options of PodLogOptions."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    since: float | None = None  # seconds since the epoch
    limit_bytes: int | None = None
    stream: str = ""  # "stdout" or "stderr", "" for both

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> LogQuery:
        """From the query of a request. Raises BadLogQuery."""
        since = query.get("sinceTime", "")
        seconds = _number(query, "sinceSeconds", minimum=1)
        if since and seconds is not None:
            raise BadLogQuery("at most one of `sinceTime` or `sinceSeconds` may be specified")
        try:
            moment = clock.parse(since) if since else None if seconds is None else clock.now() - seconds
        except ValueError as error:
            raise BadLogQuery(f"invalid sinceTime {since!r}") from error
        stream = query.get("stream", "All")
        return cls(
            follow=_flag(query, "follow"),
            previous=_flag(query, "previous"),
            timestamps=_flag(query, "timestamps"),
            tail_lines=_number(query, "tailLines", minimum=0),
            since=moment,
            limit_bytes=_number(query, "limitBytes", minimum=1),
            stream="" if stream == "All" else stream.lower(),
        )


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("true", "1")


def _number(query: Mapping[str, str], name: str, minimum: int) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    try:
        value = int(text)
    except ValueError as error:
        raise BadLogQuery(f"invalid {name} {text!r}") from error
    if value < minimum:
        raise BadLogQuery(f"{name} must be greater than or equal to {minimum}")
    return value


async def read(path: Path, query: LogQuery, still_running: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
    """The log as blocks of text; with `follow` until the container has ended."""
    follower = Follower(path)
    left = query.limit_bytes
    try:
        lines = await asyncio.to_thread(_first, follower, query)
        while True:
            for block in _blocks(lines, query):
                if left is not None:
                    block = block[:left]
                    left -= len(block)
                if block:
                    yield block
                if left == 0:
                    return
            if not query.follow:
                return
            running = (
                await still_running()
            )  # asked before the last poll, so that nothing written before the end is missed
            lines = list(_wanted(follower.poll(), query))
            if not lines and not running:
                return
            if not lines:
                await asyncio.sleep(_POLL_SECONDS)
    finally:
        follower.close()


def _first(follower: Follower, query: LogQuery) -> list[LogLine]:
    """What is there already, cut to the tail. Blocking."""
    wanted = _wanted(follower.poll(), query)
    if query.tail_lines is None:
        return list(wanted)
    tail: deque[list[LogLine]] = deque(maxlen=query.tail_lines)
    for line in _joined(wanted):
        tail.append(line)
    return [piece for line in tail for piece in line]


def _joined(pieces: Iterable[LogLine]) -> Iterator[list[LogLine]]:
    """Whole lines as lists of their pieces."""
    line: list[LogLine] = []
    for piece in pieces:
        line.append(piece)
        if not piece.partial:
            yield line
            line = []
    if line:
        yield line


def _wanted(records: Iterable[bytes], query: LogQuery) -> Iterator[LogLine]:
    for record in records:
        try:
            line = parse(record)
        except ValueError:
            continue
        if query.stream and line.stream != query.stream:
            continue
        if query.since is not None and clock.parse(_micro(line.timestamp)) < query.since:
            continue
        yield line


def _micro(stamp: str) -> str:
    """Python's clock has six decimals, the log nine."""
    head, dot, fraction = stamp.rstrip("Z").partition(".")
    return f"{head}{dot}{fraction[:6]}Z"


def _blocks(lines: Iterable[LogLine], query: LogQuery) -> Iterator[bytes]:
    block = bytearray()
    continued = False
    for line in lines:
        if query.timestamps and not continued:
            block += line.timestamp.encode() + b" "
        block += line.text if line.partial else line.text + b"\n"
        continued = line.partial
        if len(block) >= _BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)

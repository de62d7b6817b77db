"""Log queries on a node: which log, and which part of it, as `kubectl get --raw …/proxy/logs/?query=kubelet` asks.

A service whose log this kubelet knows is answered as journalctl would (`short-precise`, UTC); any other name is looked
for among the files of the node's log folder. Upstream: pkg/kubelet/kubelet_server_journal.go (NodeLogQuery).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from kubeglass.logging.goquote import quote
from kubeglass.logging.rotation import Follower

MAX_TAIL_LINES = 100_000
MAX_SERVICES = 4
_MAX_SERVICE_LENGTH = 256
_UNSAFE = re.compile(r"[^a-zA-Z\-_0-9@]")
_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:[.,]\d+)?(?:[Zz]|[+-]\d{2}:\d{2})")
_KLOG = re.compile(rb"[IWEF](\d{2})(\d{2}) (\d{2}):(\d{2}):(\d{2})\.(\d{6}) +(\d+) ")
_JSON_TIME = re.compile(rb'\{"ts":(\d+(?:\.\d+)?)')


class BadNodeLogQuery(Exception):
    """A query that is refused, with the status and text for the client."""

    def __init__(self, status: int, problems: Sequence[str]) -> None:
        super().__init__(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")
        self.status = status


@dataclass(frozen=True, slots=True)
class NodeLogQuery:
    """What is asked for. Times are seconds since the epoch."""

    services: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    since: float | None = None
    until: float | None = None
    tail_lines: int | None = None
    boot: int | None = None
    pattern: str = ""

    @property
    def has_options(self) -> bool:
        """Whether more than a name was given."""
        return (self.since, self.until, self.tail_lines, self.boot, self.pattern) != (None, None, None, None, "")


def parse(query: Mapping[str, Sequence[str]]) -> NodeLogQuery | None:
    """The query of a request; None when there is none. Raises BadNodeLogQuery."""
    problems: list[str] = []
    asked = query.get("query")
    files = tuple(text for text in asked or () if "/" in text or "\\" in text)
    services = tuple(text for text in asked or () if text not in files and text.strip())
    if asked is not None and not files and not services:
        problems.append(_invalid("query", list(asked), "query cannot be empty"))
    parsed = NodeLogQuery(
        services=services,
        files=files,
        since=_time(query, "sinceTime", problems),
        until=_time(query, "untilTime", problems),
        boot=_integer(query, "boot", problems),
        tail_lines=_integer(query, "tailLines", problems),
        pattern=_first(query, "pattern"),
    )
    if problems:
        raise BadNodeLogQuery(400, problems)
    return None if parsed == NodeLogQuery() else parsed


def validate(query: NodeLogQuery, exists: Callable[[str], str]) -> None:
    """Raise BadNodeLogQuery for what cannot be answered. `exists` says why a file cannot be read, "" if it can."""
    problems = list(_service_problems(query.services))
    files, services = list(query.files), list(query.services)
    if not files and not services:
        problems.append("query: Required value: cannot be empty with options")
    elif files and services:
        both = f"{_go_list(files)}, {_go_list(services)}"
        problems.append(_invalid("query", both, "cannot specify a file and service"))
    elif len(files) > 1:
        problems.append(_invalid("query", files, "cannot specify more than one file"))
    elif files and query.has_options:
        problems.append(_invalid("query", files, "cannot specify file with options"))
    elif files and (reason := exists(files[0])):
        problems.append(_invalid("query", files, reason))
    problems += _option_problems(query)
    if problems:
        raise BadNodeLogQuery(406, problems)


def _service_problems(services: Sequence[str]) -> Iterator[str]:
    for service in services:
        if len(service) > _MAX_SERVICE_LENGTH:
            yield _invalid("query", service, "length must be less than 100")
        elif _UNSAFE.search(service):
            yield _invalid("query", service, "input contains unsupported characters")
    if len(services) > MAX_SERVICES:
        yield f"query: Too many: {len(services)}: must have at most {MAX_SERVICES} items"


def _option_problems(query: NodeLogQuery) -> Iterator[str]:
    if query.since is not None and query.until is not None and query.since > query.until:
        stamp = datetime.fromtimestamp(query.until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        yield _invalid("untilTime", stamp, "must be after `sinceTime`")
    if query.boot is not None and query.boot > 0:
        yield _invalid("boot", query.boot, "must be less than 1")
    if query.tail_lines is not None and not 0 <= query.tail_lines <= MAX_TAIL_LINES:
        yield _invalid("tailLines", query.tail_lines, f"must be between 0 and {MAX_TAIL_LINES}, inclusive")
    try:
        re.compile(query.pattern)
    except re.error as error:
        yield _invalid("pattern", query.pattern, f"error parsing regexp: {error}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a service's log: when it was written (seconds since the epoch) and by which process."""

    at: float
    pid: str
    text: bytes


class ServiceLog:
    """The rotated log file of one service, read as its journal."""

    def __init__(self, name: str, path: Path, host: str) -> None:
        self._name = name
        self._path = path
        self._host = host

    def lines(self, query: NodeLogQuery, now: float, booted: float) -> Iterator[bytes]:
        """The lines asked for, oldest first. `booted` is when the machine was started, which boot 0 begins with."""
        wanted = select(read(self._path, now), query, booted)
        for entry in wanted:
            stamp = datetime.fromtimestamp(entry.at, UTC).strftime("%b %d %H:%M:%S.%f")
            process = f"{self._name}[{entry.pid}]" if entry.pid else self._name
            yield f"{stamp} {self._host} {process}: ".encode() + entry.text + b"\n"


def read(path: Path, now: float) -> Iterator[Entry]:
    """Every line of a component's log, through its rotations. Lines without a header belong to the one before."""
    follower = Follower(path)
    at, pid = 0.0, ""
    try:
        for line in follower.poll():
            head = _KLOG.match(line)
            if head is not None:
                at, pid = _klog_time(head, now), head[7].decode()
            elif (json := _JSON_TIME.match(line)) is not None:
                at = float(json[1]) / 1000
            yield Entry(at, pid, line.rstrip(b"\n"))
    finally:
        follower.close()


def select(entries: Iterable[Entry], query: NodeLogQuery, booted: float) -> Iterable[Entry]:
    """Those entries that a query asks for. Only the running boot and what was before it can be told apart."""
    current = (query.boot or 0) == 0
    pattern = re.compile(query.pattern.encode(), re.IGNORECASE) if query.pattern else None
    wanted = (
        entry
        for entry in entries
        if (entry.at >= booted) == current
        and (query.since is None or entry.at >= query.since)
        and (query.until is None or entry.at <= query.until)
        and (pattern is None or pattern.search(entry.text))
    )
    return wanted if query.tail_lines is None else deque(wanted, maxlen=query.tail_lines)


def boot_time() -> float:
    """When the machine was started, in seconds since the epoch; 0 where the system does not say."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) for line in lines if line.startswith("btime ")), 0.0)


def _klog_time(head: re.Match[bytes], now: float) -> float:
    """A klog header has no year: it is the last year in which its date is not in the future."""
    month, day, hour, minute, second, micro = (int(part) for part in head.groups()[:6])
    year = datetime.fromtimestamp(now).year
    for candidate in (year, year - 1, year - 2, year - 3, year - 4):  # 29 February is not in every year
        try:
            at = datetime(candidate, month, day, hour, minute, second, micro).timestamp()
        except ValueError:
            continue
        if at <= now + 86_400:
            return at
    return 0.0


def _first(query: Mapping[str, Sequence[str]], name: str) -> str:
    values = query.get(name)
    return values[0] if values else ""


def _time(query: Mapping[str, Sequence[str]], name: str, problems: list[str]) -> float | None:
    text = _first(query, name)
    if not text:
        return None
    try:
        if not _RFC3339.fullmatch(text):
            raise ValueError(text)
        return datetime.fromisoformat(text.upper()).timestamp()
    except ValueError:
        problems.append(_invalid(name, text, "invalid time format"))
        return None


def _integer(query: Mapping[str, Sequence[str]], name: str, problems: list[str]) -> int | None:
    text = _first(query, name)
    if not text:
        return None
    if re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII):
        return int(text)
    problems.append(_invalid(name, text, f"strconv.Atoi: parsing {quote(text)}: invalid syntax"))
    return None


def _invalid(field: str, value: object, detail: str) -> str:
    """field.Invalid: strings quoted, lists and numbers as JSON."""
    shown = quote(value) if isinstance(value, str) else msgspec.json.encode(value).decode()
    return f"{field}: Invalid value: {shown}: {detail}"


def _go_list(values: Sequence[str]) -> str:
    return f"[{' '.join(values)}]"

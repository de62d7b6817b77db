"""The SQLite file behind the store: schema, writes, reads, retention. Synchronous; each object lives in one thread.

WAL with synchronous=NORMAL: a killed process loses nothing that was committed. Rows go in by the hundred per
statement, so that almost all of a write happens outside the interpreter lock. Times are Unix nanoseconds.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from kubeglass.collector.segments import Group, Operation, Segment

_SCHEMA = """
CREATE TABLE IF NOT EXISTS services (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS operations (
    id INTEGER PRIMARY KEY, service INTEGER NOT NULL, name TEXT NOT NULL, kind INTEGER NOT NULL,
    UNIQUE (service, name, kind));
CREATE TABLE IF NOT EXISTS groups (
    id INTEGER PRIMARY KEY, service INTEGER NOT NULL, resource BLOB NOT NULL, scope BLOB NOT NULL,
    resource_schema TEXT NOT NULL, scope_schema TEXT NOT NULL,
    UNIQUE (resource, scope, resource_schema, scope_schema));
CREATE TABLE IF NOT EXISTS segments (
    id INTEGER PRIMARY KEY, trace BLOB NOT NULL, grp INTEGER NOT NULL, service INTEGER NOT NULL,
    start INTEGER NOT NULL, finish INTEGER NOT NULL, longest INTEGER NOT NULL, flags INTEGER NOT NULL,
    operations TEXT NOT NULL, stored INTEGER NOT NULL, count INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS segments_trace ON segments (trace);
CREATE INDEX IF NOT EXISTS segments_search ON segments (service, start);
CREATE TABLE IF NOT EXISTS logs (
    id INTEGER PRIMARY KEY, trace BLOB NOT NULL, grp INTEGER NOT NULL, start INTEGER NOT NULL, stored INTEGER NOT NULL,
    count INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS logs_trace ON logs (trace);
"""
_VERSION = 1
_SPAN_COLUMNS = "trace, grp, service, start, finish, longest, flags, operations, stored, count, payload"
_LOG_COLUMNS = "trace, grp, start, stored, count, payload"
_ROWS_PER_STATEMENT = 250
_EXPIRE_ROWS = 500


class Stored(msgspec.Struct):
    """A segment as it is read back."""

    id: int
    trace: bytes
    service: str
    start: int
    resource: bytes
    scope: bytes
    resource_schema: str
    scope_schema: str
    payload: bytes


class Search(msgspec.Struct, frozen=True):
    """Which traces are asked for; the newest `limit` win. Empty and None fields do not restrict."""

    service: str = ""
    operation: str = ""
    tags: Mapping[str, str] = {}
    start: int | None = None
    end: int | None = None
    shortest: int = 0
    longest: int = 0
    flags: int = 0
    limit: int = 100


class Candidate(msgspec.Struct):
    """A segment that a search must look into."""

    trace: bytes
    resource: bytes
    payload: bytes


class Retention(msgspec.Struct, frozen=True):
    """What may stay."""

    max_age_seconds: float
    max_bytes: int


class UnreadableDatabase(Exception):
    """The file is not a database of ours."""


class Writer:
    """The only connection that writes."""

    def __init__(self, path: Path) -> None:
        self._db = _open(path)
        self._services: dict[str, int] = {}

    def close(self) -> None:
        """Let go of the file, its log folded in."""
        self._db.close()

    def write(self, spans: Iterable[Segment], logs: Iterable[Segment]) -> None:
        """Commit all or nothing."""
        now = time.time_ns()
        with self._db:
            self._db.execute("BEGIN")
            self._insert("segments", _SPAN_COLUMNS, [self._span_row(segment, now) for segment in spans])
            self._insert("logs", _LOG_COLUMNS, [self._log_row(segment, now) for segment in logs])

    def size(self) -> int:
        """Bytes that hold data; free pages are used again."""
        pages, free, page = (self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in _SIZE_PRAGMAS)
        return int((pages - free) * page)

    def expire(self, retention: Retention, now_ns: int) -> dict[str, int]:
        """Delete the oldest beyond retention, a slice at a time; spans lost by reason."""
        lost = {"age": 0, "size": 0}
        cutoff = now_ns - int(retention.max_age_seconds * 1e9)
        while (count := self._expire_slice("AND stored < ?", (cutoff,))) is not None:
            lost["age"] += count
        while self.size() > retention.max_bytes and (count := self._expire_slice("", ())) is not None:
            lost["size"] += count
        if any(lost.values()):
            self._db.execute(f"PRAGMA incremental_vacuum({_EXPIRE_ROWS})").fetchall()
        return lost

    def _expire_slice(self, condition: str, values: tuple[int, ...]) -> int | None:
        """Delete the oldest rows; the spans they held, None when there were no such rows."""
        with self._db:
            spans, rows = 0, 0
            for table in ("segments", "logs"):
                oldest = f"SELECT id FROM (SELECT id, stored FROM {table} ORDER BY id LIMIT {_EXPIRE_ROWS}) "
                deleted = self._db.execute(
                    f"DELETE FROM {table} WHERE id IN ({oldest} WHERE 1 {condition}) RETURNING count", values
                ).fetchall()
                rows += len(deleted)
                spans += sum(count for (count,) in deleted) if table == "segments" else 0
        return spans if rows else None

    def _insert(self, table: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
        place = f"({', '.join('?' * len(columns.split(', ')))})"
        for at in range(0, len(rows), _ROWS_PER_STATEMENT):
            chunk = rows[at : at + _ROWS_PER_STATEMENT]
            values = [value for row in chunk for value in row]
            self._db.execute(f"INSERT INTO {table} ({columns}) VALUES {', '.join([place] * len(chunk))}", values)

    def _span_row(self, segment: Segment, now_ns: int) -> tuple[Any, ...]:
        group = segment.group
        operations = " ".join(str(self._operation(operation)) for operation in segment.operations)
        return (
            segment.trace,
            group.id or self._group(group),
            self._service(group.service),
            segment.start,
            segment.end,
            segment.longest,
            segment.flags,
            f" {operations} ",
            now_ns,
            segment.count,
            segment.payload,
        )

    def _log_row(self, segment: Segment, now_ns: int) -> tuple[Any, ...]:
        group_id = segment.group.id or self._group(segment.group)
        return segment.trace, group_id, segment.start, now_ns, segment.count, segment.payload

    def _service(self, name: str) -> int:
        known = self._services.get(name)
        if known is None:
            known = self._services[name] = self._intern("services", "name", (name,))
        return known

    def _operation(self, operation: Operation) -> int:
        if not operation.id:
            key = (self._service(operation.service), operation.name, operation.kind)
            operation.id = self._intern("operations", "service, name, kind", key)
        return operation.id

    def _group(self, group: Group) -> int:
        key = (group.resource, group.scope, group.resource_schema, group.scope_schema)
        columns = "resource, scope, resource_schema, scope_schema"
        group.id = self._intern("groups", columns, key, ("service", self._service(group.service)))
        return group.id

    def _intern(self, table: str, columns: str, key: tuple[Any, ...], extra: tuple[str, Any] | None = None) -> int:
        """The id of the row with this key, made when missing."""
        names = columns.split(", ")
        where = " AND ".join(f"{name} = ?" for name in names)
        found = self._db.execute(f"SELECT id FROM {table} WHERE {where}", key).fetchone()
        if found:
            return int(found[0])
        if extra:
            names, key = [*names, extra[0]], (*key, extra[1])
        made = self._db.execute(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", key)
        return int(made.lastrowid or 0)


class Reader:
    """A connection that only reads."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA cache_size = -4096")

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def services(self) -> list[str]:
        """Names of all services with spans."""
        return [name for (name,) in self._db.execute("SELECT name FROM services ORDER BY name")]

    def operations(self, service: str) -> list[tuple[str, int]]:
        """(name, kind) of the service's operations."""
        sql = (
            "SELECT o.name, o.kind FROM operations o JOIN services s ON s.id = o.service WHERE s.name = ? "
            "ORDER BY o.name, o.kind"
        )
        return list(self._db.execute(sql, (service,)))

    def trace(self, trace: bytes) -> list[Stored]:
        """All segments of one trace."""
        return [
            Stored(*row) for row in self._db.execute(_STORED.format(table="segments") + " WHERE t.trace = ?", (trace,))
        ]

    def logs(self, trace: bytes) -> list[Stored]:
        """All log records of one trace."""
        return [Stored(*row) for row in self._db.execute(_STORED.format(table="logs") + " WHERE t.trace = ?", (trace,))]

    def candidates(self, search: Search) -> Iterator[Candidate]:
        """Segments that may answer a search, the newest first."""
        where, values = self._conditions(search)
        order = "t.start DESC" if search.service else "t.id DESC"
        sql = (
            "SELECT t.trace, g.resource, t.payload FROM segments t JOIN groups g ON g.id = t.grp "
            f"WHERE {' AND '.join(where)} ORDER BY {order}"
        )
        for row in self._db.execute(sql, values):
            yield Candidate(*row)

    def since(self, after_id: int, until_ns: int, limit: int) -> list[Stored]:
        """Segments stored before `until_ns`, in that order, to follow the store."""
        sql = _STORED.format(table="segments") + " WHERE t.id > ? AND t.stored < ? ORDER BY t.id LIMIT ?"
        return [Stored(*row) for row in self._db.execute(sql, (after_id, until_ns, limit))]

    def _conditions(self, search: Search) -> tuple[list[str], list[Any]]:
        where, values = ["1"], list[Any]()

        def demand(condition: str, *arguments: Any) -> None:
            where.append(condition)
            values.extend(arguments)

        if search.service:
            demand("t.service = (SELECT id FROM services WHERE name = ?)", search.service)
        if search.operation:
            ids = self._db.execute("SELECT id FROM operations WHERE name = ?", (search.operation,)).fetchall()
            likes = [f"t.operations LIKE '% {int(number)} %'" for (number,) in ids]
            demand(f"({' OR '.join(likes)})" if likes else "0")
        if search.start is not None:
            demand("t.finish >= ?", search.start)
        if search.end is not None:
            demand("t.start <= ?", search.end)
        if search.shortest:
            demand("t.longest >= ?", search.shortest)
        if search.flags:
            demand("t.flags & ?", search.flags)
        return where, values


_SIZE_PRAGMAS = ("page_count", "freelist_count", "page_size")
_STORED = (
    "SELECT t.id, t.trace, s.name, t.start, g.resource, g.scope, g.resource_schema, g.scope_schema, t.payload "
    "FROM {table} t JOIN groups g ON g.id = t.grp JOIN services s ON s.id = g.service"
)


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA cache_size = -16384")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise UnreadableDatabase(f"{path} has version {version}, this collector writes version {_VERSION}")
        db.executescript(_SCHEMA)
        db.execute(f"PRAGMA user_version = {_VERSION}")
    except (sqlite3.DatabaseError, UnreadableDatabase) as error:
        db.close()
        raise UnreadableDatabase(str(error)) from error
    return db


def set_aside(path: Path) -> Path:
    """Move an unreadable file, with its log, out of the way; where it is now."""
    target = path.with_name(f"{path.name}.unreadable-{time.time_ns()}")
    for suffix in ("", "-wal", "-shm"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.rename(target.with_name(target.name + suffix))
    return target

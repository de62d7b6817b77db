"""The file of the embedded store: made whole, locked to one process, checked before it is trusted, never reset."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import IO

from kubeglass.components.apiserver.storage.backend import StorageError, StoreCorrupt, StoreUnavailable

_APPLICATION_ID = 0x4B474C53  # "KGLS"
_FORMAT = 1
_SCHEMA = """
CREATE TABLE log (
    revision INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    value BLOB,                          -- NULL: the key was deleted
    create_revision INTEGER NOT NULL,
    prev_revision INTEGER NOT NULL       -- the row this one replaces, 0 for a new key
);
CREATE TABLE current (
    key TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    expires REAL                         -- seconds since the epoch, NULL: never
) WITHOUT ROWID;
CREATE INDEX current_expires ON current (expires) WHERE expires IS NOT NULL;
CREATE TABLE compaction (revision INTEGER NOT NULL);
INSERT INTO compaction VALUES (0);
"""
_QUICK_CHECK_BYTES = 64 * 1024 * 1024
"""Larger files are checked page by page as they are read, not at start."""


def wal(path: Path) -> Path:
    """The write-ahead log beside the file."""
    return path.with_name(path.name + "-wal")


def lock(path: Path) -> IO[str]:
    """Hold the store for this process. Raises StoreUnavailable, naming who has it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(path.name + ".lock").open("a+")
    except OSError as error:
        raise StoreUnavailable(f"cannot open the store {path}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise StoreUnavailable(f"the store {path} is in use by another process (pid {owner})") from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def create(path: Path) -> None:
    """A new, empty store; it appears under its name only when it is whole."""
    if wal(path).exists():
        raise _corrupt(path, "the file is missing but its write-ahead log is there")
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    connection = sqlite3.connect(unfinished, isolation_level=None)
    try:
        connection.executescript(
            f"PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {_FORMAT};"
            f"BEGIN; {_SCHEMA} COMMIT; PRAGMA journal_mode = WAL;"
        )
    finally:
        connection.close()
    unfinished.rename(path)


def checked(path: Path) -> sqlite3.Connection:
    """The writing connection of a store that has been checked."""
    _check_header(path)
    try:
        connection = connect(path)
        if path.stat().st_size <= _QUICK_CHECK_BYTES:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise _corrupt(path, verdict.splitlines()[-1])
    except sqlite3.DatabaseError as error:
        raise translated(path, error) from error
    return connection


def _check_header(path: Path) -> None:
    """Look at the first bytes before SQLite does, because opening a database may already change it."""
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as error:
        raise StoreUnavailable(f"cannot open the store {path}: {error.strerror}") from error
    if not header:
        raise _corrupt(path, "the file is empty")
    if not header.startswith(b"SQLite format 3\0") or len(header) < 100:
        raise _corrupt(path, "it is not a database")
    if int.from_bytes(header[68:72], "big") != _APPLICATION_ID:
        raise _corrupt(path, "it is not a kubeglass store")
    written = int.from_bytes(header[60:64], "big")
    if written != _FORMAT:
        raise _corrupt(path, f"it has format {written}, this version reads format {_FORMAT}")


def connect(path: Path) -> sqlite3.Connection:
    """A connection whose commits are on the disk when they return."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA busy_timeout = 5000")
    return connection


def _corrupt(path: Path, detail: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"the store {path} is corrupt: {detail}. Nothing was changed. "
        f"Restore the file from a backup, or move it away to start with an empty cluster."
    )


def translated(path: Path, error: sqlite3.Error) -> StorageError:
    """What SQLite's error means for the store."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _corrupt(path, str(error))
    return StoreUnavailable(f"the store {path} failed: {error}")

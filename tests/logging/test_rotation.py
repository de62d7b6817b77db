"""Rotation happens between records, and a follower reads every record once, in order."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kubeglass.logging.options import FileOptions, LoggingOptions
from kubeglass.logging.rotation import Follower, RotatingFile, rotated_files
from kubeglass.logging.setup import build


def test_size_limit(tmp_path: Path) -> None:
    """No file grows beyond the limit, no record is split, only so many files are kept."""
    path = tmp_path / "x.log"
    file = RotatingFile(path, max_bytes=100, max_files=3)
    for number in range(50):
        file.write(b"record %03d %s\n" % (number, b"x" * 20))
    file.close()
    files = [*rotated_files(path), path]
    assert len(files) == 3
    contents = [found.read_bytes() for found in files]
    assert all(len(data) <= 100 and data.endswith(b"\n") for data in contents)
    assert b"".join(contents).splitlines()[-1].startswith(b"record 049")


def test_age_limit(tmp_path: Path) -> None:
    """A file older than the limit is put away with the next record; an empty one never is."""
    now = 1_000_000.0
    path = tmp_path / "x.log"
    file = RotatingFile(path, max_bytes=0, max_age_seconds=60, clock=lambda: now)
    now += 61
    file.write(b"first\n")
    assert rotated_files(path) == []
    now += 61
    file.write(b"second\n")
    file.close()
    assert [found.read_bytes() for found in rotated_files(path)] == [b"first\n"]
    assert path.read_bytes() == b"second\n"


def test_a_record_larger_than_the_limit_has_a_file_of_its_own(tmp_path: Path) -> None:
    """A record that never fits is still written whole."""
    path = tmp_path / "x.log"
    file = RotatingFile(path, max_bytes=10)
    for record in (b"a\n", b"b" * 50 + b"\n", b"c\n"):
        file.write(record)
    file.close()
    assert [found.read_bytes() for found in (*rotated_files(path), path)] == [b"a\n", b"b" * 50 + b"\n", b"c\n"]


def test_a_restart_appends(tmp_path: Path) -> None:
    """A new process goes on in the file that is there."""
    path = tmp_path / "x.log"
    for record in (b"one\n", b"two\n"):
        file = RotatingFile(path)
        file.write(record)
        file.close()
    assert path.read_bytes() == b"one\ntwo\n"


def test_rotations_within_one_instant_keep_their_order(tmp_path: Path) -> None:
    """Files rotated at the same clock reading still sort in the order they were written."""
    path = tmp_path / "x.log"
    file = RotatingFile(path, max_bytes=8, max_files=0, clock=lambda: 5.0)
    for number in range(12):
        file.write(b"rec %02d\n" % number)
    file.close()
    records = b"".join(found.read_bytes() for found in (*rotated_files(path), path)).split(b"\n")
    assert records[:-1] == [b"rec %02d" % number for number in range(12)]


def test_follower_from_now_on(tmp_path: Path) -> None:
    """A follower that starts at the end reads only what is written later, across a rotation."""
    path = tmp_path / "x.log"
    file = RotatingFile(path, max_bytes=20)
    file.write(b"before\n")
    follower = Follower(path, from_start=False)
    assert list(follower.poll()) == []
    for record in (b"one\n", b"two is longer\n", b"three is longer\n"):
        file.write(record)
    assert list(follower.poll()) == [b"one\n", b"two is longer\n", b"three is longer\n"]
    assert list(follower.poll()) == []
    follower.close()
    file.close()


def test_follower_waits_for_the_rest_of_a_record(tmp_path: Path) -> None:
    """Half a record is not a record; it is handed out when its newline has come."""
    path = tmp_path / "x.log"
    path.write_bytes(b"whole\nha")
    follower = Follower(path)
    assert list(follower.poll()) == [b"whole\n"]
    with path.open("ab") as file:
        file.write(b"lf\r\r\n")
    assert list(follower.poll()) == [b"half\r\r\n"]
    follower.close()


def test_follower_before_the_file(tmp_path: Path) -> None:
    """A follower may be there first."""
    follower = Follower(tmp_path / "later" / "x.log")
    assert list(follower.poll()) == []
    file = RotatingFile(tmp_path / "later" / "x.log")
    file.write(b"hello\n")
    assert list(follower.poll()) == [b"hello\n"]
    follower.close()
    file.close()


def test_follower_counts_what_was_deleted_before_it_came(tmp_path: Path) -> None:
    """When files are deleted faster than they are read, the follower goes on with the oldest left and says so."""
    path = tmp_path / "x.log"
    file = RotatingFile(path, max_bytes=8, max_files=3)
    file.write(b"rec 00\n")
    follower = Follower(path)
    assert list(follower.poll()) == [b"rec 00\n"]
    for number in range(1, 10):
        file.write(b"rec %02d\n" % number)
    assert list(follower.poll()) == [b"rec 07\n", b"rec 08\n", b"rec 09\n"]
    assert follower.gaps == 1
    follower.close()
    file.close()


@pytest.mark.parametrize("logging_format", ["text", "json"])
def test_full_speed(tmp_path: Path, logging_format: str) -> None:
    """At full speed through many rotations a follower sees every record once, in order, whole."""
    path = tmp_path / "x.log"
    total = 30_000
    options = LoggingOptions(
        format=logging_format, file=FileOptions(str(path), max_bytes=64 * 1024, max_age_seconds=0, max_files=0)
    )
    log = build(options)

    def write() -> None:
        for number in range(total):
            log.info("Record", number=number, padding="x" * (number % 97))

    writer = threading.Thread(target=write)
    follower = Follower(path)
    seen: list[bytes] = []
    writer.start()
    deadline = time.monotonic() + 60
    while len(seen) < total and time.monotonic() < deadline:
        seen.extend(follower.poll())
    writer.join()
    follower.close()
    mark = b'"number":%d,' if logging_format == "json" else b" number=%d "
    assert len(seen) == total
    assert all(mark % number in record and record.endswith(b"\n") for number, record in enumerate(seen))
    assert len(rotated_files(path)) > 40
    assert follower.gaps == 0


WRITER = """
import sys
from kubeglass.logging.rotation import RotatingFile
file = RotatingFile(sys.argv[1], max_bytes=128 * 1024, max_age_seconds=0, max_files=0)
for number in range(int(sys.argv[2])):
    file.write(b"%07d %s\\n" % (number, b"x" * 240))
"""


def test_full_speed_from_another_process(tmp_path: Path) -> None:
    """The same holds for a writer in a process of its own: 10 MB, nothing torn, lost or repeated."""
    path, total = tmp_path / "x.log", 40_000
    follower = Follower(path)
    numbers: list[int] = []
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(total)]) as writer:
        while writer.poll() is None:
            numbers.extend(int(record[:7]) for record in follower.poll() if len(record) == 249)
    numbers.extend(int(record[:7]) for record in follower.poll() if len(record) == 249)
    follower.close()
    assert numbers == list(range(total))


def test_a_full_disk_loses_lines_not_the_caller(tmp_path: Path) -> None:
    """When the file cannot be written to, records are counted as lost and the caller goes on."""
    log = build(LoggingOptions(file=FileOptions("/dev/full", max_bytes=0, max_age_seconds=0)), io.StringIO())
    log.info("hello")
    assert log.sink.output.lost == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("rotations", range(1, 9))
def test_as_many_files_stay_as_may(tmp_path: Path, rotations: int) -> None:
    """None is deleted before there are too many, then the oldest goes."""
    path = tmp_path / "log"
    file = RotatingFile(path, max_bytes=8, max_files=5)
    for number in range(rotations + 1):
        file.write(b"%07d\n" % number)
    kept = [int(found.read_bytes()) for found in (*rotated_files(path), path)]
    assert kept == list(range(max(0, rotations - 4), rotations + 1))

"""Container logs have the CRI format and the kubelet's rotation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kubeglass.logging import cri
from kubeglass.logging.rotation import Follower

NOW = 1_700_000_000_123_456_789
STAMP = b"2023-11-14T22:13:20.123456789Z"


def test_format() -> None:
    """A line is a timestamp with nine decimals, the stream, the tag F, and the text."""
    assert cri.records(NOW, "stdout", b"hello world") == STAMP + b" stdout F hello world\n"
    assert cri.records(NOW, "stderr", b"") == STAMP + b" stderr F \n"


def test_long_lines_are_cut() -> None:
    """A line over 16 KiB becomes several records; all but the last are tagged P; nothing is lost."""
    line = b"x" * (cri.MAX_LINE_BYTES * 2 + 5)
    lines = [cri.parse(record) for record in cri.records(NOW, "stdout", line).splitlines(keepends=True)]
    assert [found.partial for found in lines] == [True, True, False]
    assert b"".join(found.text for found in lines) == line


@pytest.mark.parametrize("text", [b"", b"a b  c ", b" lead", b"\xff\x00", b"F P"])
def test_parse_reads_what_records_writes(text: bytes) -> None:
    """Reading a record gives back its text, blanks and all."""
    found = cri.parse(cri.records(NOW, "stderr", text))
    assert found == (STAMP.decode(), "stderr", False, text)


def test_parse_refuses_other_lines() -> None:
    """What is no CRI record is refused."""
    with pytest.raises(ValueError, match="not a CRI log line"):
        cri.parse(b"I1122 hello\n")


def test_splitter() -> None:
    """Chunks become lines; what has no newline waits, and is written as partial when the stream ends."""
    splitter = cri.LineSplitter("stdout", clock=lambda: NOW)
    assert list(splitter.feed(b"on")) == []
    assert [cri.parse(record).text for record in splitter.feed(b"e\ntwo\nth")] == [b"one", b"two"]
    (last,) = splitter.end()
    assert (cri.parse(last).text, cri.parse(last).partial) == (b"th", True)
    assert list(splitter.end()) == []


def test_splitter_bounds_what_it_holds() -> None:
    """A stream without newlines is written in parts and never held in memory as a whole."""
    splitter = cri.LineSplitter("stdout", clock=lambda: NOW)
    records = list(splitter.feed(b"x" * (cri.MAX_LINE_BYTES * 3)))
    assert [cri.parse(record).partial for record in records] == [True, True, True]
    assert [cri.parse(record).text for record in splitter.feed(b"\n")] == [b""]


def test_rotation(tmp_path: Path) -> None:
    """Rotated files carry the time, all but the newest are compressed, only so many are kept; a follower reads all."""
    now = 1_700_000_000.0
    path = tmp_path / "c" / "0.log"
    log = cri.ContainerLog(str(path), max_bytes=200, max_files=3, clock=lambda: now)
    follower = Follower(path)
    seen: list[bytes] = []
    for number in range(20):
        log.write(cri.records(NOW, "stdout", b"line %02d %s" % (number, b"x" * 20)))
        seen += follower.poll()
        now += 1
    log.close()
    names = sorted(found.name for found in path.parent.iterdir())
    assert len(names) == 3
    assert names[0] == "0.log"
    assert names[1].startswith("0.log.20231114-") and names[1].endswith(".gz")
    assert names[2].startswith("0.log.20231114-") and not names[2].endswith(".gz")
    assert [cri.parse(record).text[:7] for record in seen] == [b"line %02d" % number for number in range(20)]
    assert follower.gaps == 0


def test_slow_follower_reads_compressed_files(tmp_path: Path) -> None:
    """A follower that lags behind reads on in the compressed files."""
    now = 1_700_000_000.0
    path = tmp_path / "0.log"
    log = cri.ContainerLog(str(path), max_bytes=100, max_files=50, clock=lambda: now)
    log.write(cri.records(NOW, "stdout", b"line 00"))
    follower = Follower(path)
    seen = list(follower.poll())
    for number in range(1, 20):
        now += 1
        log.write(cri.records(NOW + number, "stdout", b"line %02d" % number))
    seen += follower.poll()
    follower.close()
    log.close()
    assert len(list(tmp_path.glob("*.gz"))) > 3
    assert [cri.parse(record).text for record in seen] == [b"line %02d" % number for number in range(20)]


def test_only_the_standard_library_is_imported() -> None:
    """A container's supervisor can use this module without loading anything else."""
    program = (
        "import sys; before = set(sys.modules); import kubeglass.logging.cri; "
        "print(sorted(m for m in set(sys.modules) - before if m.split('.')[0] not in sys.stdlib_module_names))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "['kubeglass', 'kubeglass.logging', 'kubeglass.logging.cri']"


@pytest.mark.parametrize("rotations", range(1, 9))
def test_as_many_files_stay_as_may(tmp_path: Path, rotations: int) -> None:
    """None is deleted before there are too many, then the oldest goes; a reader gets all that is kept."""
    now = 1_000_000.0
    path = tmp_path / "0.log"
    log = cri.ContainerLog(str(path), max_bytes=8, max_files=5, clock=lambda: now)
    for number in range(rotations + 1):
        log.write(b"%07d\n" % number)
        now += 1
    assert [int(record) for record in Follower(path).poll()] == list(range(max(0, rotations - 4), rotations + 1))

"""Log queries on a node: upstream's refusals in upstream's words, and the lines journalctl would print."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from kubeglass.components.kubelet.configuration import KubeletConfig
from kubeglass.components.kubelet.logserver import LogServer
from kubeglass.components.kubelet.nodelogs import BadNodeLogQuery, NodeLogQuery, parse, read, validate

NOW = datetime(2026, 3, 1, 12, 0, 0).timestamp()


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ({"query": ["  "]}, 400, 'query: Invalid value: ["  "]: query cannot be empty'),
        ({"query": ["a"], "sinceTime": ["x"]}, 400, 'sinceTime: Invalid value: "x": invalid time format'),
        (
            {"query": ["a"], "tailLines": ["x"], "boot": ["1.5"]},
            400,
            '[boot: Invalid value: "1.5": strconv.Atoi: parsing "1.5": invalid syntax, '
            'tailLines: Invalid value: "x": strconv.Atoi: parsing "x": invalid syntax]',
        ),
        ({"tailLines": ["3"]}, 406, "query: Required value: cannot be empty with options"),
        ({"query": ["a", "/b"]}, 406, 'query: Invalid value: "[/b], [a]": cannot specify a file and service'),
        ({"query": ["/a", "/b"]}, 406, 'query: Invalid value: ["/a","/b"]: cannot specify more than one file'),
        ({"query": ["/a"], "boot": ["0"]}, 406, 'query: Invalid value: ["/a"]: cannot specify file with options'),
        ({"query": ["/a"]}, 406, 'query: Invalid value: ["/a"]: stat /a: no such file or directory'),
        ({"query": ["a;b"]}, 406, 'query: Invalid value: "a;b": input contains unsupported characters'),
        ({"query": ["a"], "boot": ["1"]}, 406, "boot: Invalid value: 1: must be less than 1"),
        (
            {"query": ["a"], "tailLines": ["100001"]},
            406,
            "tailLines: Invalid value: 100001: must be between 0 and 100000, inclusive",
        ),
        (
            {"query": ["a"], "sinceTime": ["2026-01-02T00:00:00Z"], "untilTime": ["2026-01-01T00:00:00Z"]},
            406,
            'untilTime: Invalid value: "2026-01-01T00:00:00Z": must be after `sinceTime`',
        ),
        ({"query": list("abcde")}, 406, "query: Too many: 5: must have at most 4 items"),
    ],
)
def test_refusals(query: dict[str, list[str]], status: int, message: str) -> None:
    """What cannot be answered is refused with upstream's status and text."""
    with pytest.raises(BadNodeLogQuery) as refused:
        validate(parse(query) or NodeLogQuery(), lambda name: f"stat {name}: no such file or directory")
    assert (refused.value.status, str(refused.value)) == (status, message)


def test_no_query_is_no_query() -> None:
    """Without parameters the request is for a file or a listing."""
    assert parse({}) is None


def test_entries_have_times_and_processes(tmp_path: Path) -> None:
    """klog headers lack a year: the last fitting one is meant; continuation lines belong to the line before."""
    log = tmp_path / "kubelet.log"
    log.write_bytes(
        b'I1231 23:59:59.000001    1234 a.py:1] "Old" x=<\n\tline\n >\n'
        b'I0301 11:00:00.500000   77 a.py:2] "New"\n'
        b'{"ts":1772362800250.5,"caller":"a.py:3","msg":"JSON","v":0}\n'
    )
    entries = list(read(log, NOW))
    assert [entry.pid for entry in entries] == ["1234", "1234", "1234", "77", "77"]
    assert entries[0].at == entries[2].at == datetime(2025, 12, 31, 23, 59, 59, 1).timestamp()
    assert entries[3].at == datetime(2026, 3, 1, 11, 0, 0, 500_000).timestamp()
    assert entries[4].at == 1772362800.2505


@pytest.fixture
async def node(tmp_path: Path) -> Any:
    """A log server over two rotated files; asks with a path and a query."""
    folder = tmp_path / "root" / "log"
    (folder / "pods").mkdir(parents=True)
    (folder / "syslog").write_text("line\n")
    (folder / "cron.log").write_text("ran\n")
    (folder / "a&b").write_text("")
    (tmp_path / "kubelet.log.20260301-000000.000000").write_text('I0301 10:00:00.000000    1 a.py:1] "One"\n')
    (tmp_path / "kubelet.log").write_text(
        'I0301 10:30:00.000000    1 a.py:1] "Two" n=1\nE0301 11:00:00.000000    2 a.py:1] "Three" n=2\n'
    )
    config = KubeletConfig("node-1", "", tmp_path / "root", service_logs={"kubelet": tmp_path / "kubelet.log"})
    logs = LogServer(config, lambda: NOW)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return await logs.answer(request, tuple(part for part in request.path.split("/")[2:] if part))

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession() as session:

        async def ask(path: str) -> tuple[int, str]:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}{path}"
            async with session.get(URL(url, encoded=True), allow_redirects=False) as response:
                return response.status, response.headers.get("Location") or await response.text()

        yield ask
    await runner.cleanup()


def journal(*lines: str) -> str:
    """Lines as the journal prints them."""
    return "".join(f"{line}\n" for line in lines)


def stamp(hour: int, minute: int) -> str:
    return f"{datetime(2026, 3, 1, hour, minute).astimezone(UTC):%b %d %H:%M:%S.%f}"


ONE = 'node-1 kubelet[1]: I0301 10:00:00.000000    1 a.py:1] "One"'
TWO = 'node-1 kubelet[1]: I0301 10:30:00.000000    1 a.py:1] "Two" n=1'
THREE = 'node-1 kubelet[2]: E0301 11:00:00.000000    2 a.py:1] "Three" n=2'


async def test_a_service_is_read_across_rotations(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A known service's whole log comes in journalctl's short-precise form, cut by the options."""
    monkeypatch.setattr("kubeglass.components.kubelet.logserver.boot_time", lambda: 0.0)
    one, two, three = f"{stamp(10, 0)} {ONE}", f"{stamp(10, 30)} {TWO}", f"{stamp(11, 0)} {THREE}"
    assert await node("/logs/?query=kubelet") == (200, journal(one, two, three))
    assert await node("/logs/?query=kubelet&tailLines=1") == (200, journal(three))
    assert await node("/logs/?query=kubelet&pattern=TH?REE|one") == (200, journal(one, three))
    since = datetime(2026, 3, 1, 10, 15).astimezone().isoformat().replace("+", "%2B")
    assert await node(f"/logs/?query=kubelet&sinceTime={since}") == (200, journal(two, three))
    assert await node(f"/logs/?query=kubelet&untilTime={since}") == (200, journal(one))
    assert await node("/logs/?query=kubelet&tailLines=0") == (200, "-- No entries --\n")


async def test_boots(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boot 0, the default, is what was written since the machine started; -1 what was before."""
    booted = datetime(2026, 3, 1, 10, 45).timestamp()
    monkeypatch.setattr("kubeglass.components.kubelet.logserver.boot_time", lambda: booted)
    assert await node("/logs/?query=kubelet") == (200, journal(f"{stamp(11, 0)} {THREE}"))
    before = journal(f"{stamp(10, 0)} {ONE}", f"{stamp(10, 30)} {TWO}")
    assert await node("/logs/?query=kubelet&boot=-1") == (200, before)


async def test_other_names_are_looked_for_among_the_files(node: Any) -> None:
    """/var/log/NAME, NAME.log, NAME/NAME.log; with options a file is no answer."""
    assert await node("/logs/?query=syslog&query=cron") == (200, "line\nran\n")
    assert await node("/logs/?query=nothing") == (200, "\nlog not found for nothing\n")
    refused = "\noptions present and query resolved to log files for [syslog]\ntry without specifying options\n"
    assert await node("/logs/?query=syslog&tailLines=1") == (200, refused)
    assert await node("/logs/?query=/syslog") == (200, "line\n")
    assert await node("/logs/syslog?query=kubelet") == (406, "path not allowed in query mode\n")


async def test_files_and_folders(node: Any) -> None:
    """Without a query the log folder is browsed as Go's FileServer shows it, and never left."""
    listed = (
        '<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n<a href="a&b">a&amp;b</a>\n'
        '<a href="cron.log">cron.log</a>\n<a href="pods/">pods/</a>\n<a href="syslog">syslog</a>\n</pre>\n'
    )
    assert await node("/logs/") == (200, listed)
    assert await node("/logs/pods") == (301, "pods/")
    assert await node("/logs/syslog") == (200, "line\n")
    assert await node("/logs/syslog/") == (301, "../syslog")
    assert await node("/logs/missing") == (404, "404 page not found\n")
    assert await node("/logs/%2e%2e/%2e%2e/kubelet.log") == (404, "404 page not found\n")
    status, text = await node("/logs/?query=/../../etc/passwd")
    assert (status, "root:" in text) == (406, False)

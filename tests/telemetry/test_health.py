"""Health checks and the texts they are answered with."""

from __future__ import annotations

import asyncio

import pytest

from kubeglass.telemetry.health import Health


def _fail() -> None:
    raise RuntimeError("connection refused to 10.0.0.7")


async def _fail_later() -> None:
    await asyncio.sleep(0)
    raise RuntimeError("timed out")


@pytest.fixture
def health() -> Health:
    health = Health()
    health.add("log", lambda: None)
    health.add("etcd", _fail, ("readyz", "healthz"))
    return health


async def test_all_checks_pass(health: Health) -> None:
    """`ok` alone, and one line per check when asked for more."""
    report = await health.run("livez")
    assert report.ok
    assert report.text() == "ok"
    assert report.text(verbose=True) == "[+]ping ok\n[+]log ok\nlivez check passed\n"


async def test_a_failure_is_always_verbose_and_withholds_its_reason(health: Health) -> None:
    """The body names the check; why it failed is for the log."""
    report = await health.run("readyz")
    assert report.text() == "[+]ping ok\n[+]log ok\n[-]etcd failed: reason withheld\nreadyz check failed\n"
    assert report.log_text() == "[-]etcd failed: connection refused to 10.0.0.7\n"


async def test_excluded_checks_do_not_run(health: Health) -> None:
    """An excluded check is listed in its place; excludes that match nothing are warned of."""
    report = await health.run("readyz", ["etcd", "nope", "foo"])
    assert report.ok
    assert report.text(verbose=True) == (
        "[+]ping ok\n[+]log ok\n[+]etcd excluded: ok\n"
        'warn: some health checks cannot be excluded: no matches for "foo", "nope"\n'
        "readyz check passed\n"
    )
    assert [result.name for result in report.results] == ["ping", "log"]


async def test_checks_may_be_async(health: Health) -> None:
    """A coroutine is awaited, its exception is the answer."""
    health.add("informer-sync", _fail_later, ("livez",))
    report = await health.run("livez")
    assert [str(result.error) for result in report.failed] == ["timed out"]


async def test_a_single_check(health: Health) -> None:
    """One check by name, where the endpoint has it."""
    assert (await health.run_one("livez", "ping")).error is None  # type: ignore[union-attr]
    assert str((await health.run_one("readyz", "etcd")).error).startswith("connection")  # type: ignore[union-attr]
    assert await health.run_one("livez", "etcd") is None


def test_names_are_unique_per_endpoint(health: Health) -> None:
    """Adding a name twice is a programming error."""
    health.add("etcd", _fail, ("livez",))
    with pytest.raises(ValueError, match="etcd"):
        health.add("etcd", _fail, ("livez",))
    assert health.names("livez") == ["ping", "log", "etcd"]

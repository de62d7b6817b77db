"""Forked components: prepared, released, failing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from kubeglass.components.cli import launcher as launchers
from kubeglass.components.cli import processes
from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.launcher import Child, Launcher, StartError
from kubeglass.components.cli.plan import Process
from kubeglass.components.machinery import process as machinery


@pytest.fixture
def launcher(tmp_path, monkeypatch) -> Iterator[Launcher]:
    """A launcher whose components only say that they serve, then wait to be ended."""

    def run(spec: object, flags: Sequence[str], started: Callable[[], None]) -> int:
        (tmp_path / "ran").touch()
        started()
        time.sleep(60)
        return 0

    monkeypatch.setattr(machinery, "run_component", run)
    made = Launcher(DataDir(tmp_path))
    yield made
    processes.stop([child.pid for child in made.children], 5.0)


def a_process() -> Process:
    return Process(name="dns", component="dns", flags=(), listens=(), url="", healthz="", metrics=())


def soon() -> float:
    return time.monotonic() + 20


def test_a_prepared_component_runs_when_it_is_released(launcher, tmp_path):
    """It has loaded its code, and nothing of it has run before; afterwards it serves."""
    child = launcher.prepare(a_process(), soon())
    assert launcher.children == [child]
    assert not (tmp_path / "ran").exists()
    launcher.release([child])
    served: list[Child] = []
    launcher.await_ready([child], soon(), lambda ready, seconds: served.append(ready))
    assert served == [child]
    assert (tmp_path / "ran").exists()


def test_a_prepared_component_does_not_outlive_its_launcher(tmp_path):
    """Whoever prepares and dies leaves nobody waiting."""
    reader, writer = os.pipe()
    forked = os.fork()
    if forked == 0:
        child = Launcher(DataDir(tmp_path)).prepare(a_process(), soon())
        os.write(writer, str(child.pid).encode())
        os._exit(0)
    os.waitpid(forked, 0)
    pid = int(os.read(reader, 20))
    deadline = soon()
    while processes.start_ticks(pid) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_component_that_cannot_load_says_why(launcher, monkeypatch):
    """The error names the component, its end and its last words."""

    def broken(name: str) -> object:
        raise SystemExit(3)

    monkeypatch.setattr(launchers, "spec_of", broken)
    with pytest.raises(StartError, match="dns ended with exit status 3 while starting"):
        launcher.prepare(a_process(), soon())

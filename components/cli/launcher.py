"""Starts component processes by forking one parent that loads their common code, so eight cost little more than one.

The parent makes no loop, thread or channel; what is common to components is loaded when it forks (loading.py), and each
child loads the rest. It leads a session of its own, and tells over a pipe when it serves. A child that is only prepared
has loaded its code and waits at a gate until it is released. Upstream runs these as static Pods; there is no supervisor
here either: a component that dies stays dead until the next `up`, so failures can be watched.
"""

from __future__ import annotations

import os
import select
import selectors
import signal
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kubeglass.components.cli import processes
from kubeglass.components.cli.components import spec_of
from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.loading import loading
from kubeglass.components.cli.plan import Process

_LOADED = b"l"
_READY = b"+"
_GO = b"!"
_WORDS_OF_FAILURE = 2000


class StartError(Exception):
    """A component did not come up. The text says which, why, and where its log is."""


@dataclass(frozen=True, slots=True)
class Child:
    """A forked component."""

    process: Process
    pid: int
    pipe: int  # says _LOADED if it was asked to wait, and _READY
    started_at: float


class Launcher:
    """Forks the processes of one data dir."""

    def __init__(self, data: DataDir) -> None:
        self._data = data
        self._gate, self._opener = os.pipe()
        self.children: list[Child] = []

    def start(self, process: Process) -> Child:
        """Fork one component."""
        return self._fork(process, None)

    def prepare(self, process: Process, deadline: float) -> Child:
        """Fork one component that waits when it has loaded its code, which has happened then. Raises StartError."""
        child = self._fork(process, self._gate)
        if not select.select([child.pipe], (), (), max(0.0, deadline - time.monotonic()))[0]:
            raise self._late([child])
        if os.read(child.pipe, 1) != _LOADED:
            raise self._failed(child)
        return child

    def release(self, prepared: Sequence[Child]) -> None:
        """Let them run."""
        os.write(self._opener, _GO * len(prepared))

    def _fork(self, process: Process, gate: int | None) -> Child:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _become(process, self._data, writer, gate)
        os.close(writer)
        processes.write_record(self._data.pid(process.name), pid)
        self.children.append(Child(process, pid, reader, time.monotonic()))
        return self.children[-1]

    def await_ready(self, children: Sequence[Child], deadline: float, report: Callable[[Child, float], None]) -> None:
        """Wait until every child serves; `report` hears of each. Raises StartError."""
        with selectors.DefaultSelector() as selector:
            for child in children:
                selector.register(child.pipe, selectors.EVENT_READ, child)
            while selector.get_map():
                ready = selector.select(deadline - time.monotonic())
                if not ready:
                    raise self._late([key.data for key in selector.get_map().values()])
                for key, _ in ready:
                    self._heard(key.data, selector, report)

    def _heard(self, child: Child, selector: selectors.BaseSelector, report: Callable[[Child, float], None]) -> None:
        selector.unregister(child.pipe)
        word = os.read(child.pipe, 1)
        os.close(child.pipe)
        if word != _READY:
            raise self._failed(child)
        report(child, time.monotonic() - child.started_at)

    def _failed(self, child: Child) -> StartError:
        _, status = os.waitpid(child.pid, 0)
        ending = os.waitstatus_to_exitcode(status)
        how = f"exit status {ending}" if ending >= 0 else f"signal {signal.Signals(-ending).name}"
        log = self._data.log(child.process.name)
        return StartError(f"{child.process.name} ended with {how} while starting: {_last_words(log)}\n  log: {log}")

    def _late(self, children: Sequence[Child]) -> StartError:
        names = ", ".join(child.process.name for child in children)
        logs = "\n".join(f"  log: {self._data.log(child.process.name)}" for child in children)
        return StartError(f"not ready in time: {names} (a longer --wait may help)\n{logs}")


def _last_words(log: Path) -> str:
    """The last error line of a log, which names the cause."""
    try:
        lines = log.read_bytes()[-_WORDS_OF_FAILURE:].decode(errors="replace").splitlines()
    except OSError:
        return "it left no log"
    errors = [line for line in lines if line.startswith("Error:")]
    return (errors or lines or ["it left an empty log"])[-1]


def _become(process: Process, data: DataDir, pipe: int, gate: int | None) -> None:
    """In the child: leave the parent's session and terminal, then run the component. Never returns."""
    status = 1
    try:
        os.setsid()
        _redirect(data.log(process.name), keep=(pipe, gate))
        _title(process)

        def serving() -> None:
            with suppress(BrokenPipeError):  # whoever wanted to know is gone; the component serves all the same
                os.write(pipe, _READY)
            os.close(pipe)

        with loading():
            from kubeglass.components.machinery.process import run_component

            spec = spec_of(process.component)
        if gate is not None:
            _wait(pipe, gate)
        status = run_component(spec, process.flags, serving)
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


def _wait(pipe: int, gate: int) -> None:
    """Until the launcher says go; without a launcher there is nothing to do."""
    os.write(pipe, _LOADED)
    if os.read(gate, 1) != _GO:
        raise SystemExit(1)
    os.close(gate)


def _redirect(log: Path, keep: Collection[int | None]) -> None:
    """Standard input from nowhere, output and errors to the log; every other descriptor but `keep` is closed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    null = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    for entry in os.listdir("/proc/self/fd"):
        if (descriptor := int(entry)) > 2 and descriptor not in keep:
            with suppress(OSError):  # the listing's own descriptor
                os.close(descriptor)


def _title(process: Process) -> None:
    """Let `ps` and `top` show which component this is."""
    import setproctitle

    setproctitle.setproctitle(" ".join(("kubeglass", process.component, *process.flags)))
    Path("/proc/self/comm").write_text(process.component[:15])

"""What is loaded before components are forked, and what it may have touched."""

from __future__ import annotations

import datetime
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from kubeglass.components.cli.boot import aside
from kubeglass.components.cli.loading import loading, rehearse_tls
from kubeglass.components.cli.lookup import CommandError
from kubeglass.components.machinery import certs

_LOAD = """
import json, os, sys
from kubeglass.components.cli.components import MODULES, spec_of
from kubeglass.components.cli.loading import load_common

load_common()
common = set(sys.modules)
print(json.dumps(len(os.listdir("/proc/self/task"))), flush=True)
for name in MODULES:
    if os.fork() == 0:
        spec_of(name)
        print(json.dumps(sorted(set(sys.modules) - common)), flush=True)
        os._exit(0)
    os.wait()
"""


def test_what_most_components_load_is_loaded_once() -> None:
    """What more than half of the components load is loaded before the fork, and makes no thread."""
    said = subprocess.run([sys.executable, "-c", _LOAD], capture_output=True, text=True, check=True).stdout.splitlines()
    threads, *loads = [json.loads(line) for line in said]
    assert threads == 1
    assert len(loads) == 9
    times = Counter(module for modules in loads for module in modules)
    small = ("kubeglass.components.api.quantity", "kubeglass.components.machinery.loopback")
    assert {module for module, number in times.items() if number > len(loads) / 2} <= set(small)


def test_ctrl_c_waits_until_modules_are_whole() -> None:
    """An interrupt comes when loading is over, never in the middle of a module."""
    steps = []

    def load() -> None:
        with loading():
            signal.raise_signal(signal.SIGINT)
            steps.append("loaded")

    with pytest.raises(KeyboardInterrupt):
        load()
    assert steps == ["loaded"]


def test_work_aside_is_done_when_the_block_is_left(tmp_path: Path) -> None:
    """It runs in another process; leaving the block waits for it."""
    with aside(lambda: (tmp_path / "made").write_text("there")):
        pass
    assert (tmp_path / "made").read_text() == "there"


def test_work_aside_that_fails_says_why() -> None:
    """A refusal keeps its words; anything else shows where it happened."""

    def refuse() -> None:
        raise CommandError("no room")

    def break_down() -> None:
        raise ZeroDivisionError

    with pytest.raises(CommandError, match=r"^no room$"), aside(refuse):
        pass
    with pytest.raises(CommandError, match="break_down"), aside(break_down):
        pass


def test_tls_is_rehearsed_with_any_certificates(tmp_path: Path) -> None:
    """The rehearsal needs a certificate for both sides, and leaves it to the components to complain about a bad one."""
    now = datetime.datetime.now(datetime.UTC)
    authority, other = certs.new_authority("ours", now), certs.new_authority("theirs", now)
    for name, signer in (("good", authority), ("bad", other)):
        leaf = certs.new_leaf(signer, name, now, addresses=("localhost",), server=True, client=True)
        leaf.write(tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
    authority.write(tmp_path / "ca.crt", tmp_path / "ca.key")
    for name in ("good", "bad"):
        rehearse_tls(tmp_path / f"{name}.crt", tmp_path / f"{name}.key", tmp_path / "ca.crt")

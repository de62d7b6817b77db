"""A network namespace of a test's own, so that what it does to addresses and packet filters harms nobody."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_CLONE_NEWNET = 0x40000000
_OWN = Path("/proc/thread-self/ns/net")


@contextmanager
def own_network() -> Iterator[None]:
    """This thread, and processes it starts, in a new network namespace with nothing but loopback. Needs root."""
    libc = ctypes.CDLL(None, use_errno=True)
    home, home_name = os.open(_OWN, os.O_RDONLY), _OWN.readlink()
    try:
        if libc.unshare(_CLONE_NEWNET):
            pytest.skip(f"needs a network namespace: {os.strerror(ctypes.get_errno())}")
        try:
            assert _OWN.readlink() != home_name
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            assert libc.setns(home, _CLONE_NEWNET) == 0
    finally:
        os.close(home)


def skip_without_iptables() -> None:
    """Rules of iptables need root and the programs."""
    if os.geteuid():
        pytest.skip("needs root")
    if shutil.which("iptables-restore") is None:
        pytest.skip("needs iptables: apt-get install iptables")


def saved_rules() -> str:
    """All rules of iptables in this namespace."""
    return subprocess.run(["iptables-save"], check=True, capture_output=True, text=True).stdout


def iptables(*arguments: str) -> None:
    """Run iptables in this namespace."""
    subprocess.run(["iptables", *arguments], check=True)

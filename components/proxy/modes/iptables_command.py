"""The iptables programs as subprocesses, and the claim to be the only one who uses them for Services."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from kubeglass.components.machinery.process import ConfigError

_PROGRAMS = ("iptables", "iptables-save", "iptables-restore")
_WAIT = ("-w", "5")  # seconds for others to let go of the tables
_NO_CHAIN = 1  # 2, 3 and 4 are wrong arguments, the kernel's version, and tables that cannot be had
_CLAIM = "\0kubeglass/proxy/iptables"  # an abstract address: one per network namespace, gone with its process
_LINE = re.compile(r"line (\d+)")
_AROUND = 3


class IptablesError(Exception):
    """A program refused. The text is its exit status and what it said, as upstream shows it."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"exit status {status}: {said.strip()}")
        self.status, self.said = status, said

    def excerpt(self, text: str) -> str:
        """The lines of iptables-restore's input that it complains about; empty when it names none."""
        found = _LINE.search(self.said)
        if found is None:
            return ""
        at = int(found[1])
        lines = text.splitlines()[max(0, at - 1 - _AROUND) : at + _AROUND]
        return "\n".join(lines)


class Iptables:
    """The programs of this machine. Every method raises IptablesError."""

    async def save(self, table: str) -> str:
        """All rules of a table."""
        return await _run("iptables-save", "-t", table)

    async def restore(self, text: str) -> None:
        """Apply tables at once, leaving alone the chains that the text does not name."""
        await _run("iptables-restore", *_WAIT, "--noflush", "--counters", stdin=text)

    async def list_chain(self, table: str, chain: str) -> str:
        """The rules of a chain; empty when there is no such chain."""
        try:
            return await _run("iptables", *_WAIT, "-t", table, "-S", chain)
        except IptablesError as error:
            if error.status != _NO_CHAIN:
                raise
            return ""

    async def has_rule(self, table: str, chain: str, *rule: str) -> bool:
        """Whether a chain has a rule. A rule that leads into a chain that is not there is none."""
        try:
            await _run("iptables", *_WAIT, "-t", table, "-C", chain, *rule)
        except IptablesError:
            return False
        return True

    async def insert_rule(self, table: str, chain: str, *rule: str) -> None:
        """Put a rule first in a chain."""
        await _run("iptables", *_WAIT, "-t", table, "-I", chain, *rule)

    async def delete_rule(self, table: str, chain: str, *rule: str) -> None:
        """Take a rule out of a chain."""
        await _run("iptables", *_WAIT, "-t", table, "-D", chain, *rule)


async def _run(program: str, *arguments: str, stdin: str = "") -> str:
    pipe = asyncio.subprocess.PIPE
    with _readable(stdin) as given:
        process = await asyncio.create_subprocess_exec(
            _path(program) or program, *arguments, stdin=given, stdout=pipe, stderr=pipe
        )
    try:
        out, said = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise IptablesError(process.returncode, said.decode(errors="replace"))
    return out.decode(errors="replace")


def _readable(text: str) -> IO[bytes]:
    """A file in memory: unlike a pipe it does not mind a program that ends before it has read everything."""
    file = os.fdopen(os.memfd_create("iptables"), "w+b")
    file.write(text.encode())
    file.seek(0)
    return file


def _path(program: str) -> str | None:
    """Where a program is; administrators' folders are looked through whatever PATH says."""
    return shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin")))


def must_work_here() -> None:
    """Raises ConfigError where iptables rules cannot be written."""
    if os.geteuid() != 0:
        raise ConfigError("--proxy-mode=iptables needs root to write rules: run as root, or use --proxy-mode=userspace")
    missing = [program for program in _PROGRAMS if _path(program) is None]
    if missing:
        raise ConfigError(
            f"--proxy-mode=iptables needs {', '.join(missing)}, not found in PATH: install iptables "
            "(Debian: apt-get install iptables), or use --proxy-mode=userspace"
        )


@contextmanager
def claim() -> Iterator[None]:
    """Hold this network namespace's rules for Services. Raises ConfigError when another proxy does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as held:
        try:
            held.bind(_CLAIM)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise ConfigError(
                "another kubeglass proxy writes the iptables rules of this network namespace, and there is one set of "
                "them: run it with --proxy-mode=userspace, on a cluster of one node, or in a namespace of its own "
                "(unshare -n)"
            ) from error
        yield

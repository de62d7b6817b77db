"""How much memory a process tree holds, from /proc. Stdlib only; used by the shim and by the kubelet's statistics."""

from __future__ import annotations

import os
from collections.abc import Iterator

_PAGE_BYTES = os.sysconf("SC_PAGESIZE")


def tree(pid: int) -> Iterator[int]:
    """`pid` and all its living descendants."""
    pending = [pid]
    while pending:
        current = pending.pop()
        yield current
        try:
            threads = os.listdir(f"/proc/{current}/task")
        except OSError:
            continue
        for thread in threads:
            try:
                with open(f"/proc/{current}/task/{thread}/children") as stream:
                    pending += [int(child) for child in stream.read().split()]
            except OSError:
                continue


def anonymous_bytes(pid: int) -> int:
    """Resident memory that is not backed by a file; 0 for a process that is gone."""
    try:
        with open(f"/proc/{pid}/statm") as stream:
            fields = stream.read().split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * _PAGE_BYTES


def tree_memory_bytes(pid: int) -> int:
    """The anonymous resident memory of a whole process tree."""
    return sum(anonymous_bytes(member) for member in tree(pid))

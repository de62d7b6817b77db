"""The few Linux calls that Python 3.11 lacks: namespaces, mounts, clone, prctl. Stdlib only.

Single-threaded callers only: `clone` forks without Python's own fork handlers.
See namespaces(7), mount(2), clone(2), prctl(2).
"""

from __future__ import annotations

import ctypes
import os

CLONE_PARENT = 0x00008000
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_SLAVE = 1 << 19
MNT_DETACH = 2

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_SIGCHLD = 17
_SIGKILL = 9

# PyDLL keeps the interpreter lock, so the child of `clone` still holds it.
_libc = ctypes.PyDLL(None, use_errno=True)
_SYSCALLS = {
    "x86_64": {"clone": 56, "pivot_root": 155},
    "aarch64": {"clone": 220, "pivot_root": 41},
    "riscv64": {"clone": 220, "pivot_root": 41},
}.get(os.uname().machine, {})


def _check(result: int, subject: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), subject)
    return result


def unshare(flags: int) -> None:
    """Move this process into new namespaces. Raises OSError."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, flags: int) -> None:
    """Join the namespaces that a pidfd or /proc/PID/ns file names. Raises OSError."""
    _check(_libc.setns(fd, flags), "setns")


def clone(flags: int) -> int:
    """fork(2) into new namespaces: 0 in the child, its pid in the parent. Raises OSError."""
    if not flags:
        return os.fork()
    if "clone" not in _SYSCALLS:
        raise OSError(38, f"clone with namespaces is not known on {os.uname().machine}")
    return _check(_libc.syscall(_SYSCALLS["clone"], ctypes.c_ulong(flags | _SIGCHLD), 0, 0, 0, 0), "clone")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError naming the target."""
    _check(
        _libc.mount(
            source.encode() or None,
            target.encode(),
            kind.encode() or None,
            ctypes.c_ulong(flags),
            data.encode() or None,
        ),
        target,
    )


def bind(source: str, target: str, *, read_only: bool = False, recursive: bool = True) -> None:
    """Make `source` appear at `target`. Raises OSError."""
    mount(source, target, flags=MS_BIND | (MS_REC if recursive else 0))
    if read_only:
        _remount_read_only(target)


def _remount_read_only(target: str) -> None:
    # In a user namespace the flags that the source mount has are locked and must be repeated.
    kept = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("", target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY | kept)


def pivot_root(root: str) -> None:
    """Make `root` (a mount point) this mount namespace's / and drop the old one. Raises OSError."""
    if "pivot_root" not in _SYSCALLS:
        raise OSError(38, f"pivot_root is not known on {os.uname().machine}")
    os.chdir(root)
    _check(_libc.syscall(_SYSCALLS["pivot_root"], b".", b"."), root)
    _check(_libc.umount2(b".", MNT_DETACH), root)
    os.chdir("/")


def set_hostname(name: str) -> None:
    """sethostname(2) in the current UTS namespace. Raises OSError."""
    data = name.encode()
    _check(_libc.sethostname(data, len(data)), "sethostname")


def become_subreaper() -> None:
    """Adopt the orphans of this process's descendants."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0), "prctl")


def set_process_name(name: str) -> None:
    """What `ps -o comm` shows (15 bytes)."""
    _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def map_identity(inside_uid: int, inside_gid: int, outside_uid: int, outside_gid: int) -> None:
    """In a fresh user namespace: one user and one group, seen inside under the given ids. Raises OSError."""
    for file, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{inside_uid} {outside_uid} 1"),
        ("gid_map", f"{inside_gid} {outside_gid} 1"),
    ):
        with open(f"/proc/self/{file}", "w") as stream:
            stream.write(text)

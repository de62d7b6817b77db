"""A container's own file tree: the host's programs read-only, everything else fresh and private. Stdlib only.

Runs inside the new mount namespace, before pivot_root. /usr, /bin, /lib… and /opt come from the host by bind mount;
/etc is a small private copy; /tmp, /var, /root, … start empty on the node's disk and go with the container.
A mount path missing below a host directory is opened with a read-only overlay, so nothing is created on the host.
"""

from __future__ import annotations

import os

from kubeglass.components.kubelet.runtime.shim.linux import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, bind, mount

_HOST_DIRECTORIES = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt", "nix", "gnu")
_FRESH_DIRECTORIES = (
    "dev", "etc", "home", "mnt", "proc", "root", "run", "srv", "sys", "tmp",
    "var/cache", "var/lib", "var/log", "var/spool", "var/tmp",
)  # fmt: skip
_WORLD_WRITABLE = ("tmp", "var/tmp")
_HOST_ETC_DIRECTORIES = ("alternatives", "ssl", "ca-certificates", "pki", "crypto-policies", "ld.so.conf.d", "terminfo")
_HOST_ETC_FILES = (
    "ld.so.cache", "ld.so.conf", "localtime", "timezone", "nsswitch.conf", "services", "protocols", "os-release",
    "debian_version", "mime.types", "bash.bashrc", "profile", "shells",
)  # fmt: skip
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}

PASSWD = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
GROUP = """root:x:0:
daemon:x:1:
www-data:x:33:
nogroup:x:65534:
"""


def build(root: str, spec: dict[str, object]) -> None:
    """Assemble the tree of one container at `root` and mount its volumes. Raises OSError naming the path.

    `spec` has `mounts` (host_path, container_path, read_only), `programs` (host directories shown at their own
    path, read-only) and `new_proc` (the process is in its own pid namespace).
    """
    for name in _FRESH_DIRECTORIES:
        os.makedirs(f"{root}/{name}", exist_ok=True)
    for name in _WORLD_WRITABLE:
        os.chmod(f"{root}/{name}", 0o1777)
    if not os.path.islink(f"{root}/var/run"):
        os.symlink("/run", f"{root}/var/run")
    bind(root, root, recursive=False)
    for name in _HOST_DIRECTORIES:
        _show_host(f"/{name}", f"{root}/{name}")
    _private_etc(root)
    _devices(root)
    _kernel_views(root, bool(spec.get("new_proc")))
    programs = spec.get("programs")
    for path in programs if isinstance(programs, list) else ():
        if not os.path.exists(root + path):
            os.makedirs(root + path, exist_ok=True)
            bind(path, root + path, read_only=True)
    mounts = spec.get("mounts")
    for row in sorted(mounts if isinstance(mounts, list) else (), key=lambda row: str(row["container_path"])):
        _mount_volume(root, row["host_path"], row["container_path"], bool(row["read_only"]))


def make_read_only(root: str) -> None:
    """securityContext.readOnlyRootFilesystem: the tree itself; volumes keep their own mode. Raises OSError."""
    mount("", root, flags=4096 | 32 | MS_RDONLY)


def _show_host(source: str, target: str) -> None:
    if os.path.islink(source):
        if not os.path.lexists(target):
            os.symlink(os.readlink(source), target)
    elif os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
        bind(source, target, read_only=True)


def _private_etc(root: str) -> None:
    etc = f"{root}/etc"
    for name in _HOST_ETC_DIRECTORIES:
        if os.path.isdir(f"/etc/{name}"):
            _show_host(f"/etc/{name}", f"{etc}/{name}")
    for name in _HOST_ETC_FILES:
        _copy(f"/etc/{name}", f"{etc}/{name}")
    for name, text in (("passwd", PASSWD), ("group", GROUP)):
        if not os.path.exists(f"{etc}/{name}"):
            with open(f"{etc}/{name}", "w") as stream:
                stream.write(text)
    if not os.path.lexists(f"{etc}/mtab"):
        os.symlink("/proc/self/mounts", f"{etc}/mtab")


def _copy(source: str, target: str) -> None:
    """A small file's content, if the host has it and it is not there yet; links stay links."""
    if os.path.lexists(target):
        return
    try:
        if os.path.islink(source):
            os.symlink(os.readlink(source), target)
            return
        with open(source, "rb") as stream:
            content = stream.read()
    except OSError:
        return
    with open(target, "wb") as stream:
        stream.write(content)


def _devices(root: str) -> None:
    dev = f"{root}/dev"
    mount("tmpfs", dev, "tmpfs", MS_NOSUID, "mode=755,size=64m")
    for name in _DEVICES:
        open(f"{dev}/{name}", "w").close()
        bind(f"/dev/{name}", f"{dev}/{name}")
    for name, destination in _DEVICE_LINKS.items():
        os.symlink(destination, f"{dev}/{name}")
    os.mkdir(f"{dev}/shm", 0o1777)
    os.chmod(f"{dev}/shm", 0o1777)
    os.mkdir(f"{dev}/pts")
    if os.path.isdir("/dev/pts"):
        bind("/dev/pts", f"{dev}/pts")


def _kernel_views(root: str, new_proc: bool) -> None:
    proc = f"{root}/proc"
    try:
        if not new_proc:
            raise OSError
        mount("proc", proc, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except OSError:  # a host that masks parts of its own /proc allows no second one
        bind("/proc", proc)
    bind("/sys", f"{root}/sys")


def _mount_volume(root: str, source: str, path: str, read_only: bool) -> None:
    target = _make_mount_point(root, path, is_directory=os.path.isdir(source))
    bind(source, target, read_only=read_only)


def _make_mount_point(root: str, path: str, *, is_directory: bool) -> str:
    """The path below `root` where a volume goes, created where the container's own tree lacks it."""
    target = _resolve(root, path)
    if os.path.exists(target):
        return target
    parent = os.path.dirname(target)
    try:
        os.makedirs(parent, exist_ok=True)
        _create(target, is_directory)
    except OSError:  # inside a read-only host directory
        _open_host_directory(root, target, is_directory)
    return target


def _create(target: str, is_directory: bool) -> None:
    if is_directory:
        os.mkdir(target)
    else:
        open(target, "w").close()


def _resolve(root: str, path: str) -> str:
    """`path` as seen from inside `root`: links are followed there, not on the host."""
    resolved = root
    pending = [part for part in path.split("/") if part][::-1]
    links = 0
    while pending:
        part = pending.pop()
        if part == "..":
            resolved = os.path.dirname(resolved) if resolved != root else root
            continue
        step = f"{resolved}/{part}"
        if os.path.islink(step):
            links += 1
            if links > 40:
                raise OSError(40, "too many levels of symbolic links", path)
            destination = os.readlink(step)
            pending += [piece for piece in destination.split("/") if piece and piece != "."][::-1]
            if destination.startswith("/"):
                resolved = root
        else:
            resolved = step
    return resolved


def _open_host_directory(root: str, target: str, is_directory: bool) -> None:
    """Lay a skeleton that holds only the missing path over the nearest existing directory, read-only."""
    ancestor = os.path.dirname(target)
    while not os.path.isdir(ancestor):
        ancestor = os.path.dirname(ancestor)
    skeleton = f"{root}.skeleton{target[len(root) :].replace('/', '_')}"
    missing = f"{skeleton}/{target[len(ancestor) + 1 :]}"
    os.makedirs(os.path.dirname(missing), exist_ok=True)
    if not os.path.lexists(missing):
        _create(missing, is_directory)
    mount("overlay", ancestor, "overlay", MS_RDONLY, f"lowerdir={_escaped(skeleton)}:{_escaped(ancestor)}")


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")

"""Where the control groups of a node lie: a folder in each hierarchy of version 1, or one in that of version 2.

Without --cgroup-root the node's root is kubeglass/HASH, HASH of its folder, below the group of whoever started the
kubelet first: clusters and nodes that share a machine never meet. The folders are kept in ROOT_DIR/cgroups.json, since
a kubelet started from elsewhere may be in other groups. See decisions/0014.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from kubeglass.components.kubelet.runtime.shim.cgroup import Group, Limits

TOP = "kubepods"
RUNTIME_GROUP = "k8s.io"
"""Where the runtime puts containers that come without a Pod's group, as containerd does."""
_SHARED = "kubeglass"
_V1_CONTROLLERS = ("memory", "cpu", "cpuacct", "pids")
_END_SECONDS = 2.0


class CgroupRootError(Exception):
    """A --cgroup-root that is not there; the text says so as upstream does."""


def locate(root_dir: Path, cgroup_root: str) -> Sequence[str]:
    """The node's root in each hierarchy, none where groups cannot be made. Raises CgroupRootError."""
    record = root_dir / "cgroups.json"
    if cgroup_root:
        found = _given(cgroup_root)
    else:
        digest = hashlib.sha256(str(root_dir / "sandboxes").encode()).hexdigest()[:12]
        found = _working(_kept(record), *_candidates(f"{_SHARED}/{digest}"))
    if found:
        record.write_text(json.dumps(found))
    return found


def remove(record: Path) -> None:
    """End every group of a node, with what still runs in them, by what `locate` kept. Never raises."""
    roots = _kept(record)
    deadline = time.monotonic() + _END_SECONDS
    for name in (TOP, RUNTIME_GROUP):
        group = Group([f"{root}/{name}" for root in roots])
        while not group.end() and time.monotonic() < deadline:
            time.sleep(0.01)
    for root in roots:
        if os.path.basename(os.path.dirname(root)) == _SHARED:
            with contextlib.suppress(OSError):  # the second one is shared with other nodes
                os.rmdir(root)
                os.rmdir(os.path.dirname(root))
    record.unlink(missing_ok=True)


def _kept(record: Path) -> list[str]:
    try:
        return [str(folder) for folder in json.loads(record.read_text())]
    except (OSError, ValueError):
        return []


def _working(*candidates: list[str]) -> list[str]:
    """The first in which memory can be limited."""
    return next((roots for roots in candidates if roots and _works(roots)), [])


def _works(roots: list[str]) -> bool:
    trial = Group([f"{root}/probe" for root in roots])
    try:
        trial.create(Limits())
        return trial.limits_memory
    except OSError:
        return False
    finally:
        trial.remove()


def _given(cgroup_root: str) -> list[str]:
    roots = [f"{point}{cgroup_root.rstrip('/')}" for point in _points()]
    if not roots or not all(map(os.path.isdir, roots)):
        raise CgroupRootError(f'invalid configuration: cgroup-root ["{cgroup_root.strip("/")}"] doesn\'t exist')
    return _working(roots)


def _points() -> list[str]:
    """Where hierarchies that count memory and CPU are mounted: those of version 1 if there are any."""
    mounts = list(_mounts())
    old = [
        point for kind, point, options in mounts if kind == "cgroup" and not set(options).isdisjoint(_V1_CONTROLLERS)
    ]
    return list(dict.fromkeys(old)) or [point for kind, point, _ in mounts if kind == "cgroup2"]


def _candidates(name: str) -> Iterator[list[str]]:
    """`name` below the group of this process (version 1), below the mount point (version 2)."""
    own, old = _own_groups(), dict[str, None]()
    for kind, point, options in _mounts():
        for controller in _V1_CONTROLLERS if kind == "cgroup" else ():
            if controller in options:  # cpu and cpuacct may share one
                old[f"{_existing(point, own.get(controller, ''))}/{name}"] = None
    yield list(old)
    # A group of version 2 that has processes cannot hand controllers down.
    yield [f"{point}/{name}" for kind, point, _ in _mounts() if kind == "cgroup2"]


def _mounts() -> Iterator[tuple[str, str, list[str]]]:
    with open("/proc/self/mounts") as stream:
        for line in stream:
            fields = line.split()
            yield fields[2], fields[1], fields[3].split(",")


def _own_groups() -> dict[str, str]:
    """Controller → path of this process's group."""
    with open("/proc/self/cgroup") as stream:
        rows = [line.rstrip("\n").split(":", 2) for line in stream]
    return {controller: path for _, controllers, path in rows for controller in controllers.split(",")}


def _existing(point: str, path: str) -> str:
    """The group of this process as a folder; the mount point itself where a container shows only part of the tree."""
    folder = f"{point}{path.rstrip('/')}"
    return folder if os.path.isdir(folder) else point

"""What a shim executes for a container: the program that stands for its image, its surroundings, its limits.

Pure but for the paths of this interpreter.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kubeglass.components.kubelet.runtime.images import PROGRAMS, Program
from kubeglass.components.kubelet.runtime.runtime import ContainerConfig, RuntimeCallError
from kubeglass.components.kubelet.runtime.shim.spawn import DEFAULT_PATH

_SERVICE_ACCOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"


def shim_spec(
    container_id: str,
    config: ContainerConfig,
    program: Program,
    host_network: bool,
    *,
    namespaces: bool,
    port_shift: int,
) -> dict[str, Any]:
    """The configuration that goes to the shim. Raises RuntimeCallError when this host cannot give what is asked for."""
    mounts = [asdict(mount) for mount in config.mounts]
    if not namespaces:
        mounts = _without_namespaces(mounts)
    env = {"PATH": DEFAULT_PATH, **program.env, **config.env}
    env.setdefault("HOME", "/root" if not config.uid else "/")
    if program.builtin:
        env |= {"KUBEGLASS_POD_IP": config.pod_ip, "KUBEGLASS_PORT_SHIFT": str(port_shift)}
        env |= {key: os.environ[key] for key in ("LD_LIBRARY_PATH",) if key in os.environ}
    if config.tty:
        env.setdefault("TERM", "xterm")
    spec = asdict(config)
    spec |= {
        "args": list(program.args),
        "env": env,
        "mounts": mounts,
        "working_dir": config.working_dir or program.working_dir,
        "stop_signal": config.stop_signal or program.stop_signal,
        "programs": _program_directories() if program.builtin else [],
        "supervise_sockets": not program.builtin and not host_network,
        "cgroup_folders": [f"{parent}/{container_id}" for parent in config.cgroup_parents],
    }
    del spec["command"]
    return spec


def _program_directories() -> list[str]:
    """What a built-in program needs to see besides /usr: the interpreter, and its own source where that lies apart."""
    wanted = [Path(sys.base_prefix).resolve(), PROGRAMS.resolve()]
    shown = [Path("/usr")]
    for folder in wanted:
        if not any(folder.is_relative_to(parent) for parent in shown):
            shown.append(folder)
    return [str(folder) for folder in shown[1:]]


def _without_namespaces(mounts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without mount namespaces only a path that is the same inside and outside can be given."""
    for mount in mounts:
        path = mount["container_path"]
        if path.startswith((_SERVICE_ACCOUNT_PATH, "/etc/hosts", "/dev/termination-log")):
            continue
        if mount["host_path"] != path:
            raise RuntimeCallError(
                f'cannot mount a volume at "{path}": this host permits neither root nor unprivileged user namespaces '
                "(sysctl kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
            )
    return []

"""Where shims come from: one small parent per node, preloaded, forks a shim for each sandbox. Stdlib only.

Run as `python -I -S main.py`. Each line on stdin is a sandbox directory; the answer is `ok PID` or `error TEXT`.
The parent ends with its stdin (the kubelet); shims do not: they are sessions of their own, adopted by init.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":  # isolated mode has no path to the package: four folders up from here
    here = os.path.abspath(__file__)
    for _ in range(6):
        here = os.path.dirname(here)
    sys.path.append(here)

import gc
import json
import resource
import signal

from kubeglass.components.kubelet.runtime.shim import linux
from kubeglass.components.kubelet.runtime.shim.sandbox import Sandbox
from kubeglass.components.kubelet.runtime.shim.spawn import Isolation, probe


def main() -> None:
    """Fork shims until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    isolation = probe()
    gc.freeze()
    print(json.dumps({"namespaces": isolation.namespaces, "user_namespace": isolation.user_namespace}), flush=True)
    for line in sys.stdin:
        print(_fork_shim(line.rstrip("\n"), isolation), flush=True)


def _fork_shim(directory: str, isolation: Isolation) -> str:
    """Start a detached shim and wait until it listens."""
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        _be_shim(directory, isolation, tell)
    os.close(tell)
    os.waitpid(child, 0)
    with open(ready) as stream:
        return stream.read() or "error the shim ended before it listened"


def _be_shim(directory: str, isolation: Isolation, tell: int) -> None:
    code = 1
    try:
        _detach(f"{directory}/shim.log", keep=tell)
        linux.set_process_name("kubeglass-shim")
        sandbox = Sandbox(directory, isolation)
        os.write(tell, f"ok {os.getpid()}".encode())
        os.close(tell)
        tell = -1
        sandbox.run()
        code = 0
    except Exception as error:
        if tell >= 0:
            os.write(tell, f"error {error}".encode())
        else:
            import traceback

            traceback.print_exc()
    finally:
        os._exit(code)


def _detach(log: str, keep: int) -> None:
    """Let go of every inherited descriptor; what Python might print goes to the shim's log."""
    null = os.open("/dev/null", os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    limit = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 65536)
    os.closerange(3, keep)
    os.closerange(keep + 1, limit)


if __name__ == "__main__":
    main()

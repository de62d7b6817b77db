"""A real cluster under test: `kubeglass up` in a folder of its own, and kubectl to talk to it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.interpreter import interpreter_for

ROOT = Path(__file__).parents[2]
NOBODY = 65534


class Cluster:
    """One data dir, and the commands that act on it as one user."""

    def __init__(self, data: Path, *, uid: int | None = None) -> None:
        self.data = data
        self._uid = uid
        interpreter = interpreter_for(uid)
        self._python = str(interpreter.python)
        self._environment = {
            **os.environ,
            **interpreter.environment,
            "KUBEGLASS_HOME": str(data),
            "KUBECONFIG": str(data / "kubeconfig"),
            "HOME": str(data),
            "PATH": f"{interpreter.python.parent}:{os.environ['PATH']}",
        }

    def command(self, *argv: str, timeout: float = 120, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run any command in the cluster's environment, as its user."""
        return subprocess.run(
            argv,
            env=self._environment,
            cwd=self.data if self._uid else ROOT,
            user=self._uid,
            group=self._uid,
            extra_groups=[] if self._uid else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            input=input,
            check=False,
        )

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Start a command whose output is read while it runs."""
        return subprocess.Popen(
            argv,
            env=self._environment,
            cwd=self.data if self._uid else ROOT,
            user=self._uid,
            group=self._uid,
            extra_groups=[] if self._uid else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def kubeglass(self, *argv: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """`kubeglass …`."""
        return _checked(self.command(self._python, "-m", "kubeglass", *argv, timeout=timeout), check)

    def kubectl(self, *argv: str, check: bool = True, timeout: float = 120, input: str | None = None) -> str:
        """`kubectl …`; its standard output."""
        return _checked(self.command("kubectl", *argv, timeout=timeout, input=input), check).stdout

    def curl(self, url: str, *argv: str, token: bool = False) -> bytes:
        """curl a URL of the cluster (or a path of its API server), as administrator or with the Prometheus token."""
        if url.startswith("/"):
            url = f"{self.status()['components']['apiserver']['url']}{url}"
        pki = self.data / "pki"
        if token:
            identity = ["-H", f"Authorization: Bearer {(self.data / 'prometheus.token').read_text()}"]
        else:
            identity = ["--cert", str(pki / "admin.crt"), "--key", str(pki / "admin.key")]
        command = ["curl", "-sS", "--cacert", str(pki / "ca.crt"), *identity, *argv, url]
        return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout

    def get(self, *argv: str) -> Any:
        """`kubectl get … -o json`, decoded."""
        return json.loads(self.kubectl("get", *argv, "-o", "json"))

    def items(self, *argv: str) -> list[Any]:
        """The items of a list."""
        items: list[Any] = self.get(*argv)["items"]
        return items

    def status(self) -> Any:
        """`kubeglass status -o json`. Exit status 1 only says that not everything is ready."""
        told = self.kubeglass("status", "-o", "json", check=False)
        return json.loads(_checked(told, not told.stdout).stdout)

    def pid(self, component: str) -> int:
        """A component's process."""
        return int(self.status()["components"][component]["pid"])

    def pods(self, selector: str = "", namespace: str = "default") -> list[Any]:
        """Pods, by label."""
        return self.items("pods", "-n", namespace, *(("-l", selector) if selector else ()))


def _checked(result: subprocess.CompletedProcess[str], check: bool) -> subprocess.CompletedProcess[str]:
    if check and result.returncode:
        raise AssertionError(f"{' '.join(map(str, result.args))}\n{result.stdout}{result.stderr}")
    return result


def eventually(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Wait until the condition holds (an AssertionError inside means: not yet); its value."""
    deadline = time.monotonic() + seconds
    last: BaseException | None = None
    while time.monotonic() < deadline:
        try:
            if value := condition():
                return value
            last = None
        except (AssertionError, KeyError, IndexError, ValueError) as error:
            last = error
        time.sleep(0.1)
    raise AssertionError(f"within {seconds:.0f} s it did not come true that {what}") from last


def ready_pods(pods: Sequence[Any]) -> list[Any]:
    """Those that are Running and Ready and not on their way out."""
    return [
        pod
        for pod in pods
        if pod["status"].get("phase") == "Running"
        and not pod["metadata"].get("deletionTimestamp")
        and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
    ]


@contextmanager
def cluster(*up: str, unprivileged: bool = False) -> Iterator[Cluster]:
    """A running cluster, ended and checked for leftovers on leaving."""
    with tempfile.TemporaryDirectory(prefix="kubeglass-e2e-", ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "data"
        data.mkdir()
        uid = NOBODY if unprivileged and os.geteuid() == 0 else None
        os.chmod(folder, 0o755)
        if uid is not None:
            os.chown(data, uid, uid)
        running = Cluster(data, uid=uid)
        try:
            running.kubeglass("up", "--detach", "--ports", "auto", *up)
            yield running
        finally:
            ended = running.kubeglass("down", check=False)
        left = leftovers(data)
        assert not left, "\n".join([*left, ended.stdout, ended.stderr])


def leftovers(data: Path) -> list[str]:
    """Processes, mounts and control groups that still refer to a data dir."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or int(process.name) == os.getpid():
            continue
        try:
            words = (process / "cmdline").read_bytes() + b"\0" + (process / "environ").read_bytes()
        except OSError:
            continue
        if str(data).encode() in words:
            found.append(f"process {process.name}: {words[:200]!r}")
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found += [f"mount {line}" for line in mounts if str(data) in line]
    names = [hashlib.sha256(str(node / "sandboxes").encode()).hexdigest()[:12] for node in data.glob("nodes/*")]
    return found + [f"group {group}" for name in names for group in Path("/sys/fs/cgroup").glob(f"**/kubeglass/{name}")]

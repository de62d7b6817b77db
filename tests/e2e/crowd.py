"""Users of a cluster under load: their certificates, the process that sends their requests, and who comes first."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.e2e import load
from tests.e2e.cluster import Cluster
from tests.e2e.load import Flow, Plan, Result

from kubeglass.components.machinery import certs
from kubeglass.components.machinery.certs import KeyPair

FIRST = -19
"""The niceness of what is measured."""


class Crowd:
    """Makes users of a cluster and lets them ask."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._pki = cluster.data / "pki"
        self._server = cluster.status()["components"]["apiserver"]["url"]
        self._folder = Path(tempfile.mkdtemp(dir=cluster.data.parent))
        key = serialization.load_pem_private_key((self._pki / "ca.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._authority = KeyPair(x509.load_pem_x509_certificate((self._pki / "ca.crt").read_bytes()), key)

    def flow(
        self, name: str, user: str, groups: Sequence[str], path: str, connections: int = 1, **more: object
    ) -> Flow:
        """What one user does; `name` is its key in the result."""
        stem = self._folder / user.replace(":", "_")
        cert, key = stem.with_suffix(".crt"), stem.with_suffix(".key")
        if not cert.exists():
            now = datetime.datetime.now(datetime.UTC)
            certs.new_leaf(self._authority, user, now, organizations=groups, client=True).write(cert, key)
        return Flow(name, str(cert), str(key), path, connections, **more)  # type: ignore[arg-type]

    def send(self, flows: Sequence[Flow], seconds: float, measured_from: float = 0.0, *, first: bool = False) -> Asking:
        """Start asking, in a process of its own."""
        plan = Plan(self._server, str(self._pki / "ca.crt"), seconds, flows, measured_from)
        handle, name = tempfile.mkstemp(suffix=".json", dir=self._folder)
        with open(handle, "wb") as file:
            file.write(msgspec.json.encode(plan))
        process = subprocess.Popen(
            [sys.executable, str(Path(load.__file__)), name], stdout=subprocess.PIPE, start_new_session=True
        )
        if first:
            put_first(process.pid)
        return Asking(process)


class Asking:
    """A crowd that is at it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def result(self) -> Result:
        """What they saw, once they are done."""
        out, _ = self._process.communicate(timeout=90)
        return msgspec.json.decode(out, type=Result)


def put_first(pid: int) -> bool:
    """Let a session have the processor before other work of this machine, which is not what is measured.

    Only root may; elsewhere the figures contain whatever else runs. Linux groups processes by session for this.
    """
    try:
        Path(f"/proc/{pid}/autogroup").write_text(str(FIRST))
        os.setpriority(os.PRIO_PROCESS, pid, FIRST)
    except OSError:
        return False
    return True

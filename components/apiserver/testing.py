"""A whole API server inside the caller's event loop, for tests: memory store, generated certificates, a free port.

    async with running() as server:
        client = server.client()            # in this process, as system:apiserver
        access = server.access("admin")     # over TLS, as a user of these groups

Everything is real but the process: the same chain, registry, caches and listener.
"""

from __future__ import annotations

import asyncio
import datetime
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from kubeglass import GIT_VERSION
from kubeglass.components.api.user import MASTERS, UserInfo
from kubeglass.components.apiserver.apiserver import ApiServer
from kubeglass.components.apiserver.inprocess import LOOPBACK
from kubeglass.components.apiserver.options import Options
from kubeglass.components.apiserver.storage.backend import Backend
from kubeglass.components.machinery import certs
from kubeglass.components.machinery.access import Access
from kubeglass.components.machinery.certs import KeyPair
from kubeglass.components.machinery.client import Client
from kubeglass.logging import setup as logging_setup
from kubeglass.logging.setup import LoggingOptions
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.health import Health
from kubeglass.telemetry.metrics.registry import Registry
from kubeglass.telemetry.pages import Pages
from kubeglass.telemetry.tracing.tracer import Tracer
from kubeglass.telemetry.zpages import About


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A started server and what is needed to talk to it."""

    server: ApiServer
    telemetry: Telemetry
    folder: Path
    authority: KeyPair

    @property
    def url(self) -> str:
        return self.server.url

    def client(self, user: UserInfo = LOOPBACK) -> Client:
        """A client without a socket."""
        return self.server.client(user)

    def access(self, name: str = "admin", groups: Sequence[str] = (MASTERS,)) -> Access:
        """How to reach the server over TLS with a fresh client certificate."""
        now = datetime.datetime.now(datetime.UTC)
        leaf = certs.new_leaf(self.authority, name, now, organizations=groups, client=True)
        cert, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        leaf.write(cert, key)
        return Access(self.url, str(self.folder / "ca.crt"), str(cert), str(key))

    def kubeconfig(self, name: str = "admin", groups: Sequence[str] = (MASTERS,)) -> Path:
        """A kubeconfig file for kubectl."""
        access = self.access(name, groups)
        file = self.folder / f"{name}.kubeconfig"
        file.write_text(
            f"""apiVersion: v1
kind: Config
clusters: [{{name: test, cluster: {{server: "{access.server}", certificate-authority: "{access.ca_file}"}}}}]
users: [{{name: test, user: {{client-certificate: "{access.cert_file}", client-key: "{access.key_file}"}}}}]
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
current-context: test
"""
        )
        return file


@asynccontextmanager
async def running(
    options: Options = Options(),
    *,
    backend: Backend | None = None,
    telemetry: Telemetry | None = None,
    folder: Path | None = None,
) -> AsyncIterator[RunningServer]:
    """Start a server and stop it again. Its files go to `folder`, or to a temporary one."""
    with tempfile.TemporaryDirectory(prefix="kubeglass-") as temporary:
        where = folder or Path(temporary)
        authority, options = _with_certificates(where, options)
        shown = telemetry or quiet_telemetry()
        server = ApiServer(options, shown, _pages(shown), backend)
        ready = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(server.run(ready.set))
            ready_task = group.create_task(ready.wait())
            await asyncio.wait((task, ready_task), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                ready_task.cancel()
                task.result()
            try:
                yield RunningServer(server, shown, where, authority)
            finally:
                task.cancel()


def quiet_telemetry(tracer: Tracer | None = None) -> Telemetry:
    """Telemetry that logs errors only and exports nothing."""
    log = logging_setup.build(LoggingOptions())
    return Telemetry(log=log, metrics=Registry(), tracer=tracer or Tracer(), health=Health())


def _pages(telemetry: Telemetry) -> Pages:
    started = datetime.datetime.now(datetime.UTC)
    return Pages(telemetry, About("kube-apiserver", GIT_VERSION, "1.36", "python", started))


def _with_certificates(folder: Path, options: Options) -> tuple[KeyPair, Options]:
    now = datetime.datetime.now(datetime.UTC)
    authority = certs.new_authority("kubernetes", now)
    authority.write(folder / "ca.crt", folder / "ca.key")
    names = ("localhost", "127.0.0.1", "kubernetes.default.svc")
    certs.new_leaf(authority, "kube-apiserver", now, addresses=names, server=True).write(
        folder / "apiserver.crt", folder / "apiserver.key"
    )
    signing = certs.new_key()
    certs.write_private(folder / "sa.key", certs.key_pem(signing))
    (folder / "sa.pub").write_bytes(certs.public_pem(signing))
    return authority, replace(
        options,
        secure_port=0,
        client_ca_file=str(folder / "ca.crt"),
        tls_cert_file=str(folder / "apiserver.crt"),
        tls_private_key_file=str(folder / "apiserver.key"),
        service_account_key_file=(str(folder / "sa.pub"),),
        service_account_signing_key_file=str(folder / "sa.key"),
    )

"""The monitoring that `up --prometheus` runs beside a cluster: real servers, found on PATH and living as its components
do (a record in run/, a log in logs/, ended by `down`). Prometheus is required; Alertmanager and node_exporter are used
where they are found. node_exporter runs as a Pod on every node, since rules join its target with a Pod.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from kubeglass.components.cli import processes
from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.lookup import CommandError, Reader
from kubeglass.components.cli.plan import HOST, Plan
from kubeglass.components.cli.prometheus_config import (
    Monitoring,
    configuration,
    default_address,
    node_exporter_pod,
)

BINARIES: Mapping[str, Sequence[str]] = {
    "prometheus": ("prometheus",),
    "alertmanager": ("alertmanager", "prometheus-alertmanager"),
    "node_exporter": ("node_exporter", "prometheus-node-exporter"),
}
"""What each server's program may be called; Debian puts a prefix before two of them."""

_INSTALL = (
    "apt-get install --no-install-recommends prometheus prometheus-alertmanager prometheus-node-exporter, "
    "or see https://prometheus.io/download/"
)
_SCRAPE_INTERVAL = "5s"
_READY_SECONDS = 30.0
_NODE_EXPORTER_IMAGE = "quay.io/prometheus/node-exporter:v1.9.0"


@dataclass(frozen=True, slots=True)
class Server:
    """One monitoring server to run."""

    name: str
    argv: tuple[str, ...]
    listens: tuple[tuple[str, int], ...]
    ready_path: str

    @property
    def url(self) -> str:
        host, port = self.listens[0]
        return f"http://{host}:{port}"

    @property
    def ready(self) -> str:
        return f"{self.url}{self.ready_path}"


def find(server: str) -> str | None:
    """The program of a server on PATH."""
    return next(filter(None, map(shutil.which, BINARIES[server])), None)


def require_prometheus() -> str:
    """The Prometheus on PATH. Raises CommandError, which says how to install one."""
    program = find("prometheus")
    if program is None:
        raise CommandError(f"there is no prometheus on PATH; install it ({_INSTALL})")
    return program


def missing_extras() -> list[str]:
    """What is not on PATH and therefore left out, in words."""
    return [f"{name} is not on PATH and is left out ({_INSTALL})" for name in BINARIES if not find(name)]


def rules_folder() -> Path:
    """The rules that come with kubeglass: beside the package when installed, in grafana/ in a source tree."""
    here = Path(__file__).resolve().parent
    installed = here / "rules"
    return installed if installed.is_dir() else here.parents[1] / "grafana" / "rules"


def monitoring_of(plan: Plan, data: DataDir) -> Monitoring:
    """Where the servers of a cluster listen and which rules they load: ours, and the user's in DIR/monitoring/rules."""
    ports = plan.ports
    exporters = {node: f"{plan.node_ip(node)}:{ports.node_exporter}" for node in plan.nodes}
    return Monitoring(
        prometheus=default_address(ports.prometheus),
        alertmanager=default_address(ports.alertmanager) if find("alertmanager") else "",
        node_exporters=exporters if find("node_exporter") and plan.runtime == "process" else {},
        rules=(f"{rules_folder()}/*.yaml", f"{data.monitoring / 'rules'}/*.yaml"),
        scrape_interval=_SCRAPE_INTERVAL,
        evaluation_interval=_SCRAPE_INTERVAL,
    )


def servers(plan: Plan, data: DataDir) -> tuple[Server, ...]:
    """The servers that run as processes of the host, in the order they are started."""
    if not plan.prometheus:
        return ()
    alertmanager = find("alertmanager")
    return (
        *((_alertmanager(alertmanager, plan, data),) if alertmanager else ()),
        _prometheus(find("prometheus") or "prometheus", plan, data),
    )


def _prometheus(program: str, plan: Plan, data: DataDir) -> Server:
    address = default_address(plan.ports.prometheus)
    return Server(
        "prometheus",
        (
            program,
            f"--config.file={data.monitoring / 'prometheus.yml'}",
            f"--storage.tsdb.path={data.monitoring / 'prometheus'}",
            f"--web.listen-address={address}",
            "--web.enable-lifecycle",
            "--enable-feature=exemplar-storage",
        ),
        ((HOST, plan.ports.prometheus),),
        "/-/ready",
    )


def _alertmanager(program: str, plan: Plan, data: DataDir) -> Server:
    address = default_address(plan.ports.alertmanager)
    return Server(
        "alertmanager",
        (
            program,
            f"--config.file={data.monitoring / 'alertmanager.yml'}",
            f"--storage.path={data.monitoring / 'alertmanager'}",
            f"--web.listen-address={address}",
            "--cluster.listen-address=",
        ),
        ((HOST, plan.ports.alertmanager),),
        "/-/ready",
    )


def start(plan: Plan, data: DataDir) -> dict[int, str]:
    """Configure and start what does not run yet, wait until it is ready; pids and names. Raises CommandError."""
    _configure(plan, data)
    started: dict[int, str] = {}
    try:
        for server in servers(plan, data):
            if not processes.running(data.pid(server.name)):
                started[_spawn(server, data)] = server.name
        for server in servers(plan, data):
            _await_ready(server, data)
    except (CommandError, KeyboardInterrupt):
        processes.stop(started, 5.0)
        raise
    if monitoring_of(plan, data).node_exporters:
        run_node_exporters(plan, data)
    return started


def _configure(plan: Plan, data: DataDir) -> None:
    import yaml

    folder = data.monitoring
    (folder / "rules").mkdir(parents=True, exist_ok=True)
    content = configuration(plan, data, monitoring_of(plan, data))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(content, sort_keys=False))
    alertmanager = folder / "alertmanager.yml"
    if not alertmanager.exists():  # the user's to change
        alertmanager.write_text(
            "# Alerts are shown and kept here; add a receiver to be told of them.\n"
            "route:\n  receiver: nobody\n  group_by: [alertname, namespace]\n  group_wait: 5s\n"
            "receivers:\n  - name: nobody\n"
        )


def _spawn(server: Server, data: DataDir) -> int:
    log = data.log(server.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with log.open("ab") as out:
            process = subprocess.Popen(
                server.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, cwd=data.root
            )
    except OSError as error:
        raise CommandError(f"cannot start {server.argv[0]}: {error.strerror}") from error
    processes.write_record(data.pid(server.name), process.pid)
    process.returncode = 0  # it lives on its own from here; whoever waits for it does so by its pid
    return process.pid


def _await_ready(server: Server, data: DataDir) -> None:
    reader = Reader(data)
    deadline = time.monotonic() + _READY_SECONDS
    while not reader.get(server.ready).ok:
        if not processes.running(data.pid(server.name)) or time.monotonic() > deadline:
            raise CommandError(f"{server.name} did not become ready\n  log: {data.log(server.name)}")
        time.sleep(0.05)


def run_node_exporters(plan: Plan, data: DataDir) -> None:
    """Create the Pods of node_exporter where they are not there yet. Raises CommandError."""
    reader = Reader(data)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "monitoring"}}
    _create(reader, f"{plan.server}/api/v1/namespaces", namespace)
    for pod in node_exporters(plan):
        _create(reader, f"{plan.server}/api/v1/namespaces/monitoring/pods", pod)


def node_exporters(plan: Plan) -> Iterator[dict[str, Any]]:
    """One Pod per node, bound to it by name: the target's address and labels are known beforehand."""
    for node in plan.nodes:
        address = f"{plan.node_ip(node)}:{plan.ports.node_exporter}"
        yield {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": node_exporter_pod(node),
                "namespace": "monitoring",
                "labels": {"app.kubernetes.io/name": "node-exporter", "app.kubernetes.io/component": "exporter"},
            },
            "spec": {
                "nodeName": node,
                "hostNetwork": True,
                "hostPID": True,
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 1,
                "tolerations": [{"operator": "Exists"}],
                "containers": [
                    {
                        "name": "node-exporter",
                        "image": _NODE_EXPORTER_IMAGE,
                        "args": [f"--web.listen-address={address}"],
                        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
                    }
                ],
            },
        }


def _create(reader: Reader, url: str, manifest: dict[str, Any]) -> None:
    answer = reader.request("POST", url, msgspec.json.encode(manifest), "application/json")
    if answer.status not in (201, 409):
        name = manifest["metadata"]["name"]
        raise CommandError(f"cannot create {manifest['kind']} {name}: {answer.error or answer.body.decode()}")

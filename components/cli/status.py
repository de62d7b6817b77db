"""`kubeglass status`: which components of a cluster run, whether they are healthy, and where to look.

`-o json` is a contract; its shape is `Status` below.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import msgspec

from kubeglass import GIT_VERSION
from kubeglass.components.cli import processes
from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.lookup import Reader, add_data_dir_flag, data_dir_of, existing_plan
from kubeglass.components.cli.plan import HOST, Plan, Process
from kubeglass.components.cli.plan import processes as planned
from kubeglass.components.cli.prometheus import Server, servers

_NODES_NAMED = 8


class ComponentStatus(msgspec.Struct, frozen=True):
    """One component; `pid` is 0 when it does not run."""

    pid: int
    url: str
    metrics: tuple[str, ...]
    healthz: str
    log: str
    healthy: bool


class CollectorStatus(msgspec.Struct, frozen=True, rename="camel"):
    """Where telemetry goes in and comes out."""

    otlp_grpc: str
    otlp_http: str
    query: str


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """What `status -o json` prints."""

    ready: bool
    version: str
    data_dir: str
    kubeconfig: str
    components: Mapping[str, ComponentStatus]
    collector: CollectorStatus
    nodes: Mapping[str, bool]
    monitoring: Mapping[str, ComponentStatus]  # what `up --prometheus` runs: prometheus, alertmanager


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb."""
    parser = verbs.add_parser("status", help="which components run, and where to look", description=__doc__)
    add_data_dir_flag(parser)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="(%(default)s)")
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Print the status; exit status 0 when everything is ready, 1 otherwise."""
    data = data_dir_of(flags)
    status = look(data, existing_plan(data))
    if flags.output == "json":
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(status), indent=2) + b"\n")
    else:
        print(text(status))
    return 0 if status.ready else 1


def look(data: DataDir, plan: Plan) -> Status:
    """Ask every component and the API server."""
    reader = Reader(data)
    with ThreadPoolExecutor(max_workers=16) as pool:
        nodes = pool.submit(node_readiness, reader, plan)
        components = dict(
            pool.map(lambda process: (process.name, _component(reader, data, process)), planned(plan, data))
        )
    ready = all(component.healthy for component in components.values()) and all(
        nodes.result().get(node, False) for node in plan.nodes
    )
    return Status(
        ready=ready,
        version=GIT_VERSION,
        data_dir=str(data.root),
        kubeconfig=str(data.kubeconfig),
        components=components,
        collector=CollectorStatus(
            otlp_grpc=f"{HOST}:{plan.ports.otlp_grpc}",
            otlp_http=f"http://{HOST}:{plan.ports.otlp_http}",
            query=f"http://{HOST}:{plan.ports.query}",
        ),
        nodes=nodes.result(),
        monitoring={server.name: _server(reader, data, server) for server in servers(plan, data)},
    )


def _server(reader: Reader, data: DataDir, server: Server) -> ComponentStatus:
    pid = processes.running(data.pid(server.name)) or 0
    return ComponentStatus(
        pid=pid,
        url=server.url,
        metrics=(f"{server.url}/metrics",),
        healthz=server.ready,
        log=str(data.log(server.name)),
        healthy=bool(pid) and reader.get(server.ready).ok,
    )


def _component(reader: Reader, data: DataDir, process: Process) -> ComponentStatus:
    pid = processes.running(data.pid(process.name)) or 0
    return ComponentStatus(
        pid=pid,
        url=process.url,
        metrics=process.metrics,
        healthz=process.healthz,
        log=str(data.log(process.name)),
        healthy=bool(pid) and reader.get(process.healthz).ok,
    )


def node_readiness(reader: Reader, plan: Plan) -> dict[str, bool]:
    """Each registered node and whether it is Ready; empty while the API server does not answer."""
    answer = reader.get(f"{plan.server}/api/v1/nodes")
    if not answer.ok:
        return {}
    return {node["metadata"]["name"]: _is_ready(node) for node in answer.json()["items"]}


def _is_ready(node: Mapping[str, object]) -> bool:
    status = node.get("status")
    conditions = status.get("conditions") if isinstance(status, dict) else None
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions or ())


def text(status: Status) -> str:
    """The status for people."""
    rows = [("COMPONENT", "STATE", "PID", "URL")]
    for name, component in (*status.components.items(), *status.monitoring.items()):
        state = "healthy" if component.healthy else "unhealthy" if component.pid else "stopped"
        rows.append((name, state, str(component.pid or "-"), component.url))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3])) for row in rows
    ]
    lines += [
        "",
        f"Nodes:       {_nodes_in_words(status.nodes)}",
        f"Kubeconfig:  export KUBECONFIG={status.kubeconfig}",
        f"Traces:      {status.collector.query}   (OTLP in: {status.collector.otlp_grpc})",
        f"Metrics:     {_where_metrics_are(status)}",
        f"Logs:        {status.data_dir}/logs",
    ]
    return "\n".join(lines)


def _nodes_in_words(nodes: Mapping[str, bool]) -> str:
    """Each node of a few; of many, how many are Ready and which are not."""
    if not nodes:
        return "none registered"
    if len(nodes) <= _NODES_NAMED:
        return ", ".join(f"{name} {'Ready' if ready else 'NotReady'}" for name, ready in sorted(nodes.items()))
    unready = sorted(name for name, ready in nodes.items() if not ready)
    named = ", ".join(unready[:_NODES_NAMED]) + (", …" if len(unready) > _NODES_NAMED else "")
    return f"{len(nodes) - len(unready)} of {len(nodes)} Ready" + (f"; not: {named}" if unready else "")


def _where_metrics_are(status: Status) -> str:
    prometheus = status.monitoring.get("prometheus")
    return prometheus.url if prometheus else "kubeglass prometheus-config > prometheus.yml"

"""`kubeglass prometheus-config`: a prometheus.yml for this cluster, with the job and label conventions of the
community's dashboards and rules (kube-prometheus), on standard output.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.lookup import add_data_dir_flag, data_dir_of, existing_plan
from kubeglass.components.cli.plan import Plan, Process
from kubeglass.components.cli.plan import processes as planned

JOBS: Mapping[str, str] = {
    "apiserver": "apiserver",
    "controller-manager": "kube-controller-manager",
    "scheduler": "kube-scheduler",
    "kubelet": "kubelet",
    "proxy": "kube-proxy",
    "state-metrics": "kube-state-metrics",
    "collector": "kubeglass-collector",
}
_HONOR_LABELS = ("kubelet", "proxy", "state-metrics")


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb."""
    parser = verbs.add_parser("prometheus-config", help="a prometheus.yml for this cluster", description=__doc__)
    add_data_dir_flag(parser)
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Print the configuration."""
    import yaml

    data = data_dir_of(flags)
    yaml.safe_dump(configuration(existing_plan(data), data), sys.stdout, sort_keys=False)
    return 0


def configuration(plan: Plan, data: DataDir) -> dict[str, Any]:
    """The configuration as Prometheus reads it."""
    return {
        "global": {"scrape_interval": "15s", "scrape_timeout": "10s", "evaluation_interval": "15s"},
        "scrape_configs": list(_scrape_configs(plan, data)),
    }


def _scrape_configs(plan: Plan, data: DataDir) -> Iterator[dict[str, Any]]:
    """One scrape configuration per job and path, since a path is a target of its own in the community's content."""
    targets: dict[tuple[str, str, str], list[tuple[str, Process]]] = {}
    for process in planned(plan, data):
        for url in process.metrics:
            parts = urlsplit(url)
            targets.setdefault((process.component, parts.scheme, parts.path), []).append((parts.netloc, process))
    for (component, scheme, path), members in targets.items():
        yield _scrape_config(component, scheme, path, members, data)


def _scrape_config(
    component: str, scheme: str, path: str, members: list[tuple[str, Process]], data: DataDir
) -> dict[str, Any]:
    job = JOBS[component]
    config: dict[str, Any] = {
        "job_name": job + path.removeprefix("/metrics").replace("/", "-"),
        "scheme": scheme,
        "metrics_path": path,
        "honor_labels": component in _HONOR_LABELS,
        "static_configs": [
            {"targets": [address], "labels": {"job": job, **_node_labels(process)}} for address, process in members
        ],
        "relabel_configs": [{"source_labels": ["__metrics_path__"], "target_label": "metrics_path"}],
    }
    if path.endswith("/slis"):
        config["scrape_interval"] = config["scrape_timeout"] = "5s"
    if path.endswith("/cadvisor"):
        config["honor_timestamps"] = False
    if scheme == "https":
        config["authorization"] = {"type": "Bearer", "credentials_file": str(data.prometheus_token)}
        config["tls_config"] = {"ca_file": str(data.pki / "ca.crt")}
    return config


def _node_labels(process: Process) -> dict[str, str]:
    _, _, node = process.name.partition("/")
    return {"node": node} if node else {}

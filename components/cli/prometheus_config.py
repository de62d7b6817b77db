"""`kubeglass prometheus-config`: a prometheus.yml for this cluster, with the job and label conventions of the
community's dashboards and rules (kube-prometheus), on standard output. Its own servers are scraped too when they are
named. Nothing is dropped at scrape but what upstream's service monitors drop from /metrics/slis.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.cli.lookup import add_data_dir_flag, data_dir_of, existing_plan
from kubeglass.components.cli.plan import HOST, Plan, Process
from kubeglass.components.cli.plan import processes as planned

SCRAPE_INTERVAL = "15s"


@dataclass(frozen=True, slots=True)
class Job:
    """How the community's content knows a component: the labels that its Service puts on every target."""

    job: str
    namespace: str
    service: str
    endpoint: str
    honor_labels: bool = False


JOBS: Mapping[str, Job] = {
    "apiserver": Job("apiserver", "default", "kubernetes", "https"),
    "controller-manager": Job("kube-controller-manager", "kube-system", "kube-controller-manager", "https-metrics"),
    "scheduler": Job("kube-scheduler", "kube-system", "kube-scheduler", "https-metrics"),
    "kubelet": Job("kubelet", "kube-system", "kubelet", "https-metrics", honor_labels=True),
    "simulated-kubelets": Job("kubeglass-simulated-kubelets", "monitoring", "kubeglass-simulated-kubelets", "metrics"),
    "proxy": Job("kube-proxy", "kube-system", "kube-proxy", "metrics", honor_labels=True),
    "state-metrics": Job("kube-state-metrics", "monitoring", "kube-state-metrics", "https-main", honor_labels=True),
    "dns": Job("coredns", "kube-system", "kube-dns", "metrics"),
    "collector": Job("kubeglass-collector", "monitoring", "kubeglass-collector", "metrics"),
}


@dataclass(frozen=True, slots=True)
class Monitoring:
    """The monitoring servers themselves, as HOST:PORT; what is empty is not there."""

    prometheus: str = ""
    alertmanager: str = ""
    node_exporters: Mapping[str, str] = field(default_factory=dict)  # by node
    rules: Sequence[str] = ()
    scrape_interval: str = SCRAPE_INTERVAL
    evaluation_interval: str = SCRAPE_INTERVAL


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb."""
    parser = verbs.add_parser("prometheus-config", help="a prometheus.yml for this cluster", description=__doc__)
    add_data_dir_flag(parser)
    parser.add_argument("--prometheus", metavar="HOST:PORT", help="where Prometheus itself will listen; it is scraped")
    parser.add_argument("--alertmanager", metavar="HOST:PORT", help="where alerts go; it is scraped")
    parser.add_argument("--node-exporter", metavar="HOST:PORT", help="the machine's node_exporter, as node-1's")
    parser.add_argument("--rules", action="append", metavar="GLOB", help="rule files to load; repeatable")
    parser.add_argument("--scrape-interval", metavar="DURATION", help=f"({SCRAPE_INTERVAL})")
    parser.set_defaults(run=run)


def run(flags: argparse.Namespace) -> int:
    """Print the configuration."""
    import yaml

    data = data_dir_of(flags)
    plan = existing_plan(data)
    yaml.safe_dump(configuration(plan, data, _monitoring(flags, plan, data)), sys.stdout, sort_keys=False)
    return 0


def _monitoring(flags: argparse.Namespace, plan: Plan, data: DataDir) -> Monitoring:
    """What `up --prometheus` started, changed by the flags."""
    from kubeglass.components.cli.prometheus import monitoring_of

    monitoring = monitoring_of(plan, data) if plan.prometheus else Monitoring()
    changes: dict[str, Any] = {
        "prometheus": flags.prometheus,
        "alertmanager": flags.alertmanager,
        "node_exporters": {plan.nodes[0]: flags.node_exporter} if flags.node_exporter else None,
        "rules": flags.rules,
        "scrape_interval": flags.scrape_interval,
        "evaluation_interval": flags.scrape_interval,
    }
    return replace(monitoring, **{name: value for name, value in changes.items() if value is not None})


def configuration(plan: Plan, data: DataDir, monitoring: Monitoring = Monitoring()) -> dict[str, Any]:
    """The configuration as Prometheus reads it."""
    content: dict[str, Any] = {
        "global": {
            "scrape_interval": monitoring.scrape_interval,
            "scrape_timeout": _shorter(monitoring.scrape_interval, "10s"),
            "evaluation_interval": monitoring.evaluation_interval,
        }
    }
    if monitoring.rules:
        content["rule_files"] = list(monitoring.rules)
    if monitoring.alertmanager:
        content["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [monitoring.alertmanager]}]}]}
    own = list(_own_scrape_configs(monitoring))
    content["scrape_configs"] = [*_scrape_configs(plan, data, monitoring.scrape_interval), *own]
    return content


def _scrape_configs(plan: Plan, data: DataDir, interval: str) -> Iterator[dict[str, Any]]:
    """One per component, port and path: a path is a target of its own in the community's content."""
    groups: dict[tuple[str, str, str, bool], list[tuple[str, Process]]] = {}
    for process in planned(plan, data):
        for url in process.metrics:
            parts = urlsplit(url)
            telemetry_port = process.component == "state-metrics" and parts.port == plan.ports.state_metrics_telemetry
            key = (process.component, parts.scheme, parts.path, telemetry_port)
            groups.setdefault(key, []).append((parts.netloc, process))
    for (component, scheme, path, telemetry_port), members in groups.items():
        job = JOBS[component]
        if telemetry_port:
            job = replace(job, endpoint="https-self", honor_labels=False)
        targets = [{"targets": [address], "labels": _target_labels(job, process)} for address, process in members]
        yield _scrape_config(job, scheme, path, targets, data, interval)


def _target_labels(job: Job, process: Process) -> dict[str, str]:
    """What the Prometheus operator's service discovery would put on a target."""
    if job.job == "kube-state-metrics" and job.honor_labels:
        return {"job": job.job}  # its own namespace, service and endpoint are dropped: they are those of the objects
    labels = {"job": job.job, "namespace": job.namespace, "service": job.service, "endpoint": job.endpoint}
    _, _, node = process.name.partition("/")
    if job.job == "kubelet":
        labels["node"] = node
    if job.job == "kube-proxy":
        labels["instance"] = node
    return labels


def _scrape_config(
    job: Job, scheme: str, path: str, targets: list[dict[str, Any]], data: DataDir, interval: str
) -> dict[str, Any]:
    config: dict[str, Any] = {
        "job_name": "-".join(
            filter(None, (job.job, "self" * (job.endpoint == "https-self"), *path.strip("/").split("/")[1:]))
        ),
        "scheme": scheme,
        "metrics_path": path,
        "honor_labels": job.honor_labels,
        "static_configs": targets,
    }
    if job.job == "kubelet":
        config["relabel_configs"] = [{"source_labels": ["__metrics_path__"], "target_label": "metrics_path"}]
    if path.endswith("/slis"):
        config["scrape_interval"] = config["scrape_timeout"] = _shorter(interval, "5s")
        config["metric_relabel_configs"] = [
            {"source_labels": ["__name__"], "regex": "process_start_time_seconds", "action": "drop"}
        ]
    if path.endswith("/cadvisor"):
        config["honor_timestamps"] = False
    if scheme == "https":
        config["authorization"] = {"type": "Bearer", "credentials_file": str(data.prometheus_token)}
        config["tls_config"] = {"ca_file": str(data.pki / "ca.crt")}
    return config


def _own_scrape_configs(monitoring: Monitoring) -> Iterator[dict[str, Any]]:
    """The monitoring servers, under the names of their Services and Pods in kube-prometheus."""
    for address, service, container in (
        (monitoring.prometheus, "prometheus-k8s", "prometheus"),
        (monitoring.alertmanager, "alertmanager-main", "alertmanager"),
    ):
        if address:
            where = {"namespace": "monitoring", "service": service, "pod": f"{service}-0", "container": container}
            yield {
                "job_name": service,
                "static_configs": [{"targets": [address], "labels": {"job": service, "endpoint": "web", **where}}],
            }
    if monitoring.node_exporters:
        yield {
            "job_name": "node-exporter",
            "static_configs": [
                {"targets": [address], "labels": _node_exporter_labels(node)}
                for node, address in monitoring.node_exporters.items()
            ],
        }


def _node_exporter_labels(node: str) -> dict[str, str]:
    """`instance` is the node; namespace and pod are those of the Pod, which rules join with kube_pod_info."""
    return {
        "job": "node-exporter",
        "instance": node,
        "node": node,
        "namespace": "monitoring",
        "service": "node-exporter",
        "pod": node_exporter_pod(node),
        "container": "node-exporter",
        "endpoint": "https",
    }


def node_exporter_pod(node: str) -> str:
    """The name of the Pod that `up --prometheus` runs on a node."""
    return f"node-exporter-{node}"


def _shorter(first: str, second: str) -> str:
    """The shorter of two durations such as 5s or 1m30s."""
    from kubeglass.logging.goduration import parse_duration

    return min(first, second, key=parse_duration)


def default_address(port: int) -> str:
    """A monitoring server's HOST:PORT."""
    return f"{HOST}:{port}"

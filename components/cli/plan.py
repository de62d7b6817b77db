"""What a cluster consists of, decided once by `up` and kept in the data dir: ports, addresses, nodes, options.

Pure: a Plan is a value, `components` gives the processes to run with their upstream flags. Who is free to listen
where is asked by the caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kubeglass.components.cli.datadir import DataDir
from kubeglass.components.machinery.loopback import AddressPlan, host_port

HOST = "127.0.0.1"


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """Where components listen. The defaults are upstream's."""

    apiserver: int = 6443
    controller_manager: int = 10257
    scheduler: int = 10259
    kubelet: int = 10250
    proxy_metrics: int = 10249
    proxy_healthz: int = 10256
    otlp_grpc: int = 4317
    otlp_http: int = 4318
    query: int = 16686
    collector_metrics: int = 8888
    state_metrics: int = 8080
    state_metrics_telemetry: int = 8081
    dns: int = 9153
    prometheus: int = 9090
    alertmanager: int = 9093
    node_exporter: int = 9100


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One cluster, as `cluster.json` holds it."""

    version: int = 1
    slot: int = 0
    ports: Ports = Ports()
    nodes: tuple[str, ...] = ("node-1",)
    simulated_nodes: int = 0
    network: str = "loopback"
    runtime: str = "process"
    etcd_servers: str = ""
    verbosity: int = 2
    logging_format: str = "text"
    sampling_rate_per_million: int = 1_000_000
    log_otlp: bool = False
    extra_flags: dict[str, tuple[str, ...]] = {}
    prometheus: bool = False

    @property
    def addresses(self) -> AddressPlan:
        """The loopback addresses of the cluster's slot."""
        return AddressPlan(self.slot)

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{HOST}:{self.ports.apiserver}"

    def node_ip(self, node: str) -> str:
        """A node's address."""
        return self.addresses.node_ip(self.nodes.index(node) + 1)


@dataclass(frozen=True, slots=True)
class Process:
    """One component process of a cluster."""

    name: str  # as `status` names it: apiserver, kubelet/node-1, …
    component: str  # which component: apiserver, kubelet, …
    flags: tuple[str, ...]
    listens: tuple[tuple[str, int], ...]  # every (address, port) it binds
    url: str
    healthz: str
    metrics: tuple[str, ...]
    needs_server: bool = True  # is of no use before the API server answers


def processes(plan: Plan, data: DataDir) -> tuple[Process, ...]:
    """Every process of the cluster, in the order they are best started."""
    return (
        _apiserver(plan, data),
        _collector(plan, data),
        *_nodes(plan, data),
        _controller_manager(plan, data),
        _scheduler(plan, data),
        _dns(plan, data),
        _state_metrics(plan, data),
    )


def _common(plan: Plan, data: DataDir, name: str, component: str) -> tuple[str, ...]:
    return (
        f"--v={plan.verbosity}",
        f"--logging-format={plan.logging_format}",
        f"--log-file={data.log(name)}",
        *_shipped(plan, component),
        *plan.extra_flags.get(component, ()),
    )


def _shipped(plan: Plan, component: str) -> tuple[str, ...]:
    """The collector does not send to itself."""
    wanted = plan.log_otlp and component != "collector"
    return (f"--log-otlp={HOST}:{plan.ports.otlp_grpc}",) if wanted else ()


def _client_tls(data: DataDir, name: str) -> tuple[str, ...]:
    return (
        f"--tls-cert-file={data.pki / f'{name}.crt'}",
        f"--tls-private-key-file={data.pki / f'{name}.key'}",
        f"--client-ca-file={data.pki / 'ca.crt'}",
    )


def _collector(plan: Plan, data: DataDir) -> Process:
    ports = plan.ports
    return Process(
        name="collector",
        component="collector",
        flags=(
            f"--otlp-grpc-bind-address={HOST}:{ports.otlp_grpc}",
            f"--otlp-http-bind-address={HOST}:{ports.otlp_http}",
            f"--query-bind-address={HOST}:{ports.query}",
            f"--metrics-bind-address={HOST}:{ports.collector_metrics}",
            f"--trace-store={data.trace_store}",
            *_common(plan, data, "collector", "collector"),
        ),
        listens=(
            (HOST, ports.otlp_grpc),
            (HOST, ports.otlp_http),
            (HOST, ports.query),
            (HOST, ports.collector_metrics),
        ),
        url=f"http://{HOST}:{ports.query}",
        healthz=f"http://{HOST}:{ports.collector_metrics}/healthz",
        metrics=(f"http://{HOST}:{ports.collector_metrics}/metrics",),
        needs_server=False,
    )


def _apiserver(plan: Plan, data: DataDir) -> Process:
    storage = (f"--etcd-servers={plan.etcd_servers}",) if plan.etcd_servers else (f"--storage-file={data.store}",)
    pki = data.pki
    return Process(
        name="apiserver",
        component="apiserver",
        flags=(
            f"--bind-address={HOST}",
            f"--secure-port={plan.ports.apiserver}",
            f"--advertise-address={HOST}",
            *storage,
            *_client_tls(data, "apiserver"),
            f"--kubelet-client-certificate={pki / 'apiserver-kubelet-client.crt'}",
            f"--kubelet-client-key={pki / 'apiserver-kubelet-client.key'}",
            f"--kubelet-certificate-authority={pki / 'ca.crt'}",
            f"--service-account-key-file={pki / 'sa.pub'}",
            f"--service-account-signing-key-file={pki / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--token-auth-file={data.token_file}",
            f"--service-cluster-ip-range={plan.addresses.service_cidr}",
            f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
            f"--proxy-client-cert-file={pki / 'front-proxy-client.crt'}",
            f"--proxy-client-key-file={pki / 'front-proxy-client.key'}",
            f"--tracing-config-file={data.tracing_config}",
            *_common(plan, data, "apiserver", "apiserver"),
        ),
        listens=((HOST, plan.ports.apiserver),),
        url=plan.server,
        healthz=f"{plan.server}/healthz",
        metrics=(f"{plan.server}/metrics", f"{plan.server}/metrics/slis"),
        needs_server=False,
    )


def _controller_manager(plan: Plan, data: DataDir) -> Process:
    url = f"https://{HOST}:{plan.ports.controller_manager}"
    return Process(
        name="controller-manager",
        component="controller-manager",
        flags=(
            f"--bind-address={HOST}",
            f"--secure-port={plan.ports.controller_manager}",
            f"--kubeconfig={data.component_kubeconfig('controller-manager')}",
            *_client_tls(data, "controller-manager"),
            f"--leader-elect-identity={data.root}",
            f"--root-ca-file={data.pki / 'ca.crt'}",
            f"--service-account-private-key-file={data.pki / 'sa.key'}",
            f"--cluster-signing-cert-file={data.pki / 'ca.crt'}",
            f"--cluster-signing-key-file={data.pki / 'ca.key'}",
            f"--cluster-cidr={plan.addresses.cluster_cidr}",
            f"--local-path-root-dir={data.nodes}",
            f"--tracing-config-file={data.tracing_config}",
            *_common(plan, data, "controller-manager", "controller-manager"),
        ),
        listens=((HOST, plan.ports.controller_manager),),
        url=url,
        healthz=f"{url}/healthz",
        metrics=(f"{url}/metrics", f"{url}/metrics/slis"),
    )


def _scheduler(plan: Plan, data: DataDir) -> Process:
    url = f"https://{HOST}:{plan.ports.scheduler}"
    return Process(
        name="scheduler",
        component="scheduler",
        flags=(
            f"--bind-address={HOST}",
            f"--secure-port={plan.ports.scheduler}",
            f"--kubeconfig={data.component_kubeconfig('scheduler')}",
            *_client_tls(data, "scheduler"),
            f"--leader-elect-identity={data.root}",
            f"--tracing-config-file={data.tracing_config}",
            *_common(plan, data, "scheduler", "scheduler"),
        ),
        listens=((HOST, plan.ports.scheduler),),
        url=url,
        healthz=f"{url}/healthz",
        metrics=(f"{url}/metrics", f"{url}/metrics/slis", f"{url}/metrics/resources"),
    )


def _dns(plan: Plan, data: DataDir) -> Process:
    url, address = f"https://{HOST}:{plan.ports.dns}", plan.addresses.dns_service_ip
    return Process(
        name="dns",
        component="dns",
        flags=(
            f"--dns-address={address}",
            "--cluster-domain=cluster.local",
            f"--bind-address={HOST}",
            f"--secure-port={plan.ports.dns}",
            f"--kubeconfig={data.component_kubeconfig('dns')}",
            *_client_tls(data, "dns"),
            *_common(plan, data, "dns", "dns"),
        ),
        listens=((HOST, plan.ports.dns), (address, host_port(53))),
        url=url,
        healthz=f"{url}/healthz",
        metrics=(f"{url}/metrics",),
    )


def _nodes(plan: Plan, data: DataDir) -> Iterator[Process]:
    for index, node in enumerate(plan.nodes, start=1):
        yield _kubelet(plan, data, node, index)
        yield _proxy(plan, data, node, index)
    if plan.simulated_nodes:
        yield _simulated_kubelets(plan, data)


def _kubelet(plan: Plan, data: DataDir, node: str, index: int) -> Process:
    name, address = f"kubelet/{node}", plan.node_ip(node)
    url = f"https://{address}:{plan.ports.kubelet}"
    return Process(
        name=name,
        component="kubelet",
        flags=(
            f"--hostname-override={node}",
            f"--node-ip={address}",
            f"--address={address}",
            f"--port={plan.ports.kubelet}",
            f"--root-dir={data.node(node)}",
            f"--pod-cidr={plan.addresses.pod_cidr(index)}",
            f"--cluster-dns={plan.addresses.dns_service_ip}",
            "--cluster-domain=cluster.local",
            f"--runtime={plan.runtime}",
            f"--service-log=kubelet={data.log(name)}",
            f"--service-log=kube-proxy={data.log(f'proxy/{node}')}",
            f"--kubeconfig={data.component_kubeconfig(f'kubelet-{node}')}",
            *_client_tls(data, f"kubelet-{node}"),
            "--rotate-certificates",
            f"--tracing-config-file={data.tracing_config}",
            *_common(plan, data, name, "kubelet"),
        ),
        listens=((address, plan.ports.kubelet),),
        url=url,
        healthz=f"{url}/healthz",
        metrics=tuple(
            f"{url}{path}"
            for path in ("/metrics", "/metrics/cadvisor", "/metrics/resource", "/metrics/probes", "/metrics/slis")
        ),
    )


def _simulated_kubelets(plan: Plan, data: DataDir) -> Process:
    """One process behind all simulated nodes."""
    name, user, address = "kubelet/simulated", "simulated-kubelets", plan.addresses.simulated_node_ip
    url = f"https://{address}:{plan.ports.kubelet}"
    return Process(
        name=name,
        component="simulated-kubelets",
        flags=(
            f"--nodes={plan.simulated_nodes}",
            f"--slot={plan.slot}",
            f"--node-ip={address}",
            f"--bind-address={address}",
            f"--secure-port={plan.ports.kubelet}",
            f"--kubeconfig={data.component_kubeconfig(user)}",
            "--kube-api-qps=-1",  # it stands for many clients, each with a limit of its own
            *_client_tls(data, user),
            f"--tracing-config-file={data.tracing_config}",
            *_common(plan, data, name, "simulated-kubelets"),
        ),
        listens=((address, plan.ports.kubelet),),
        url=url,
        healthz=f"{url}/healthz",
        metrics=(f"{url}/metrics",),
    )


def _proxy(plan: Plan, data: DataDir, node: str, index: int) -> Process:
    name, address = f"proxy/{node}", plan.node_ip(node)
    metrics_url = f"http://{address}:{plan.ports.proxy_metrics}"
    return Process(
        name=name,
        component="proxy",
        flags=(
            f"--hostname-override={node}",
            f"--node-ip={address}",
            f"--metrics-bind-address={address}:{plan.ports.proxy_metrics}",
            f"--healthz-bind-address={address}:{plan.ports.proxy_healthz}",
            "--proxy-mode=userspace",
            f"--cluster-cidr={plan.addresses.cluster_cidr}",
            f"--kubeconfig={data.component_kubeconfig('proxy')}",
            f"--tracing-config-file={data.tracing_config}",
            *_common(plan, data, name, "proxy"),
        ),
        listens=((address, plan.ports.proxy_metrics), (address, plan.ports.proxy_healthz)),
        url=metrics_url,
        healthz=f"http://{address}:{plan.ports.proxy_healthz}/healthz",
        metrics=(f"{metrics_url}/metrics", f"{metrics_url}/metrics/slis"),
    )


def _state_metrics(plan: Plan, data: DataDir) -> Process:
    url, own = f"http://{HOST}:{plan.ports.state_metrics}", f"http://{HOST}:{plan.ports.state_metrics_telemetry}"
    return Process(
        name="state-metrics",
        component="state-metrics",
        flags=(
            f"--host={HOST}",
            f"--port={plan.ports.state_metrics}",
            f"--telemetry-host={HOST}",
            f"--telemetry-port={plan.ports.state_metrics_telemetry}",
            f"--kubeconfig={data.component_kubeconfig('state-metrics')}",
            *_common(plan, data, "state-metrics", "state-metrics"),
        ),
        listens=((HOST, plan.ports.state_metrics), (HOST, plan.ports.state_metrics_telemetry)),
        url=url,
        healthz=f"{url}/healthz",
        metrics=(f"{url}/metrics", f"{own}/metrics"),
    )


def read(file: Path) -> Plan | None:
    """The plan in the file, or None when there is none. Raises msgspec.ValidationError or DecodeError."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    return msgspec.json.decode(content, type=Plan)


def encode(plan: Plan) -> bytes:
    """The plan as `cluster.json` holds it."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n"

"""The kubelet's flags, with upstream's names, and how they and the configuration file become one KubeletConfig.

--runtime, --image-catalog, --service-log and the CNI directories are ours. A flag that is given wins over the file.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from kubeglass.components.api import quantity
from kubeglass.components.kubelet import configfile
from kubeglass.components.kubelet.configfile import ConfigFile, ConfigFileError
from kubeglass.components.kubelet.configuration import KubeletConfig
from kubeglass.components.kubelet.node_status import default_node_name
from kubeglass.components.machinery.process import ConfigError
from kubeglass.telemetry.tracing import setup as tracing_setup
from kubeglass.telemetry.tracing.setup import TracingConfiguration

V = TypeVar("V")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Describe them; those that the file may set as well have no default of their own."""
    parser.add_argument("--config", default="", metavar="FILE", help="a KubeletConfiguration")
    parser.add_argument("--hostname-override", default="", metavar="NAME", help="name of the node (the host's name)")
    parser.add_argument("--node-ip", default="127.0.0.1", metavar="IP", help="address of the node (%(default)s)")
    parser.add_argument("--root-dir", default="", metavar="DIR", help="where the kubelet keeps its files")
    parser.add_argument("--runtime", default="process", choices=("process", "simulated"), help="(%(default)s)")
    parser.add_argument("--address", metavar="IP", help="address to serve on (127.0.0.1)")
    parser.add_argument("--port", type=int, metavar="PORT", help="port to serve on (10250)")
    parser.add_argument("--tls-cert-file", metavar="FILE", help="certificate to serve with")
    parser.add_argument("--tls-private-key-file", metavar="FILE", help="its key")
    parser.add_argument("--client-ca-file", metavar="FILE", help="authority of client certificates")
    for flag, what in (
        ("--rotate-certificates", "renew the client certificate before it expires"),
        ("--rotate-server-certificates", "ask for a serving certificate and renew it; somebody has to approve"),
    ):
        parser.add_argument(flag, nargs="?", const="true", metavar="BOOL", help=f"{what} (false)")
    parser.add_argument("--pod-cidr", metavar="CIDR", help="pod addresses (127.128.1.0/24)")
    parser.add_argument("--cluster-dns", metavar="IP[,IP]", help="DNS servers of pods")
    parser.add_argument("--cluster-domain", metavar="DOMAIN", help="(cluster.local)")
    parser.add_argument("--image-catalog", action="append", default=[], metavar="FILE", help="more images")
    parser.add_argument("--cni-conf-dir", default="", metavar="DIR", help="network configuration (built in)")
    parser.add_argument("--cni-bin-dir", action="append", default=[], metavar="DIR", help="CNI plugins")
    parser.add_argument("--pod-manifest-path", metavar="DIR", help="static pods to run")
    parser.add_argument("--container-log-max-size", metavar="SIZE", help="(10Mi)")
    parser.add_argument("--container-log-max-files", type=int, metavar="N", help="(5)")
    parser.add_argument(
        "--service-log",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="where a service of this node logs, for log queries; repeatable",
    )
    parser.add_argument("--cgroups-per-qos", metavar="BOOL", help="control groups for classes and Pods (true)")
    parser.add_argument("--cgroup-root", metavar="GROUP", help="where they lie (one of the node's own)")
    parser.add_argument("--cgroup-driver", metavar="cgroupfs", help="how groups are named (cgroupfs)")
    parser.add_argument("--max-pods", type=int, metavar="N", help="(110)")
    parser.add_argument("--node-labels", default="", metavar="K=V[,K=V]", help="labels of the node")
    parser.add_argument("--register-node", metavar="BOOL", help="(true)")


def configuration(flags: argparse.Namespace) -> KubeletConfig:
    """Flags and file as a value. Raises ConfigError."""
    if not flags.root_dir:
        raise ConfigError("--root-dir is required: the folder where the kubelet keeps pods, volumes and logs")
    try:
        return _configuration(flags, configfile.read(flags.config))
    except ConfigFileError as error:
        raise ConfigError(str(error)) from error


def tracing(flags: argparse.Namespace) -> TracingConfiguration | None:
    """Where spans go: --tracing-config-file, else the file's `tracing:` block. Raises ConfigError."""
    if flags.tracing_config_file:
        return tracing_setup.load(flags.tracing_config_file)
    try:
        return configfile.read(flags.config).tracing_configuration()
    except ConfigFileError as error:
        raise ConfigError(str(error)) from error


def _configuration(flags: argparse.Namespace, file: ConfigFile) -> KubeletConfig:
    root = Path(flags.root_dir).absolute()
    user_catalog = root.parent.parent / "images.yaml"
    catalogs = [*([user_catalog] if user_catalog.exists() else []), *map(Path, flags.image_catalog)]
    dns = tuple(part for part in flags.cluster_dns.split(",") if part) if flags.cluster_dns is not None else None
    registers, rotates, serving = map(
        _bool, (flags.register_node, flags.rotate_certificates, flags.rotate_server_certificates)
    )
    manifests = _first(flags.pod_manifest_path, file.static_pod_path, "")
    log_files = _first(flags.container_log_max_files, file.container_log_max_files, 5)
    if log_files < 2:
        raise ConfigError("--container-log-max-files must be greater than 1")
    driver = _first(flags.cgroup_driver, file.cgroup_driver, "cgroupfs")
    if driver != "cgroupfs":
        raise ConfigError(f'--cgroup-driver must be "cgroupfs", got "{driver}": systemd is not asked for groups')
    return KubeletConfig(
        node_name=flags.hostname_override or default_node_name(),
        node_ip=flags.node_ip,
        root_dir=root,
        runtime=flags.runtime,
        address=_first(flags.address, file.address, "127.0.0.1"),
        port=_first(flags.port, file.port, 10250),
        pod_cidr=_first(flags.pod_cidr, file.pod_cidr, "127.128.1.0/24"),
        cluster_dns=_first(dns, file.cluster_dns, ()),
        cluster_domain=_first(flags.cluster_domain, file.cluster_domain, "cluster.local"),
        cert_file=_first(flags.tls_cert_file, file.tls_cert_file, ""),
        key_file=_first(flags.tls_private_key_file, file.tls_private_key_file, ""),
        client_ca_file=_first(flags.client_ca_file, file.authentication.x509.client_ca_file, ""),
        rotate_certificates=_first(rotates, file.rotate_certificates, False),
        server_tls_bootstrap=_first(serving, file.server_tls_bootstrap, False),
        image_catalogs=tuple(catalogs),
        cni_conf_dir=Path(flags.cni_conf_dir) if flags.cni_conf_dir else None,
        cni_bin_dirs=tuple(map(Path, flags.cni_bin_dir)),
        static_pod_path=Path(manifests).absolute() if manifests else None,
        container_log_max_size=_size(_first(flags.container_log_max_size, file.container_log_max_size, "10Mi")),
        container_log_max_files=log_files,
        service_logs=_service_logs(flags.service_log),
        max_pods=_first(flags.max_pods, file.max_pods, 110),
        register_node=_first(registers, file.register_node, True),
        node_labels=dict(pair.split("=", 1) for pair in flags.node_labels.split(",") if "=" in pair),
        sync_frequency_seconds=_first(None, file.seconds("sync_frequency"), 60.0),
        node_status_update_seconds=_first(None, file.seconds("node_status_update_frequency"), 10.0),
        node_status_report_seconds=_first(None, file.seconds("node_status_report_frequency"), 300.0),
        lease_duration_seconds=_first(None, file.node_lease_duration_seconds, 40),
        cgroups_per_qos=_first(_bool(flags.cgroups_per_qos), file.cgroups_per_qos, True),
        cgroup_root=_first(flags.cgroup_root, file.cgroup_root, ""),
    )


def _first(flag: V | None, file: V | None, default: V) -> V:
    """The flag, else what the file says, else the default."""
    if flag is not None:
        return flag
    return default if file is None else file


def _bool(text: str | None) -> bool | None:
    return None if text is None else text.lower() not in ("false", "0")


def _size(text: str) -> int:
    try:
        return quantity.parse(text).value()
    except quantity.QuantityError as error:
        raise ConfigError(f"--container-log-max-size: {error}") from error


def _service_logs(assignments: Sequence[str]) -> dict[str, Path]:
    """Raises ConfigError."""
    pairs = [assignment.partition("=") for assignment in assignments]
    if bad := [name for name, _, path in pairs if not (name and path)]:
        raise ConfigError(f"--service-log wants NAME=FILE, got {bad[0]!r}")
    return {name: Path(path) for name, _, path in pairs}

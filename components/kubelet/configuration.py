"""What a kubelet is told by its flags, as one value; names follow upstream's flags and KubeletConfiguration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class KubeletConfig:
    """One kubelet. Durations in seconds, sizes in bytes."""

    node_name: str
    node_ip: str
    root_dir: Path
    runtime: str = "process"
    address: str = "127.0.0.1"
    port: int = 10250
    pod_cidr: str = ""
    cluster_dns: tuple[str, ...] = ()
    cluster_domain: str = "cluster.local"
    cert_file: str = ""
    key_file: str = ""
    client_ca_file: str = ""
    rotate_certificates: bool = False
    server_tls_bootstrap: bool = False
    image_catalogs: tuple[Path, ...] = ()
    cni_conf_dir: Path | None = None
    cni_bin_dirs: tuple[Path, ...] = ()
    static_pod_path: Path | None = None
    container_log_max_size: int = 10 * 1024 * 1024
    container_log_max_files: int = 5
    service_logs: Mapping[str, Path] = field(default_factory=dict)
    max_pods: int = 110
    register_node: bool = True
    node_labels: Mapping[str, str] = field(default_factory=dict)
    sync_frequency_seconds: float = 60.0
    node_status_update_seconds: float = 10.0
    node_status_report_seconds: float = 300.0
    lease_duration_seconds: int = 40
    cgroups_per_qos: bool = True
    cgroup_root: str = ""

    @property
    def pods_dir(self) -> Path:
        """Volumes and other per-pod files, by uid."""
        return self.root_dir / "pods"

    @property
    def cert_dir(self) -> Path:
        """The certificates that the kubelet asked for."""
        return self.root_dir / "pki"

    @property
    def logs_dir(self) -> Path:
        """Where container logs are; upstream's /var/log/pods."""
        return self.root_dir / "log" / "pods"

    def pod_log_dir(self, namespace: str, name: str, uid: str) -> Path:
        """The log folder of one pod."""
        return self.logs_dir / f"{namespace}_{name}_{uid}"

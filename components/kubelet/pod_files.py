"""The files the kubelet itself gives a pod: /etc/hosts, /etc/hostname, /etc/resolv.conf, the termination message.

They lie in PODS_DIR/UID beside the pod's volumes and go with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kubeglass.components.api.objects import Container, Pod
from kubeglass.components.kubelet.configuration import KubeletConfig
from kubeglass.components.kubelet.environment import pod_hostname
from kubeglass.components.kubelet.runtime import runtime

_HOSTS = """# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""
_MESSAGE_BYTES = 4096
_LOG_TAIL_BYTES = 2048
_LOG_TAIL_LINES = 80


class PodFiles:
    """Writes and reads these files on one node."""

    def __init__(self, config: KubeletConfig) -> None:
        self._config = config

    def network_files(self, pod: Pod, pod_ip: str) -> Mapping[str, Path]:
        """Path in the container → file on the node, written now."""
        folder = self._config.pods_dir / pod.metadata.uid
        folder.mkdir(parents=True, exist_ok=True)
        hostname = pod_hostname(pod)
        files = {
            "/etc/hosts": ("etc-hosts", self._hosts(pod, pod_ip, hostname)),
            "/etc/hostname": ("hostname", f"{hostname}\n"),
        }
        files["/etc/resolv.conf"] = ("resolv.conf", self._resolv_conf(pod))
        for name, text in files.values():
            (folder / name).write_text(text)
            (folder / name).chmod(0o644)
        return {path: folder / name for path, (name, _) in files.items()}

    def _hosts(self, pod: Pod, pod_ip: str, hostname: str) -> str:
        names = hostname
        if pod.spec.subdomain:
            domain = f"{pod.metadata.namespace}.svc.{self._config.cluster_domain}"
            names = f"{hostname}.{pod.spec.subdomain}.{domain}\t{hostname}"
        text = f"{_HOSTS}{pod_ip}\t{names}\n"
        if pod.spec.host_aliases:
            text += "\n# Entries added by HostAliases.\n"
            text += "".join(f"{alias.ip}\t{chr(9).join(alias.hostnames)}\n" for alias in pod.spec.host_aliases)
        return text

    def _resolv_conf(self, pod: Pod) -> str:
        """ClusterFirst: the cluster's DNS, then the host's name servers for as long as that one does not answer."""
        policy, own = pod.spec.dns_policy or "ClusterFirst", pod.spec.dns_config
        searches: list[str] = []
        servers: list[str] = []
        options: list[str] = []
        domain = self._config.cluster_domain
        cluster_first = policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not pod.spec.host_network)
        if cluster_first:
            searches = [f"{pod.metadata.namespace}.svc.{domain}", f"svc.{domain}", domain]
            servers = list(self._config.cluster_dns)
            options = ["ndots:5"]
        if policy != "None":
            servers += _host_name_servers()
        if own is not None:
            searches += own.searches
            servers = [*own.nameservers, *servers]
            options += [f"{option.name}:{option.value}" if option.value else option.name for option in own.options]
        lines = [f"search {' '.join(searches)}"] if searches else []
        lines += [f"nameserver {server}" for server in dict.fromkeys(servers)][:3]
        lines += [f"options {' '.join(options)}"] if options else []
        return "\n".join(lines) + "\n"

    # -- termination message ----------------------------------------------------------------------------------------

    def termination_message(self, pod: Pod, spec: Container, attempt: int) -> Path:
        """Where a container's terminationMessagePath is on the node."""
        return self._config.pods_dir / pod.metadata.uid / "containers" / spec.name / str(attempt)

    def read_message(self, pod: Pod, spec: Container, container: runtime.Container) -> str:
        """What an ended container left behind: its message file, or the end of its log if the policy says so."""
        try:
            text = self.termination_message(pod, spec, container.attempt).read_bytes()[:_MESSAGE_BYTES]
        except OSError:
            text = b""
        if text or spec.termination_message_policy != "FallbackToLogsOnError" or container.exit_code == 0:
            return text.decode(errors="replace")
        return _log_tail(Path(container.log_path))


def _host_name_servers() -> list[str]:
    try:
        lines = Path("/etc/resolv.conf").read_text().splitlines()
    except OSError:
        return []
    return [fields[1] for line in lines if (fields := line.split()) and fields[0] == "nameserver" and len(fields) > 1]


def _log_tail(path: Path) -> str:
    try:
        content = path.read_bytes()[-4 * _LOG_TAIL_BYTES :]
    except OSError:
        return ""
    lines = [line.split(b" ", 3)[3] for line in content.splitlines() if line.count(b" ") >= 3]
    return b"\n".join(lines[-_LOG_TAIL_LINES:])[-_LOG_TAIL_BYTES:].decode(errors="replace")

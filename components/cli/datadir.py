"""Where everything of one cluster lies: a single relocatable folder. Only names; nothing here creates or decides."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


def default_data_dir() -> Path:
    """`$KUBEGLASS_HOME`, else `~/.kubeglass`."""
    home = os.environ.get("KUBEGLASS_HOME")
    return Path(home) if home else Path.home() / ".kubeglass"


@dataclass(frozen=True, slots=True)
class DataDir:
    """The names inside one data dir."""

    root: Path

    @property
    def plan(self) -> Path:
        """What `up` decided: ports, addresses, nodes."""
        return self.root / "cluster.json"

    @property
    def lock(self) -> Path:
        """Held while a command changes the cluster."""
        return self.root / "lock"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.root / "kubeconfig"

    @property
    def prometheus_token(self) -> Path:
        """A bearer token that may read metrics and nothing else."""
        return self.root / "prometheus.token"

    @property
    def token_file(self) -> Path:
        """The API server's static tokens."""
        return self.root / "pki" / "tokens.csv"

    @property
    def pki(self) -> Path:
        """Certificates and keys, named as kubeadm names them."""
        return self.root / "pki"

    @property
    def store(self) -> Path:
        """The embedded store's database."""
        return self.root / "store" / "kubeglass.db"

    @property
    def trace_store(self) -> Path:
        """The collector's database."""
        return self.root / "collector" / "traces.db"

    @property
    def monitoring(self) -> Path:
        """What `up --prometheus` gives its servers: configuration, and their databases."""
        return self.root / "monitoring"

    @property
    def tracing_config(self) -> Path:
        """The TracingConfiguration every component reads."""
        return self.root / "tracing.yaml"

    @property
    def nodes(self) -> Path:
        """One folder per node: Pods, containers, logs."""
        return self.root / "nodes"

    def node(self, name: str) -> Path:
        """The folder of one node."""
        return self.nodes / name

    def log(self, component: str) -> Path:
        """A component's log file."""
        return self.root / "logs" / f"{component.replace('/', '-')}.log"

    def pid(self, component: str) -> Path:
        """A component's process record."""
        return self.root / "run" / f"{component.replace('/', '-')}.pid"

    def pids(self) -> list[Path]:
        """All process records there are."""
        return sorted((self.root / "run").glob("*.pid"))

    def component_kubeconfig(self, user: str) -> Path:
        """The kubeconfig of a component's identity."""
        return self.root / "pki" / f"{user}.conf"

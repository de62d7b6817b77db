"""The loopback network's address plan: which 127.x address belongs to what, and which port is really bound.

A cluster owns one slot s (0..15) of 127.0.0.0/8, so clusters live side by side on one host:
nodes 127.(64+s).0.N, Services 127.(96+s).0.0/16, Pods 127.(128+s).N.0/24 for node N; Pods of simulated nodes, where
nobody listens, come from 127.(192+4s).0.0/14, 128 addresses per node.
ClusterIPs are therefore real addresses that the host and every Pod can reach. Pure, but for one read of /proc.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SLOTS = 16
MAX_SIMULATED_NODES = 2047
_SIMULATED_POD_BITS = 7
PORT_SHIFT = 10000
"""Added to a port that the kernel keeps for privileged users; see `host_port`."""


@dataclass(frozen=True, slots=True)
class AddressPlan:
    """The addresses of one cluster on the loopback network."""

    slot: int

    def __post_init__(self) -> None:
        if not 0 <= self.slot < SLOTS:
            raise ValueError(f"loopback slot must be 0..{SLOTS - 1}, got {self.slot}")

    def node_ip(self, index: int) -> str:
        """The address of node `index` (1, 2, …)."""
        return f"127.{64 + self.slot}.{index >> 8}.{index & 0xFF}"

    @property
    def cluster_cidr(self) -> str:
        """The range all Pod addresses come from."""
        return f"127.{128 + self.slot}.0.0/16"

    def pod_cidr(self, index: int) -> str:
        """The range of the Pods of node `index`."""
        return f"127.{128 + self.slot}.{index}.0/24"

    def simulated_pod_cidr(self, index: int) -> str:
        """The range of the Pods of simulated node `index` (1 to MAX_SIMULATED_NODES)."""
        offset = index << _SIMULATED_POD_BITS
        high, middle, low = 192 + 4 * self.slot + (offset >> 16), offset >> 8 & 0xFF, offset & 0xFF
        return f"127.{high}.{middle}.{low}/{32 - _SIMULATED_POD_BITS}"

    @property
    def simulated_node_ip(self) -> str:
        """Where the process behind all simulated nodes answers."""
        return f"127.{64 + self.slot}.255.254"

    @property
    def service_cidr(self) -> str:
        """The range ClusterIPs come from."""
        return f"127.{96 + self.slot}.0.0/16"

    @property
    def kubernetes_service_ip(self) -> str:
        """The ClusterIP of the `kubernetes` Service."""
        return f"127.{96 + self.slot}.0.1"

    @property
    def dns_service_ip(self) -> str:
        """The ClusterIP of the cluster DNS."""
        return f"127.{96 + self.slot}.0.10"


@cache
def first_unprivileged_port() -> int:
    """The lowest port this process may bind: 0 for root, else what the kernel says (1024 by default)."""
    if os.geteuid() == 0:
        return 0
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024


def host_port(port: int) -> int:
    """The port that is really bound for a Kubernetes `port`.

    Without privilege, ports below the kernel's limit cannot be bound; they are found PORT_SHIFT higher
    (80 is served on 10080). As root the two are the same.
    """
    return port + PORT_SHIFT if 0 < port < first_unprivileged_port() else port

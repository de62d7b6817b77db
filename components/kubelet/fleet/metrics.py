"""What the process of the simulated nodes counts; our own names, since no upstream kubelet serves many nodes."""

from __future__ import annotations

from typing import Final

from kubeglass.telemetry.metrics.definitions import Counter, Gauge
from kubeglass.telemetry.metrics.registry import Registry

NODES: Final = Gauge("kubeglass_simulated_nodes", "Nodes that this process simulates.")
PODS: Final = Gauge("kubeglass_simulated_pods", "Pods bound to simulated nodes.")
STATUS_UPDATES_TOTAL: Final = Counter(
    "kubeglass_simulated_pod_status_updates_total", "Pod statuses written, by the phase they gave.", ("phase",)
)
LEASE_RENEWALS_TOTAL: Final = Counter(
    "kubeglass_simulated_lease_renewals_total", "Node lease renewals, by result.", ("result",)
)
LATE_RENEWALS_SECONDS: Final = Gauge(
    "kubeglass_simulated_lease_lateness_seconds",
    "Seconds the last round of lease renewals took longer than its period.",
)


class FleetMetrics:
    """Bound once."""

    def __init__(self, registry: Registry) -> None:
        self.nodes = registry.bind(NODES)
        self.pods = registry.bind(PODS)
        self.status_updates = registry.bind(STATUS_UPDATES_TOTAL)
        self.lease_renewals = registry.bind(LEASE_RENEWALS_TOTAL)
        self.lateness = registry.bind(LATE_RENEWALS_SECONDS)

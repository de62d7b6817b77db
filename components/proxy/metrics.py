"""What the proxy counts: syncs of its rules, changes it heard of, programming latency. Rows and their binding.

Names, labels and buckets are those of k8s.io/kubernetes/pkg/proxy/metrics v1.36.
"""

from __future__ import annotations

from typing import Final

from kubeglass.telemetry.metrics.definitions import Counter, Gauge, Histogram, exponential, linear, merged
from kubeglass.telemetry.metrics.registry import Registry

DURATION_SECONDS: Final = Histogram(
    "kubeproxy_sync_proxy_rules_duration_seconds",
    "Seconds of one sync.",
    ("ip_family",),
    buckets=exponential(0.001, 2, 15),
)
NETWORK_PROGRAMMING_DURATION_SECONDS: Final = Histogram(
    "kubeproxy_network_programming_duration_seconds",
    "Seconds from the change of a Pod or Service to rules that know it.",
    ("ip_family",),
    buckets=merged(linear(0.25, 0.25, 2), linear(1, 1, 59), linear(60, 5, 12), linear(120, 30, 7)),
)
LAST_TIMESTAMP_SECONDS: Final = Gauge(
    "kubeproxy_sync_proxy_rules_last_timestamp_seconds", "When the rules were last synced successfully.", ("ip_family",)
)
LAST_QUEUED_TIMESTAMP_SECONDS: Final = Gauge(
    "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "When a sync was last asked for.", ("ip_family",)
)
NO_LOCAL_ENDPOINTS_TOTAL: Final = Gauge(
    "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
    "Services with a Local policy and no endpoint on this node.",
    ("traffic_policy", "ip_family"),
)


class SyncMetrics:
    """Observed at the end of each sync of the rules, by IP family."""

    def __init__(self, registry: Registry) -> None:
        self.duration_seconds = registry.bind(DURATION_SECONDS)
        self.network_programming_duration_seconds = registry.bind(NETWORK_PROGRAMMING_DURATION_SECONDS)
        self.last_timestamp_seconds = registry.bind(LAST_TIMESTAMP_SECONDS)
        self.last_queued_timestamp_seconds = registry.bind(LAST_QUEUED_TIMESTAMP_SECONDS)
        self.no_local_endpoints_total = registry.bind(NO_LOCAL_ENDPOINTS_TOTAL)


FULL_DURATION_SECONDS: Final = Histogram(
    "kubeproxy_sync_full_proxy_rules_duration_seconds",
    "Seconds of one sync that wrote all rules.",
    ("ip_family",),
    buckets=exponential(0.001, 2, 15),
)
PARTIAL_DURATION_SECONDS: Final = Histogram(
    "kubeproxy_sync_partial_proxy_rules_duration_seconds",
    "Seconds of one sync that wrote the rules of what changed.",
    ("ip_family",),
    buckets=exponential(0.001, 2, 15),
)
IPTABLES_TOTAL: Final = Gauge(
    "kubeproxy_sync_proxy_rules_iptables_total", "Rules of iptables that the proxy owns.", ("table", "ip_family")
)
IPTABLES_LAST: Final = Gauge(
    "kubeproxy_sync_proxy_rules_iptables_last",
    "Rules of iptables that the last sync wrote.",
    ("table", "ip_family"),
)
RESTORE_FAILURES_TOTAL: Final = Counter(
    "kubeproxy_sync_proxy_rules_iptables_restore_failures_total", "Failures of iptables-restore.", ("ip_family",)
)
PARTIAL_RESTORE_FAILURES_TOTAL: Final = Counter(
    "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total",
    "Syncs of what changed that failed, so that all rules were written next.",
    ("ip_family",),
)

CONNTRACK_DURATION_SECONDS: Final = Histogram(
    "kubeproxy_conntrack_reconciler_sync_duration_seconds",
    "Seconds of one look for flows to endpoints that are gone.",
    ("ip_family",),
    buckets=exponential(0.001, 2, 15),
)
CONNTRACK_DELETED_ENTRIES_TOTAL: Final = Counter(
    "kubeproxy_conntrack_reconciler_deleted_entries_total", "Flows to endpoints that are gone, ended.", ("ip_family",)
)


class IptablesMetrics:
    """Observed by the iptables mode only."""

    def __init__(self, registry: Registry) -> None:
        self.full_duration_seconds = registry.bind(FULL_DURATION_SECONDS)
        self.partial_duration_seconds = registry.bind(PARTIAL_DURATION_SECONDS)
        self.iptables_total = registry.bind(IPTABLES_TOTAL)
        self.iptables_last = registry.bind(IPTABLES_LAST)
        self.restore_failures_total = registry.bind(RESTORE_FAILURES_TOTAL)
        self.partial_restore_failures_total = registry.bind(PARTIAL_RESTORE_FAILURES_TOTAL)
        self.conntrack_duration_seconds = registry.bind(CONNTRACK_DURATION_SECONDS)
        self.conntrack_deleted_entries_total = registry.bind(CONNTRACK_DELETED_ENTRIES_TOTAL)


ENDPOINT_CHANGES_PENDING: Final = Gauge(
    "kubeproxy_sync_proxy_rules_endpoint_changes_pending", "EndpointSlice changes the rules do not know yet."
)
ENDPOINT_CHANGES_TOTAL: Final = Counter(
    "kubeproxy_sync_proxy_rules_endpoint_changes_total", "EndpointSlice changes heard of."
)
SERVICE_CHANGES_PENDING: Final = Gauge(
    "kubeproxy_sync_proxy_rules_service_changes_pending", "Service changes the rules do not know yet."
)
SERVICE_CHANGES_TOTAL: Final = Counter("kubeproxy_sync_proxy_rules_service_changes_total", "Service changes heard of.")


class ChangeMetrics:
    """Counted as Services and EndpointSlices change."""

    def __init__(self, registry: Registry) -> None:
        self.endpoint_changes_pending = registry.bind(ENDPOINT_CHANGES_PENDING)
        self.endpoint_changes_total = registry.bind(ENDPOINT_CHANGES_TOTAL)
        self.service_changes_pending = registry.bind(SERVICE_CHANGES_PENDING)
        self.service_changes_total = registry.bind(SERVICE_CHANGES_TOTAL)


PROXY_HEALTHZ_TOTAL: Final = Counter("kubeproxy_proxy_healthz_total", "Answers of /healthz, by HTTP code.", ("code",))
PROXY_LIVEZ_TOTAL: Final = Counter("kubeproxy_proxy_livez_total", "Answers of /livez, by HTTP code.", ("code",))


class HealthMetrics:
    """Counted for each answer of the health server."""

    def __init__(self, registry: Registry) -> None:
        self.proxy_healthz_total = registry.bind(PROXY_HEALTHZ_TOTAL)
        self.proxy_livez_total = registry.bind(PROXY_LIVEZ_TOTAL)

"""What the cluster DNS counts, under the names of CoreDNS, so that its dashboards and alerts work."""

from __future__ import annotations

from typing import Final

from kubeglass.telemetry.metrics.definitions import NONE, Counter, Gauge, Histogram, exponential
from kubeglass.telemetry.metrics.registry import Registry

BUILD_INFO: Final = Gauge(
    "coredns_build_info", "Always 1; the labels say which build answers.", ("version", "revision", "goversion"), NONE
)
REQUESTS: Final = Counter(
    "coredns_dns_requests_total", "Queries.", ("server", "zone", "view", "proto", "family", "type"), NONE
)
RESPONSES: Final = Counter(
    "coredns_dns_responses_total", "Responses.", ("server", "zone", "view", "rcode", "plugin"), NONE
)
DURATION: Final = Histogram(
    "coredns_dns_request_duration_seconds",
    "Seconds from a query to its response.",
    ("server", "zone", "view"),
    NONE,
    buckets=exponential(0.00025, 2, 16),
)

_TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV"}
"""CoreDNS counts types it does not monitor as `other`."""
_CODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")


class DnsMetrics:
    """Counted at each response. Names outside the cluster belong to the zone `.`."""

    def __init__(self, registry: Registry, version: str, server: str, domain: str) -> None:
        registry.bind(BUILD_INFO).labels(f"{version}+kubeglass", "", "").set(1)
        self._requests = registry.bind(REQUESTS)
        self._responses = registry.bind(RESPONSES)
        self._duration = registry.bind(DURATION)
        self._server = server
        self._domain = f"{domain}."

    def answered(self, protocol: str, type: int, code: int, ours: bool, seconds: float) -> None:
        """One response went out."""
        zone, plugin = (self._domain, "kubernetes") if ours else (".", "forward")
        rcode = _CODES[code] if code < len(_CODES) else str(code)
        self._requests.labels(self._server, zone, "", protocol, "1", _TYPES.get(type, "other")).inc()
        self._responses.labels(self._server, zone, "", rcode, plugin).inc()
        self._duration.labels(self._server, zone, "").observe(seconds)

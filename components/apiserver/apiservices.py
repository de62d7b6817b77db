"""APIServices: the group versions this server serves itself, and which of all APIServices are unavailable.

Upstream's aggregator registers its local ones at start (kube-aggregator.kubernetes.io/automanaged) with these
priorities; they are always available. Answers to k8s.io/kube-aggregator and pkg/controlplane/apiserver/aggregator.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from kubeglass.components.api.kinds import API_SERVICE, Kind
from kubeglass.components.apiserver.metrics import (
    AGGREGATOR_ROWS,
    AGGREGATOR_UNAVAILABLE_APISERVICE,
    AggregatorMetrics,
)
from kubeglass.components.apiserver.storage.records import Change, Filter, Record
from kubeglass.components.apiserver.storage.watchcache import WatchCache
from kubeglass.telemetry.metrics.families import Sample
from kubeglass.telemetry.metrics.registry import Registry

_PRIORITIES: Final[Mapping[tuple[str, str], tuple[int, int]]] = {
    ("", "v1"): (18000, 1),
    ("apps", "v1"): (17800, 15),
    ("events.k8s.io", "v1"): (17750, 5),
    ("authentication.k8s.io", "v1"): (17700, 15),
    ("authorization.k8s.io", "v1"): (17600, 15),
    ("autoscaling", "v1"): (17500, 15),
    ("autoscaling", "v2"): (17500, 30),
    ("batch", "v1"): (17400, 15),
    ("certificates.k8s.io", "v1"): (17300, 15),
    ("networking.k8s.io", "v1"): (17200, 15),
    ("policy", "v1"): (17100, 15),
    ("rbac.authorization.k8s.io", "v1"): (17000, 15),
    ("storage.k8s.io", "v1"): (16800, 15),
    ("apiextensions.k8s.io", "v1"): (16700, 15),
    ("admissionregistration.k8s.io", "v1"): (16700, 15),
    ("scheduling.k8s.io", "v1"): (16600, 15),
    ("coordination.k8s.io", "v1"): (16500, 15),
    ("node.k8s.io", "v1"): (16300, 15),
    ("discovery.k8s.io", "v1"): (16200, 15),
    ("flowcontrol.apiserver.k8s.io", "v1"): (16100, 21),
    ("flowcontrol.apiserver.k8s.io", "v1beta3"): (16100, 18),
    ("flowcontrol.apiserver.k8s.io", "v1beta2"): (16100, 15),
    ("flowcontrol.apiserver.k8s.io", "v1beta1"): (16100, 12),
    ("flowcontrol.apiserver.k8s.io", "v1alpha1"): (16100, 9),
}
_AGGREGATOR_GROUP: Final = "apiregistration.k8s.io"


def local_api_services(kinds: Iterable[Kind], now: str) -> list[dict[str, Any]]:
    """One APIService per served group version, Available since `now`."""
    versions = dict.fromkeys((kind.group, kind.version) for kind in kinds if kind.group != _AGGREGATOR_GROUP)
    return [_local(group, version, now) for group, version in versions]


def _local(group: str, version: str, now: str) -> dict[str, Any]:
    group_priority, version_priority = _PRIORITIES.get((group, version), (1000, 100))
    return {
        "kind": "APIService",
        "apiVersion": "apiregistration.k8s.io/v1",
        "metadata": {
            "name": f"{version}.{group}",
            "labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"},
        },
        "spec": {
            **({"group": group} if group else {}),
            "version": version,
            "groupPriorityMinimum": group_priority,
            "versionPriority": version_priority,
        },
        "status": {
            "conditions": [
                {
                    "type": "Available",
                    "status": "True",
                    "lastTransitionTime": now,
                    "reason": "Local",
                    "message": "Local APIServices are always available",
                }
            ]
        },
    }


class ApiServiceAvailability:
    """Shows which APIServices are unavailable, from their conditions, and counts each that becomes so."""

    def __init__(self, registry: Registry, cache: WatchCache) -> None:
        self._metrics = AggregatorMetrics(registry)
        self._cache = cache
        registry.collect(AGGREGATOR_ROWS, self._samples)

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            watcher = self._cache.watch(Filter(API_SERVICE), self._cache.revision)
            while not watcher.ended:
                for _, change in await watcher.take():
                    self._count(change)

    def _count(self, change: Change) -> None:
        if change.before is None or change.after is None:
            return
        now = _availability(change.after)
        if _is_true(_availability(change.before)) and not _is_true(now):
            reason = now.get("reason") or "UnknownReason"
            self._metrics.aggregator_unavailable_apiservice_total.labels(change.after.name, reason).inc()

    def _samples(self) -> Iterator[Sample]:
        for record in self._cache.records():
            available = _is_true(_availability(record))
            yield AGGREGATOR_UNAVAILABLE_APISERVICE, (record.name,), int(not available)


def _availability(record: Record) -> dict[str, Any]:
    """The condition Available; empty when there is none."""
    conditions = (record.decode().get("status") or {}).get("conditions") or ()
    return next((found for found in conditions if found.get("type") == "Available"), {})


def _is_true(condition: Mapping[str, Any]) -> bool:
    return condition.get("status") == "True"

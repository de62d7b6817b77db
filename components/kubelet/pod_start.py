"""How long pods take to start: kubelet_pod_start_* observed once per pod.

The SLI leaves out image pulls and init containers; here that is the time between the sandbox and the first main
container.
"""

from __future__ import annotations

import asyncio
from typing import Any

from kubeglass.components.api.objects import Pod
from kubeglass.components.kubelet.metrics import PodStartMetrics
from kubeglass.components.kubelet.observed import Observed
from kubeglass.components.machinery import clock


class PodStartTracker:
    """Sees each reported status once it changed."""

    def __init__(self, metrics: PodStartMetrics) -> None:
        self._metrics = metrics
        self._running: set[str] = set()
        self._first_network_pod_seen = False

    def reported(self, pod: Pod, status: dict[str, Any], observed: Observed, first_seen: float) -> None:
        """Observe the start of a pod whose containers all run for the first time."""
        uid = pod.metadata.uid
        all_running = all("running" in container["state"] for container in status["containerStatuses"])
        if status["phase"] != "Running" or not all_running or uid in self._running:
            return
        self._running.add(uid)
        self._metrics.pod_start_duration_seconds.observe(asyncio.get_running_loop().time() - first_seen)
        total = max(0.0, clock.now() - clock.parse(pod.metadata.creation_timestamp))
        self._metrics.pod_start_total_duration_seconds.observe(total)
        sli = max(0.0, total - _excluded_seconds(pod, observed))
        self._metrics.pod_start_sli_duration_seconds.observe(sli)
        if not pod.spec.host_network and not self._first_network_pod_seen:
            self._first_network_pod_seen = True
            self._metrics.first_network_pod_start_sli_duration_seconds.set(sli)

    def forget(self, pod_uid: str) -> None:
        """The pod is gone."""
        self._running.discard(pod_uid)


def _excluded_seconds(pod: Pod, observed: Observed) -> float:
    sandbox = observed.sandbox
    starts = [c.started_at for spec in pod.spec.containers if (c := observed.latest(spec.name)) and c.started_at]
    if sandbox is None or not starts:
        return 0.0
    return max(0.0, (min(starts) - sandbox.created_at) / 1e9)

"""Tells the API server how pods are: one patch of pods/status per change, and the final delete of a pod that is gone.

Statuses are set by pod workers and written here, so that a slow or absent API server never holds up a pod. The newest
status of a pod wins; what is equal to what was sent last is not sent. A write's span begins when the status changed, so
that it shows how long the status waited for others'. Upstream: pkg/kubelet/status/status_manager.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api.errors import ApiError, Conflict, NotFound
from kubeglass.components.api.kinds import POD
from kubeglass.components.api.objects import Pod
from kubeglass.components.api.semantics import about
from kubeglass.components.kubelet.metrics import PodWorkerMetrics
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.transport import Unreachable
from kubeglass.telemetry import Telemetry
from kubeglass.telemetry.tracing.context import SpanContext, current_context
from kubeglass.telemetry.tracing.tracer import use

_RETRY_SECONDS = 0.5
_RETRY_MAX_SECONDS = 10.0


@dataclass(slots=True)
class _Entry:
    pod: Pod
    status: dict[str, Any]
    since: float
    since_ns: int
    cause: SpanContext | None
    sent: dict[str, Any] | None = None
    delete: bool = False


class StatusManager:
    """The statuses of one node's pods, by uid."""

    def __init__(
        self,
        client: Client,
        metrics: PodWorkerMetrics,
        telemetry: Telemetry,
        uid_on_server: Callable[[Pod], str | None] = lambda pod: pod.metadata.uid,
    ) -> None:
        self._client = client
        self._uid_on_server = uid_on_server
        self._metrics = metrics
        self._log = telemetry.log
        self._tracer = telemetry.tracer
        self._entries: dict[str, _Entry] = {}
        self._dirty: dict[str, None] = {}
        self._wake = asyncio.Event()

    def set(self, pod: Pod, status: dict[str, Any]) -> bool:
        """The pod's present status; whether it differs from the last one set."""
        uid = pod.metadata.uid
        entry = self._entries.get(uid)
        changed = entry is None or entry.status != status
        if entry is None:
            entry = self._entries[uid] = _Entry(pod, status, self._now(), clock.now_ns(), current_context())
        elif changed:
            entry.status, entry.cause = status, current_context()
            entry.since, entry.since_ns = self._now(), clock.now_ns()
        entry.pod = pod
        if changed:
            self._mark(uid)
        return changed

    def last(self, pod_uid: str) -> dict[str, Any] | None:
        """What was set last."""
        entry = self._entries.get(pod_uid)
        return entry.status if entry else None

    def shown(self, pod_uid: str) -> None:
        """The API server has a mirror of the static pod, a new one perhaps: it needs the whole status."""
        entry = self._entries.get(pod_uid)
        if entry is not None:
            entry.sent = None
            self._mark(pod_uid)

    def finish(self, pod: Pod) -> None:
        """Nothing of the pod is left on the node: delete it from the API server after its last status."""
        entry = self._entries.get(pod.metadata.uid)
        if entry is None:
            entry = self._entries[pod.metadata.uid] = _Entry(
                pod, {}, self._now(), clock.now_ns(), current_context(), sent={}
            )
        entry.delete, entry.cause = True, current_context() or entry.cause
        self._mark(pod.metadata.uid)

    def forget(self, pod_uid: str) -> None:
        """The API server no longer has the pod."""
        self._entries.pop(pod_uid, None)
        self._dirty.pop(pod_uid, None)

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Write what is to be written until cancelled."""
        started()
        retry = _RETRY_SECONDS
        while True:
            await self._wake.wait()
            self._wake.clear()
            failed = [uid for uid in tuple(self._dirty) if not await self._write(uid)]
            if failed:
                await asyncio.sleep(retry)
                retry = min(retry * 2, _RETRY_MAX_SECONDS)
                self._wake.set()
            else:
                retry = _RETRY_SECONDS

    def _mark(self, uid: str) -> None:
        self._dirty[uid] = None
        self._wake.set()

    async def _write(self, uid: str) -> bool:
        """Whether the pod is done with; False to try again."""
        self._dirty.pop(uid, None)
        entry = self._entries.get(uid)
        if entry is None:
            return True
        try:
            with use(entry.cause) if entry.cause else nullcontext():
                await self._write_entry(entry)
        except (NotFound, Conflict) as error:  # gone, or another pod of the same name
            self._log.v(3).info("Pod does not exist on the server", podUID=uid, reason=str(error))
            self.forget(uid)
        except (ApiError, Unreachable) as error:
            self._log.error(error, "Failed to update status for pod", pod=entry.pod.key)
            self._dirty[uid] = None
            return False
        return True

    async def _write_entry(self, entry: _Entry) -> None:
        meta, status = entry.pod.metadata, entry.status
        uid = self._uid_on_server(entry.pod)
        if uid is None:
            return  # a static pod without its mirror: `shown` will tell
        if entry.sent != status:
            patch = {"metadata": {"uid": uid}, "status": status}
            since, attributes = entry.since, about(POD, meta.namespace, meta.name, meta.uid)
            with self._tracer.span("pod status sync", start_ns=entry.since_ns, attributes=attributes):
                await self._client.patch(
                    POD, meta.name, patch, meta.namespace, patch_type="strategic", subresource="status"
                )
            entry.sent = status
            self._metrics.pod_status_sync_duration_seconds.observe(max(0.0, self._now() - since))
        if entry.delete and uid == meta.uid:
            await self._client.delete(POD, meta.name, meta.namespace, grace_period_seconds=0, uid=meta.uid)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

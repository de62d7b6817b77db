"""Finished Jobs go when their ttlSecondsAfterFinished has passed. Upstream: ttl-after-finished-controller."""

from __future__ import annotations

from collections.abc import Callable

from kubeglass.components.api.kinds import JOB
from kubeglass.components.controllers.actions import Delete
from kubeglass.components.controllers.context import ControllerContext, follow
from kubeglass.components.controllers.metrics import TtlAfterFinishedMetrics
from kubeglass.components.controllers.views import Job
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler


def expires_at(job: Job) -> float | None:
    """When the Job is to be deleted; None when never."""
    ttl = job.spec.ttl_seconds_after_finished
    if ttl is None or job.metadata.deletion_timestamp:
        return None
    for found in job.status.conditions:
        if found.type in ("Complete", "Failed") and found.status == "True" and found.last_transition_time:
            return clock.parse(found.last_transition_time) + ttl
    return None


class TtlAfterFinishedController:
    """Watches Jobs."""

    name = "ttl-after-finished-controller"
    kind = JOB

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._metrics = TtlAfterFinishedMetrics(context.telemetry.metrics)
        self._jobs = context.informers.of(JOB, Job)
        self.queue = context.queue("ttl_jobs_to_delete")
        follow(self._jobs, self.queue)

    async def run(self, started: Callable[[], None]) -> None:
        await run_reconciler(self, self.queue, self._telemetry, workers=5, started=started)

    async def reconcile(self, key: str) -> Result:
        job = self._jobs.get(key)
        expiry = expires_at(job) if job is not None else None
        if job is None or expiry is None:
            return DONE
        left = expiry - clock.now()
        if left > 0:
            return Result(left)
        meta = job.metadata
        await self._writer.apply([Delete(JOB, meta.name, meta.namespace, meta.uid, propagation_policy="Foreground")])
        self._metrics.ttl_after_finished_controller_job_deletion_duration_seconds.observe(-left)
        return DONE

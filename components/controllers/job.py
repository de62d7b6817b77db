"""Jobs: run Pods until enough have succeeded, or too many failed. What comes next is jobplan.py's to say; here it is
done, measured and said. Upstream: job-controller.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from kubeglass.components.api.kinds import JOB, POD
from kubeglass.components.api.objects import Pod
from kubeglass.components.api.selectors import from_label_selector
from kubeglass.components.controllers.actions import Action, CreatePods, DeletePods, Patch, Plan
from kubeglass.components.controllers.context import ControllerContext, candidates, follow, follow_members
from kubeglass.components.controllers.jobplan import ENDINGS, FINALIZER, Observed, indexes, plan
from kubeglass.components.controllers.metrics import JobMetrics
from kubeglass.components.controllers.ownership import claim
from kubeglass.components.controllers.podstate import is_finished
from kubeglass.components.controllers.views import Job
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.informer import Change
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler

_MANAGER = "kubernetes.io/job-controller"


class JobController:
    """Watches Jobs and their Pods."""

    name = "job-controller"
    kind = JOB

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._metrics = JobMetrics(context.telemetry.metrics)
        self._jobs = context.informers.of(JOB, Job)
        self._pods = context.informers.of(POD, Pod)
        self.queue = context.queue("job")
        follow(self._jobs, self.queue)
        follow_members(self._pods, self._jobs, JOB, self.queue, lambda job: job.spec.selector)
        self._jobs.subscribe(self._job_seen)
        self._pods.subscribe(self._pod_seen)

    async def run(self, started: Callable[[], None]) -> None:
        await run_reconciler(self, self.queue, self._telemetry, workers=5, started=started)

    async def reconcile(self, key: str) -> Result:
        job = self._jobs.get(key)
        if job is None or _managed_by_another(job):
            return DONE
        selector = from_label_selector(job.spec.selector)
        pods, claims = claim(JOB, job, selector, POD, candidates(self._pods, job))
        if claims:
            await self._writer.apply(claims)
            return Result(0)
        began = time.perf_counter()
        step = plan(Observed(job, pods), clock.now())
        action = _what(step.actions)
        mode = job.spec.completion_mode or "NonIndexed"
        result = "error"
        try:
            await self._writer.apply(step.actions)
            result = "success"
        finally:
            labels = (mode, result, action)
            for created in (action for action in step.actions if isinstance(action, CreatePods)):
                status = "succeeded" if result == "success" else "failed"
                self._metrics.job_controller_job_pods_creation_total.labels(_why(job, pods), status).inc(
                    len(created.pods)
                )
            self._metrics.job_controller_job_syncs_total.labels(*labels).inc()
            self._metrics.job_controller_job_sync_duration_seconds.labels(*labels).observe(time.perf_counter() - began)
        for verdict, count in step.facts.items():
            self._metrics.job_controller_pod_failures_handled_by_failure_policy_total.labels(verdict).inc(count)
        self._count(job, mode, step)
        return Result(step.requeue_after_seconds)

    def _count(self, job: Job, mode: str, step: Plan) -> None:
        for action in step.actions:
            if not isinstance(action, Patch) or action.subresource != "status":
                continue
            changed = action.patch["status"]
            completed = indexes(changed.get("completedIndexes") or "") - indexes(job.status.completed_indexes)
            self._metrics.job_controller_job_finished_indexes_total.labels("succeeded", "global").inc(len(completed))
            for result, before in (("succeeded", job.status.succeeded), ("failed", job.status.failed)):
                if result in changed:
                    finished = self._metrics.job_controller_job_pods_finished_total.labels(mode, result)
                    finished.inc(max(0, changed[result] - before))
            for found in changed.get("conditions", ()):
                if found["type"] in ENDINGS:
                    result = "succeeded" if found["type"] == "Complete" else "failed"
                    self._metrics.job_controller_jobs_finished_total.labels(mode, result, found["reason"]).inc()

    def _job_seen(self, change: Change[Job]) -> None:
        if change.type == "ADDED" and _managed_by_another(change.new):
            self._metrics.job_controller_jobs_by_external_controller_total.labels(change.new.spec.managed_by).inc()

    def _pod_seen(self, change: Change[Pod]) -> None:
        """Count Pods that have ended and still carry the finalizer, as they appear and as they lose it."""
        before = change.old is not None and _ended_and_held(change.old)
        now = change.type != "DELETED" and _ended_and_held(change.new)
        if before != now:
            event = "add" if now else "delete"
            self._metrics.job_controller_terminated_pods_tracking_finalizer_total.labels(event).inc()


def _managed_by_another(job: Job) -> bool:
    return job.spec.managed_by not in ("", _MANAGER)


def _ended_and_held(pod: Pod) -> bool:
    return is_finished(pod) and FINALIZER in pod.metadata.finalizers


def _why(job: Job, pods: Sequence[Pod]) -> str:
    """Why Pods are created, in the words of the metric."""
    failed = job.status.failed > 0 or any(pod.status.phase == "Failed" for pod in pods)
    if job.spec.pod_replacement_policy == "Failed":
        return "recreate_failed" if failed else "new"
    ending = any(pod.metadata.deletion_timestamp and not is_finished(pod) for pod in pods)
    return "recreate_terminating_or_failed" if failed or ending else "new"


def _what(actions: Sequence[Action]) -> str:
    """What a sync did, in the words of its metric."""
    if any(isinstance(action, CreatePods) for action in actions):
        return "pods_created"
    if any(isinstance(action, DeletePods) for action in actions):
        return "pods_deleted"
    tracking = any(isinstance(action, Patch) and action.kind is POD for action in actions)
    return "tracking" if tracking else "reconciling"

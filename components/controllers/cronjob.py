"""CronJobs: make a Job whenever the schedule says so, and keep only some of the finished ones.

A schedule that was missed is made up for once, the latest time counting. Upstream: cronjob-controller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kubeglass.components.api.kinds import CRON_JOB, JOB
from kubeglass.components.api.objects import encode
from kubeglass.components.controllers.actions import Action, Create, Delete, Emit, Patch, Plan
from kubeglass.components.controllers.context import CONTROLLER, ControllerContext, follow, follow_members
from kubeglass.components.controllers.cronschedule import Schedule, ScheduleError, at, parse
from kubeglass.components.controllers.jobplan import is_over
from kubeglass.components.controllers.metrics import CronJobMetrics
from kubeglass.components.controllers.ownership import owner_reference
from kubeglass.components.controllers.views import CronJob, Job
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler

SCHEDULED_TIME = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_TOO_MANY_MISSED = 100
_SLACK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Observed:
    """A CronJob and the Jobs it made."""

    cron_job: CronJob
    jobs: Sequence[Job]


def plan(observed: Observed, now: float) -> Plan:
    """Start what is due, tidy up what is over, and say when to look again."""
    return _Step(observed, now).plan()


class _Step:
    def __init__(self, observed: Observed, now: float) -> None:
        self.owner, self.jobs, self.now = observed.cron_job, observed.jobs, now
        self.actions: list[Action] = []
        self.facts: dict[str, float] = {}
        stored = observed.cron_job.status
        self.last_schedule = stored.last_schedule_time
        self.last_success = stored.last_successful_time
        self.active = {reference.name: encode(reference) for reference in stored.active}

    def plan(self) -> Plan:
        self._note_finished()
        self._tidy()
        again = None if self.owner.metadata.deletion_timestamp else self._start_due()
        self._state()
        return Plan(tuple(self.actions), again, self.facts)

    def _note_finished(self) -> None:
        known = {job.metadata.name: job for job in self.jobs}
        for name in list(self.active):
            job = known.get(name)
            if job is None:
                del self.active[name]
                message = f"Active job went missing: {name}"
                self.actions.append(Emit(self.owner, "Normal", "MissingJob", message))
            elif is_over(job):
                del self.active[name]
                kind = next(c.type for c in job.status.conditions if c.type in ("Complete", "Failed"))
                message = f"Saw completed job: {name}, condition: {kind}"
                self.actions.append(Emit(self.owner, "Normal", "SawCompletedJob", message))
        for job in self.jobs:
            if not is_over(job) and job.metadata.name not in self.active:
                self.active[job.metadata.name] = _reference(job)
            self.last_success = max(self.last_success, job.status.completion_time)

    def _tidy(self) -> None:
        """Delete finished Jobs beyond the limits, the oldest first."""
        over = sorted((job for job in self.jobs if is_over(job)), key=lambda job: job.status.start_time)
        for type, limit in (
            ("Complete", self.owner.spec.successful_jobs_history_limit),
            ("Failed", self.owner.spec.failed_jobs_history_limit),
        ):
            ended = [j for j in over if any(c.type == type and c.status == "True" for c in j.status.conditions)]
            for job in ended[: max(0, len(ended) - limit)]:
                self._delete(job.metadata.name, job.metadata.uid)

    def _start_due(self) -> float | None:
        spec = self.owner.spec
        try:
            schedule, zone = parse(spec.schedule), _zone(spec.time_zone)
        except (ScheduleError, ZoneInfoNotFoundError, ValueError) as error:
            message = f"unparseable schedule: {spec.schedule!r} : {error}"
            self.actions.append(Emit(self.owner, "Warning", "UnparseableSchedule", message))
            return None
        due, missed, upcoming = _due(schedule, zone, self._since(), self.now)
        again = upcoming - self.now + _SLACK_SECONDS if upcoming is not None else None
        if spec.suspend or due is None:
            return again
        if missed > _TOO_MANY_MISSED:
            message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            self.actions.append(Emit(self.owner, "Warning", "TooManyMissedTimes", message))
        deadline = spec.starting_deadline_seconds
        if deadline is not None and due + deadline < self.now:
            stamp = at(due, UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
            message = f"Missed scheduled time to start a job: {stamp}"
            self.actions.append(Emit(self.owner, "Warning", "MissSchedule", message))
            return again
        self._start(due)
        return again

    def _since(self) -> float:
        stamp = self.last_schedule or self.owner.metadata.creation_timestamp
        since = clock.parse(stamp) if stamp else self.now
        deadline = self.owner.spec.starting_deadline_seconds
        return max(since, self.now - deadline) if deadline is not None else since

    def _start(self, due: float) -> None:
        policy = self.owner.spec.concurrency_policy
        if policy == "Forbid" and self.active:
            message = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self.actions.append(Emit(self.owner, "Normal", "JobAlreadyActive", message))
            return
        if policy == "Replace":
            uids = {job.metadata.name: job.metadata.uid for job in self.jobs}
            for name in list(self.active):
                self._delete(name, uids.get(name, ""))
                del self.active[name]
        job = _job(self.owner, due)
        name = job["metadata"]["name"]
        if not any(found.metadata.name == name for found in self.jobs):
            self.actions.append(Create(JOB, job, ignore_existing=True))
            self.actions.append(Emit(self.owner, "Normal", "SuccessfulCreate", f"Created job {name}"))
            self.facts["skew"] = self.now - due
        self.last_schedule = clock.rfc3339(due)

    def _delete(self, name: str, uid: str) -> None:
        namespace = self.owner.metadata.namespace
        self.actions.append(Delete(JOB, name, namespace, uid, propagation_policy="Background"))
        self.actions.append(Emit(self.owner, "Normal", "SuccessfulDelete", f"Deleted job {name}"))

    def _state(self) -> None:
        status = {
            "active": list(self.active.values()) or None,
            "lastScheduleTime": self.last_schedule or None,
            "lastSuccessfulTime": self.last_success or None,
        }
        stored = encode(self.owner.status)
        changed = {key: value for key, value in status.items() if stored.get(key) != value}
        if changed:
            meta = self.owner.metadata
            patch = {"status": changed}
            self.actions.append(Patch(CRON_JOB, meta.name, meta.namespace, patch, "status", ignore_missing=True))


def _due(schedule: Schedule, zone: tzinfo, since: float, now: float) -> tuple[float | None, int, float | None]:
    """(the latest time that has passed, how many have, the next one)."""
    latest: float | None = None
    missed = 0
    upcoming = schedule.next_after(at(since, zone))
    while upcoming is not None and upcoming.timestamp() <= now:
        latest, missed = upcoming.timestamp(), missed + 1
        if missed > _TOO_MANY_MISSED:
            # Far behind: the minutes in between do not matter, only the last one does.
            start = max(latest, now - 86400.0)
            upcoming = schedule.next_after(at(start, zone))
            while upcoming is not None and upcoming.timestamp() <= now:
                latest = upcoming.timestamp()
                upcoming = schedule.next_after(upcoming)
            break
        upcoming = schedule.next_after(upcoming)
    return latest, missed, upcoming.timestamp() if upcoming else None


def _zone(name: str) -> tzinfo:
    return ZoneInfo(name) if name else UTC


def _job(owner: CronJob, due: float) -> dict[str, Any]:
    template = owner.spec.job_template
    meta = template.get("metadata") or {}
    metadata = {
        "name": f"{owner.metadata.name}-{int(due) // 60}",
        "namespace": owner.metadata.namespace,
        "labels": meta.get("labels") or {},
        "annotations": {**(meta.get("annotations") or {}), SCHEDULED_TIME: clock.rfc3339(due)},
        "ownerReferences": [owner_reference(CRON_JOB, owner)],
    }
    return {"apiVersion": JOB.api_version, "kind": "Job", "metadata": metadata, "spec": template.get("spec") or {}}


def _reference(job: Job) -> dict[str, str]:
    meta = job.metadata
    return {
        "apiVersion": JOB.api_version,
        "kind": "Job",
        "name": meta.name,
        "namespace": meta.namespace,
        "uid": meta.uid,
    }


class CronJobController:
    """Watches CronJobs and their Jobs."""

    name = "cronjob-controller"
    kind = CRON_JOB

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._metrics = CronJobMetrics(context.telemetry.metrics)
        self._cron_jobs = context.informers.of(CRON_JOB, CronJob)
        self._jobs = context.informers.of(JOB, Job)
        self.queue = context.queue("cronjob")
        follow(self._cron_jobs, self.queue)
        follow_members(self._jobs, self._cron_jobs, CRON_JOB, self.queue)

    async def run(self, started: Callable[[], None]) -> None:
        await run_reconciler(self, self.queue, self._telemetry, workers=5, started=started)

    async def reconcile(self, key: str) -> Result:
        found = self._cron_jobs.get(key)
        if found is None:
            return DONE
        step = plan(Observed(found, self._jobs.by_index(CONTROLLER, found.metadata.uid)), clock.now())
        await self._writer.apply(step.actions)
        if "skew" in step.facts:
            self._metrics.cronjob_controller_job_creation_skew_duration_seconds.observe(step.facts["skew"])
        return Result(step.requeue_after_seconds)

"""Read-only views: Jobs and CronJobs (batch/v1)."""

from __future__ import annotations

from kubeglass.components.api.objects.meta import LabelSelector, ObjectMeta, Resource
from kubeglass.components.api.objects.pod import ObjectReference, PodTemplateSpec
from kubeglass.components.api.objects.struct import Object


class PodFailurePolicyOnExitCodesRequirement(Object):
    container_name: str = ""
    operator: str = ""
    values: tuple[int, ...] = ()


class PodFailurePolicyOnPodConditionsPattern(Object):
    status: str = ""
    type: str = ""


class PodFailurePolicyRule(Object):
    action: str = ""
    on_exit_codes: PodFailurePolicyOnExitCodesRequirement | None = None
    on_pod_conditions: tuple[PodFailurePolicyOnPodConditionsPattern, ...] = ()


class PodFailurePolicy(Object):
    rules: tuple[PodFailurePolicyRule, ...] = ()


class SuccessPolicyRule(Object):
    succeeded_count: int | None = None
    succeeded_indexes: str = ""


class SuccessPolicy(Object):
    rules: tuple[SuccessPolicyRule, ...] = ()


class JobSpec(Object):
    active_deadline_seconds: int | None = None
    backoff_limit: int = 6
    backoff_limit_per_index: int | None = None
    completion_mode: str = ""
    completions: int | None = None
    managed_by: str = ""
    manual_selector: bool = False
    max_failed_indexes: int | None = None
    parallelism: int | None = None
    pod_failure_policy: PodFailurePolicy | None = None
    pod_replacement_policy: str = ""
    selector: LabelSelector | None = None
    success_policy: SuccessPolicy | None = None
    suspend: bool | None = None
    template: PodTemplateSpec = PodTemplateSpec()
    ttl_seconds_after_finished: int | None = None


class JobCondition(Object):
    last_probe_time: str = ""
    last_transition_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class UncountedTerminatedPods(Object):
    failed: tuple[str, ...] = ()
    succeeded: tuple[str, ...] = ()


class JobStatus(Object):
    active: int = 0
    completed_indexes: str = ""
    completion_time: str = ""
    conditions: tuple[JobCondition, ...] = ()
    failed: int = 0
    failed_indexes: str = ""
    ready: int = 0
    start_time: str = ""
    succeeded: int = 0
    terminating: int = 0
    uncounted_terminated_pods: UncountedTerminatedPods | None = None


class Job(Resource):
    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()


class JobTemplateSpec(Object):
    metadata: ObjectMeta = ObjectMeta()
    spec: JobSpec = JobSpec()


class CronJobSpec(Object):
    concurrency_policy: str = ""
    failed_jobs_history_limit: int = 1
    job_template: JobTemplateSpec = JobTemplateSpec()
    schedule: str = ""
    starting_deadline_seconds: int | None = None
    successful_jobs_history_limit: int = 3
    suspend: bool | None = None
    time_zone: str = ""


class CronJobStatus(Object):
    active: tuple[ObjectReference, ...] = ()
    last_schedule_time: str = ""
    last_successful_time: str = ""


class CronJob(Resource):
    spec: CronJobSpec = CronJobSpec()
    status: CronJobStatus = CronJobStatus()

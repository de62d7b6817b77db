"""kube_deployment_*, kube_replicaset_*, kube_statefulset_*, kube_daemonset_*, kube_job_*, kube_cronjob_* …. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kubeglass.components.api.objects import Deployment, HorizontalPodAutoscaler, Job, StatefulSet
from kubeglass.components.statemetrics.writing import (
    OWNER_LABELS,
    Family,
    Sample,
    condition,
    created,
    deleted,
    namespaced,
    one,
    owners,
    some,
    when,
)

_DEPLOYMENT = namespaced("kube_deployment", "deployment")
_REPLICA_SET = namespaced("kube_replicaset", "replicaset")
_STATEFUL_SET = namespaced("kube_statefulset", "statefulset")
_DAEMON_SET = namespaced("kube_daemonset", "daemonset")
_JOB = namespaced("kube_job", "job_name")
_CRON_JOB = namespaced("kube_cronjob", "cronjob")
_AUTOSCALER = namespaced("kube_horizontalpodautoscaler", "horizontalpodautoscaler")
_BUDGET = namespaced("kube_poddisruptionbudget", "poddisruptionbudget")
_CONTROLLER = namespaced("kube_replicationcontroller", "replicationcontroller")


def _scaled(value: int | str | None, total: int, *, up: bool) -> float:
    if isinstance(value, str) and value.endswith("%"):
        hundredths = int(value[:-1]) * total
        return -(-hundredths // 100) if up else hundredths // 100
    return float(value or 0)


def _max_surge(deployment: Deployment) -> Iterable[Sample]:
    rolling = deployment.spec.strategy.rolling_update
    return one(_scaled(rolling.max_surge, deployment.spec.replicas, up=True)) if rolling else ()


def _max_unavailable(deployment: Deployment) -> Iterable[Sample]:
    rolling = deployment.spec.strategy.rolling_update
    return one(_scaled(rolling.max_unavailable, deployment.spec.replicas, up=False)) if rolling else ()


def _deployment_conditions(deployment: Deployment) -> Iterator[Sample]:
    for found in deployment.status.conditions:
        yield from condition(found.status, found.reason, found.type)


DEPLOYMENTS: tuple[Family, ...] = (
    _DEPLOYMENT.gauge("created", "Unix creation timestamp", created),
    _DEPLOYMENT.gauge("deletion_timestamp", "Unix deletion timestamp", deleted),
    _DEPLOYMENT.gauge("status_replicas", "The number of replicas per deployment.", lambda d: one(d.status.replicas)),
    _DEPLOYMENT.gauge(
        "status_replicas_ready", "The number of ready replicas per deployment.", lambda d: one(d.status.ready_replicas)
    ),
    _DEPLOYMENT.gauge(
        "status_replicas_available",
        "The number of available replicas per deployment.",
        lambda d: one(d.status.available_replicas),
    ),
    _DEPLOYMENT.gauge(
        "status_replicas_unavailable",
        "The number of unavailable replicas per deployment.",
        lambda d: one(d.status.unavailable_replicas),
    ),
    _DEPLOYMENT.gauge(
        "status_replicas_updated",
        "The number of updated replicas per deployment.",
        lambda d: one(d.status.updated_replicas),
    ),
    _DEPLOYMENT.gauge(
        "status_observed_generation",
        "The generation observed by the deployment controller.",
        lambda d: one(d.status.observed_generation),
    ),
    _DEPLOYMENT.gauge(
        "status_condition",
        "The current status conditions of a deployment.",
        _deployment_conditions,
        "reason",
        "condition",
        "status",
    ),
    _DEPLOYMENT.gauge("spec_replicas", "Number of desired pods for a deployment.", lambda d: one(d.spec.replicas)),
    _DEPLOYMENT.gauge(
        "spec_paused",
        "Whether the deployment is paused and will not be processed by the deployment controller.",
        lambda d: one(d.spec.paused),
    ),
    _DEPLOYMENT.gauge(
        "spec_strategy_rollingupdate_max_unavailable",
        "Maximum number of unavailable replicas during a rolling update of a deployment.",
        _max_unavailable,
    ),
    _DEPLOYMENT.gauge(
        "spec_strategy_rollingupdate_max_surge",
        "Maximum number of replicas that can be scheduled above the desired number of replicas during a rolling "
        "update of a deployment.",
        _max_surge,
    ),
    _DEPLOYMENT.gauge(
        "metadata_generation",
        "Sequence number representing a specific generation of the desired state.",
        lambda d: one(d.metadata.generation),
    ),
    _DEPLOYMENT.gauge(
        "owner", "Information about the Deployment's owner.", lambda d: owners(d.metadata), *OWNER_LABELS
    ),
)

REPLICA_SETS: tuple[Family, ...] = (
    _REPLICA_SET.gauge("created", "Unix creation timestamp", created),
    _REPLICA_SET.gauge("status_replicas", "The number of replicas per ReplicaSet.", lambda r: one(r.status.replicas)),
    _REPLICA_SET.gauge(
        "status_fully_labeled_replicas",
        "The number of fully labeled replicas per ReplicaSet.",
        lambda r: one(r.status.fully_labeled_replicas),
    ),
    _REPLICA_SET.gauge(
        "status_ready_replicas",
        "The number of ready replicas per ReplicaSet.",
        lambda r: one(r.status.ready_replicas),
    ),
    _REPLICA_SET.gauge(
        "status_observed_generation",
        "The generation observed by the ReplicaSet controller.",
        lambda r: one(r.status.observed_generation),
    ),
    _REPLICA_SET.gauge("spec_replicas", "Number of desired pods for a ReplicaSet.", lambda r: one(r.spec.replicas)),
    _REPLICA_SET.gauge(
        "metadata_generation",
        "Sequence number representing a specific generation of the desired state.",
        lambda r: one(r.metadata.generation),
    ),
    _REPLICA_SET.gauge(
        "owner", "Information about the ReplicaSet's owner.", lambda r: owners(r.metadata), *OWNER_LABELS
    ),
)


def _retention(stateful_set: StatefulSet) -> Iterable[Sample]:
    policy = stateful_set.spec.persistent_volume_claim_retention_policy
    return one(1, policy.when_deleted, policy.when_scaled) if policy else ()


def _ordinals(stateful_set: StatefulSet) -> Iterable[Sample]:
    return one(stateful_set.spec.ordinals.start) if stateful_set.spec.ordinals else ()


STATEFUL_SETS: tuple[Family, ...] = (
    _STATEFUL_SET.gauge("created", "Unix creation timestamp", created),
    _STATEFUL_SET.gauge("status_replicas", "The number of replicas per StatefulSet.", lambda s: one(s.status.replicas)),
    _STATEFUL_SET.gauge(
        "status_replicas_available",
        "The number of available replicas per StatefulSet.",
        lambda s: one(s.status.available_replicas),
    ),
    _STATEFUL_SET.gauge(
        "status_replicas_current",
        "The number of current replicas per StatefulSet.",
        lambda s: one(s.status.current_replicas),
    ),
    _STATEFUL_SET.gauge(
        "status_replicas_ready",
        "The number of ready replicas per StatefulSet.",
        lambda s: one(s.status.ready_replicas),
    ),
    _STATEFUL_SET.gauge(
        "status_replicas_updated",
        "The number of updated replicas per StatefulSet.",
        lambda s: one(s.status.updated_replicas),
    ),
    _STATEFUL_SET.gauge(
        "status_observed_generation",
        "The generation observed by the StatefulSet controller.",
        lambda s: one(s.status.observed_generation),
    ),
    _STATEFUL_SET.gauge("replicas", "Number of desired pods for a StatefulSet.", lambda s: one(s.spec.replicas)),
    _STATEFUL_SET.gauge("ordinals_start", "Start ordinal of the StatefulSet.", _ordinals),
    _STATEFUL_SET.gauge(
        "metadata_generation",
        "Sequence number representing a specific generation of the desired state for the StatefulSet.",
        lambda s: one(s.metadata.generation),
    ),
    _STATEFUL_SET.gauge(
        "persistentvolumeclaim_retention_policy",
        "Count of retention policy for StatefulSet template PVCs",
        _retention,
        "when_deleted",
        "when_scaled",
    ),
    _STATEFUL_SET.gauge(
        "status_current_revision",
        "Indicates the version of the StatefulSet used to generate Pods in the sequence [0,currentReplicas).",
        lambda s: one(1, s.status.current_revision),
        "revision",
    ),
    _STATEFUL_SET.gauge(
        "status_update_revision",
        "Indicates the version of the StatefulSet used to generate Pods in the sequence "
        "[replicas-updatedReplicas,replicas)",
        lambda s: one(1, s.status.update_revision),
        "revision",
    ),
)

DAEMON_SETS: tuple[Family, ...] = (
    _DAEMON_SET.gauge("created", "Unix creation timestamp", created),
    _DAEMON_SET.gauge(
        "status_current_number_scheduled",
        "The number of nodes running at least one daemon pod and are supposed to.",
        lambda d: one(d.status.current_number_scheduled),
    ),
    _DAEMON_SET.gauge(
        "status_desired_number_scheduled",
        "The number of nodes that should be running the daemon pod.",
        lambda d: one(d.status.desired_number_scheduled),
    ),
    _DAEMON_SET.gauge(
        "status_number_available",
        "The number of nodes that should be running the daemon pod and have one or more of the daemon pod running "
        "and available",
        lambda d: one(d.status.number_available),
    ),
    _DAEMON_SET.gauge(
        "status_number_misscheduled",
        "The number of nodes running a daemon pod but are not supposed to.",
        lambda d: one(d.status.number_misscheduled),
    ),
    _DAEMON_SET.gauge(
        "status_number_ready",
        "The number of nodes that should be running the daemon pod and have one or more of the daemon pod running "
        "and ready.",
        lambda d: one(d.status.number_ready),
    ),
    _DAEMON_SET.gauge(
        "status_number_unavailable",
        "The number of nodes that should be running the daemon pod and have none of the daemon pod running and "
        "available",
        lambda d: one(d.status.number_unavailable),
    ),
    _DAEMON_SET.gauge(
        "status_observed_generation",
        "The most recent generation observed by the daemon set controller.",
        lambda d: one(d.status.observed_generation),
    ),
    _DAEMON_SET.gauge(
        "status_updated_number_scheduled",
        "The total number of nodes that are running updated daemon pod",
        lambda d: one(d.status.updated_number_scheduled),
    ),
    _DAEMON_SET.gauge(
        "metadata_generation",
        "Sequence number representing a specific generation of the desired state.",
        lambda d: one(d.metadata.generation),
    ),
)

_JOB_FAILURES = ("BackoffLimitExceeded", "DeadlineExceeded", "Evicted")


def _job_status_failed(job: Job) -> Iterator[Sample]:
    failure = next((found for found in job.status.conditions if found.type == "Failed"), None)
    if failure is not None and failure.reason in _JOB_FAILURES:
        for reason in _JOB_FAILURES:
            yield (reason,), float(failure.reason == reason)
    else:
        yield ("",), float(job.status.failed)


def _job_condition(job: Job, type: str) -> Iterator[Sample]:
    for found in job.status.conditions:
        if found.type == type:
            yield from condition(found.status)


JOBS: tuple[Family, ...] = (
    _JOB.gauge("info", "Information about job.", lambda j: one(1)),
    _JOB.gauge("created", "Unix creation timestamp", created),
    _JOB.gauge(
        "spec_parallelism",
        "The maximum desired number of pods the job should run at any given time.",
        lambda j: some(j.spec.parallelism),
    ),
    _JOB.gauge(
        "spec_completions",
        "The desired number of successfully finished pods the job should be run with.",
        lambda j: some(j.spec.completions),
    ),
    _JOB.gauge(
        "spec_active_deadline_seconds",
        "The duration in seconds relative to the startTime that the job may be active before the system tries to "
        "terminate it.",
        lambda j: some(j.spec.active_deadline_seconds),
    ),
    _JOB.gauge(
        "status_succeeded", "The number of pods which reached Phase Succeeded.", lambda j: one(j.status.succeeded)
    ),
    _JOB.gauge(
        "status_failed",
        "The number of pods which reached Phase Failed and the reason for failure.",
        _job_status_failed,
        "reason",
    ),
    _JOB.gauge("status_active", "The number of actively running pods.", lambda j: one(j.status.active)),
    _JOB.gauge("status_suspended", "Whether the job is suspended.", lambda j: one(bool(j.spec.suspend))),
    _JOB.gauge(
        "complete", "The job has completed its execution.", lambda j: _job_condition(j, "Complete"), "condition"
    ),
    _JOB.gauge("failed", "The job has failed its execution.", lambda j: _job_condition(j, "Failed"), "condition"),
    _JOB.gauge(
        "status_start_time",
        "StartTime represents time when the job was acknowledged by the Job Manager.",
        lambda j: when(j.status.start_time),
    ),
    _JOB.gauge(
        "status_completion_time",
        "CompletionTime represents time when the job was completed.",
        lambda j: when(j.status.completion_time),
    ),
    _JOB.gauge("owner", "Information about the Job's owner.", lambda j: owners(j.metadata), *OWNER_LABELS),
)

CRON_JOBS: tuple[Family, ...] = (
    _CRON_JOB.gauge(
        "info",
        "Info about cronjob.",
        lambda c: one(1, c.spec.schedule, c.spec.concurrency_policy, c.spec.time_zone or "local"),
        "schedule",
        "concurrency_policy",
        "timezone",
    ),
    _CRON_JOB.gauge("created", "Unix creation timestamp", created),
    _CRON_JOB.gauge(
        "status_active",
        "Active holds pointers to currently running jobs.",
        lambda c: one(len(c.status.active)),
    ),
    _CRON_JOB.gauge(
        "status_last_schedule_time",
        "LastScheduleTime keeps information of when was the last time the job was successfully scheduled.",
        lambda c: when(c.status.last_schedule_time),
    ),
    _CRON_JOB.gauge(
        "status_last_successful_time",
        "LastSuccessfulTime keeps information of when was the last time the job was completed successfully.",
        lambda c: when(c.status.last_successful_time),
    ),
    _CRON_JOB.gauge(
        "spec_suspend",
        "Suspend flag tells the controller to suspend subsequent executions.",
        lambda c: one(bool(c.spec.suspend)),
    ),
    _CRON_JOB.gauge(
        "spec_starting_deadline_seconds",
        "Deadline in seconds for starting the job if it misses scheduled time for any reason.",
        lambda c: some(c.spec.starting_deadline_seconds),
    ),
    _CRON_JOB.gauge(
        "spec_successful_job_history_limit",
        "Successful job history limit tells the controller how many completed jobs should be preserved.",
        lambda c: one(c.spec.successful_jobs_history_limit),
    ),
    _CRON_JOB.gauge(
        "spec_failed_job_history_limit",
        "Failed job history limit tells the controller how many failed jobs should be preserved.",
        lambda c: one(c.spec.failed_jobs_history_limit),
    ),
)


def _autoscaler_target(autoscaler: HorizontalPodAutoscaler) -> Iterator[Sample]:
    reference = autoscaler.spec.scale_target_ref
    return one(1, reference.api_version, reference.kind, reference.name)


def _autoscaler_conditions(autoscaler: HorizontalPodAutoscaler) -> Iterator[Sample]:
    for found in autoscaler.status.conditions:
        yield from condition(found.status, found.type)


AUTOSCALERS: tuple[Family, ...] = (
    _AUTOSCALER.gauge(
        "info",
        "Information about this autoscaler.",
        _autoscaler_target,
        "scaletargetref_api_version",
        "scaletargetref_kind",
        "scaletargetref_name",
    ),
    _AUTOSCALER.gauge("created", "Unix creation timestamp", created),
    _AUTOSCALER.gauge(
        "metadata_generation",
        "The generation observed by the HorizontalPodAutoscaler controller.",
        lambda a: one(a.metadata.generation),
    ),
    _AUTOSCALER.gauge(
        "spec_max_replicas",
        "Upper limit for the number of pods that can be set by the autoscaler; cannot be smaller than MinReplicas.",
        lambda a: one(a.spec.max_replicas),
    ),
    _AUTOSCALER.gauge(
        "spec_min_replicas",
        "Lower limit for the number of pods that can be set by the autoscaler, default 1.",
        lambda a: one(a.spec.min_replicas),
    ),
    _AUTOSCALER.gauge(
        "status_current_replicas",
        "Current number of replicas of pods managed by this autoscaler.",
        lambda a: one(a.status.current_replicas),
    ),
    _AUTOSCALER.gauge(
        "status_desired_replicas",
        "Desired number of replicas of pods managed by this autoscaler.",
        lambda a: one(a.status.desired_replicas),
    ),
    _AUTOSCALER.gauge(
        "status_condition",
        "The condition of this autoscaler.",
        _autoscaler_conditions,
        "condition",
        "status",
    ),
)

BUDGETS: tuple[Family, ...] = (
    _BUDGET.gauge("created", "Unix creation timestamp", created),
    _BUDGET.gauge("status_current_healthy", "Current number of healthy pods.", lambda b: one(b.status.current_healthy)),
    _BUDGET.gauge(
        "status_desired_healthy",
        "Minimum desired number of healthy pods.",
        lambda b: one(b.status.desired_healthy),
    ),
    _BUDGET.gauge(
        "status_pod_disruptions_allowed",
        "Number of pod disruptions that are currently allowed.",
        lambda b: one(b.status.disruptions_allowed),
    ),
    _BUDGET.gauge(
        "status_expected_pods",
        "Total number of pods counted by this disruption budget.",
        lambda b: one(b.status.expected_pods),
    ),
    _BUDGET.gauge(
        "status_observed_generation",
        "Most recent generation observed when updating this PDB status.",
        lambda b: one(b.status.observed_generation),
    ),
)

REPLICATION_CONTROLLERS: tuple[Family, ...] = (
    _CONTROLLER.gauge("created", "Unix creation timestamp", created),
    _CONTROLLER.gauge(
        "status_replicas",
        "The number of replicas per ReplicationController.",
        lambda r: one(r.status.replicas),
    ),
    _CONTROLLER.gauge(
        "status_ready_replicas",
        "The number of ready replicas per ReplicationController.",
        lambda r: one(r.status.ready_replicas),
    ),
    _CONTROLLER.gauge(
        "spec_replicas", "Number of desired pods for a ReplicationController.", lambda r: one(r.spec.replicas)
    ),
)

"""What the kinds that run Pods must look like, and what their updates may change."""

from __future__ import annotations

from collections.abc import Mapping

from kubeglass.components.api import selectors
from kubeglass.components.api.errors import Cause
from kubeglass.components.api.fielderrors import forbidden, invalid, not_supported, required
from kubeglass.components.api.objects import (
    CronJob,
    DaemonSet,
    Deployment,
    HorizontalPodAutoscaler,
    Job,
    JobSpec,
    LabelSelector,
    PodDisruptionBudget,
    PodTemplateSpec,
    ReplicaSet,
    ReplicationController,
    StatefulSet,
)
from kubeglass.components.api.objects.struct import encode
from kubeglass.components.api.validation import pods
from kubeglass.components.api.validation.containers import NON_NEGATIVE, POSITIVE

IMMUTABLE = "field is immutable"


def deployment(found: Deployment) -> list[Cause]:
    spec = found.spec
    causes = _not_negative("spec.replicas", spec.replicas)
    causes += _selected_template(spec.selector, spec.template, "deployment")
    causes += _always_restarts(spec.template)
    strategy = spec.strategy
    if strategy.type not in ("Recreate", "RollingUpdate"):
        causes.append(not_supported("spec.strategy.type", strategy.type, ("Recreate", "RollingUpdate")))
    elif strategy.type == "Recreate" and strategy.rolling_update is not None:
        text = "may not be specified when strategy `type` is 'Recreate'"
        causes.append(forbidden("spec.strategy.rollingUpdate", text))
    elif strategy.type == "RollingUpdate" and strategy.rolling_update is not None:
        at = "spec.strategy.rollingUpdate"
        unavailable, surge = strategy.rolling_update.max_unavailable, strategy.rolling_update.max_surge
        causes += _count_or_percent(f"{at}.maxUnavailable", unavailable) + _count_or_percent(f"{at}.maxSurge", surge)
        if _is_zero(unavailable) and _is_zero(surge):
            causes.append(invalid(f"{at}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0"))
    causes += _not_negative("spec.minReadySeconds", spec.min_ready_seconds)
    causes += _not_negative("spec.revisionHistoryLimit", spec.revision_history_limit)
    causes += _not_negative("spec.progressDeadlineSeconds", spec.progress_deadline_seconds)
    if spec.progress_deadline_seconds <= spec.min_ready_seconds:
        text = "must be greater than minReadySeconds"
        causes.append(invalid("spec.progressDeadlineSeconds", spec.progress_deadline_seconds, text))
    return causes


def deployment_update(new: Deployment, old: Deployment) -> list[Cause]:
    return _same_selector(new.spec.selector, old.spec.selector)


def replica_set(found: ReplicaSet) -> list[Cause]:
    causes = _not_negative("spec.replicas", found.spec.replicas)
    causes += _not_negative("spec.minReadySeconds", found.spec.min_ready_seconds)
    template = found.spec.template or PodTemplateSpec()
    # upstream's text names deployments here as well
    return causes + _selected_template(found.spec.selector, template, "deployment") + _always_restarts(template)


def replica_set_update(new: ReplicaSet, old: ReplicaSet) -> list[Cause]:
    return _same_selector(new.spec.selector, old.spec.selector)


def replication_controller(found: ReplicationController) -> list[Cause]:
    causes = _not_negative("spec.replicas", found.spec.replicas)
    if not found.spec.selector:
        causes.append(required("spec.selector"))
    if found.spec.template is None:
        return [*causes, required("spec.template")]
    labels = found.spec.template.metadata.labels
    if found.spec.selector and not selectors.from_map(found.spec.selector).matches(labels):
        causes.append(_mismatch(labels))
    return causes + pods.template(found.spec.template, "spec.template") + _always_restarts(found.spec.template)


def stateful_set(found: StatefulSet) -> list[Cause]:
    spec = found.spec
    causes: list[Cause] = []
    if spec.pod_management_policy not in ("OrderedReady", "Parallel"):
        text = "must be 'OrderedReady' or 'Parallel'"
        causes.append(invalid("spec.podManagementPolicy", spec.pod_management_policy, text))
    if spec.update_strategy.type not in ("RollingUpdate", "OnDelete"):
        text = "must be 'RollingUpdate' or 'OnDelete'"
        causes.append(invalid("spec.updateStrategy", encode(spec.update_strategy), text))
    causes += _not_negative("spec.replicas", spec.replicas)
    causes += _not_negative("spec.minReadySeconds", spec.min_ready_seconds)
    causes += _selected(spec.selector, spec.template, "statefulset")
    causes += pods.template_metadata(spec.template, "spec.template")  # its volumes may come from volumeClaimTemplates
    return causes + _always_restarts(spec.template)


def stateful_set_update(new: StatefulSet, old: StatefulSet) -> list[Cause]:
    mutable = (
        "replicas", "ordinals", "template", "updateStrategy", "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds", "revisionHistoryLimit",
    )  # fmt: skip
    if _without(encode(new.spec), mutable) == _without(encode(old.spec), mutable):
        return []
    text = (
        "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
        "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
    )
    return [forbidden("spec", text)]


def daemon_set(found: DaemonSet) -> list[Cause]:
    spec = found.spec
    causes = _selected_template(spec.selector, spec.template, "daemonset") + _always_restarts(spec.template)
    if spec.template.spec.active_deadline_seconds is not None:
        at = "spec.template.spec.activeDeadlineSeconds"
        causes.append(forbidden(at, "activeDeadlineSeconds in DaemonSet is not Supported"))
    if spec.update_strategy.type not in ("RollingUpdate", "OnDelete"):
        causes.append(not_supported("spec.updateStrategy", spec.update_strategy.type, ("RollingUpdate", "OnDelete")))
    causes += _not_negative("spec.minReadySeconds", spec.min_ready_seconds)
    return causes + _not_negative("spec.revisionHistoryLimit", spec.revision_history_limit)


def daemon_set_update(new: DaemonSet, old: DaemonSet) -> list[Cause]:
    return _same_selector(new.spec.selector, old.spec.selector)


def job(found: Job) -> list[Cause]:
    causes = _job_spec(found.spec, "spec")
    if found.spec.selector is None:
        causes.append(required("spec.selector"))
    elif not selectors.from_label_selector(found.spec.selector).matches(found.spec.template.metadata.labels):
        causes.append(_mismatch(found.spec.template.metadata.labels))
    return causes


def job_update(new: Job, old: Job) -> list[Cause]:
    causes = _same_selector(new.spec.selector, old.spec.selector)
    if new.spec.completion_mode != old.spec.completion_mode:
        causes.append(invalid("spec.completionMode", new.spec.completion_mode, IMMUTABLE))
    if new.spec.completions != old.spec.completions and new.spec.completion_mode != "Indexed":
        causes.append(invalid("spec.completions", new.spec.completions, IMMUTABLE))
    if new.spec.template != old.spec.template and not (old.spec.suspend and old.status.start_time == ""):
        causes.append(invalid("spec.template", encode(new.spec.template), IMMUTABLE))
    return causes


def cron_job(found: CronJob) -> list[Cause]:
    causes: list[Cause] = []
    if not found.spec.schedule:
        causes.append(required("spec.schedule"))
    elif (complaint := _schedule(found.spec.schedule)) is not None:
        causes.append(invalid("spec.schedule", found.spec.schedule, complaint))
    if len(found.metadata.name) > 52:
        causes.append(invalid("metadata.name", found.metadata.name, "must be no more than 52 characters"))
    if found.spec.concurrency_policy not in ("Allow", "Forbid", "Replace"):
        supported = ("Allow", "Forbid", "Replace")
        causes.append(not_supported("spec.concurrencyPolicy", found.spec.concurrency_policy, supported))
    causes += _not_negative("spec.successfulJobsHistoryLimit", found.spec.successful_jobs_history_limit)
    causes += _not_negative("spec.failedJobsHistoryLimit", found.spec.failed_jobs_history_limit)
    if found.spec.job_template.spec is not None:
        causes += _job_spec(found.spec.job_template.spec, "spec.jobTemplate.spec")
    return causes


def horizontal_pod_autoscaler(found: HorizontalPodAutoscaler) -> list[Cause]:
    spec = found.spec
    causes: list[Cause] = []
    if spec.min_replicas < 1:
        causes.append(invalid("spec.minReplicas", spec.min_replicas, "must be greater than or equal to 1"))
    if (spec.max_replicas or 0) < 1:
        causes.append(invalid("spec.maxReplicas", spec.max_replicas or 0, POSITIVE))
    elif (spec.max_replicas or 0) < spec.min_replicas:
        text = "must be greater than or equal to `minReplicas`"
        causes.append(invalid("spec.maxReplicas", spec.max_replicas, text))
    for field, value in (("kind", spec.scale_target_ref.kind), ("name", spec.scale_target_ref.name)):
        if not value:
            causes.append(required(f"spec.scaleTargetRef.{field}"))
    return causes


def pod_disruption_budget(found: PodDisruptionBudget) -> list[Cause]:
    spec = found.spec
    causes: list[Cause] = []
    if spec.min_available is not None and spec.max_unavailable is not None:
        text = "minAvailable and maxUnavailable cannot be both set"
        causes.append(invalid("spec", encode(spec), text))
    if spec.min_available is not None:
        causes += _count_or_percent("spec.minAvailable", spec.min_available)
    if spec.max_unavailable is not None:
        causes += _count_or_percent("spec.maxUnavailable", spec.max_unavailable)
    if spec.selector is not None:
        causes += pods.label_selector(spec.selector, "spec.selector")
    return causes


def _job_spec(spec: JobSpec, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for field, value in (
        ("parallelism", spec.parallelism),
        ("completions", spec.completions),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("backoffLimit", spec.backoff_limit),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished),
    ):
        if value is not None:
            causes += _not_negative(f"{path}.{field}", value)
    causes += pods.template(spec.template, f"{path}.template")
    policy = spec.template.spec.restart_policy
    if policy in ("", "Always"):
        text = 'valid values: "OnFailure", "Never"'
        causes.append(required(f"{path}.template.spec.restartPolicy", text))
    return causes


def _selected_template(selector: LabelSelector | None, template: PodTemplateSpec, kind: str) -> list[Cause]:
    return _selected(selector, template, kind) + pods.template(template, "spec.template")


def _selected(selector: LabelSelector | None, template: PodTemplateSpec, kind: str) -> list[Cause]:
    causes: list[Cause] = []
    if selector is None:
        causes.append(required("spec.selector"))
    else:
        causes += pods.label_selector(selector, "spec.selector")
        if not selector.match_labels and not selector.match_expressions:
            causes.append(invalid("spec.selector", {}, f"empty selector is invalid for {kind}"))
        elif not causes and not selectors.from_label_selector(selector).matches(template.metadata.labels):
            causes.append(_mismatch(template.metadata.labels))
    return causes


def _mismatch(labels: Mapping[str, str]) -> Cause:
    return invalid("spec.template.metadata.labels", dict(labels), "`selector` does not match template `labels`")


def _always_restarts(template: PodTemplateSpec) -> list[Cause]:
    policy = template.spec.restart_policy
    at = "spec.template.spec.restartPolicy"
    return [] if policy in ("Always", "") else [not_supported(at, policy, ("Always",))]


def _same_selector(new: LabelSelector | None, old: LabelSelector | None) -> list[Cause]:
    if new == old:
        return []
    return [invalid("spec.selector", encode(new) if new else None, IMMUTABLE)]


def _not_negative(path: str, value: int) -> list[Cause]:
    return [] if value >= 0 else [invalid(path, value, NON_NEGATIVE)]


def _count_or_percent(path: str, value: int | str | None) -> list[Cause]:
    if isinstance(value, str):
        digits = value.removesuffix("%")
        if not (value.endswith("%") and digits.isdigit()):
            text = (
                "a valid percent string must be a numeric string followed by an ending '%' "
                "(e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
            )
            return [invalid(path, value, text)]
        return [] if int(digits) <= 100 else [invalid(path, value, "must not be greater than 100%")]
    return _not_negative(path, value or 0)


def _is_zero(value: int | str | None) -> bool:
    return value in (0, "0%")


def _schedule(text: str) -> str | None:
    """What is wrong with a cron schedule, by its shape alone."""
    if "TZ" in text:
        return "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
    if text.startswith("@"):
        known = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
        return None if text in known or text.startswith("@every ") else f"unrecognized descriptor: {text}"
    fields = text.split()
    return None if len(fields) == 5 else f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]"


def _without(values: Mapping[str, object], left_out: tuple[str, ...]) -> dict[str, object]:
    return {name: value for name, value in values.items() if name not in left_out}

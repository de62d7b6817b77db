"""Defaults of the kinds that run Pods, and of autoscalers."""

from __future__ import annotations

import copy

from kubeglass.components.api.defaults.members import Object, child, fill, items
from kubeglass.components.api.defaults.pods import pod_spec


def _template(spec: Object) -> Object:
    template = child(spec, "template")
    pod_spec(child(template, "spec"))
    return template


def deployment(obj: Object) -> None:
    spec = child(obj, "spec")
    _template(spec)
    fill(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = child(spec, "strategy")
    fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(child(strategy, "rollingUpdate"), maxUnavailable="25%", maxSurge="25%")


def replica_set(obj: Object) -> None:
    spec = child(obj, "spec")
    _template(spec)
    fill(spec, replicas=1)


def replication_controller(obj: Object) -> None:
    spec = child(obj, "spec")
    labels = child(_template(spec), "metadata").get("labels") or {}
    if labels:
        spec.setdefault("selector", dict(labels))
        child(obj, "metadata").setdefault("labels", dict(labels))
    fill(spec, replicas=1)


def stateful_set(obj: Object) -> None:
    spec = child(obj, "spec")
    _template(spec)
    fill(spec, replicas=1, revisionHistoryLimit=10, podManagementPolicy="OrderedReady")
    strategy = child(spec, "updateStrategy")
    fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(child(strategy, "rollingUpdate"), partition=0)
    fill(child(spec, "persistentVolumeClaimRetentionPolicy"), whenDeleted="Retain", whenScaled="Retain")
    for claim in items(spec, "volumeClaimTemplates"):
        fill(claim, kind="PersistentVolumeClaim", apiVersion="v1")
        fill(child(claim, "spec"), volumeMode="Filesystem")
        fill(child(claim, "status"), phase="Pending")


def daemon_set(obj: Object) -> None:
    spec = child(obj, "spec")
    _template(spec)
    fill(spec, revisionHistoryLimit=10)
    strategy = child(spec, "updateStrategy")
    fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(child(strategy, "rollingUpdate"), maxUnavailable=1, maxSurge=0)


def job(obj: Object) -> None:
    spec = child(obj, "spec")
    _template(spec)
    job_spec(spec)
    labels = child(child(spec, "template"), "metadata").get("labels") or {}
    if labels and not child(obj, "metadata").get("labels"):
        child(obj, "metadata")["labels"] = copy.copy(labels)


def job_spec(spec: Object) -> None:
    if spec.get("completions") is None and spec.get("parallelism") is None:
        fill(spec, completions=1, parallelism=1)
    fill(spec, parallelism=1, completionMode="NonIndexed", suspend=False, podReplacementPolicy="TerminatingOrFailed")
    if spec.get("podFailurePolicy"):
        spec["podReplacementPolicy"] = "Failed"
    if spec.get("backoffLimitPerIndex") is not None:
        fill(spec, backoffLimit=2**31 - 1)
    fill(spec, backoffLimit=6)


def cron_job(obj: Object) -> None:
    spec = child(obj, "spec")
    fill(spec, concurrencyPolicy="Allow", suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)
    _template(child(child(spec, "jobTemplate"), "spec"))


def horizontal_pod_autoscaler(obj: Object) -> None:
    spec = child(obj, "spec")
    fill(spec, minReplicas=1)
    if "metrics" not in spec:
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]

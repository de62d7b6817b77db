"""Views whose Pod templates stay raw JSON, so that a template is passed on whole, unknown fields included."""

from __future__ import annotations

from typing import Any

from kubeglass.components.api import objects


class DeploymentSpec(objects.DeploymentSpec):
    template: Any = {}


class Deployment(objects.Deployment):
    spec: DeploymentSpec = DeploymentSpec()


class ReplicaSetSpec(objects.ReplicaSetSpec):
    template: Any = {}


class ReplicaSet(objects.ReplicaSet):
    spec: ReplicaSetSpec = ReplicaSetSpec()


class ReplicationControllerSpec(objects.ReplicationControllerSpec):
    template: Any = {}


class ReplicationController(objects.ReplicationController):
    spec: ReplicationControllerSpec = ReplicationControllerSpec()


class DaemonSetSpec(objects.DaemonSetSpec):
    template: Any = {}


class DaemonSet(objects.DaemonSet):
    spec: DaemonSetSpec = DaemonSetSpec()


class StatefulSetSpec(objects.StatefulSetSpec):
    template: Any = {}
    volume_claim_templates: Any = ()


class StatefulSet(objects.StatefulSet):
    spec: StatefulSetSpec = StatefulSetSpec()


class JobSpec(objects.JobSpec):
    template: Any = {}


class Job(objects.Job):
    spec: JobSpec = JobSpec()


class CronJobSpec(objects.CronJobSpec):
    job_template: Any = {}


class CronJob(objects.CronJob):
    spec: CronJobSpec = CronJobSpec()

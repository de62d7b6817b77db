"""ReplicationControllers: what ReplicaSets were before. Upstream: replicationcontroller-controller."""

from __future__ import annotations

from typing import Any

from kubeglass.components.api.kinds import REPLICATION_CONTROLLER
from kubeglass.components.api.objects import LabelSelector, ReplicaSetStatus, decode, encode
from kubeglass.components.controllers.replicaset import ReplicaSetController, Workload
from kubeglass.components.controllers.views import ReplicaSet, ReplicaSetSpec, ReplicationController


def as_replica_set(found: ReplicationController) -> ReplicaSet:
    """The same wish in the newer words: its selector is a plain map of labels."""
    spec = found.spec
    return ReplicaSet(
        api_version=REPLICATION_CONTROLLER.api_version,
        kind=REPLICATION_CONTROLLER.kind,
        metadata=found.metadata,
        spec=ReplicaSetSpec(
            replicas=spec.replicas,
            min_ready_seconds=spec.min_ready_seconds,
            selector=LabelSelector(match_labels=spec.selector),
            template=spec.template,
        ),
        status=decode(ReplicaSetStatus, encode(found.status)),
    )


REPLICATION_CONTROLLERS: Workload[Any] = Workload(ReplicationController, "replicationmanager", as_replica_set)


class ReplicationControllerController(ReplicaSetController):
    """Watches ReplicationControllers and their Pods."""

    name = "replicationcontroller-controller"
    kind = REPLICATION_CONTROLLER
    workload = REPLICATION_CONTROLLERS

"""What plugins ask of the API beyond Pods and nodes: the workload of a Pod, budgets, claims and volumes."""

from __future__ import annotations

import asyncio
from typing import Any

from kubeglass.components.api.errors import ApiError
from kubeglass.components.api.kinds import (
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD_DISRUPTION_BUDGET,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    SERVICE,
    STATEFUL_SET,
    STORAGE_CLASS,
)
from kubeglass.components.api.objects import (
    LabelSelector,
    PersistentVolume,
    PersistentVolumeClaim,
    PodDisruptionBudget,
    ReplicaSet,
    ReplicationController,
    Service,
    StatefulSet,
    StorageClass,
)
from kubeglass.components.api.volumes import BOUND_BY_CONTROLLER, SELECTED_NODE
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.informer import Change, Informer
from kubeglass.components.machinery.transport import Unreachable
from kubeglass.components.scheduler.plugins.volumes import VolumeSources
from kubeglass.components.scheduler.snapshot import PodInfo
from kubeglass.telemetry import Telemetry

_BIND_TIMEOUT_SECONDS = 600.0


class World:
    """The informers behind the plugins' questions."""

    def __init__(self, client: Client, telemetry: Telemetry) -> None:
        self._client = client
        self.services = Informer(client, SERVICE, Service, telemetry)
        self.replica_sets = Informer(client, REPLICA_SET, ReplicaSet, telemetry)
        self.replication_controllers = Informer(client, REPLICATION_CONTROLLER, ReplicationController, telemetry)
        self.stateful_sets = Informer(client, STATEFUL_SET, StatefulSet, telemetry)
        self.budgets = Informer(client, POD_DISRUPTION_BUDGET, PodDisruptionBudget, telemetry)
        self.claims = Informer(client, PERSISTENT_VOLUME_CLAIM, PersistentVolumeClaim, telemetry)
        self.volumes = Informer(client, PERSISTENT_VOLUME, PersistentVolume, telemetry)
        self.classes = Informer(client, STORAGE_CLASS, StorageClass, telemetry)

    @property
    def informers(self) -> tuple[Informer[Any], ...]:
        """All of them, to be run."""
        return (
            self.services,
            self.replica_sets,
            self.replication_controllers,
            self.stateful_sets,
            self.budgets,
            self.claims,
            self.volumes,
            self.classes,
        )

    def workload_selector(self, pod: PodInfo) -> LabelSelector | None:
        """The selectors of the Services that serve the Pod and of its controller, all together."""
        labels: dict[str, str] = {}
        for service in self.services.list(pod.namespace):
            selector = service.spec.selector
            if selector and all(pod.labels.get(key) == value for key, value in selector.items()):
                labels.update(selector)
        owned = self._controller_selector(pod)
        if owned is not None:
            labels.update(owned.match_labels)
        expressions = owned.match_expressions if owned is not None else ()
        if not labels and not expressions:
            return None
        return LabelSelector(match_labels=labels, match_expressions=expressions)

    def _controller_selector(self, pod: PodInfo) -> LabelSelector | None:
        owner = next((found for found in pod.pod.metadata.owner_references if found.controller), None)
        if owner is None:
            return None
        key = f"{pod.namespace}/{owner.name}"
        if owner.kind == "ReplicaSet" and (replica_set := self.replica_sets.get(key)):
            return replica_set.spec.selector
        if owner.kind == "StatefulSet" and (stateful_set := self.stateful_sets.get(key)):
            return stateful_set.spec.selector
        if owner.kind == "ReplicationController" and (controller := self.replication_controllers.get(key)):
            return LabelSelector(match_labels=controller.spec.selector)
        return None

    def volume_sources(self) -> VolumeSources:
        """How VolumeBinding finds and provisions."""
        return VolumeSources(
            lambda namespace, name: self.claims.get(f"{namespace}/{name}"),
            self.volumes.get,
            self.volumes.list,
            self.classes.get,
            self._bind_claim,
        )

    async def _bind_claim(self, claim: PersistentVolumeClaim, node_name: str, volume: PersistentVolume | None) -> str:
        """Give the claim the volume, or name the node to whoever makes one; wait until the two are bound."""
        outcome: asyncio.Queue[str] = asyncio.Queue()

        def changed(change: Change[PersistentVolumeClaim]) -> None:
            if change.key != claim.key:
                return
            found = change.new
            if change.type == "DELETED" or found.metadata.uid != claim.metadata.uid:
                outcome.put_nowait(f'PVC "{claim.key}" was deleted')
            elif found.status.phase == "Bound":
                outcome.put_nowait("")
            elif change.old is not None and volume is None and _gave_up(change.old, found):
                outcome.put_nowait(f'provisioning failed for PVC "{claim.metadata.name}"')

        unsubscribe = self.claims.subscribe(changed)
        try:
            async with asyncio.timeout(_BIND_TIMEOUT_SECONDS):
                await (self._promise(claim, volume) if volume is not None else self._select_node(claim, node_name))
                return await outcome.get()
        except TimeoutError:
            return "context deadline exceeded"
        except (ApiError, Unreachable) as failed:
            return str(failed)
        finally:
            unsubscribe()

    async def _select_node(self, claim: PersistentVolumeClaim, node_name: str) -> None:
        meta = claim.metadata
        patch = {"metadata": {"annotations": {SELECTED_NODE: node_name}, "uid": meta.uid}}
        await self._client.patch(PERSISTENT_VOLUME_CLAIM, meta.name, patch, meta.namespace)

    async def _promise(self, claim: PersistentVolumeClaim, volume: PersistentVolume) -> None:
        """Write the claim on the volume; the binder does the rest."""
        meta = claim.metadata
        reference = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": meta.namespace}
        reference |= {"name": meta.name, "uid": meta.uid}
        patch = {
            "metadata": {
                "annotations": {BOUND_BY_CONTROLLER: "yes"},
                "resourceVersion": volume.metadata.resource_version,
            },
            "spec": {"claimRef": reference},
        }
        await self._client.patch(PERSISTENT_VOLUME, volume.metadata.name, patch)


def _gave_up(old: PersistentVolumeClaim, new: PersistentVolumeClaim) -> bool:
    """The provisioner took back the chosen node: it cannot make a volume there."""
    return SELECTED_NODE in old.metadata.annotations and SELECTED_NODE not in new.metadata.annotations

"""Volumes decide too: claims must exist and be bound (or wait for a node), and their volumes' nodes are the Pod's.

Provisioning is the volume controller's; this plugin only says which node a waiting claim goes to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kubeglass.components.api import placement
from kubeglass.components.api.objects import PersistentVolume, PersistentVolumeClaim, StorageClass
from kubeglass.components.scheduler.framework import SKIP, SUCCESS, CycleState, Status, error, unresolvable
from kubeglass.components.scheduler.snapshot import NodeInfo, PodInfo, Snapshot

SELECTED_NODE = "volume.kubernetes.io/selected-node"


@dataclass(frozen=True, slots=True)
class VolumeSources:
    """How the plugin finds claims, volumes and classes by name, and how it writes a claim's node and waits."""

    claim: Callable[[str, str], PersistentVolumeClaim | None]
    volume: Callable[[str], PersistentVolume | None]
    storage_class: Callable[[str], StorageClass | None]
    provision_on: Callable[[PersistentVolumeClaim, str], Awaitable[str]]
    """Ask for the claim's volume on a node and wait; the answer is empty, or what went wrong."""


@dataclass(frozen=True, slots=True)
class _Needs:
    volumes: tuple[PersistentVolume, ...]
    waiting: tuple[PersistentVolumeClaim, ...]


class VolumeBinding:
    """Bound claims pin the Pod to their volumes' nodes; waiting claims are provisioned where the Pod goes."""

    name = "VolumeBinding"
    events = frozenset(
        {"NodeAdd", "NodeUpdateNodeLabel", "PersistentVolumeClaimAdd", "PersistentVolumeClaimUpdate",
         "PersistentVolumeAdd", "PersistentVolumeUpdate", "storage.k8s.io/StorageClassAdd"}
    )  # fmt: skip

    def __init__(self, sources: VolumeSources) -> None:
        self._sources = sources

    def pre_filter(self, state: CycleState, pod: PodInfo, snapshot: Snapshot) -> tuple[frozenset[str] | None, Status]:
        names = _claim_names(pod)
        if not names:
            return None, SKIP
        volumes: list[PersistentVolume] = []
        waiting: list[PersistentVolumeClaim] = []
        for name in names:
            claim = self._sources.claim(pod.namespace, name)
            if claim is None:
                return None, unresolvable(f'persistentvolumeclaim "{name}" not found', plugin=self.name)
            if claim.metadata.deletion_timestamp:
                return None, unresolvable(f'persistentvolumeclaim "{name}" is being deleted', plugin=self.name)
            volume = self._sources.volume(claim.spec.volume_name) if claim.spec.volume_name else None
            if volume is not None:
                volumes.append(volume)
            elif self._waits_for_consumer(claim):
                waiting.append(claim)
            else:
                return None, unresolvable("pod has unbound immediate PersistentVolumeClaims", plugin=self.name)
        state[self.name] = _Needs(tuple(volumes), tuple(waiting))
        return None, SUCCESS

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        needs: _Needs = state[self.name]
        for volume in needs.volumes:
            affinity = volume.spec.node_affinity
            if affinity is None or affinity.required is None:
                continue
            if not placement.selects_node(affinity.required, node.node):
                return unresolvable("node(s) had volume node affinity conflict", plugin=self.name)
        return None

    async def pre_bind(self, state: CycleState, pod: PodInfo, node_name: str) -> Status:
        needs: _Needs | None = state.get(self.name)
        for claim in needs.waiting if needs else ():
            problem = await self._sources.provision_on(claim, node_name)
            if problem:
                return error(f"binding volumes: {problem}", self.name)
        return SUCCESS

    def _waits_for_consumer(self, claim: PersistentVolumeClaim) -> bool:
        storage_class = self._sources.storage_class(claim.spec.storage_class_name)
        return storage_class is not None and storage_class.volume_binding_mode == "WaitForFirstConsumer"


def _claim_names(pod: PodInfo) -> list[str]:
    names = []
    for volume in pod.spec.volumes:
        if volume.persistent_volume_claim is not None:
            names.append(volume.persistent_volume_claim.claim_name)
        elif volume.ephemeral is not None:
            names.append(f"{pod.name}-{volume.name}")
    return names

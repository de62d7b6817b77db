"""Volumes decide too: claims must exist and be bound (or wait for a node), and their volumes' nodes are the Pod's.

Provisioning is the volume controller's; this plugin only says which node a waiting claim goes to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from kubeglass.components.api import placement
from kubeglass.components.api.objects import PersistentVolume, PersistentVolumeClaim, StorageClass
from kubeglass.components.api.volumes import NO_PROVISIONER, WAIT_FOR_FIRST_CONSUMER, best_match
from kubeglass.components.scheduler.hints import Occurrence
from kubeglass.components.scheduler.interface import SKIP, SUCCESS, CycleState, Status, error, unresolvable
from kubeglass.components.scheduler.snapshot import NodeInfo, PodInfo, Snapshot


@dataclass(frozen=True, slots=True)
class VolumeSources:
    """How the plugin finds claims, volumes and classes, and how it has claims bound and waits for that."""

    claim: Callable[[str, str], PersistentVolumeClaim | None]
    volume: Callable[[str], PersistentVolume | None]
    volumes: Callable[[], Sequence[PersistentVolume]]
    storage_class: Callable[[str], StorageClass | None]
    bind: Callable[[PersistentVolumeClaim, str, PersistentVolume | None], Awaitable[str]]
    """Bind the claim for a node, to the volume given or to one made there; the answer is empty, or what went wrong."""


@dataclass(slots=True)
class _Needs:
    bound: tuple[PersistentVolume, ...]
    waiting: tuple[PersistentVolumeClaim, ...]
    matches: dict[str, dict[str, PersistentVolume]] = field(default_factory=dict)
    """By node: the ready-made volume that each waiting claim (by key) would get there."""


class VolumeBinding:
    """Bound claims pin the Pod to their volumes' nodes; waiting claims get a volume where the Pod goes."""

    name = "VolumeBinding"
    events = frozenset(
        {"NodeAdd", "NodeUpdateNodeLabel", "PersistentVolumeClaimAdd", "PersistentVolumeClaimUpdate",
         "PersistentVolumeAdd", "PersistentVolumeUpdate", "storage.k8s.io/StorageClassAdd"}
    )  # fmt: skip

    def __init__(self, sources: VolumeSources) -> None:
        self._sources = sources
        self._assumed: dict[str, str] = {}  # volume -> claim, for volumes promised in a binding cycle under way

    def helps(self, pod: PodInfo, occurrence: Occurrence) -> bool:
        """One of the Pod's own claims; or a volume, a class or a node, which any claim may have waited for."""
        if not occurrence.claim:
            return True
        return any(f"{pod.namespace}/{name}" == occurrence.claim for name, _ in _claim_names(pod))

    def pre_filter(self, state: CycleState, pod: PodInfo, snapshot: Snapshot) -> tuple[frozenset[str] | None, Status]:
        claims: list[PersistentVolumeClaim] = []
        for name, ephemeral in _claim_names(pod):
            claim = self._sources.claim(pod.namespace, name)
            if claim is None:
                problem = f'persistentvolumeclaim "{name}" not found'
                if ephemeral:
                    problem = f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
                return None, unresolvable(problem, plugin=self.name)
            if problem := _problem(claim):
                return None, unresolvable(problem, plugin=self.name)
            claims.append(claim)
        if not claims:
            return None, SKIP
        named = [claim for claim in claims if claim.spec.volume_name]
        bound = [volume for claim in named if (volume := self._sources.volume(claim.spec.volume_name)) is not None]
        if len(bound) < len(named):
            reason = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
            return None, unresolvable(reason, plugin=self.name)
        waiting = [claim for claim in claims if not claim.spec.volume_name]
        if not all(self._waits_for_consumer(claim) for claim in waiting):
            return None, unresolvable("pod has unbound immediate PersistentVolumeClaims", plugin=self.name)
        state[self.name] = _Needs(tuple(bound), tuple(waiting))
        return None, SUCCESS

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        needs: _Needs = state[self.name]
        if not all(_reachable(volume, node) for volume in needs.bound):
            return unresolvable("node(s) had volume node affinity conflict", plugin=self.name)
        if needs.waiting and not self._match(needs, node):
            return unresolvable("node(s) didn't find available persistent volumes to bind", plugin=self.name)
        return None

    def reserve(self, state: CycleState, pod: PodInfo, node_name: str) -> Status:
        for claim, volume in self._matches(state, node_name).items():
            self._assumed[volume.metadata.name] = claim
        return SUCCESS

    def unreserve(self, state: CycleState, pod: PodInfo, node_name: str) -> None:
        for volume in self._matches(state, node_name).values():
            self._assumed.pop(volume.metadata.name, None)

    async def pre_bind(self, state: CycleState, pod: PodInfo, node_name: str) -> Status:
        needs: _Needs | None = state.get(self.name)
        matches = self._matches(state, node_name)
        for claim in needs.waiting if needs else ():
            problem = await self._sources.bind(claim, node_name, matches.get(claim.key))
            if problem:
                return error(f"binding volumes: {problem}", self.name)
        self.unreserve(state, pod, node_name)  # the volumes themselves say now whose they are
        return SUCCESS

    def _matches(self, state: CycleState, node_name: str) -> dict[str, PersistentVolume]:
        needs: _Needs | None = state.get(self.name)
        return needs.matches.get(node_name, {}) if needs else {}

    def _match(self, needs: _Needs, node: NodeInfo) -> bool:
        """Whether every waiting claim finds a ready-made volume on the node, or can have one made."""
        chosen: dict[str, PersistentVolume] = {}
        for claim in needs.waiting:
            taken = {volume.metadata.name for volume in chosen.values()}
            free = [
                volume
                for volume in self._sources.volumes()
                if volume.metadata.name not in taken
                and self._assumed.get(volume.metadata.name, claim.key) == claim.key
                and _reachable(volume, node)
            ]
            found = best_match(free, claim)
            if found is not None:
                chosen[claim.key] = found
            elif not self._can_be_made(claim):
                return False
        needs.matches[node.name] = chosen
        return True

    def _can_be_made(self, claim: PersistentVolumeClaim) -> bool:
        storage_class = self._sources.storage_class(claim.spec.storage_class_name)
        return storage_class is not None and storage_class.provisioner not in ("", NO_PROVISIONER)

    def _waits_for_consumer(self, claim: PersistentVolumeClaim) -> bool:
        storage_class = self._sources.storage_class(claim.spec.storage_class_name)
        return storage_class is not None and storage_class.volume_binding_mode == WAIT_FOR_FIRST_CONSUMER


def _problem(claim: PersistentVolumeClaim) -> str:
    """Why no Pod may be placed with the claim, or nothing."""
    name = claim.metadata.name
    if claim.status.phase == "Lost":
        return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{claim.spec.volume_name}"'
    return f'persistentvolumeclaim "{name}" is being deleted' if claim.metadata.deletion_timestamp else ""


def _reachable(volume: PersistentVolume, node: NodeInfo) -> bool:
    affinity = volume.spec.node_affinity
    return affinity is None or affinity.required is None or placement.selects_node(affinity.required, node.node)


def _claim_names(pod: PodInfo) -> Iterator[tuple[str, bool]]:
    """The names of the claims, and whether the claim is made for the Pod alone."""
    for volume in pod.spec.volumes:
        if volume.persistent_volume_claim is not None:
            yield volume.persistent_volume_claim.claim_name, False
        elif volume.ephemeral is not None:
            yield f"{pod.name}-{volume.name}", True

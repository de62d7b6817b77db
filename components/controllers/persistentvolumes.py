"""What becomes of claims and volumes: bound to each other, waiting, lost, released. Pure.

A claim and a volume are bound when each names the other. The volume's claimRef is written first, so that a crash
between the writes is finished by whoever looks next. Upstream: persistentvolume-binder-controller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM
from kubeglass.components.api.objects import PersistentVolume, PersistentVolumeClaim, Pod, StorageClass
from kubeglass.components.api.volumes import (
    BOUND_BY_CONTROLLER,
    NO_PROVISIONER,
    SELECTED_NODE,
    WAIT_FOR_FIRST_CONSUMER,
    best_match,
    is_meant_for,
)
from kubeglass.components.controllers.actions import Action, Emit, Patch, Plan
from kubeglass.components.machinery import clock

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
STORAGE_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
_BETA_STORAGE_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"


@dataclass(frozen=True, slots=True)
class ObservedClaim:
    """A claim, all volumes, its class (None: there is none of that name), and the Pods that use it."""

    claim: PersistentVolumeClaim
    volumes: Sequence[PersistentVolume]
    storage_class: StorageClass | None = None
    pods: Sequence[Pod] = ()


def plan_claim(observed: ObservedClaim, now: float) -> Plan:
    """Find the claim's volume and bind them, or say what the claim waits for."""
    claim = observed.claim
    if BIND_COMPLETED in claim.metadata.annotations:
        return Plan(tuple(_keep_bound(observed, now)))
    if claim.spec.volume_name:
        return Plan(tuple(_bind_named(observed, now)))
    candidates = observed.volumes
    if _waits_for_consumer(observed):
        candidates = [volume for volume in candidates if is_meant_for(volume, claim)]
    found = best_match(candidates, claim)
    return Plan(tuple(_bind(found, claim, now) if found is not None else _wait(observed)))


def plan_volume(volume: PersistentVolume, claim: PersistentVolumeClaim | None, now: float) -> Plan:
    """State the volume's phase; `claim` is the living claim its claimRef names, if any."""
    reference = volume.spec.claim_ref
    if reference is None or not reference.uid:
        return Plan(tuple(_volume_phase(volume, "Available", now)))
    if claim is not None and claim.metadata.uid == reference.uid:
        if claim.spec.volume_name == volume.metadata.name:
            return Plan(tuple(_volume_phase(volume, "Bound", now)))
        if not claim.spec.volume_name:
            return Plan()  # the claim's own turn comes
    if volume.status.phase == "Failed":
        return Plan()
    actions = _volume_phase(volume, "Released", now)
    if volume.spec.persistent_volume_reclaim_policy == "Recycle":
        message = "No recycler plugin found for the volume!"
        actions += [*_volume_phase(volume, "Failed", now, message)]
        actions.append(Emit(volume, "Warning", "VolumeFailedRecycle", message))
    return Plan(tuple(actions))


# -- claims -----------------------------------------------------------------------------------------------------------


def _waits_for_consumer(observed: ObservedClaim) -> bool:
    """Whether the scheduler has still to say on which node the claim is used."""
    found = observed.storage_class
    delayed = found is not None and found.volume_binding_mode == WAIT_FOR_FIRST_CONSUMER
    return delayed and SELECTED_NODE not in observed.claim.metadata.annotations


def _keep_bound(observed: ObservedClaim, now: float) -> list[Action]:
    claim = observed.claim
    volume = _named(observed)
    if volume is None:
        text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        return _lose(claim, "ClaimLost", text)
    if volume.spec.claim_ref is None or is_meant_for(volume, claim):
        return _bind(volume, claim, now)
    text = "Two claims are bound to the same volume, this one is bound incorrectly"
    return _lose(claim, "ClaimMisbound", text)


def _lose(claim: PersistentVolumeClaim, reason: str, message: str) -> list[Action]:
    if claim.status.phase == "Lost":
        return []
    return [*_claim_status(claim, {"phase": "Lost"}), Emit(claim, "Warning", reason, message)]


def _bind_named(observed: ObservedClaim, now: float) -> list[Action]:
    """The user, or an unfinished binding, has named the volume."""
    volume = _named(observed)
    if volume is not None and (volume.spec.claim_ref is None or is_meant_for(volume, observed.claim)):
        return _bind(volume, observed.claim, now)
    return _claim_status(observed.claim, {"phase": "Pending"})


def _named(observed: ObservedClaim) -> PersistentVolume | None:
    wanted = observed.claim.spec.volume_name
    return next((volume for volume in observed.volumes if volume.metadata.name == wanted), None)


def _wait(observed: ObservedClaim) -> list[Action]:
    """No volume yet: say for what the claim waits, and whose turn it is."""
    claim, found = observed.claim, observed.storage_class
    actions = _claim_status(claim, {"phase": "Pending"})
    name = claim.spec.storage_class_name
    if not name:
        text = "no persistent volumes available for this claim and no storage class is set"
        return [*actions, Emit(claim, "Normal", "FailedBinding", text)]
    if found is None:
        return [
            *actions,
            Emit(claim, "Warning", "ProvisioningFailed", f'storageclass.storage.k8s.io "{name}" not found'),
        ]
    if _waits_for_consumer(observed):
        return [*actions, _wait_for_consumer(claim, observed.pods)]
    if found.provisioner == NO_PROVISIONER:
        return actions
    return actions + _ask_provisioner(claim, found.provisioner)


def _wait_for_consumer(claim: PersistentVolumeClaim, pods: Sequence[Pod]) -> Action:
    waiting = next((pod for pod in pods if not pod.spec.node_name), None)
    if waiting is not None:
        text = f"waiting for pod {waiting.metadata.name} to be scheduled"
        return Emit(claim, "Normal", "WaitForPodScheduled", text)
    return Emit(claim, "Normal", "WaitForFirstConsumer", "waiting for first consumer to be created before binding")


def _ask_provisioner(claim: PersistentVolumeClaim, provisioner: str) -> list[Action]:
    text = (
        "Waiting for a volume to be created either by the external provisioner "
        f"'{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that "
        "the provisioner is running and correctly registered."
    )
    actions: list[Action] = [Emit(claim, "Normal", "ExternalProvisioning", text)]
    asked = dict.fromkeys((STORAGE_PROVISIONER, _BETA_STORAGE_PROVISIONER), provisioner)
    if not asked.items() <= claim.metadata.annotations.items():
        actions.insert(0, _claim_patch(claim, {"metadata": {"annotations": asked}}))
    return actions


# -- both -------------------------------------------------------------------------------------------------------------


def _bind(volume: PersistentVolume, claim: PersistentVolumeClaim, now: float) -> list[Action]:
    """What is still missing of: claimRef, volume phase, volumeName, claim phase."""
    actions: list[Action] = []
    reference = volume.spec.claim_ref
    if reference is None or not reference.uid:
        patch: dict[str, Any] = {"spec": {"claimRef": claim_reference(claim)}}
        if reference is None:
            patch["metadata"] = {"annotations": {BOUND_BY_CONTROLLER: "yes"}}
        actions.append(_volume_patch(volume, patch))
    actions += _volume_phase(volume, "Bound", now, versioned=not actions)
    annotations = {BIND_COMPLETED: "yes"}
    change: dict[str, Any] = {}
    if not claim.spec.volume_name:
        annotations[BOUND_BY_CONTROLLER] = "yes"
        change["spec"] = {"volumeName": volume.metadata.name}
    if not annotations.items() <= claim.metadata.annotations.items():
        actions.append(_claim_patch(claim, {**change, "metadata": {"annotations": annotations}}))
    bound = {
        "phase": "Bound",
        "accessModes": list(volume.spec.access_modes),
        "capacity": dict(volume.spec.capacity),
    }
    return actions + _claim_status(claim, bound)


def claim_reference(claim: PersistentVolumeClaim) -> dict[str, Any]:
    """How a volume names its claim."""
    meta = claim.metadata
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": meta.namespace,
        "name": meta.name,
        "uid": meta.uid,
        "resourceVersion": meta.resource_version,
    }


def _claim_status(claim: PersistentVolumeClaim, status: dict[str, Any]) -> list[Action]:
    stored = claim.status
    known = {
        "phase": stored.phase,
        "accessModes": list(stored.access_modes),
        "capacity": dict(stored.capacity),
    }
    if all(known[key] == value for key, value in status.items()):
        return []
    meta = claim.metadata
    return [
        Patch(PERSISTENT_VOLUME_CLAIM, meta.name, meta.namespace, {"status": status}, "status", ignore_missing=True)
    ]


def _claim_patch(claim: PersistentVolumeClaim, patch: dict[str, Any]) -> Action:
    meta = claim.metadata
    versioned = {**patch, "metadata": {**patch.get("metadata", {}), "resourceVersion": meta.resource_version}}
    return Patch(PERSISTENT_VOLUME_CLAIM, meta.name, meta.namespace, versioned, ignore_missing=True)


def _volume_patch(volume: PersistentVolume, patch: dict[str, Any]) -> Action:
    meta = volume.metadata
    versioned = {**patch, "metadata": {**patch.get("metadata", {}), "resourceVersion": meta.resource_version}}
    return Patch(PERSISTENT_VOLUME, meta.name, "", versioned, ignore_missing=True)


def _volume_phase(
    volume: PersistentVolume, phase: str, now: float, message: str = "", *, versioned: bool = False
) -> list[Action]:
    if volume.status.phase == phase and volume.status.message == message:
        return []
    status = {"phase": phase, "message": message or None, "lastPhaseTransitionTime": clock.rfc3339(now)}
    patch: dict[str, Any] = {"status": status}
    if versioned:
        patch["metadata"] = {"resourceVersion": volume.metadata.resource_version}
    return [Patch(PERSISTENT_VOLUME, volume.metadata.name, "", patch, "status", ignore_missing=True)]

"""Which volume suits which claim, as the binder and the scheduler both see it. Pure.

Upstream: component-helpers/storage/volume.
"""

from __future__ import annotations

from collections.abc import Iterable

from kubeglass.components.api import quantity
from kubeglass.components.api.objects import PersistentVolume, PersistentVolumeClaim
from kubeglass.components.api.selectors import from_label_selector

WAIT_FOR_FIRST_CONSUMER = "WaitForFirstConsumer"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"


def is_meant_for(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Whether the volume's claimRef names the claim; one without a uid (written by hand) names any of that name."""
    reference = volume.spec.claim_ref
    if reference is None:
        return False
    same_name = (reference.namespace, reference.name) == (claim.metadata.namespace, claim.metadata.name)
    return same_name and reference.uid in ("", claim.metadata.uid)


def best_match(volumes: Iterable[PersistentVolume], claim: PersistentVolumeClaim) -> PersistentVolume | None:
    """The volume that is meant for the claim, or else the smallest free one that has all the claim asks for."""
    fitting = [volume for volume in volumes if _is_large_enough(volume, claim) and _mode(volume) == _mode(claim)]
    meant = next((volume for volume in fitting if is_meant_for(volume, claim)), None)
    if meant is not None:
        return meant
    free = [volume for volume in fitting if _is_free(volume) and _suits(volume, claim)]
    return min(free, key=lambda volume: (capacity_of(volume), volume.metadata.name), default=None)


def capacity_of(volume: PersistentVolume) -> int:
    """Bytes the volume promises."""
    return quantity.parse(volume.spec.capacity.get("storage", "0")).value()


def _is_large_enough(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    wanted = claim.spec.resources.requests.get("storage", "0")
    return capacity_of(volume) >= quantity.parse(wanted).value()


def _is_free(volume: PersistentVolume) -> bool:
    return (
        volume.spec.claim_ref is None and volume.status.phase == "Available" and not volume.metadata.deletion_timestamp
    )


def _suits(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    if volume.spec.storage_class_name != claim.spec.storage_class_name:
        return False
    if not set(claim.spec.access_modes) <= set(volume.spec.access_modes):
        return False
    selector = claim.spec.selector
    return selector is None or from_label_selector(selector).matches(volume.metadata.labels)


def _mode(found: PersistentVolume | PersistentVolumeClaim) -> str:
    return found.spec.volume_mode or "Filesystem"

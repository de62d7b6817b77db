"""The provisioner of the default StorageClass `standard`: a volume is a directory beside its node's own files.

A volume lies at ROOT/NODE/volumes/VOLUME, ROOT being --local-path-root-dir (what kubelets have as the parent of their
--root-dir); it is a hostPath volume with affinity to its node, so the kubelet mounts it like any other. The node is
the scheduler's choice (WaitForFirstConsumer). Reclaiming deletes the directory. Behaves as rancher's
local-path-provisioner; the Events are those of sig-storage-lib-external-provisioner.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeglass.components.api.kinds import (
    NODE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    STORAGE_CLASS,
)
from kubeglass.components.api.objects import Node, PersistentVolume, PersistentVolumeClaim, StorageClass
from kubeglass.components.api.volumes import SELECTED_NODE, is_meant_for
from kubeglass.components.controllers.actions import Action, Create, Delete, Emit, Patch
from kubeglass.components.controllers.context import ControllerContext, follow
from kubeglass.components.controllers.persistentvolumes import PROVISIONED_BY, STORAGE_PROVISIONER, claim_reference
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler

PROVISIONER = "kubeglass.io/local-path"
HOSTNAME = "kubernetes.io/hostname"
_ACCESS_MODES = ("ReadWriteOnce", "ReadWriteOncePod")

STANDARD: dict[str, Any] = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": PROVISIONER,
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "WaitForFirstConsumer",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a claim gets no volume; `reschedule` sends it back to the scheduler."""

    reason: str
    reschedule: bool = False


def place(claim: PersistentVolumeClaim, node: Node | None) -> Node | Refusal:
    """The node on which the claim becomes a directory. `node` is the one chosen for it, if that exists."""
    wanted = claim.metadata.annotations.get(SELECTED_NODE)
    if not wanted:
        return Refusal("configuration error, no node was specified")
    if claim.spec.selector is not None:
        return Refusal("claim.Spec.Selector is not supported")
    if claim.spec.volume_mode == "Block":
        return Refusal("block volume mode is not supported")
    if any(mode not in _ACCESS_MODES for mode in claim.spec.access_modes):
        return Refusal("NodePath only supports ReadWriteOnce and ReadWriteOncePod (1.22+) access modes")
    if node is None:
        return Refusal(f'failed to get target node: node "{wanted}" not found', reschedule=True)
    return node


def volume_for(claim: PersistentVolumeClaim, found: StorageClass, node: Node, root: Path) -> dict[str, Any]:
    """The PersistentVolume of a claim on a node."""
    name = f"pvc-{claim.metadata.uid}"
    hostname = node.metadata.labels.get(HOSTNAME, node.metadata.name)
    terms = [{"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [hostname]}]}]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "capacity": {"storage": claim.spec.resources.requests["storage"]},
            "accessModes": list(claim.spec.access_modes),
            "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": found.reclaim_policy or "Delete",
            "storageClassName": found.metadata.name,
            "mountOptions": list(found.mount_options),
            "claimRef": claim_reference(claim),
            "hostPath": {"path": str(root / node.metadata.name / "volumes" / name), "type": "DirectoryOrCreate"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
        },
    }


class LocalPathProvisioner:
    """Watches claims that wait for it, and its own volumes. Does nothing without --local-path-root-dir."""

    name = "local-path-provisioner"

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._root = Path(context.options["local_path_root"]) if context.options["local_path_root"] else None
        self._claims = context.informers.of(PERSISTENT_VOLUME_CLAIM, PersistentVolumeClaim)
        self._volumes = context.informers.of(PERSISTENT_VOLUME, PersistentVolume)
        self._classes = context.informers.of(STORAGE_CLASS, StorageClass)
        self._nodes = context.informers.of(NODE, Node)
        self.queue = context.queue("local_path")
        follow(self._claims, self.queue)
        follow(self._volumes, self.queue)

    async def run(self, started: Callable[[], None]) -> None:
        if self._root is not None:
            await self._writer.apply([Create(STORAGE_CLASS, STANDARD, ignore_existing=True)])
        await run_reconciler(self, self.queue, self._telemetry, started=started)

    async def reconcile(self, key: str) -> Result:
        """A key with a namespace is a claim's, one without a volume's."""
        if self._root is None:
            return DONE
        claim, volume = self._claims.get(key), self._volumes.get(key)
        if claim is not None:
            await self._provision(claim, self._root)
        elif volume is not None:
            await self._reclaim(volume, self._root)
        return DONE

    async def _provision(self, claim: PersistentVolumeClaim, root: Path) -> None:
        found = self._classes.get(claim.spec.storage_class_name)
        asked = claim.metadata.annotations.get(STORAGE_PROVISIONER) == PROVISIONER
        if not asked or found is None or claim.spec.volume_name or claim.metadata.deletion_timestamp:
            return
        if any(is_meant_for(volume, claim) for volume in self._volumes.list()):
            return
        node = self._nodes.get(claim.metadata.annotations.get(SELECTED_NODE, ""))
        text = f'External provisioner is provisioning volume for claim "{claim.key}"'
        await self._writer.apply([Emit(claim, "Normal", "Provisioning", text)])
        placed = place(claim, node)
        if isinstance(placed, Refusal):
            await self._writer.apply(_refuse(claim, found, placed))
            return
        volume = volume_for(claim, found, placed, root)
        await asyncio.to_thread(_make, Path(volume["spec"]["hostPath"]["path"]))
        text = f"Successfully provisioned volume {volume['metadata']['name']}"
        made = Create(PERSISTENT_VOLUME, volume, ignore_existing=True)
        await self._writer.apply([made, Emit(claim, "Normal", "ProvisioningSucceeded", text)])

    async def _reclaim(self, volume: PersistentVolume, root: Path) -> None:
        ours = volume.metadata.annotations.get(PROVISIONED_BY) == PROVISIONER
        delete = volume.spec.persistent_volume_reclaim_policy == "Delete" and volume.status.phase == "Released"
        path = volume.spec.host_path.path if volume.spec.host_path is not None else ""
        if not (ours and delete and path and Path(path).is_relative_to(root)):
            return
        try:
            await asyncio.to_thread(_remove, Path(path))
        except OSError as error:
            text = f"failed to delete volume {volume.metadata.name}: {error.strerror}"
            await self._writer.apply([Emit(volume, "Warning", "VolumeFailedDelete", text)])
            raise
        meta = volume.metadata
        if not meta.deletion_timestamp:
            await self._writer.apply([Delete(PERSISTENT_VOLUME, meta.name, uid=meta.uid)])


def _refuse(claim: PersistentVolumeClaim, found: StorageClass, refusal: Refusal) -> list[Action]:
    text = f'failed to provision volume with StorageClass "{found.metadata.name}": {refusal.reason}'
    actions: list[Action] = [Emit(claim, "Warning", "ProvisioningFailed", text)]
    if refusal.reschedule:
        meta = claim.metadata
        patch = {"metadata": {"annotations": {SELECTED_NODE: None}, "resourceVersion": meta.resource_version}}
        actions.append(Patch(PERSISTENT_VOLUME_CLAIM, meta.name, meta.namespace, patch, ignore_missing=True))
    return actions


def _make(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o777)  # whoever the container runs as


def _remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)

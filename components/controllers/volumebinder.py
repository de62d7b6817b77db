"""The persistentvolume-binder-controller: carries out the plans for claims and volumes, and counts them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from kubeglass.components.api.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, STORAGE_CLASS
from kubeglass.components.api.objects import PersistentVolume, PersistentVolumeClaim, Pod, StorageClass
from kubeglass.components.api.volumes import is_meant_for
from kubeglass.components.controllers import metrics as rows
from kubeglass.components.controllers.context import ControllerContext, follow
from kubeglass.components.controllers.persistentvolumes import (
    PROVISIONED_BY,
    STORAGE_PROVISIONER,
    ObservedClaim,
    plan_claim,
    plan_volume,
)
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.informer import Change
from kubeglass.components.machinery.reconcile import DONE, Reconciler, Result, run_reconciler
from kubeglass.telemetry.metrics.families import Sample

_RESYNC_SECONDS = 15.0
"""Waiting claims are looked at again this often, as upstream's resync period has it: their Events are repeated."""

BY_CLAIM = "claim"
"""Index of the shared Pod informer: Pods by the claims they use, as `namespace/name`."""


def claims_of(pod: Pod) -> Iterator[str]:
    """The keys of the claims a Pod uses, those made for its ephemeral volumes too."""
    for volume in pod.spec.volumes:
        if volume.persistent_volume_claim is not None:
            yield f"{pod.metadata.namespace}/{volume.persistent_volume_claim.claim_name}"
        elif volume.ephemeral is not None:
            yield f"{pod.metadata.namespace}/{pod.metadata.name}-{volume.name}"


class VolumeBinder:
    """Watches claims, volumes, classes, and the Pods that use claims."""

    name = "persistentvolume-binder-controller"

    def __init__(self, context: ControllerContext) -> None:
        self._telemetry = context.telemetry.named(self.name)
        claims = context.informers.of(PERSISTENT_VOLUME_CLAIM, PersistentVolumeClaim)
        volumes = context.informers.of(PERSISTENT_VOLUME, PersistentVolume)
        self._claims = _Claims(context)
        self._volumes = _Volumes(context)
        context.telemetry.metrics.collect(rows.PV_ROWS, lambda: samples(volumes.list(), claims.list()))

    async def run(self, started: Callable[[], None]) -> None:
        both = (self._claims, self._claims.queue), (self._volumes, self._volumes.queue)
        async with asyncio.TaskGroup() as group:
            for reconciler, queue in both:
                found: Reconciler = reconciler
                group.create_task(run_reconciler(found, queue, self._telemetry))
            started()


class _Claims:
    name = "persistentvolume-binder-controller"

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._timings = _Timings(context, "provision")
        self._claims = context.informers.of(PERSISTENT_VOLUME_CLAIM, PersistentVolumeClaim)
        self._volumes = context.informers.of(PERSISTENT_VOLUME, PersistentVolume)
        self._classes = context.informers.of(STORAGE_CLASS, StorageClass)
        self._pods = context.informers.of(POD, Pod)
        self._pods.add_index(BY_CLAIM, claims_of)
        self.queue = context.queue("claims")
        follow(self._claims, self.queue)
        self._volumes.subscribe(self._volume_changed)
        self._classes.subscribe(self._class_changed)

    async def reconcile(self, key: str) -> Result:
        claim = self._claims.get(key)
        if claim is None:
            self._timings.drop(key)
            return DONE
        found = self._classes.get(claim.spec.storage_class_name) if claim.spec.storage_class_name else None
        observed = ObservedClaim(claim, self._volumes.list(), found, self._pods.by_index(BY_CLAIM, key))
        await self._writer.apply(plan_claim(observed, clock.now()).actions)
        provisioner = claim.metadata.annotations.get(STORAGE_PROVISIONER)
        if provisioner and not claim.spec.volume_name:
            self._timings.begin(key, provisioner)
        elif claim.status.phase == "Bound":
            self._timings.end(key)
        return DONE if claim.status.phase in ("Bound", "Lost") else Result(_RESYNC_SECONDS)

    def _volume_changed(self, change: Change[PersistentVolume]) -> None:
        reference = change.new.spec.claim_ref
        if reference is not None:
            self.queue.add(f"{reference.namespace}/{reference.name}")
        elif change.type != "DELETED":
            for claim in self._claims.list():
                if not claim.spec.volume_name or claim.spec.volume_name == change.new.metadata.name:
                    self.queue.add(claim.key)

    def _class_changed(self, change: Change[StorageClass]) -> None:
        for claim in self._claims.list():
            if claim.spec.storage_class_name == change.key and not claim.spec.volume_name:
                self.queue.add(claim.key)


class _Volumes:
    name = "persistentvolume-binder-controller"

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._timings = _Timings(context, "delete")
        self._claims = context.informers.of(PERSISTENT_VOLUME_CLAIM, PersistentVolumeClaim)
        self._volumes = context.informers.of(PERSISTENT_VOLUME, PersistentVolume)
        self.queue = context.queue("volumes")
        follow(self._volumes, self.queue)
        self._claims.subscribe(self._claim_changed)

    async def reconcile(self, key: str) -> Result:
        volume = self._volumes.get(key)
        if volume is None:
            self._timings.end(key)
            return DONE
        reference = volume.spec.claim_ref
        claim = self._claims.get(f"{reference.namespace}/{reference.name}") if reference is not None else None
        await self._writer.apply(plan_volume(volume, claim, clock.now()).actions)
        if volume.status.phase == "Released" and volume.spec.persistent_volume_reclaim_policy == "Delete":
            self._timings.begin(key, volume.metadata.annotations.get(PROVISIONED_BY, ""))
        return DONE

    def _claim_changed(self, change: Change[PersistentVolumeClaim]) -> None:
        if change.new.spec.volume_name:
            self.queue.add(change.new.spec.volume_name)
        for volume in self._volumes.list() if change.type == "DELETED" else ():
            if is_meant_for(volume, change.new):
                self.queue.add(volume.metadata.name)


class _Timings:
    """Seconds from the wish to its fulfilment by somebody else's hand, by operation and plugin."""

    def __init__(self, context: ControllerContext, operation: str) -> None:
        self._seconds = context.telemetry.metrics.bind(rows.VOLUME_OPERATION_TOTAL_SECONDS)
        self._operation = operation
        self._since: dict[str, tuple[str, float]] = {}

    def begin(self, key: str, plugin: str) -> None:
        self._since.setdefault(key, (plugin, asyncio.get_running_loop().time()))

    def end(self, key: str) -> None:
        started = self._since.pop(key, None)
        if started is not None:
            plugin, since = started
            self._seconds.labels(plugin, self._operation).observe(asyncio.get_running_loop().time() - since)

    def drop(self, key: str) -> None:
        self._since.pop(key, None)


# -- counts -----------------------------------------------------------------------------------------------------------


def samples(volumes: Sequence[PersistentVolume], claims: Sequence[PersistentVolumeClaim]) -> Iterator[Sample]:
    """What pv_collector_* says of all volumes and claims."""
    total = Counter((plugin_of(volume), volume.spec.volume_mode or "Filesystem") for volume in volumes)
    for labels, count in total.items():
        yield rows.PV_COLLECTOR_TOTAL_PV_COUNT, labels, count
    for row, bound in ((rows.PV_COLLECTOR_BOUND_PV_COUNT, True), (rows.PV_COLLECTOR_UNBOUND_PV_COUNT, False)):
        by_class = Counter(v.spec.storage_class_name for v in volumes if (v.status.phase == "Bound") is bound)
        for name, count in by_class.items():
            yield row, (name,), count
    for row, bound in ((rows.PV_COLLECTOR_BOUND_PVC_COUNT, True), (rows.PV_COLLECTOR_UNBOUND_PVC_COUNT, False)):
        by_space = Counter(
            (c.metadata.namespace, c.spec.storage_class_name, c.spec.volume_attributes_class_name)
            for c in claims
            if (c.status.phase == "Bound") is bound
        )
        for space, count in by_space.items():
            yield row, space, count


def plugin_of(volume: PersistentVolume) -> str:
    """The volume's plugin, by upstream's name."""
    spec = volume.spec
    if spec.csi is not None:
        return f"kubernetes.io/csi:{spec.csi.driver}"
    if spec.host_path is not None:
        return "kubernetes.io/host-path"
    if spec.local is not None:
        return "kubernetes.io/local-volume"
    return "kubernetes.io/nfs" if spec.nfs is not None else "N/A"

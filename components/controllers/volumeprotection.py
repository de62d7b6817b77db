"""Claims in use and bound volumes stay until nobody needs them: the kubernetes.io/pvc- and pv-protection finalizers.

Upstream: persistentvolumeclaim-protection-controller and persistentvolume-protection-controller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kubeglass.components.api.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, Kind
from kubeglass.components.api.objects import PersistentVolume, PersistentVolumeClaim, Pod, Resource
from kubeglass.components.controllers.actions import Patch, Plan
from kubeglass.components.controllers.context import ControllerContext, follow
from kubeglass.components.controllers.podstate import is_finished
from kubeglass.components.controllers.volumebinder import BY_CLAIM, claims_of
from kubeglass.components.machinery.informer import Change
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler

CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"


def plan(kind: Kind, found: Resource, finalizer: str, in_use: bool) -> Plan:
    """A living object carries the finalizer; one that is to go loses it once it is not in use."""
    meta = found.metadata
    held = finalizer in meta.finalizers
    if not meta.deletion_timestamp and not held:
        kept: list[str] = [*meta.finalizers, finalizer]
    elif meta.deletion_timestamp and held and not in_use:
        kept = [name for name in meta.finalizers if name != finalizer]
    else:
        return Plan()
    patch = {"metadata": {"finalizers": kept or None, "resourceVersion": meta.resource_version}}
    return Plan((Patch(kind, meta.name, meta.namespace, patch, ignore_missing=True),))


def is_used(pods: Iterable[Pod]) -> bool:
    """Whether a Pod on a node still runs with the claim; one without a node will not start with it any more."""
    return any(pod.spec.node_name and not is_finished(pod) for pod in pods)


class ClaimProtection:
    """Watches claims and the Pods that use them."""

    name = "persistentvolumeclaim-protection-controller"

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._claims = context.informers.of(PERSISTENT_VOLUME_CLAIM, PersistentVolumeClaim)
        self._pods = context.informers.of(POD, Pod)
        self._pods.add_index(BY_CLAIM, claims_of)
        self.queue = context.queue("pvcprotection")
        follow(self._claims, self.queue)
        self._pods.subscribe(self._pod_changed)

    async def run(self, started: Callable[[], None]) -> None:
        await run_reconciler(self, self.queue, self._telemetry, started=started)

    async def reconcile(self, key: str) -> Result:
        claim = self._claims.get(key)
        if claim is not None:
            used = is_used(self._pods.by_index(BY_CLAIM, key))
            await self._writer.apply(plan(PERSISTENT_VOLUME_CLAIM, claim, CLAIM_FINALIZER, used).actions)
        return DONE

    def _pod_changed(self, change: Change[Pod]) -> None:
        if change.type == "DELETED" or is_finished(change.new):
            for key in claims_of(change.new):
                self.queue.add(key)


class VolumeProtection:
    """Watches volumes."""

    name = "persistentvolume-protection-controller"

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._volumes = context.informers.of(PERSISTENT_VOLUME, PersistentVolume)
        self.queue = context.queue("pvprotection")
        follow(self._volumes, self.queue)

    async def run(self, started: Callable[[], None]) -> None:
        await run_reconciler(self, self.queue, self._telemetry, started=started)

    async def reconcile(self, key: str) -> Result:
        volume = self._volumes.get(key)
        if volume is not None:
            bound = volume.status.phase == "Bound"
            await self._writer.apply(plan(PERSISTENT_VOLUME, volume, VOLUME_FINALIZER, bound).actions)
        return DONE

"""StatefulSets: Pods with names that stay, made and rolled in order. Upstream: statefulset-controller."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api.kinds import (
    CONTROLLER_REVISION,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    STATEFUL_SET,
)
from kubeglass.components.api.objects import ControllerRevision, PersistentVolumeClaim, Pod, encode
from kubeglass.components.api.selectors import from_label_selector
from kubeglass.components.controllers.actions import Action, Create, Delete, Emit, Patch, Plan
from kubeglass.components.controllers.arithmetic import scaled
from kubeglass.components.controllers.context import CONTROLLER, ControllerContext, candidates, follow, follow_members
from kubeglass.components.controllers.metrics import StatefulSetMetrics
from kubeglass.components.controllers.ownership import claim
from kubeglass.components.controllers.podstate import is_ready, pod_from_template, seconds_until_available
from kubeglass.components.controllers.revisions import HASH_LABEL, history_of, surplus
from kubeglass.components.controllers.views import StatefulSet
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"


@dataclass(frozen=True, slots=True)
class Observed:
    """A StatefulSet, its Pods, its revisions, and the names of the claims there are."""

    stateful_set: StatefulSet
    pods: Sequence[Pod]
    revisions: Sequence[ControllerRevision] = ()
    claims: frozenset[str] = frozenset()


def ordinal_of(name: str, pod_name: str) -> int:
    """The number of a Pod of the set `name`; -1 when it is none."""
    parent, _, ordinal = pod_name.rpartition("-")
    return int(ordinal) if parent == name and ordinal.isdigit() else -1


def max_unavailable(stateful_set: StatefulSet) -> int:
    """How many Pods a roll may take down at once: a percentage rounds down, and it is never less than one."""
    rolling = stateful_set.spec.update_strategy.rolling_update
    value = rolling.max_unavailable if rolling else None
    return max(1, scaled(1 if value is None else value, stateful_set.spec.replicas, round_up=False))


@dataclass(frozen=True, slots=True)
class _Revision:
    name: str
    template: Any


def plan(observed: Observed, now: float) -> Plan:
    """The next step: make what is missing in order, take away what is too much, roll what is old."""
    return _Step(observed, now).plan()


class _Step:
    def __init__(self, observed: Observed, now: float) -> None:
        self.owner = observed.stateful_set
        self.now = now
        self.claims = observed.claims
        spec = self.owner.spec
        self.start = spec.ordinals.start if spec.ordinals else 0
        self.by_ordinal = {
            ordinal: pod
            for pod in observed.pods
            if (ordinal := ordinal_of(self.owner.metadata.name, pod.metadata.name)) >= 0
        }
        labels = (spec.template.get("metadata") or {}).get("labels") or {}
        self.history = history_of(STATEFUL_SET, self.owner, spec.template, labels, observed.revisions)
        self.actions: list[Action] = list(self.history.actions)
        self.wanted = range(self.start, self.start + spec.replicas)
        self.rolling = spec.update_strategy.type != "OnDelete"
        rolling = spec.update_strategy.rolling_update
        self.first_rolled = self.start + (rolling.partition if rolling else 0)
        self.current = self._current(observed.revisions)
        self.parallel = spec.pod_management_policy == "Parallel"
        self.waits: list[float] = []

    def _current(self, revisions: Sequence[ControllerRevision]) -> _Revision:
        """What Pods below the partition are made from: the revision of the last completed roll, if it is known."""
        wanted = self.owner.status.current_revision
        found = next((each for each in revisions if each.metadata.name == wanted), None)
        if found is None:
            return _Revision(self.history.name, self.owner.spec.template)
        template = {key: value for key, value in found.data["spec"]["template"].items() if key != "$patch"}
        return _Revision(wanted, template)

    def _revision_for(self, ordinal: int) -> _Revision:
        if self.rolling and ordinal < self.first_rolled:
            return self.current
        return _Revision(self.history.name, self.owner.spec.template)

    def plan(self) -> Plan:
        if not self.owner.metadata.deletion_timestamp and self._make() and self._shrink():
            self._roll()
        used = {self.current.name} | {pod.metadata.labels.get(HASH_LABEL, "") for pod in self.by_ordinal.values()}
        self.actions += surplus(self.history, used, self.owner.spec.revision_history_limit)
        status = self._status()
        if status:
            meta = self.owner.metadata
            patch = {"status": status}
            self.actions.append(Patch(STATEFUL_SET, meta.name, meta.namespace, patch, "status", ignore_missing=True))
        return Plan(tuple(self.actions), min(self.waits, default=None))

    def _make(self) -> bool:
        """Create missing Pods; in order, one waits for the one before. Whether the rest may go on."""
        settled = True
        for ordinal in self.wanted:
            pod = self.by_ordinal.get(ordinal)
            if pod is not None and pod.status.phase in ("Failed", "Succeeded"):
                if not pod.metadata.deletion_timestamp:
                    self._delete(pod)
                settled = False
            elif pod is None:
                self._create(ordinal)
                settled = False
            elif pod.metadata.deletion_timestamp or not self._available(pod):
                settled = False
            if not settled and not self.parallel:
                return False
        return settled or self.parallel

    def _shrink(self) -> bool:
        """Delete Pods beyond the wanted ones, the highest first. Whether there are none left."""
        surplus_ordinals = sorted((o for o in self.by_ordinal if o not in self.wanted), reverse=True)
        for ordinal in surplus_ordinals:
            pod = self.by_ordinal[ordinal]
            if not pod.metadata.deletion_timestamp:
                self._delete(pod)
            if not self.parallel:
                return False
        return not surplus_ordinals

    def _roll(self) -> None:
        """Delete outdated Pods, from the highest ordinal down to the partition, as many as may be unavailable.

        One that is not available anyway costs nothing.
        """
        if not self.rolling:
            return
        down = sum(not self._serves(self.by_ordinal.get(ordinal)) for ordinal in self.wanted)
        left = max_unavailable(self.owner) - down
        for ordinal in reversed(self.wanted):
            pod = self.by_ordinal.get(ordinal)
            if ordinal < self.first_rolled:
                return
            if pod is None or pod.metadata.deletion_timestamp or self._revision_of(pod) == self.history.name:
                continue
            serves = self._serves(pod)
            if serves and left <= 0:
                return
            left -= serves
            self._delete(pod)

    def _serves(self, pod: Pod | None) -> bool:
        return pod is not None and not pod.metadata.deletion_timestamp and self._available(pod)

    @staticmethod
    def _revision_of(pod: Pod) -> str:
        return pod.metadata.labels.get(HASH_LABEL, "")

    def _available(self, pod: Pod) -> bool:
        left = seconds_until_available(pod, self.owner.spec.min_ready_seconds, self.now)
        if left:
            self.waits.append(left)
        return left == 0

    def _create(self, ordinal: int) -> None:
        owner = self.owner
        name = f"{owner.metadata.name}-{ordinal}"
        claims = {}
        for template in owner.spec.volume_claim_templates:
            claim_name = f"{template['metadata']['name']}-{name}"
            claims[template["metadata"]["name"]] = claim_name
            if claim_name not in self.claims:
                self.actions.append(Create(PERSISTENT_VOLUME_CLAIM, self._claim(template, claim_name), True))
                message = f"create Claim {claim_name} Pod {name} in StatefulSet {owner.metadata.name} success"
                self.actions.append(Emit(owner, "Normal", "SuccessfulCreate", message))
        self.actions.append(Create(POD, self._pod(name, ordinal, claims)))
        message = f"create Pod {name} in StatefulSet {owner.metadata.name} successful"
        self.actions.append(Emit(owner, "Normal", "SuccessfulCreate", message))

    def _claim(self, template: Mapping[str, Any], name: str) -> dict[str, Any]:
        selector = encode(self.owner.spec.selector) if self.owner.spec.selector else {}
        labels = {**(template["metadata"].get("labels") or {}), **selector.get("matchLabels", {})}
        metadata = {"name": name, "namespace": self.owner.metadata.namespace, "labels": labels}
        if annotations := template["metadata"].get("annotations"):
            metadata["annotations"] = annotations
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": metadata,
            "spec": template.get("spec") or {},
        }

    def _pod(self, name: str, ordinal: int, claims: Mapping[str, str]) -> dict[str, Any]:
        revision = self._revision_for(ordinal)
        pod = pod_from_template(revision.template, STATEFUL_SET, self.owner, name)
        labels = {POD_NAME: name, POD_INDEX: str(ordinal), HASH_LABEL: revision.name}
        metadata = {**pod["metadata"], "labels": {**pod["metadata"].get("labels", {}), **labels}}
        spec = {**pod["spec"], "hostname": name, "subdomain": self.owner.spec.service_name}
        kept = [volume for volume in spec.get("volumes") or () if volume["name"] not in claims]
        mounted = [{"name": volume, "persistentVolumeClaim": {"claimName": claim}} for volume, claim in claims.items()]
        if kept or mounted:
            spec["volumes"] = [*mounted, *kept]
        return {**pod, "metadata": metadata, "spec": spec}

    def _delete(self, pod: Pod) -> None:
        meta = pod.metadata
        self.actions.append(Delete(POD, meta.name, meta.namespace, meta.uid))
        message = f"delete Pod {meta.name} in StatefulSet {self.owner.metadata.name} successful"
        self.actions.append(Emit(self.owner, "Normal", "SuccessfulDelete", message))

    def _status(self) -> dict[str, Any]:
        pods = list(self.by_ordinal.values())
        living = [pod for pod in pods if not pod.metadata.deletion_timestamp]
        updated = sum(pod.metadata.labels.get(HASH_LABEL) == self.history.name for pod in living)
        stored = self.owner.status
        current = stored.current_revision or self.history.name
        available = sum(seconds_until_available(pod, self.owner.spec.min_ready_seconds, self.now) == 0 for pod in pods)
        done = (
            self.rolling and updated == len(pods) == self.owner.spec.replicas and sum(map(is_ready, pods)) == len(pods)
        )
        if done:
            current = self.history.name
        status: dict[str, Any] = {
            "observedGeneration": self.owner.metadata.generation,
            "replicas": len(pods),
            "readyReplicas": sum(map(is_ready, pods)),
            "availableReplicas": available,
            "currentReplicas": sum(pod.metadata.labels.get(HASH_LABEL) == current for pod in living),
            "updatedReplicas": updated,
            "currentRevision": current,
            "updateRevision": self.history.name,
        }
        before = encode(stored)
        return {key: value for key, value in status.items() if before.get(key, 0) != value}


class StatefulSetController:
    """Watches StatefulSets and their Pods."""

    name = "statefulset-controller"
    kind = STATEFUL_SET

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._metrics = StatefulSetMetrics(context.telemetry.metrics)
        self._sets = context.informers.of(STATEFUL_SET, StatefulSet)
        self._pods = context.informers.of(POD, Pod)
        self._claims = context.informers.of(PERSISTENT_VOLUME_CLAIM, PersistentVolumeClaim)
        self._revisions = context.informers.of(CONTROLLER_REVISION, ControllerRevision)
        self.queue = context.queue("statefulset")
        follow(self._sets, self.queue)
        follow_members(self._pods, self._sets, STATEFUL_SET, self.queue, lambda found: found.spec.selector)

    async def run(self, started: Callable[[], None]) -> None:
        await run_reconciler(self, self.queue, self._telemetry, workers=5, started=started)

    async def reconcile(self, key: str) -> Result:
        found = self._sets.get(key)
        if found is None:
            return DONE
        selector = from_label_selector(found.spec.selector)
        pods, claims = claim(STATEFUL_SET, found, selector, POD, candidates(self._pods, found))
        if claims:
            await self._writer.apply(claims)
            return Result(0)
        namespace = found.metadata.namespace
        existing = frozenset(each.metadata.name for each in self._claims.list(namespace))
        revisions = self._revisions.by_index(CONTROLLER, found.metadata.uid)
        step = plan(Observed(found, pods, revisions, existing), clock.now())
        await self._writer.apply(step.actions)
        self._count(found)
        again = any(isinstance(action, Create | Delete) and action.kind is POD for action in step.actions)
        return Result(0) if again else Result(step.requeue_after_seconds)

    def _count(self, found: StatefulSet) -> None:
        policy = found.spec.pod_management_policy or "OrderedReady"
        labels = (found.metadata.namespace, found.metadata.name, policy)
        missing = found.spec.replicas - found.status.available_replicas
        self._metrics.statefulset_controller_statefulset_max_unavailable.labels(*labels).set(max_unavailable(found))
        self._metrics.statefulset_controller_statefulset_unavailable_replicas.labels(*labels).set(max(0, missing))

"""Deployments: one ReplicaSet per Pod template, moved from the old to the new one. Upstream: deployment-controller.

`plan` is one step: it is called again after each change that its own actions cause, until nothing is left to do.
Sizes are decided in deployment_sizes.py, the status in deployment_status.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kubeglass.components.api.errors import AlreadyExists
from kubeglass.components.api.kinds import DEPLOYMENT, POD, REPLICA_SET
from kubeglass.components.api.objects import DeploymentCondition, Pod, encode
from kubeglass.components.api.selectors import from_label_selector
from kubeglass.components.controllers import deployment_status as progress
from kubeglass.components.controllers.actions import Action, Create, Delete, Emit, Patch, Plan
from kubeglass.components.controllers.arithmetic import condition_of, template_hash, with_condition
from kubeglass.components.controllers.context import (
    CONTROLLER,
    ControllerContext,
    candidates,
    follow,
    follow_members,
)
from kubeglass.components.controllers.deployment_sizes import MAX_REPLICAS, Sizes
from kubeglass.components.controllers.ownership import claim, controlled_by, controller_of, owner_reference
from kubeglass.components.controllers.podstate import is_finished
from kubeglass.components.controllers.views import Deployment, ReplicaSet
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.informer import Change
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler
from kubeglass.telemetry.tracing.tracer import ANNOTATION

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_ROLLBACK = "deprecated.deployment.rollback.to"
_NOT_COPIED = frozenset({_LAST_APPLIED, REVISION, HISTORY, DESIRED_REPLICAS, MAX_REPLICAS, _ROLLBACK, ANNOTATION})


@dataclass(frozen=True, slots=True)
class Observed:
    """A Deployment, the ReplicaSets that are its own, and their Pods by ReplicaSet uid."""

    deployment: Deployment
    sets: Sequence[ReplicaSet]
    pods: Mapping[str, Sequence[Pod]] = field(default_factory=dict)


def plan(observed: Observed, now: float) -> Plan:
    """The next step of a Deployment."""
    return _Step(observed, now).plan()


class _Step:
    """One step under way: sizes as decided so far, actions collected so far."""

    def __init__(self, observed: Observed, now: float) -> None:
        self.deployment = observed.deployment
        self.now = now
        self.pods = observed.pods
        self.sets = sorted(observed.sets, key=lambda each: (each.metadata.creation_timestamp, each.metadata.name))
        self.new = newest(observed.deployment, self.sets)
        self.old = [each for each in self.sets if each is not self.new]
        self.sizes = Sizes(observed.deployment, self.sets)
        self.conditions = progress.conditions_of(observed.deployment)
        self.actions: list[Action] = []
        self.created = False

    def plan(self) -> Plan:
        spec = self.deployment.spec
        selector = spec.selector
        if selector is None or not (selector.match_labels or selector.match_expressions):
            message = "This deployment is selecting all pods. A non-empty selector is required."
            return Plan((Emit(self.deployment, "Warning", "SelectingAll", message),))
        if self.deployment.metadata.deletion_timestamp:
            return self._finish(rollout=False)
        self.conditions = progress.with_pause(self.deployment, self.conditions, self.now)
        if spec.paused or self._is_scaling():
            self._scale()
            if spec.paused:
                self._delete_history()
            return self._finish(rollout=False)
        if spec.strategy.type == "Recreate":
            self._recreate()
        else:
            self._roll()
        return self._finish(rollout=True)

    # -- strategies -----------------------------------------------------------------------------------------------

    def _roll(self) -> None:
        if self.new is None:
            self._create_new(self.sizes.for_new(0, sum(map(self.sizes.of, self.old))))
            return
        self._refresh_new(self.new)
        current, wanted = self.sizes.of(self.new), self.deployment.spec.replicas
        if current > wanted:
            self._resize(self.new, wanted)
        elif current < wanted:
            self._resize(self.new, self.sizes.for_new(current, sum(map(self.sizes.of, self.old))))
        if self.sizes.of(self.new) != current:
            return
        before = {each.metadata.uid: self.sizes.of(each) for each in self.old}
        self.sizes.shrink_old(self.old, self.new)
        for each in self.old:
            if self.sizes.of(each) != before[each.metadata.uid]:
                self._resize(each, self.sizes.of(each))
        self._delete_history_if_complete()

    def _recreate(self) -> None:
        active = [each for each in self.old if self.sizes.of(each) > 0]
        for each in active:
            self._resize(each, 0)
        if active or self._old_pods_remain():
            return
        if self.new is None:
            self._create_new(self.deployment.spec.replicas)
            return
        self._refresh_new(self.new)
        self._resize(self.new, self.deployment.spec.replicas)
        self._delete_history_if_complete()

    def _old_pods_remain(self) -> bool:
        return any(not is_finished(pod) for each in self.old for pod in self.pods.get(each.metadata.uid, ()))

    def _is_scaling(self) -> bool:
        """spec.replicas changed since the sets were sized: settle that before rolling on."""
        wanted = str(self.deployment.spec.replicas)
        return any(
            self.sizes.of(each) > 0 and each.metadata.annotations.get(DESIRED_REPLICAS, wanted) != wanted
            for each in self.sets
        )

    def _scale(self) -> None:
        wanted = self.deployment.spec.replicas
        if self.new is not None:
            self._refresh_new(self.new)
        active = [each for each in self.sets if self.sizes.of(each) > 0]
        only = active[0] if len(active) == 1 else (self.new or _last(self.old)) if not active else None
        if only is not None:
            self._resize(only, wanted)
            return
        if self.new is not None and self._is_saturated(self.new):
            for each in self.old:
                if self.sizes.of(each) > 0:
                    self._resize(each, 0)
            return
        if self.deployment.spec.strategy.type != "Recreate" and active:
            self.sizes.scale_proportionally(active)
            for each in active:
                self._resize(each, self.sizes.of(each))

    def _is_saturated(self, each: ReplicaSet) -> bool:
        wanted = self.deployment.spec.replicas
        return (
            each.spec.replicas == wanted
            and each.metadata.annotations.get(DESIRED_REPLICAS) == str(wanted)
            and each.status.available_replicas == wanted
        )

    # -- the sets -------------------------------------------------------------------------------------------------

    def _create_new(self, replicas: int) -> None:
        deployment = self.deployment
        template, value = hashed_template(deployment)
        name = f"{deployment.metadata.name}-{value}"
        revision = str(max((revision_of(each) for each in self.old), default=0) + 1)
        selector: dict[str, Any] = {"matchLabels": {}, **_selector(deployment)}
        selector["matchLabels"] = {**selector["matchLabels"], HASH: value}
        self.actions.append(
            Create(
                REPLICA_SET,
                {
                    "apiVersion": REPLICA_SET.api_version,
                    "kind": "ReplicaSet",
                    "metadata": {
                        "name": name,
                        "namespace": deployment.metadata.namespace,
                        "labels": template["metadata"]["labels"],
                        "annotations": {**self._copied(), REVISION: revision, **self._size_annotations()},
                        "ownerReferences": [owner_reference(DEPLOYMENT, deployment)],
                    },
                    "spec": {
                        "replicas": replicas,
                        "selector": selector,
                        "template": template,
                        **(
                            {"minReadySeconds": deployment.spec.min_ready_seconds}
                            if deployment.spec.min_ready_seconds
                            else {}
                        ),
                    },
                },
            )
        )
        self.created = True
        if replicas > 0:
            self._scaled_event("up", name, 0, replicas)
        if progress.has_deadline(deployment):
            message = f'Created new replica set "{name}"'
            found = progress.condition(progress.PROGRESSING, "True", "NewReplicaSetCreated", message, self.now)
            self.conditions = with_condition(self.conditions, found)
        self._set_revision(revision)

    def _refresh_new(self, new: ReplicaSet) -> None:
        """Bring the newest set's annotations up to date: its revision is the highest, copies follow the Deployment."""
        annotations = new.metadata.annotations
        changes: dict[str, str] = {k: v for k, v in self._copied().items() if annotations.get(k) != v}
        highest_old = max((revision_of(each) for each in self.old), default=0)
        revision = revision_of(new)
        if revision <= highest_old:
            if revision:
                past = [found for found in annotations.get(HISTORY, "").split(",") if found]
                changes[HISTORY] = ",".join([*past, str(revision)])
            revision = highest_old + 1
            changes[REVISION] = str(revision)
        spec = {}
        if new.spec.min_ready_seconds != self.deployment.spec.min_ready_seconds:
            spec["minReadySeconds"] = self.deployment.spec.min_ready_seconds
        if changes or spec:
            patch: dict[str, Any] = {"metadata": {"annotations": changes}} if changes else {}
            self._patch_set(new, {**patch, **({"spec": spec} if spec else {})})
        self._set_revision(str(revision))
        if progress.has_deadline(self.deployment) and condition_of(self.conditions, progress.PROGRESSING) is None:
            message = f'Found new replica set "{new.metadata.name}"'
            found = progress.condition(progress.PROGRESSING, "True", "FoundNewReplicaSet", message, self.now)
            self.conditions = with_condition(self.conditions, found)

    def _resize(self, each: ReplicaSet, replicas: int) -> None:
        before = each.spec.replicas
        self.sizes.plan(each, replicas)
        stamps = self._size_annotations()
        stale = {k: v for k, v in stamps.items() if each.metadata.annotations.get(k) != v}
        if before == replicas and not stale:
            return
        patch: dict[str, Any] = {"spec": {"replicas": replicas}}
        if stale:
            patch["metadata"] = {"annotations": stale}
        self._patch_set(each, patch)
        if before != replicas:
            self._scaled_event("up" if replicas > before else "down", each.metadata.name, before, replicas)

    def _patch_set(self, each: ReplicaSet, patch: dict[str, Any]) -> None:
        meta = each.metadata
        self.actions.append(Patch(REPLICA_SET, meta.name, meta.namespace, patch))

    def _scaled_event(self, direction: str, name: str, before: int, after: int) -> None:
        message = f"Scaled {direction} replica set {name} from {before} to {after}"
        self.actions.append(Emit(self.deployment, "Normal", "ScalingReplicaSet", message))

    def _set_revision(self, revision: str) -> None:
        meta = self.deployment.metadata
        if meta.annotations.get(REVISION) != revision:
            patch = {"metadata": {"annotations": {REVISION: revision}}}
            self.actions.append(Patch(DEPLOYMENT, meta.name, meta.namespace, patch))

    def _copied(self) -> dict[str, str]:
        return {k: v for k, v in self.deployment.metadata.annotations.items() if k not in _NOT_COPIED}

    def _size_annotations(self) -> dict[str, str]:
        return {DESIRED_REPLICAS: str(self.sizes.wanted), MAX_REPLICAS: str(self.sizes.limit)}

    # -- the end of a step ----------------------------------------------------------------------------------------

    def _delete_history_if_complete(self) -> None:
        counted = progress.counted(self.deployment, self.new, self.sets, self.sizes, self.now)
        if progress.is_complete(self.deployment, counted):
            self._delete_history()

    def _delete_history(self) -> None:
        alive = [each for each in self.old if not each.metadata.deletion_timestamp]
        surplus = len(alive) - self.deployment.spec.revision_history_limit
        for each in sorted(alive, key=revision_of)[: max(0, surplus)]:
            empty = each.status.replicas == 0 and each.spec.replicas == 0
            if empty and each.metadata.generation <= each.status.observed_generation:
                meta = each.metadata
                self.actions.append(Delete(REPLICA_SET, meta.name, meta.namespace, meta.uid))

    def _finish(self, *, rollout: bool) -> Plan:
        compute = progress.progressed if rollout and not self.created else progress.counted
        staged = _with_conditions(self.deployment, self.conditions)
        status = compute(staged, self.new, self.sets, self.sizes, self.now)
        patch = progress.status_patch(self.deployment, status)
        if patch is not None:
            meta = self.deployment.metadata
            self.actions.append(Patch(DEPLOYMENT, meta.name, meta.namespace, {"status": patch}, "status"))
        return Plan(tuple(self.actions), progress.seconds_to_deadline(self.deployment, status, self.now))


# -- reading ----------------------------------------------------------------------------------------------------------


def newest(deployment: Deployment, sets: Sequence[ReplicaSet]) -> ReplicaSet | None:
    """The set whose template is the Deployment's, the oldest if there are several."""
    return next((each for each in sets if same_template(each.spec.template, deployment.spec.template)), None)


def same_template(left: Any, right: Any) -> bool:
    """Equality of templates, whatever their pod-template-hash."""
    return bool(_without_hash(left) == _without_hash(right))


def _without_hash(template: Mapping[str, Any]) -> dict[str, Any]:
    metadata = dict(template.get("metadata") or {})
    metadata["labels"] = {k: v for k, v in (metadata.get("labels") or {}).items() if k != HASH}
    metadata.pop("creationTimestamp", None)
    return {**template, "metadata": metadata}


def revision_of(each: ReplicaSet) -> int:
    """The revision that a ReplicaSet stands for; 0 without one."""
    text = each.metadata.annotations.get(REVISION, "")
    return int(text) if text.isdigit() else 0


def hashed_template(deployment: Deployment) -> tuple[dict[str, Any], str]:
    """The Deployment's template with its hash among the labels, and the hash."""
    template = _without_hash(deployment.spec.template)
    value = template_hash(template, deployment.status.collision_count)
    metadata = template["metadata"]
    return {**template, "metadata": {**metadata, "labels": {**metadata["labels"], HASH: value}}}, value


def _selector(deployment: Deployment) -> dict[str, Any]:
    return encode(deployment.spec.selector) if deployment.spec.selector else {}


def _last(sets: Sequence[ReplicaSet]) -> ReplicaSet | None:
    return sets[-1] if sets else None


def _with_conditions(deployment: Deployment, conditions: Sequence[Mapping[str, Any]]) -> Deployment:
    views = tuple(msgspec.convert(found, DeploymentCondition) for found in conditions)
    return msgspec.structs.replace(deployment, status=msgspec.structs.replace(deployment.status, conditions=views))


# -- the controller ---------------------------------------------------------------------------------------------------


class DeploymentController:
    """Watches Deployments, their ReplicaSets and Pods, and takes one step per change."""

    name = "deployment-controller"
    kind = DEPLOYMENT

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._deployments = context.informers.of(DEPLOYMENT, Deployment)
        self._sets = context.informers.of(REPLICA_SET, ReplicaSet)
        self._pods = context.informers.of(POD, Pod)
        self.queue = context.queue("deployment")
        follow(self._deployments, self.queue)
        follow_members(self._sets, self._deployments, DEPLOYMENT, self.queue, lambda d: d.spec.selector)
        self._pods.subscribe(self._pod_changed)

    async def run(self, started: Callable[[], None]) -> None:
        await run_reconciler(self, self.queue, self._telemetry, workers=5, started=started)

    async def reconcile(self, key: str) -> Result:
        deployment = self._deployments.get(key)
        if deployment is None:
            return DONE
        selector = from_label_selector(deployment.spec.selector)
        sets, claims = claim(DEPLOYMENT, deployment, selector, REPLICA_SET, candidates(self._sets, deployment))
        if claims:
            await self._writer.apply(claims)
            return Result(0)
        pods = {each.metadata.uid: self._pods.by_index(CONTROLLER, each.metadata.uid) for each in sets}
        step = plan(Observed(deployment, sets, pods), clock.now())
        try:
            await self._writer.apply(step.actions)
        except AlreadyExists:
            await self._avoid_collision(deployment)
        return Result(step.requeue_after_seconds)

    async def _avoid_collision(self, deployment: Deployment) -> None:
        """The name of the new ReplicaSet is taken by one that is not ours: hash again with a higher count."""
        template, value = hashed_template(deployment)
        meta = deployment.metadata
        taken = self._sets.get(f"{meta.namespace}/{meta.name}-{value}")
        if (
            taken is not None
            and controlled_by(taken.metadata, meta.uid)
            and same_template(taken.spec.template, template)
        ):
            return
        count = deployment.status.collision_count + 1
        patch = {"metadata": {"resourceVersion": meta.resource_version}, "status": {"collisionCount": count}}
        await self._writer.apply([Patch(DEPLOYMENT, meta.name, meta.namespace, patch, "status")])

    def _pod_changed(self, change: Change[Pod]) -> None:
        """A Recreate rollout waits for the last old Pod to go."""
        if change.type != "DELETED":
            return
        owner = controller_of(change.new.metadata)
        each = self._sets.get(f"{change.new.metadata.namespace}/{owner.name}") if owner else None
        parent = controller_of(each.metadata) if each else None
        if parent is not None and parent.kind == "Deployment":
            key = f"{change.new.metadata.namespace}/{parent.name}"
            deployment = self._deployments.get(key)
            if deployment is not None and deployment.spec.strategy.type == "Recreate":
                self.queue.add(key)

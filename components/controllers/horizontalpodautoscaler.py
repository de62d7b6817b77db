"""Horizontal Pod autoscaling: every 15 s, as many replicas as the metrics ask for. Upstream: podautoscaler.

Resource metrics come from the kubelets (podusage.py). There is no custom or external metrics API to ask; such metrics
fail as they do in a cluster without an adapter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kubeglass.components.api.errors import ApiError
from kubeglass.components.api.kinds import HORIZONTAL_POD_AUTOSCALER, POD, Kind, by_kind
from kubeglass.components.api.objects import (
    HorizontalPodAutoscaler,
    MetricSpec,
    Pod,
    Scale,
    encode,
)
from kubeglass.components.api.selectors import SelectorError, parse
from kubeglass.components.controllers.actions import Emit, Patch
from kubeglass.components.controllers.context import ControllerContext
from kubeglass.components.controllers.metrics import HorizontalPodAutoscalerMetrics
from kubeglass.components.controllers.podusage import PodUsage
from kubeglass.components.controllers.replicacount import (
    History,
    Unknown,
    limited,
    rules,
    stabilized,
)
from kubeglass.components.controllers.scalingmetrics import Failed, Measured, evaluate
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.client import Client
from kubeglass.components.machinery.informer import Change
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler

SYNC_SECONDS = 15.0


@dataclass(slots=True)
class _Draft:
    """The status as it grows during one reconciliation, and the Events that go with it."""

    autoscaler: HorizontalPodAutoscaler
    now: float
    conditions: list[dict[str, Any]]
    events: list[Emit] = field(default_factory=list)

    def condition(self, type: str, status: str, reason: str, message: str) -> None:
        """Set a condition in its place; the transition time moves only when the status does."""
        old = next((each for each in self.conditions if each["type"] == type), None)
        stamp = old["lastTransitionTime"] if old is not None and old["status"] == status else clock.rfc3339(self.now)
        new = {"type": type, "status": status, "lastTransitionTime": stamp, "reason": reason, "message": message}
        if old is None:
            self.conditions.append(new)
        else:
            self.conditions[self.conditions.index(old)] = new

    def warn(self, reason: str, message: str) -> None:
        self.events.append(Emit(self.autoscaler, "Warning", reason, message))


class HorizontalPodAutoscalerController:
    """Watches autoscalers; looks at each every 15 s."""

    name = "horizontal-pod-autoscaler-controller"

    def __init__(self, context: ControllerContext) -> None:
        self._client: Client = context.client
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._metrics = HorizontalPodAutoscalerMetrics(context.telemetry.metrics)
        self._autoscalers = context.informers.of(HORIZONTAL_POD_AUTOSCALER, HorizontalPodAutoscaler)
        self._pods = context.informers.of(POD, Pod)
        self._usage = PodUsage(context.client)
        self._histories: dict[str, History] = {}
        self.queue = context.queue("horizontalpodautoscaler")
        self._autoscalers.subscribe(self._changed)

    async def run(self, started: Callable[[], None]) -> None:
        await run_reconciler(self, self.queue, self._telemetry, workers=5, started=started)

    def _changed(self, change: Change[HorizontalPodAutoscaler]) -> None:
        """Look at once at what is asked anew; a change of status is our own."""
        if change.old is None or change.old.metadata.generation != change.new.metadata.generation:
            self.queue.add(change.key)

    async def reconcile(self, key: str) -> Result:
        found = self._autoscalers.get(key)
        count = self._metrics.horizontal_pod_autoscaler_controller_num_horizontal_pod_autoscalers
        count.set(len(self._autoscalers.list()))
        if found is None:
            self._histories.pop(key, None)
            return DONE
        began = time.perf_counter()
        action, error = "none", "internal"
        try:
            action, error = await self._step(found)
        finally:
            self._metrics.horizontal_pod_autoscaler_controller_reconciliations_total.labels(action, error).inc()
            self._metrics.horizontal_pod_autoscaler_controller_reconciliation_duration_seconds.labels(
                action, error
            ).observe(time.perf_counter() - began)
        return Result(SYNC_SECONDS)

    async def _step(self, found: HorizontalPodAutoscaler) -> tuple[str, str]:
        """One reconciliation; the answer is its labels: what it did, and what went wrong."""
        draft = _Draft(found, clock.now(), [encode(each) for each in found.status.conditions])
        try:
            kind, scale = await self._scale_of(found)
        except (Unknown, ApiError) as error:
            text = str(error)
            draft.warn("FailedGetScale", text)
            message = f"the HPA controller was unable to get the target's current scale: {text}"
            draft.condition("AbleToScale", "False", "FailedGetScale", message)
            await self._state(draft, found.status.current_replicas, found.status.desired_replicas, None, False)
            return "none", "spec" if isinstance(error, Unknown) else "internal"
        text = "the HPA controller was able to get the target's current scale"
        draft.condition("AbleToScale", "True", "SucceededGetScale", text)
        return await self._rescale(draft, kind, scale)

    async def _rescale(self, draft: _Draft, kind: Kind, scale: Scale) -> tuple[str, str]:
        found, current = draft.autoscaler, scale.spec.replicas
        least, most = found.spec.min_replicas, found.spec.max_replicas
        statuses: list[Mapping[str, Any]] | None = None
        if current == 0 and least != 0:
            text = "scaling is disabled since the replica count of the target is zero"
            draft.condition("ScalingActive", "False", "ScalingDisabled", text)
            await self._state(draft, scale.status.replicas, 0, None, False)
            return "none", "none"
        if current > most:
            wanted, why = most, "Current number of replicas above Spec.MaxReplicas"
        elif current < least:
            wanted, why = least, "Current number of replicas below Spec.MinReplicas"
        else:
            try:
                wanted, why, statuses = await self._wanted(draft, scale)
            except Unknown as error:
                draft.warn("FailedComputeMetricsReplicas", str(error))
                desired = found.status.desired_replicas
                await self._state(draft, scale.status.replicas, desired, statuses, False)
                return "none", "internal"
        labels = (found.metadata.namespace, found.metadata.name)
        self._metrics.horizontal_pod_autoscaler_controller_desired_replicas.labels(*labels).set(wanted)
        if wanted == current:
            await self._state(draft, scale.status.replicas, wanted, statuses, False)
            return "none", "none"
        await self._write_scale(draft, kind, current, wanted, why)
        await self._state(draft, scale.status.replicas, wanted, statuses, True)
        return ("scale_up" if wanted > current else "scale_down"), "none"

    # -- the target -----------------------------------------------------------------------------------------------

    async def _scale_of(self, found: HorizontalPodAutoscaler) -> tuple[Kind, Scale]:
        target = found.spec.scale_target_ref
        kind = by_kind(target.api_version, target.kind)
        if kind is None or kind.subresource("scale") is None:
            group = target.api_version.rpartition("/")[0]
            raise Unknown(
                f'unable to determine resource for scale target reference: no matches for kind "{target.kind}" '
                f'in group "{group}"'
            )
        path = kind.path(found.metadata.namespace, target.name, "scale")
        return kind, msgspec.json.decode((await self._client.raw("GET", path)).body, type=Scale)

    async def _write_scale(self, draft: _Draft, kind: Kind, current: int, wanted: int, why: str) -> None:
        meta, target = draft.autoscaler.metadata, draft.autoscaler.spec.scale_target_ref
        patch = {"spec": {"replicas": wanted}}
        try:
            await self._client.patch(kind, target.name, patch, meta.namespace, subresource="scale")
        except ApiError as error:
            draft.warn("FailedRescale", f"New size: {wanted}; reason: {why}; error: {error}")
            message = f"the HPA controller was unable to update the target scale: {error}"
            draft.condition("AbleToScale", "False", "FailedUpdateScale", message)
            await self._writer.apply(draft.events)
            raise
        text = f"New size: {wanted}; reason: {why}"
        draft.events.append(Emit(draft.autoscaler, "Normal", "SuccessfulRescale", text))
        message = f"the HPA controller was able to update the target scale to {wanted}"
        draft.condition("AbleToScale", "True", "SucceededRescale", message)
        self._history(draft.autoscaler).changes.append((draft.now, wanted - current))

    # -- the metrics ----------------------------------------------------------------------------------------------

    async def _wanted(self, draft: _Draft, scale: Scale) -> tuple[int, str, list[Mapping[str, Any]]]:
        """(replicas, why, the metrics' entries in the status). Raises Unknown when too little is known."""
        found, current = draft.autoscaler, scale.spec.replicas
        pods = self._targets(draft, scale)
        await self._usage.refresh({pod.spec.node_name for pod in pods if pod.spec.node_name})
        outcomes = [self._measure(spec, pods, current, draft.now) for spec in found.spec.metrics]
        measured = [outcome for outcome in outcomes if isinstance(outcome, Measured)]
        failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
        best = max(measured, key=lambda outcome: outcome.replicas, default=None)
        for failure in failed:
            draft.warn(failure.reason, failure.message)
        if best is None or (failed and best.replicas < current):
            first = failed[0]
            text = f"the HPA was unable to compute the replica count: {first.message}"
            draft.condition("ScalingActive", "False", first.reason, text)
            raise Unknown(
                f"invalid metrics ({len(failed)} invalid out of {len(outcomes)}), first error is: "
                f"{first.compute_message}"
            )
        text = f"the HPA was able to successfully calculate a replica count from {best.name}"
        draft.condition("ScalingActive", "True", "ValidMetricFound", text)
        why = f"{best.name} above target" if best.replicas > current else "All metrics below target"
        return self._tempered(draft, current, best.replicas), why, [outcome.status for outcome in measured]

    def _tempered(self, draft: _Draft, current: int, wanted: int) -> int:
        """Stabilised and limited, each with its condition."""
        found, history = draft.autoscaler, self._history(draft.autoscaler)
        up, down = rules(found.spec.behavior)
        steady = stabilized(current, wanted, history, up, down, draft.now)
        draft.condition("AbleToScale", "True", steady.reason, steady.message)
        bounds = (found.spec.min_replicas, found.spec.max_replicas)
        outcome = limited(current, steady.replicas, bounds, history, up, down, draft.now)
        status = "False" if outcome.reason == "DesiredWithinRange" else "True"
        draft.condition("ScalingLimited", status, outcome.reason, outcome.message)
        history.forget_before(draft.now - 3600)
        return outcome.replicas

    def _targets(self, draft: _Draft, scale: Scale) -> list[Pod]:
        if not scale.status.selector:
            text = "the HPA target's scale is missing a selector"
            draft.condition("ScalingActive", "False", "InvalidSelector", text)
            draft.warn("SelectorRequired", "selector is required")
            raise Unknown("selector is required")
        try:
            selector = parse(scale.status.selector)
        except SelectorError as error:
            text = f"couldn't convert selector into a corresponding internal selector object: {error}"
            draft.condition("ScalingActive", "False", "InvalidSelector", text)
            raise Unknown(text) from error
        pods = self._pods.list(draft.autoscaler.metadata.namespace)
        return [pod for pod in pods if selector.matches(pod.metadata.labels)]

    def _measure(self, spec: MetricSpec, pods: Sequence[Pod], current: int, now: float) -> Measured | Failed:
        began, error = time.perf_counter(), "internal"
        action = "none"
        try:
            outcome = evaluate(spec, pods, self._usage.of, current, now)
            if isinstance(outcome, Measured):
                error = "none"
                action = ("scale_down", "none", "scale_up")[_sign(outcome.replicas - current) + 1]
            return outcome
        finally:
            labels = (action, error, spec.type)
            self._metrics.horizontal_pod_autoscaler_controller_metric_computation_total.labels(*labels).inc()
            self._metrics.horizontal_pod_autoscaler_controller_metric_computation_duration_seconds.labels(
                *labels
            ).observe(time.perf_counter() - began)

    # -- the status -----------------------------------------------------------------------------------------------

    async def _state(
        self, draft: _Draft, current: int, desired: int, metrics: Sequence[Mapping[str, Any]] | None, scaled: bool
    ) -> None:
        found = draft.autoscaler
        status: dict[str, Any] = {
            "observedGeneration": found.metadata.generation,
            "currentReplicas": current,
            "desiredReplicas": desired,
            "conditions": draft.conditions,
        }
        if metrics is not None:
            status["currentMetrics"] = list(metrics)
        if scaled:
            status["lastScaleTime"] = clock.rfc3339(draft.now)
        stored = encode(found.status)
        empty: dict[str, Any] = {"conditions": [], "currentMetrics": []}
        changed = {key: value for key, value in status.items() if stored.get(key, empty.get(key, 0)) != value}
        meta = found.metadata
        patch = Patch(
            HORIZONTAL_POD_AUTOSCALER, meta.name, meta.namespace, {"status": changed}, "status", ignore_missing=True
        )
        await self._writer.apply([*draft.events, *([patch] if changed else [])])

    def _history(self, found: HorizontalPodAutoscaler) -> History:
        return self._histories.setdefault(found.key, History())


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)

"""Read-only views: disruption budgets and evictions (policy/v1)."""

from __future__ import annotations

from kubeglass.components.api.objects.meta import Condition, DeleteOptions, LabelSelector, Resource
from kubeglass.components.api.objects.struct import Object


class PodDisruptionBudgetSpec(Object):
    max_unavailable: int | str | None = None
    min_available: int | str | None = None
    selector: LabelSelector | None = None
    unhealthy_pod_eviction_policy: str = ""


class PodDisruptionBudgetStatus(Object):
    conditions: tuple[Condition, ...] = ()
    current_healthy: int = 0
    desired_healthy: int = 0
    disrupted_pods: dict[str, str] = {}
    disruptions_allowed: int = 0
    expected_pods: int = 0
    observed_generation: int = 0


class PodDisruptionBudget(Resource):
    spec: PodDisruptionBudgetSpec = PodDisruptionBudgetSpec()
    status: PodDisruptionBudgetStatus = PodDisruptionBudgetStatus()


class Eviction(Resource):
    delete_options: DeleteOptions | None = None

"""Read-only views: autoscalers (autoscaling/v2) and the Scale subresource (autoscaling/v1)."""

from __future__ import annotations

from kubeglass.components.api.objects.meta import LabelSelector, Resource
from kubeglass.components.api.objects.struct import Object


class HPAScalingPolicy(Object):
    period_seconds: int = 0
    type: str = ""
    value: int = 0


class HPAScalingRules(Object):
    policies: tuple[HPAScalingPolicy, ...] = ()
    select_policy: str = ""
    stabilization_window_seconds: int | None = None
    tolerance: str = ""


class HorizontalPodAutoscalerBehavior(Object):
    scale_down: HPAScalingRules | None = None
    scale_up: HPAScalingRules | None = None


class MetricTarget(Object):
    average_utilization: int | None = None
    average_value: str = ""
    type: str = ""
    value: str = ""


class ContainerResourceMetricSource(Object):
    container: str = ""
    name: str = ""
    target: MetricTarget | None = None


class MetricIdentifier(Object):
    name: str = ""
    selector: LabelSelector | None = None


class ExternalMetricSource(Object):
    metric: MetricIdentifier | None = None
    target: MetricTarget | None = None


class CrossVersionObjectReference(Object):
    api_version: str = ""
    kind: str = ""
    name: str = ""


class ObjectMetricSource(Object):
    described_object: CrossVersionObjectReference | None = None
    metric: MetricIdentifier | None = None
    target: MetricTarget | None = None


class PodsMetricSource(Object):
    metric: MetricIdentifier | None = None
    target: MetricTarget | None = None


class ResourceMetricSource(Object):
    name: str = ""
    target: MetricTarget | None = None


class MetricSpec(Object):
    container_resource: ContainerResourceMetricSource | None = None
    external: ExternalMetricSource | None = None
    object: ObjectMetricSource | None = None
    pods: PodsMetricSource | None = None
    resource: ResourceMetricSource | None = None
    type: str = ""


class HorizontalPodAutoscalerSpec(Object):
    behavior: HorizontalPodAutoscalerBehavior | None = None
    max_replicas: int = 0
    metrics: tuple[MetricSpec, ...] = ()
    min_replicas: int = 1
    scale_target_ref: CrossVersionObjectReference = CrossVersionObjectReference()


class HorizontalPodAutoscalerCondition(Object):
    last_transition_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class MetricValueStatus(Object):
    average_utilization: int = 0
    average_value: str = ""
    value: str = ""


class ContainerResourceMetricStatus(Object):
    container: str = ""
    current: MetricValueStatus | None = None
    name: str = ""


class ExternalMetricStatus(Object):
    current: MetricValueStatus | None = None
    metric: MetricIdentifier | None = None


class ObjectMetricStatus(Object):
    current: MetricValueStatus | None = None
    described_object: CrossVersionObjectReference | None = None
    metric: MetricIdentifier | None = None


class PodsMetricStatus(Object):
    current: MetricValueStatus | None = None
    metric: MetricIdentifier | None = None


class ResourceMetricStatus(Object):
    current: MetricValueStatus | None = None
    name: str = ""


class MetricStatus(Object):
    container_resource: ContainerResourceMetricStatus | None = None
    external: ExternalMetricStatus | None = None
    object: ObjectMetricStatus | None = None
    pods: PodsMetricStatus | None = None
    resource: ResourceMetricStatus | None = None
    type: str = ""


class HorizontalPodAutoscalerStatus(Object):
    conditions: tuple[HorizontalPodAutoscalerCondition, ...] = ()
    current_metrics: tuple[MetricStatus, ...] = ()
    current_replicas: int = 0
    desired_replicas: int = 0
    last_scale_time: str = ""
    observed_generation: int = 0


class HorizontalPodAutoscaler(Resource):
    spec: HorizontalPodAutoscalerSpec = HorizontalPodAutoscalerSpec()
    status: HorizontalPodAutoscalerStatus = HorizontalPodAutoscalerStatus()


class ScaleSpec(Object):
    replicas: int = 0


class ScaleStatus(Object):
    replicas: int = 0
    selector: str = ""


class Scale(Resource):
    spec: ScaleSpec = ScaleSpec()
    status: ScaleStatus = ScaleStatus()

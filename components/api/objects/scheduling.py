"""Read-only views: PriorityClasses (scheduling.k8s.io/v1) and RuntimeClasses (node.k8s.io/v1)."""

from __future__ import annotations

from kubeglass.components.api.objects.meta import Resource
from kubeglass.components.api.objects.pod import Toleration
from kubeglass.components.api.objects.struct import Object


class PriorityClass(Resource):
    description: str = ""
    global_default: bool = False
    preemption_policy: str = ""
    value: int = 0


class Overhead(Object):
    pod_fixed: dict[str, str] = {}


class Scheduling(Object):
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()


class RuntimeClass(Resource):
    handler: str = ""
    overhead: Overhead | None = None
    scheduling: Scheduling | None = None

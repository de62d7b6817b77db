"""The quality-of-service class of a Pod: Guaranteed, Burstable or BestEffort (pkg/apis/core/v1/helper/qos). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubeglass.components.api import quantity
from kubeglass.components.api.objects import Pod, decode
from kubeglass.components.api.quantity import Quantity

GUARANTEED = "Guaranteed"
BURSTABLE = "Burstable"
BEST_EFFORT = "BestEffort"
_COUNTED = ("cpu", "memory")


def qos_class(pod: Pod | Mapping[str, Any]) -> str:
    """Guaranteed when every container limits CPU and memory to what it requests; BestEffort when none asks. A limit is
    also the request where there is no other (the default, which static Pods do not pass through)."""
    spec = (pod if isinstance(pod, Pod) else decode(Pod, pod)).spec
    asks = []
    for container in (*spec.containers, *spec.init_containers):
        limits = container.resources.limits
        asks.append((_amounts({**limits, **container.resources.requests}), _amounts(limits)))
    if not any(requests or limits for requests, limits in asks):
        return BEST_EFFORT
    if all(limits.keys() == set(_COUNTED) and requests == limits for requests, limits in asks):
        return GUARANTEED
    return BURSTABLE


def _amounts(found: Mapping[str, str]) -> dict[str, Quantity]:
    return {name: amount for name in _COUNTED if name in found and (amount := quantity.parse(found[name]))}

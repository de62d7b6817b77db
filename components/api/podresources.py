"""What a Pod asks for and may use as a whole. Pure; upstream: k8s.io/component-helpers/resource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from kubeglass.components.api import quantity
from kubeglass.components.api.objects import Container, PodSpec
from kubeglass.components.api.quantity import ZERO, Quantity

Field = Literal["requests", "limits"]
Amounts = dict[str, Quantity]
"""By resource."""

_POD_LEVEL = ("cpu", "memory")
_CHARGED_BY_NAME = ("cpu", "memory", "ephemeral-storage")


def charged(spec: PodSpec) -> Amounts:
    """Requests and limits by the names that quotas use: requests.cpu, which is also cpu, limits.memory …"""
    asked = requests(spec)
    by_name = {name: amount for name, amount in asked.items() if name in _CHARGED_BY_NAME or _huge(name)}
    return {
        **by_name,
        **{f"requests.{name}": amount for name, amount in asked.items()},
        **{f"limits.{name}": amount for name, amount in limits(spec).items()},
    }


def requests(spec: PodSpec) -> Amounts:
    """What must be free for it."""
    return _sum(without_overhead(spec, "requests"), _amounts(spec.overhead))


def limits(spec: PodSpec) -> Amounts:
    """What it may use at most; overhead widens only what is limited."""
    total = without_overhead(spec, "limits")
    return _sum(total, {name: more for name, more in _amounts(spec.overhead).items() if total.get(name)})


def without_overhead(spec: PodSpec, field: Field) -> Amounts:
    """max(containers and sidecars, each init container beside the sidecars before it); what the Pod says for itself
    counts instead.
    """
    together: Amounts = {}
    for container in spec.containers:
        together = _sum(together, _of(container, field))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.init_containers:
        running = _sum(sidecars, _of(container, field))
        peak = _most(peak, running)
        if container.restart_policy == "Always":
            sidecars = running
    own = getattr(spec.resources, field) if spec.resources is not None else {}
    said = {name: text for name, text in own.items() if name in _POD_LEVEL or _huge(name)}
    return _most(_sum(together, sidecars), peak) | _amounts(said)


def _huge(name: str) -> bool:
    return name.startswith("hugepages-")


def _of(container: Container, field: Field) -> Amounts:
    return _amounts(getattr(container.resources, field))


def _amounts(texts: Mapping[str, str]) -> Amounts:
    return {name: quantity.parse(text) for name, text in texts.items()}


def _sum(left: Amounts, right: Amounts) -> Amounts:
    return {name: left.get(name, ZERO) + right.get(name, ZERO) for name in {**left, **right}}


def _most(left: Amounts, right: Amounts) -> Amounts:
    return {name: max(left.get(name, ZERO), right.get(name, ZERO)) for name in {**left, **right}}

"""What a Pod asks for and may use as a whole, and each of its containers. Pure.

Upstream: k8s.io/component-helpers/resource (helpers.go).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kubeglass.components.api import quantity
from kubeglass.components.api.objects import Container, Pod, ResourceRequirements
from kubeglass.components.kubelet.observed import is_sidecar
from kubeglass.components.kubelet.runtime.runtime import Resources

_MILLI = ("cpu",)
_POD_LEVEL = ("cpu", "memory")

Amounts = dict[str, int]
"""By resource; cpu in milli."""


def requests(pod: Pod) -> Amounts:
    """What a Pod asks for: its containers together, or what it needs at most while it is initialised; and its overhead.
    A limit without a request is one, as the API server has it.
    """
    total = _containers(pod, lambda found: {**found.limits, **found.requests})
    if (own := pod.spec.resources) is not None:
        unasked = {name: text for name, text in own.limits.items() if name not in total}
        total |= _pod_level({**unasked, **own.requests})
    return together(total, amounts(pod.spec.overhead))


def limits(pod: Pod) -> Amounts:
    """The same of limits; overhead widens only what is limited."""
    total = _containers(pod, lambda found: found.limits)
    if pod.spec.resources is not None:
        total |= _pod_level(pod.spec.resources.limits)
    overhead = amounts(pod.spec.overhead)
    return together(total, {name: value for name, value in overhead.items() if total.get(name)})


def of_container(spec: Container) -> Resources:
    """What the runtime is told of one container."""
    asked, allowed = amounts(spec.resources.requests), amounts(spec.resources.limits)
    return Resources(asked.get("cpu", 0), allowed.get("cpu", 0), allowed.get("memory", 0))


def amounts(texts: Mapping[str, str]) -> Amounts:
    """Quantities as numbers."""
    return {name: _amount(name, text) for name, text in texts.items()}


def together(left: Mapping[str, int], right: Mapping[str, int]) -> Amounts:
    """The sum, by resource."""
    return {name: left.get(name, 0) + right.get(name, 0) for name in {**left, **right}}


def _containers(pod: Pod, texts: Callable[[ResourceRequirements], Mapping[str, str]]) -> Amounts:
    """max(containers and sidecars, each init container beside the sidecars before it)."""
    regular: Amounts = {}
    for spec in pod.spec.containers:
        regular = together(regular, amounts(texts(spec.resources)))
    beside: Amounts = {}
    peak: Amounts = {}
    for spec in pod.spec.init_containers:
        own = together(beside, amounts(texts(spec.resources)))
        peak = _most(peak, own)
        beside = own if is_sidecar(spec) else beside
    return _most(together(regular, beside), peak)


def _pod_level(texts: Mapping[str, str]) -> Amounts:
    """What a Pod may say for itself; it counts instead of its containers' sum."""
    return amounts({n: text for n, text in texts.items() if n in _POD_LEVEL or n.startswith("hugepages-")})


def _amount(name: str, text: str) -> int:
    found = quantity.parse(text)
    return found.milli_value() if name in _MILLI else found.value()


def _most(left: Mapping[str, int], right: Mapping[str, int]) -> Amounts:
    return {name: max(left.get(name, 0), right.get(name, 0)) for name in {**left, **right}}

"""LimitRanger: defaults for containers that ask for nothing, bounds for all (core/v1 LimitRange).

Upstream: plugin/pkg/admission/limitranger, with its texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api import kinds, podresources, quantity
from kubeglass.components.api.objects import LimitRange, LimitRangeItem, Pod, decode
from kubeglass.components.api.quantity import Quantity
from kubeglass.components.apiserver.admission.chain import CREATES, Attributes, Plugin
from kubeglass.components.apiserver.admission.reader import Reader
from kubeglass.components.apiserver.admission.refusal import forbidden

Object = dict[str, Any]
ANNOTATION = "kubernetes.io/limit-ranger"


@dataclass(frozen=True, slots=True)
class _LimitRanger:
    reader: Reader

    async def admit(self, attributes: Attributes) -> None:
        if attributes.kind != kinds.POD or attributes.subresource or attributes.obj is None:
            return
        for limits in await self._ranges(attributes.namespace):
            _default(attributes.obj, limits)

    async def validate(self, attributes: Attributes) -> None:
        if attributes.subresource or attributes.obj is None:
            return
        if attributes.kind == kinds.POD:
            pod = decode(Pod, attributes.obj)
            problems = [text for limits in await self._ranges(attributes.namespace) for text in check_pod(pod, limits)]
        elif attributes.kind == kinds.PERSISTENT_VOLUME_CLAIM:
            requests = (attributes.obj["spec"].get("resources") or {}).get("requests") or {}
            ranges = await self._ranges(attributes.namespace)
            problems = [text for limits in ranges for text in _check_claim(requests, limits)]
        else:
            return
        if problems:
            raise forbidden(attributes, problems[0] if len(problems) == 1 else "[" + ", ".join(problems) + "]")

    async def _ranges(self, namespace: str) -> list[LimitRange]:
        return [decode(LimitRange, item) for item in await self.reader.list(kinds.LIMIT_RANGE, namespace)]


def plugin(reader: Reader) -> Plugin:
    ranger = _LimitRanger(reader)
    return Plugin("LimitRanger", CREATES, admit=ranger.admit, validate=ranger.validate)


def _default(pod: Object, limits: LimitRange) -> None:
    """Give each container what the range defaults and the container leaves out; say so in an annotation."""
    said = []
    for group, word in (("containers", "container"), ("initContainers", "init container")):
        for container in pod["spec"].get(group) or ():
            for item in limits.spec.limits:
                if item.type == "Container":
                    said += _default_container(container, item, word)
    if said:
        annotations = pod["metadata"].setdefault("annotations", {})
        annotations[ANNOTATION] = "LimitRanger plugin set: " + "; ".join(said)


def _default_container(container: Object, item: LimitRangeItem, word: str) -> list[str]:
    resources = container.setdefault("resources", {})
    said = []
    for field, defaults, what in (
        ("requests", item.default_request, "request"),
        ("limits", item.default, "limit"),
    ):
        given = resources.get(field) or {}
        missing = {name: amount for name, amount in defaults.items() if name not in given}
        if missing:
            resources[field] = given | missing
            said.append(f"{', '.join(sorted(missing))} {what} for {word} {container['name']}")
    return said


def check_pod(pod: Pod, limits: LimitRange) -> list[str]:
    """What a Pod violates, in upstream's words."""
    problems = []
    for item in limits.spec.limits:
        if item.type == "Container":
            for container in [*pod.spec.containers, *pod.spec.init_containers]:
                problems += _check(item, container.resources.requests, container.resources.limits)
        elif item.type == "Pod":
            requests, limited = (podresources.without_overhead(pod.spec, field) for field in ("requests", "limits"))
            problems += _check(item, _texts(requests), _texts(limited))
    return problems


def _check(item: LimitRangeItem, requests: Mapping[str, str], limits: Mapping[str, str]) -> list[str]:
    problems: list[str] = []
    for name, bound in sorted(item.min.items()):
        problems += _bounded("minimum", name, item.type, bound, requests.get(name), limits.get(name), _below, "request")
    for name, bound in sorted(item.max.items()):
        problems += _bounded("maximum", name, item.type, bound, requests.get(name), limits.get(name), _above, "limit")
    for name, ratio in sorted(item.max_limit_request_ratio.items()):
        problems += _check_ratio(item.type, name, ratio, requests.get(name), limits.get(name))
    return problems


def _bounded(
    word: str,
    name: str,
    kind: str,
    bound: str,
    request: str | None,
    limit: str | None,
    outside: Callable[[Quantity, Quantity], bool],
    needed: str,
) -> list[str]:
    head = f"{word} {name} usage per {kind} is {bound}"
    if (request if needed == "request" else limit) is None:
        return [f"{head}.  No {needed} is specified"]
    problems = []
    for what, amount in (("request", request), ("limit", limit)):
        if amount is not None and outside(quantity.parse(amount), quantity.parse(bound)):
            problems.append(f"{head}, but {what} is {amount}")
    return problems


def _below(amount: Quantity, bound: Quantity) -> bool:
    return amount < bound


def _above(amount: Quantity, bound: Quantity) -> bool:
    return amount > bound


def _check_ratio(kind: str, name: str, ratio: str, request: str | None, limit: str | None) -> list[str]:
    head = f"{name} max limit to request ratio per {kind} is {ratio}"
    if request is None or not quantity.parse(request):
        return [f"{head}, but no request is specified or request is 0"]
    if limit is None or not quantity.parse(limit):
        return [f"{head}, but no limit is specified or limit is 0"]
    found = quantity.parse(limit).as_float() / quantity.parse(request).as_float()
    return [f"{head}, but provided ratio is {found:f}"] if found > quantity.parse(ratio).as_float() else []


def _texts(amounts: podresources.Amounts) -> dict[str, str]:
    return {name: str(amount) for name, amount in amounts.items()}


def _check_claim(requests: Mapping[str, str], limits: LimitRange) -> list[str]:
    problems: list[str] = []
    for item in limits.spec.limits:
        if item.type == "PersistentVolumeClaim":
            for word, bounds, outside in (("minimum", item.min, _below), ("maximum", item.max, _above)):
                for name, bound in sorted(bounds.items()):
                    amount = requests.get(name)
                    if amount is not None and outside(quantity.parse(amount), quantity.parse(bound)):
                        text = f"{word} {name} usage per {item.type} is {bound}, but request is {amount}"
                        problems.append(text)
    return problems

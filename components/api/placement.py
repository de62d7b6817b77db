"""Which nodes a Pod may go to by its own words: node selectors, node affinity, taints and tolerations. Pure.

Shared by the scheduler, the DaemonSet controller and taint eviction. Upstream: component-helpers/scheduling/corev1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from kubeglass.components.api.objects import (
    Node,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PodSpec,
    Taint,
    Toleration,
)

NO_SCHEDULE = "NoSchedule"
PREFER_NO_SCHEDULE = "PreferNoSchedule"
NO_EXECUTE = "NoExecute"


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether one toleration covers one taint; an empty key or effect covers all of them."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    match toleration.operator:
        case "Exists":
            return True
        case "" | "Equal":
            return toleration.value == taint.value
        case "Lt" | "Gt":
            return _compares(taint.value, toleration.operator, toleration.value)
    return False


def tolerated(taint: Taint, tolerations: Iterable[Toleration]) -> bool:
    """Whether any toleration covers the taint."""
    return any(tolerates(toleration, taint) for toleration in tolerations)


def untolerated(taints: Iterable[Taint], tolerations: Iterable[Toleration], effects: Iterable[str]) -> Taint | None:
    """The first taint of those effects that nothing tolerates."""
    wanted = tuple(effects)
    for taint in taints:
        if taint.effect in wanted and not tolerated(taint, tolerations):
            return taint
    return None


def allows_node(spec: PodSpec, node: Node) -> bool:
    """Whether the Pod's nodeSelector and required node affinity admit the node."""
    labels = node.metadata.labels
    if any(labels.get(key) != value for key, value in spec.node_selector.items()):
        return False
    affinity = spec.affinity.node_affinity if spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    return required is None or selects_node(required, node)


def selects_node(selector: NodeSelector, node: Node) -> bool:
    """Whether any term of the selector matches the node."""
    return any(term_matches(term, node) for term in selector.node_selector_terms)


def term_matches(term: NodeSelectorTerm, node: Node) -> bool:
    """Whether all requirements of a term hold; a term without any matches nothing."""
    if not term.match_expressions and not term.match_fields:
        return False
    fields = {"metadata.name": node.metadata.name}
    return all(requirement_holds(r, node.metadata.labels) for r in term.match_expressions) and all(
        requirement_holds(r, fields) for r in term.match_fields
    )


def requirement_holds(requirement: NodeSelectorRequirement, values: Mapping[str, str]) -> bool:
    """Whether one requirement holds for a set of labels (or fields)."""
    value = values.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            return value is not None and _compares(value, requirement.operator, *requirement.values[:1])
    return False


_ORDER: Mapping[str, Callable[[int, int], bool]] = {"Gt": lambda a, b: a > b, "Lt": lambda a, b: a < b}


def _compares(left: str, operator: str, right: str = "") -> bool:
    try:
        return _ORDER[operator](int(left), int(right))
    except ValueError:
        return False

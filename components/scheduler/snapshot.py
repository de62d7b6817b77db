"""What the scheduler knows of the cluster: per node its Pods and what they ask for, per Pod what it asks for.

Everything a plugin reads is parsed once, when the object arrives. A scheduling cycle reads the Snapshot and decides
without awaiting, so no copy is needed: whatever changes it waits for the cycle to end. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from kubeglass.components.api import quantity
from kubeglass.components.api.objects import (
    Affinity,
    Container,
    LabelSelector,
    LabelSelectorRequirement,
    Node,
    Pod,
    PodAffinityTerm,
    PodSpec,
    ResourceRequirements,
    WeightedPodAffinityTerm,
)
from kubeglass.components.api.selectors import Selector, from_label_selector

Resources = Mapping[str, int]
"""Amounts by resource name: cpu in thousandths of a core, everything else in units (bytes, counts)."""

DEFAULT_MILLI_CPU = 100
DEFAULT_MEMORY_BYTES = 200 * 1024 * 1024
_POD_LEVEL = ("cpu", "memory")


def amount(resource: str, text: str) -> int:
    """A quantity as the integer that the scheduler counts in."""
    parsed = quantity.parse(text)
    return parsed.milli_value() if resource == "cpu" else parsed.value()


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port a Pod takes on its node."""

    ip: str
    protocol: str
    port: int

    def conflicts(self, other: HostPort) -> bool:
        """Both cannot be bound on one node."""
        same = self.port == other.port and self.protocol == other.protocol
        return same and (self.ip == other.ip or "0.0.0.0" in (self.ip, other.ip))


@dataclass(frozen=True, slots=True)
class AffinityTerm:
    """One required (anti-)affinity term, ready to match Pods."""

    topology_key: str
    selector: Selector
    namespaces: frozenset[str]
    namespace_selector: Selector | None
    weight: int = 0

    def matches(self, pod: PodInfo, namespace_labels: Mapping[str, str]) -> bool:
        """Whether `pod`, whose namespace has those labels, is one the term speaks of."""
        in_scope = pod.namespace in self.namespaces or (
            self.namespace_selector is not None and self.namespace_selector.matches(namespace_labels)
        )
        return in_scope and self.selector.matches(pod.labels)


class PodInfo:
    """A Pod and what the plugins keep asking of it."""

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self.key = pod.key
        self.uid = pod.metadata.uid
        self.name = pod.metadata.name
        self.namespace = pod.metadata.namespace
        self.labels: Mapping[str, str] = pod.metadata.labels
        self.spec: PodSpec = pod.spec
        self.priority: int = pod.spec.priority or 0
        self.terminating = bool(pod.metadata.deletion_timestamp)

    @cached_property
    def requests(self) -> Resources:
        """What must be free on a node."""
        return pod_requests(self.spec)

    @cached_property
    def scoring_requests(self) -> tuple[int, int]:
        """(milli CPU, bytes of memory), with upstream's defaults where a container asks for nothing."""
        cpu = pod_request(self.spec, "cpu", DEFAULT_MILLI_CPU)
        return cpu, pod_request(self.spec, "memory", DEFAULT_MEMORY_BYTES)

    @cached_property
    def host_ports(self) -> tuple[HostPort, ...]:
        """The ports it takes on its node."""
        sidecars = [c for c in self.spec.init_containers if c.restart_policy == "Always"]
        return tuple(
            HostPort(port.host_ip or "0.0.0.0", port.protocol or "TCP", port.host_port)
            for container in (*self.spec.containers, *sidecars)
            for port in container.ports
            if port.host_port > 0
        )

    @cached_property
    def required_affinity(self) -> tuple[AffinityTerm, ...]:
        affinity = (self.spec.affinity or Affinity()).pod_affinity
        return _required(self, affinity.required_during_scheduling_ignored_during_execution) if affinity else ()

    @cached_property
    def required_anti_affinity(self) -> tuple[AffinityTerm, ...]:
        affinity = (self.spec.affinity or Affinity()).pod_anti_affinity
        return _required(self, affinity.required_during_scheduling_ignored_during_execution) if affinity else ()

    @cached_property
    def preferred_affinity(self) -> tuple[AffinityTerm, ...]:
        affinity = (self.spec.affinity or Affinity()).pod_affinity
        return _preferred(self, affinity.preferred_during_scheduling_ignored_during_execution) if affinity else ()

    @cached_property
    def preferred_anti_affinity(self) -> tuple[AffinityTerm, ...]:
        affinity = (self.spec.affinity or Affinity()).pod_anti_affinity
        return _preferred(self, affinity.preferred_during_scheduling_ignored_during_execution) if affinity else ()

    @cached_property
    def has_affinity(self) -> bool:
        """Whether it says anything about other Pods."""
        affinity = self.spec.affinity
        return affinity is not None and (affinity.pod_affinity is not None or affinity.pod_anti_affinity is not None)


def _required(pod: PodInfo, terms: Iterable[PodAffinityTerm]) -> tuple[AffinityTerm, ...]:
    return tuple(_term(pod, term, 0) for term in terms)


def _preferred(pod: PodInfo, terms: Iterable[WeightedPodAffinityTerm]) -> tuple[AffinityTerm, ...]:
    return tuple(_term(pod, term.pod_affinity_term, term.weight) for term in terms if term.pod_affinity_term)


def _term(pod: PodInfo, term: PodAffinityTerm, weight: int) -> AffinityTerm:
    namespaces = frozenset(term.namespaces)
    if not namespaces and term.namespace_selector is None:
        namespaces = frozenset((pod.namespace,))
    selector = from_label_selector(_with_label_keys(term, pod.labels))
    scope = from_label_selector(term.namespace_selector) if term.namespace_selector is not None else None
    return AffinityTerm(term.topology_key, selector, namespaces, scope, weight)


def _with_label_keys(term: PodAffinityTerm, labels: Mapping[str, str]) -> LabelSelector | None:
    """matchLabelKeys and mismatchLabelKeys, written out as requirements on the Pod's own values."""
    if term.label_selector is None or not (term.match_label_keys or term.mismatch_label_keys):
        return term.label_selector
    extra = [
        LabelSelectorRequirement(key=key, operator=operator, values=(labels[key],))
        for keys, operator in ((term.match_label_keys, "In"), (term.mismatch_label_keys, "NotIn"))
        for key in keys
        if key in labels
    ]
    selector = term.label_selector
    return LabelSelector(match_labels=selector.match_labels, match_expressions=(*selector.match_expressions, *extra))


def pod_requests(spec: PodSpec) -> dict[str, int]:
    """Everything the Pod asks for: see `pod_request`."""
    names: dict[str, None] = {}
    for container in (*spec.containers, *spec.init_containers):
        names.update(dict.fromkeys(container.resources.requests))
    names.update(dict.fromkeys(spec.overhead))
    if spec.resources is not None:
        names.update(dict.fromkeys(spec.resources.requests))
    amounts = {name: pod_request(spec, name, 0) for name in names}
    return {name: value for name, value in amounts.items() if value}


def pod_request(spec: PodSpec, resource: str, default: int) -> int:
    """max(all containers and sidecars together, each init container beside the sidecars before it) + overhead.

    A request at Pod level replaces the sum. `default` stands in where a container names no amount.
    """
    sidecars = 0
    init_peak = 0
    for container in spec.init_containers:
        asked = _asked(container, resource, default)
        if container.restart_policy == "Always":
            sidecars += asked
            init_peak = max(init_peak, sidecars)
        else:
            init_peak = max(init_peak, sidecars + asked)
    together = sidecars + sum(_asked(container, resource, default) for container in spec.containers)
    total = max(together, init_peak)
    pod_level = _pod_level(spec.resources, resource)
    if pod_level is not None:
        total = pod_level
    overhead = spec.overhead.get(resource)
    return total + (amount(resource, overhead) if overhead else 0)


def _asked(container: Container, resource: str, default: int) -> int:
    text = container.resources.requests.get(resource)
    return default if text is None else amount(resource, text)


def _pod_level(resources: ResourceRequirements | None, resource: str) -> int | None:
    if resources is None or not (resource in _POD_LEVEL or resource.startswith("hugepages-")):
        return None
    text = resources.requests.get(resource)
    return None if text is None else amount(resource, text)


class NodeInfo:
    """A node, the Pods on it (bound or assumed) and the sums over them."""

    def __init__(self, node: Node) -> None:
        self.pods: dict[str, PodInfo] = {}
        self.requested: Counter[str] = Counter()
        self.scoring_cpu = 0
        self.scoring_memory = 0
        self.ports: Counter[HostPort] = Counter()
        self.set_node(node)

    def set_node(self, node: Node) -> None:
        """Take a new version of the node object."""
        self.node = node
        self.name = node.metadata.name
        self.labels: Mapping[str, str] = node.metadata.labels
        self.allocatable: Resources = {name: amount(name, text) for name, text in node.status.allocatable.items()}
        self.images: Mapping[str, int] = {
            name: image.size_bytes or 0 for image in node.status.images for name in image.names
        }

    def add(self, pod: PodInfo) -> None:
        """The Pod runs, or will run, here."""
        self._count(pod, 1)
        self.pods[pod.key] = pod

    def remove(self, pod: PodInfo) -> None:
        """The Pod is gone from here."""
        present = self.pods.pop(pod.key, None)
        if present is not None:
            self._count(present, -1)

    def clone(self) -> NodeInfo:
        """An independent copy for a what-if; the node object and the Pods are shared."""
        twin = NodeInfo.__new__(NodeInfo)
        twin.__dict__.update(self.__dict__)
        twin.pods = dict(self.pods)
        twin.requested = Counter(self.requested)
        twin.ports = Counter(self.ports)
        return twin

    def _count(self, pod: PodInfo, sign: int) -> None:
        for name, value in pod.requests.items():
            self.requested[name] += sign * value
        cpu, memory = pod.scoring_requests
        self.scoring_cpu += sign * cpu
        self.scoring_memory += sign * memory
        for port in pod.host_ports:
            self.ports[port] += sign
            if not self.ports[port]:
                del self.ports[port]


@dataclass(slots=True)
class Snapshot:
    """All nodes with their Pods, and the namespaces' labels. Pods are assumed onto nodes before they are bound."""

    nodes: dict[str, NodeInfo] = field(default_factory=dict)
    namespaces: dict[str, Mapping[str, str]] = field(default_factory=dict)
    affinity_pods: int = 0
    """How many placed Pods say anything about other Pods; while 0, inter-Pod affinity need not look at them."""
    _placed: dict[str, tuple[str, PodInfo]] = field(default_factory=dict)
    _assumed: dict[str, str] = field(default_factory=dict)
    _homeless: dict[str, dict[str, PodInfo]] = field(default_factory=dict)

    # -- nodes ----------------------------------------------------------------------------------------------------

    def set_node(self, node: Node) -> NodeInfo:
        """A node appeared or changed."""
        name = node.metadata.name
        info = self.nodes.get(name)
        if info is not None:
            info.set_node(node)
            return info
        info = self.nodes[name] = NodeInfo(node)
        for pod in self._homeless.pop(name, {}).values():
            info.add(pod)
        return info

    def drop_node(self, name: str) -> None:
        """A node is gone; its Pods stay known, should it come back."""
        info = self.nodes.pop(name, None)
        if info is not None and info.pods:
            self._homeless[name] = dict(info.pods)

    # -- pods -----------------------------------------------------------------------------------------------------

    def put(self, pod: PodInfo, node_name: str) -> None:
        """The API says that the Pod is on that node."""
        self._assumed.pop(pod.key, None)
        self._place(pod, node_name)

    def assume(self, pod: PodInfo, node_name: str) -> None:
        """Count the Pod on the node already; its binding is under way."""
        self._assumed[pod.key] = node_name
        self._place(pod, node_name)

    def forget(self, key: str) -> None:
        """The binding failed: the Pod is nowhere, unless the API has said otherwise meanwhile."""
        if self._assumed.pop(key, None) is not None:
            self._remove(key)

    def drop(self, key: str) -> bool:
        """The Pod is gone, or finished; whether it was there."""
        self._assumed.pop(key, None)
        known = key in self._placed
        self._remove(key)
        return known

    def is_assumed(self, key: str) -> bool:
        """Whether the Pod's binding is still under way."""
        return key in self._assumed

    @property
    def pod_count(self) -> int:
        return len(self._placed)

    @property
    def assumed_count(self) -> int:
        return len(self._assumed)

    def pods(self) -> Iterator[tuple[NodeInfo, PodInfo]]:
        """Every Pod on a known node."""
        for info in self.nodes.values():
            for pod in info.pods.values():
                yield info, pod

    def _place(self, pod: PodInfo, node_name: str) -> None:
        self._remove(pod.key)
        self._placed[pod.key] = (node_name, pod)
        self.affinity_pods += pod.has_affinity
        info = self.nodes.get(node_name)
        if info is not None:
            info.add(pod)
        else:
            self._homeless.setdefault(node_name, {})[pod.key] = pod

    def _remove(self, key: str) -> None:
        placed = self._placed.pop(key, None)
        if placed is None:
            return
        node_name, pod = placed
        self.affinity_pods -= pod.has_affinity
        info = self.nodes.get(node_name)
        if info is not None:
            info.remove(pod)
        elif node_name in self._homeless:
            self._homeless[node_name].pop(key, None)

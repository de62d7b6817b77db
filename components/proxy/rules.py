"""From Services and EndpointSlices to what a node must forward, pure: ServicePorts, or a Rule per address.

Which endpoints get traffic follows upstream's CategorizeEndpoints: ready ones; if there are none, those that are
terminating and still serving; with a Local policy only those on this node; with hints only those meant for this zone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kubeglass.components.api import objects
from kubeglass.components.api.objects import Endpoint, EndpointSlice, Service

SERVICE_NAME = "kubernetes.io/service-name"
_DEFAULT_AFFINITY_SECONDS = 10800


@dataclass(frozen=True, slots=True, order=True)
class Backend:
    """Where traffic goes: a Pod's address and port."""

    ip: str
    port: int
    node: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Frontend:
    """Where traffic comes to."""

    ip: str
    port: int
    protocol: str = "TCP"

    def __str__(self) -> str:
        return f"{self.ip}:{self.port}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class Rule:
    """Forward a frontend to one of its backends; without backends, refuse."""

    frontend: Frontend
    service: str  # namespace/name:port name, as upstream logs it
    backends: tuple[Backend, ...]
    affinity_seconds: int = 0  # > 0: a client stays with its backend while it was seen within that time


@dataclass(frozen=True, slots=True)
class Here:
    """The node the rules are for."""

    node_name: str
    node_ips: tuple[str, ...] = ()
    zone: str = ""


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a Service: where traffic for it comes to, and where it may go under either traffic policy."""

    name: str  # namespace/name:port name, as upstream logs it
    protocol: str
    port: int
    cluster_ips: tuple[str, ...]
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    node_port: int = 0  # 0: none
    affinity_seconds: int = 0
    internal_local: bool = False  # whether traffic to the cluster IPs stays on this node
    external_local: bool = False  # whether traffic to all other addresses does
    anywhere: tuple[Backend, ...] = ()
    here: tuple[Backend, ...] = ()

    @property
    def internal(self) -> tuple[Backend, ...]:
        """The backends of the cluster IPs."""
        return self.here if self.internal_local else self.anywhere

    @property
    def external(self) -> tuple[Backend, ...]:
        """The backends of all other addresses."""
        return self.here if self.external_local else self.anywhere

    @property
    def has_endpoints(self) -> bool:
        """Whether traffic could go somewhere, were it not for a Local policy."""
        return bool(self.anywhere or self.here)

    @property
    def is_external(self) -> bool:
        """Whether it has other addresses than cluster IPs."""
        return bool(self.node_port or self.external_ips or self.load_balancer_ips)

    @property
    def size(self) -> int:
        """How many addresses it has, not counting node ports."""
        return len(self.cluster_ips) + len(self.external_ips) + len(self.load_balancer_ips)

    def rules(self, node_ips: Iterable[str]) -> Iterator[Rule]:
        """One rule per address."""
        for ip in self.cluster_ips:
            yield self._rule(ip, self.port, self.internal)
        for ip in (*self.external_ips, *self.load_balancer_ips):
            yield self._rule(ip, self.port, self.external)
        for ip in node_ips if self.node_port else ():
            yield self._rule(ip, self.node_port, self.external)

    def _rule(self, ip: str, port: int, backends: tuple[Backend, ...]) -> Rule:
        return Rule(Frontend(ip, port, self.protocol), self.name, backends, self.affinity_seconds)


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Everything a node must forward. Its length is the number of addresses."""

    ports: tuple[ServicePort, ...]
    node_ips: tuple[str, ...] = ()

    def __len__(self) -> int:
        node_ips = len(self.node_ips)
        return sum(port.size + (node_ips if port.node_port else 0) for port in self.ports)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The same by address."""
        made = [rule for port in self.ports for rule in port.rules(self.node_ips)]
        return tuple(sorted(made, key=lambda rule: rule.frontend))

    @property
    def no_local_internal(self) -> int:
        """Ports with endpoints, but none that traffic from inside may go to."""
        return sum(port.has_endpoints and not port.internal for port in self.ports)

    @property
    def no_local_external(self) -> int:
        """Ports with endpoints, but none that traffic from outside may go to."""
        return sum(port.has_endpoints and not port.external and port.is_external for port in self.ports)


@dataclass(frozen=True, slots=True)
class _Candidate:
    backend: Backend
    ready: bool
    serving: bool
    terminating: bool
    local: bool
    zones: frozenset[str]
    nodes: frozenset[str]


def rules(services: Iterable[Service], slices: Iterable[EndpointSlice], here: Here) -> Ruleset:
    """Everything this node must forward."""
    by_service: dict[str, list[EndpointSlice]] = defaultdict(list)
    for found in slices:
        name = found.metadata.labels.get(SERVICE_NAME)
        if name and found.address_type == "IPv4":
            by_service[f"{found.metadata.namespace}/{name}"].append(found)
    made = [
        _service_port(service, port, _candidates(by_service[service.key], port, here), here)
        for service in services
        if is_proxied(service)
        for port in service.spec.ports
    ]
    return Ruleset(tuple(made), here.node_ips)


def routes_alike(one: EndpointSlice, other: EndpointSlice) -> bool:
    """Whether two states of a slice lead traffic to the same places, whatever else has changed."""
    service = one.metadata.labels.get(SERVICE_NAME)
    if service != other.metadata.labels.get(SERVICE_NAME):
        return False
    return one.endpoints == other.endpoints and one.ports == other.ports


def is_proxied(service: Service) -> bool:
    """Headless and external-name Services have no frontend."""
    return service.spec.type != "ExternalName" and service.spec.cluster_ip not in ("", "None")


def choose(candidates: Sequence[_Candidate], here: Here, *, local: bool) -> tuple[Backend, ...]:
    """The backends that get traffic under a policy."""
    pool = [candidate for candidate in candidates if candidate.local] if local else list(candidates)
    ready = [candidate for candidate in pool if candidate.ready]
    if not ready:
        ready = [candidate for candidate in pool if candidate.serving and candidate.terminating]
    elif not local:
        ready = _hinted(ready, here)
    return tuple(sorted({candidate.backend for candidate in ready}))


def _hinted(ready: list[_Candidate], here: Here) -> list[_Candidate]:
    """Only those meant for this node or zone, provided that every endpoint has a hint and some are for us."""
    tests: tuple[Callable[[_Candidate], tuple[frozenset[str], str]], ...] = (
        lambda candidate: (candidate.nodes, here.node_name),
        lambda candidate: (candidate.zones, here.zone),
    )
    for test in tests:
        hints = [(candidate, *test(candidate)) for candidate in ready]
        if all(meant for _, meant, _ in hints):
            chosen = [candidate for candidate, meant, ours in hints if ours in meant]
            if chosen:
                return chosen
    return ready


def _candidates(slices: Sequence[EndpointSlice], port: objects.ServicePort, here: Here) -> list[_Candidate]:
    found: list[_Candidate] = []
    for each in slices:
        number = next((p.port for p in each.ports if p.name == port.name and _same_protocol(p.protocol, port)), 0)
        if number:
            found += [_candidate(endpoint, number, here) for endpoint in each.endpoints if endpoint.addresses]
    return found


def _same_protocol(protocol: str, port: objects.ServicePort) -> bool:
    return (protocol or "TCP") == (port.protocol or "TCP")


def _candidate(endpoint: Endpoint, port: int, here: Here) -> _Candidate:
    conditions = endpoint.conditions
    ready = conditions.ready is not False  # absent means ready
    hints = endpoint.hints
    return _Candidate(
        Backend(endpoint.addresses[0], port, endpoint.node_name),
        ready=ready,
        serving=conditions.serving if conditions.serving is not None else ready,
        terminating=bool(conditions.terminating),
        local=endpoint.node_name == here.node_name,
        zones=frozenset(zone.name for zone in hints.for_zones) if hints else frozenset(),
        nodes=frozenset(node.name for node in hints.for_nodes) if hints else frozenset(),
    )


def _service_port(
    service: Service, port: objects.ServicePort, candidates: Sequence[_Candidate], here: Here
) -> ServicePort:
    spec, ingress = service.spec, service.status.load_balancer.ingress
    inside = spec.cluster_ips or (spec.cluster_ip,)
    return ServicePort(
        name=f"{service.key}:{port.name}" if port.name else service.key,
        protocol=port.protocol or "TCP",
        port=port.port,
        cluster_ips=tuple(ip for ip in inside if ":" not in ip),
        external_ips=tuple(spec.external_ips),
        load_balancer_ips=tuple(found.ip for found in ingress if found.ip and found.ip_mode != "Proxy"),
        node_port=port.node_port or 0,
        affinity_seconds=_affinity_seconds(service),
        internal_local=spec.internal_traffic_policy == "Local",
        external_local=spec.external_traffic_policy == "Local",
        anywhere=choose(candidates, here, local=False),
        here=choose(candidates, here, local=True),
    )


def _affinity_seconds(service: Service) -> int:
    if service.spec.session_affinity != "ClientIP":
        return 0
    config = service.spec.session_affinity_config
    declared = config.client_ip.timeout_seconds if config and config.client_ip else None
    return declared or _DEFAULT_AFFINITY_SECONDS


def changed(before: Mapping[Frontend, Rule], after: Iterable[Rule]) -> tuple[list[Rule], list[Frontend]]:
    """(rules that are new or different, frontends that are gone)."""
    wanted = {rule.frontend: rule for rule in after}
    different = [rule for frontend, rule in wanted.items() if before.get(frontend) != rule]
    return different, [frontend for frontend in before if frontend not in wanted]

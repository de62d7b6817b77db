"""From Services and EndpointSlices to what a node must forward, pure: one Rule per address, port and protocol.

Which endpoints a rule gets follows upstream's CategorizeEndpoints: ready ones; if there are none, those that are
terminating and still serving; with a Local policy only those on this node; with hints only those meant for this zone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kubeglass.components.api.objects import Endpoint, EndpointSlice, Service, ServicePort

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
class Ruleset:
    """All rules of a node, and which Services have endpoints but none here, by their Local traffic policy."""

    rules: tuple[Rule, ...]
    no_local_internal: int = 0
    no_local_external: int = 0


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
    made: list[Rule] = []
    without_internal = without_external = 0
    for service in services:
        if not is_proxied(service):
            continue
        for port in service.spec.ports:
            candidates = _candidates(by_service[service.key], port, here)
            internal = choose(candidates, here, local=service.spec.internal_traffic_policy == "Local")
            external = choose(candidates, here, local=service.spec.external_traffic_policy == "Local")
            everywhere = choose(candidates, here, local=False)
            without_internal += bool(everywhere) and not internal
            without_external += bool(everywhere) and not external and _is_external(service)
            made += _rules_of(service, port, here, internal, external)
    made.sort(key=lambda rule: rule.frontend)
    return Ruleset(tuple(made), without_internal, without_external)


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


def _candidates(slices: Sequence[EndpointSlice], port: ServicePort, here: Here) -> list[_Candidate]:
    found: list[_Candidate] = []
    for each in slices:
        number = next((p.port for p in each.ports if p.name == port.name and _same_protocol(p.protocol, port)), 0)
        if number:
            found += [_candidate(endpoint, number, here) for endpoint in each.endpoints if endpoint.addresses]
    return found


def _same_protocol(protocol: str, port: ServicePort) -> bool:
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


def _is_external(service: Service) -> bool:
    return service.spec.type in ("NodePort", "LoadBalancer") or bool(service.spec.external_ips)


def _rules_of(
    service: Service, port: ServicePort, here: Here, internal: tuple[Backend, ...], external: tuple[Backend, ...]
) -> Iterable[Rule]:
    name = f"{service.key}:{port.name}" if port.name else service.key
    protocol = port.protocol or "TCP"
    seconds = _affinity_seconds(service)
    inside = service.spec.cluster_ips or (service.spec.cluster_ip,)
    for ip in inside:
        if ":" not in ip:
            yield Rule(Frontend(ip, port.port, protocol), name, internal, seconds)
    outside = [*service.spec.external_ips]
    outside += [found.ip for found in service.status.load_balancer.ingress if found.ip and found.ip_mode != "Proxy"]
    for ip in outside:
        yield Rule(Frontend(ip, port.port, protocol), name, external, seconds)
    if port.node_port:
        for ip in here.node_ips:
            yield Rule(Frontend(ip, port.node_port, protocol), name, external, seconds)


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

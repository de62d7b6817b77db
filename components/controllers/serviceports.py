"""From a Service and its Pods to addresses and ports: what Endpoints and EndpointSlices have in common. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kubeglass.components.api.kinds import POD
from kubeglass.components.api.objects import Pod, Service
from kubeglass.components.controllers.podstate import condition, is_finished, is_ready
from kubeglass.components.machinery.informer import Change, Informer
from kubeglass.components.machinery.workqueue import WorkQueue


@dataclass(frozen=True, slots=True, order=True)
class Port:
    """One port that is served, by the number it has in the Pod."""

    name: str
    protocol: str
    port: int
    app_protocol: str = ""

    def wire(self) -> dict[str, object]:
        pairs = {"name": self.name, "port": self.port, "protocol": self.protocol, "appProtocol": self.app_protocol}
        return {key: value for key, value in pairs.items() if value or key == "name"}


def ports_in(service: Service, pod: Pod) -> tuple[Port, ...]:
    """The Service's ports as this Pod serves them; those it does not have are left out."""
    found = []
    for declared in service.spec.ports:
        protocol = declared.protocol or "TCP"
        number = _number(declared.target_port if declared.target_port else declared.port, protocol, pod)
        if number:
            found.append(Port(declared.name, protocol, number, declared.app_protocol))
    return tuple(sorted(found))


def _number(target: int | str, protocol: str, pod: Pod) -> int:
    if isinstance(target, int):
        return target
    sidecars = [container for container in pod.spec.init_containers if container.restart_policy == "Always"]
    for container in (*pod.spec.containers, *sidecars):
        for port in container.ports:
            if port.name == target and (port.protocol or "TCP") == protocol:
                return port.container_port
    return 0


def serves(pod: Pod, *, include_terminating: bool) -> bool:
    """Whether the Pod can be an endpoint at all."""
    if is_finished(pod) or not pod.status.pod_ip:
        return False
    return include_terminating or not pod.metadata.deletion_timestamp


def hostname_in(service: Service, pod: Pod) -> str:
    """The Pod's name under a headless Service."""
    named = pod.spec.hostname and pod.spec.subdomain == service.metadata.name
    return pod.spec.hostname if named else ""


def target_reference(pod: Pod) -> dict[str, str]:
    meta = pod.metadata
    return {"kind": POD.kind, "namespace": meta.namespace, "name": meta.name, "uid": meta.uid}


def has_selector(service: Service) -> bool:
    """Whether endpoints are to be made for it."""
    return bool(service.spec.selector) and service.spec.type != "ExternalName"


def trigger_time(service: Service, moved: Iterable[Pod], *, new: bool) -> str | None:
    """When the earliest of the changes behind a write happened: a `new` Service came, or the readiness of Pods moved.

    None where nobody says when, as for a Pod that goes: with the time of something older, proxies would measure that
    the network takes so long.
    """
    if new:
        return service.metadata.creation_timestamp or None
    ready = (condition(pod, "Ready") for pod in moved)
    return min((found.last_transition_time for found in ready if found and found.last_transition_time), default=None)


def follow_services(services: Informer[Service], pods: Informer[Pod], queue: WorkQueue[str]) -> None:
    """Queue a Service when it changes, or when a Pod that it selects changes in a way that endpoints show."""

    def pod_changed(change: Change[Pod]) -> None:
        if change.old is not None and change.type == "MODIFIED" and _shown(change.old) == _shown(change.new):
            return
        for service in services.list(change.new.metadata.namespace):
            selected = [view for view in (change.old, change.new) if view is not None and selects(service, view)]
            if selected:
                queue.add(service.key)

    services.subscribe(lambda change: queue.add(change.key))
    pods.subscribe(pod_changed)


def selects(service: Service, pod: Pod) -> bool:
    """Whether the Service's selector matches the Pod."""
    selector, labels = service.spec.selector, pod.metadata.labels
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def pods_of(service: Service, pods: Iterable[Pod], include: Callable[[Pod], bool]) -> list[Pod]:
    """The selected Pods that `include` admits, by name."""
    found = [pod for pod in pods if selects(service, pod) and include(pod)]
    return sorted(found, key=lambda pod: pod.metadata.name)


def _shown(pod: Pod) -> tuple[object, ...]:
    return (
        pod.metadata.labels,
        pod.metadata.deletion_timestamp,
        pod.status.phase,
        pod.status.pod_ips or pod.status.pod_ip,
        pod.spec.node_name,
        pod.spec.hostname,
        is_ready(pod),
    )

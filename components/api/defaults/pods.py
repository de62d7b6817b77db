"""Defaults of Pods and of the pod templates in workloads."""

from __future__ import annotations

from typing import Any

from kubeglass.components.api.defaults.members import Object, child, fill, items

FILE_MODE = 0o644


def pod(obj: Object) -> None:
    spec = child(obj, "spec")
    _requests_from_limits(spec)
    pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)


def pod_template(obj: Object) -> None:
    pod_spec(child(child(obj, "template"), "spec"))


def pod_spec(spec: Object) -> None:
    """What a bare Pod and a template have in common."""
    fill(
        spec,
        dnsPolicy="ClusterFirst",
        restartPolicy="Always",
        schedulerName="default-scheduler",
        terminationGracePeriodSeconds=30,
    )
    child(spec, "securityContext")
    for name, old_name in (("serviceAccountName", "serviceAccount"), ("serviceAccount", "serviceAccountName")):
        if spec.get(old_name) and not spec.get(name):
            spec[name] = spec[old_name]
    for container in [*items(spec, "initContainers"), *items(spec, "containers"), *items(spec, "ephemeralContainers")]:
        _container(container, bool(spec.get("hostNetwork")))
    for volume in items(spec, "volumes"):
        _volume(volume)


def pull_policy(image: str) -> str:
    """Always for `latest` or no tag, IfNotPresent for a pinned image."""
    last = image.rsplit("/", 1)[-1]
    if "@" in last:
        return "IfNotPresent"
    _, colon, tag = last.partition(":")
    return "Always" if not colon or tag == "latest" else "IfNotPresent"


def _container(container: Object, host_network: bool) -> None:
    fill(
        container,
        imagePullPolicy=pull_policy(container.get("image", "")),
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
    )
    child(container, "resources")
    for port in items(container, "ports"):
        fill(port, protocol="TCP")
        if host_network and not port.get("hostPort") and port.get("containerPort"):
            port["hostPort"] = port["containerPort"]
    for variable in items(container, "env"):
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            fill(reference, apiVersion="v1")
        resource = (variable.get("valueFrom") or {}).get("resourceFieldRef")
        if resource is not None:
            fill(resource, divisor="0")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if isinstance(container.get(name), dict):
            _probe(container[name])
    lifecycle = container.get("lifecycle") or {}
    for hook in ("postStart", "preStop"):
        if isinstance(lifecycle.get(hook), dict):
            _handler(lifecycle[hook])


def _probe(probe: Object) -> None:
    _positive(probe, "timeoutSeconds", 1)
    _positive(probe, "periodSeconds", 10)
    _positive(probe, "successThreshold", 1)
    _positive(probe, "failureThreshold", 3)
    _handler(probe)


def _positive(obj: Object, name: str, default: int) -> None:
    if not obj.get(name):
        obj[name] = default


def _handler(handler: Object) -> None:
    if isinstance(handler.get("httpGet"), dict):
        fill(handler["httpGet"], path="/", scheme="HTTP")
    if isinstance(handler.get("grpc"), dict):
        handler["grpc"].setdefault("service", "")


def _volume(volume: Object) -> None:
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
    for source in ("secret", "configMap", "downwardAPI", "projected"):
        if isinstance(volume.get(source), dict):
            volume[source].setdefault("defaultMode", FILE_MODE)
    if isinstance(volume.get("hostPath"), dict):
        volume["hostPath"].setdefault("type", "")
    for projection in items(volume.get("projected") or {}, "sources"):
        if isinstance(projection.get("serviceAccountToken"), dict):
            fill(projection["serviceAccountToken"], expirationSeconds=3600)
        _downward_items(projection.get("downwardAPI") or {})
    _downward_items(volume.get("downwardAPI") or {})
    ephemeral = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
    if isinstance(ephemeral, dict):
        fill(child(ephemeral, "spec"), volumeMode="Filesystem")


def _downward_items(source: Object) -> None:
    for item in items(source, "items"):
        if isinstance(item.get("fieldRef"), dict):
            fill(item["fieldRef"], apiVersion="v1")
        if isinstance(item.get("resourceFieldRef"), dict):
            fill(item["resourceFieldRef"], divisor="0")


def _requests_from_limits(spec: Object) -> None:
    """A resource with a limit and no request requests its limit (Pods only, not templates)."""
    for container in [*items(spec, "containers"), *items(spec, "initContainers")]:
        resources: Any = container.get("resources") or {}
        limits = resources.get("limits")
        if limits:
            requests = child(resources, "requests")
            for name, amount in limits.items():
                requests.setdefault(name, amount)

"""Which fields a kind can be selected by, and an object's values of them.

`field_values(kind, obj)` is what a cache keeps per object; `convert(kind, label, value)` checks a selector's label.
Upstream: the conversion functions and selectable fields of each registry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubeglass.components.api import kinds
from kubeglass.components.api.kinds import Kind
from kubeglass.components.api.selectors import FieldSelector, SelectorError, parse_fields

_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_EVENT_PATHS = {f"involvedObject.{part}": f"involvedObject.{part}" for part in _INVOLVED} | {
    "reason": "reason",
    "reportingComponent": "reportingComponent",
    "source": "source.component",
    "type": "type",
}

# label → path of the value; labels and paths are the same except where a row says otherwise
_PATHS: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("", "pods"): {
        path: path
        for path in (
            "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
            "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
        )
    },
    ("", "nodes"): {"spec.unschedulable": "spec.unschedulable"},
    ("", "namespaces"): {"status.phase": "status.phase"},
    ("", "secrets"): {"type": "type"},
    ("", "services"): {"spec.clusterIP": "spec.clusterIP", "spec.type": "spec.type"},
    ("", "replicationcontrollers"): {"status.replicas": "status.replicas"},
    ("", "events"): _EVENT_PATHS,
    ("events.k8s.io", "events"): {
        f"regarding.{part}": f"involvedObject.{part}" for part in _INVOLVED
    } | {"reason": "reason", "reportingController": "reportingComponent", "type": "type"},
    ("batch", "jobs"): {"status.successful": "status.succeeded"},
    ("apps", "replicasets"): {"status.replicas": "status.replicas"},
    ("certificates.k8s.io", "certificatesigningrequests"): {"spec.signerName": "spec.signerName"},
    ("networking.k8s.io", "ipaddresses"): {},
}  # fmt: skip
_BOOLEANS = frozenset({"spec.unschedulable", "spec.hostNetwork"})
_NUMBERS = frozenset({"status.replicas", "status.succeeded"})
_METADATA = ("metadata.name", "metadata.namespace")
_LEGACY = {("pods", "spec.host"): "spec.nodeName"}


def supported(kind: Kind, selectable: Mapping[str, str] = {}) -> Mapping[str, str]:
    """Label → path of the value, besides metadata.name and metadata.namespace."""
    return selectable or _PATHS.get((kind.group, kind.plural), {})


def convert(kind: Kind, label: str, value: str, selectable: Mapping[str, str] = {}) -> tuple[str, str]:
    """The label and value the cache knows. Raises SelectorError for a field the kind cannot be selected by."""
    label = _LEGACY.get((kind.plural, label), label)
    if label == "metadata.name" or (label == "metadata.namespace" and (kind.namespaced or kind == kinds.EVENT)):
        return label, value
    known = supported(kind, selectable)
    if label in known:
        return label, value
    if known and not kind.custom:
        raise SelectorError(f"field label not supported: {label}")
    raise SelectorError(
        f'"{label}" is not a known field selector: only "metadata.name", "metadata.namespace"'
        + "".join(f', "{field}"' for field in known)
    )


def parse_for(kind: Kind, text: str, selectable: Mapping[str, str] = {}) -> FieldSelector:
    """The checked selector of a request for this kind. Raises SelectorError."""
    return parse_fields(text).renamed(lambda label, value: convert(kind, label, value, selectable))


def field_values(kind: Kind, obj: Mapping[str, Any], selectable: Mapping[str, str] = {}) -> dict[str, str]:
    """Every selectable field of a decoded object as text."""
    metadata = obj.get("metadata") or {}
    values = {"metadata.name": metadata.get("name", ""), "metadata.namespace": metadata.get("namespace", "")}
    for label, path in supported(kind, selectable).items():
        values[label] = _text(path, _reach(obj, path))
    return values


def _reach(obj: Mapping[str, Any], path: str) -> Any:
    found: Any = obj
    for part in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def _text(path: str, value: Any) -> str:
    if path == "status.podIPs":
        return ",".join(entry.get("ip", "") for entry in value or ())
    if isinstance(value, bool) or path in _BOOLEANS:
        return "true" if value else "false"
    if value is None:
        return "0" if path in _NUMBERS else ""
    return str(value)

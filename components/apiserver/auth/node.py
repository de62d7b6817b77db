"""What a kubelet may do: the fixed rules of the Node authorizer, and only those secrets its own Pods refer to.

Answers to k8s.io/kubernetes/plugin/pkg/auth/authorizer/node and bootstrappolicy.NodeRules. That a node changes only
itself and its Pods is NodeRestriction's affair (admission).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from kubeglass.components.api.user import NODES
from kubeglass.components.apiserver.auth.authorizers import Attributes, Verdict
from kubeglass.components.apiserver.auth.rbac import Rule
from kubeglass.components.apiserver.storage.records import Record

USER_PREFIX = "system:node:"
_READ = frozenset({"get", "list", "watch"})
_BY_REFERENCE = frozenset({"secrets", "configmaps", "persistentvolumeclaims"})
_LEASES = "kube-node-lease"


def _rule(group: str, resources: str, verbs: str) -> Rule:
    return Rule(frozenset(verbs.split()), frozenset({group}), frozenset(resources.split()))


RULES = (
    _rule("authentication.k8s.io", "tokenreviews", "create"),
    _rule("authorization.k8s.io", "subjectaccessreviews localsubjectaccessreviews", "create"),
    _rule("", "services", "get list watch"),
    _rule("", "nodes", "create get list watch update patch"),
    _rule("", "nodes/status", "update patch"),
    _rule("", "pods", "get list watch create delete"),
    _rule("", "pods/status", "update patch"),
    _rule("", "pods/eviction", "create"),
    _rule("", "persistentvolumes endpoints", "get"),
    _rule("", "persistentvolumeclaims/status", "get update patch"),
    _rule("", "events", "create update patch"),
    _rule("events.k8s.io", "events", "create update patch"),
    _rule("certificates.k8s.io", "certificatesigningrequests", "create get list watch"),
    _rule("storage.k8s.io", "volumeattachments", "get"),
    _rule("storage.k8s.io", "csidrivers", "get list watch"),
    _rule("storage.k8s.io", "csinodes", "create delete get patch update"),
    _rule("node.k8s.io", "runtimeclasses", "get list watch"),
)
"""bootstrappolicy.NodeRules, without what depends on references or names."""


class Pods(Protocol):
    """The cached Pods."""

    def records(self) -> Iterator[Record]: ...


class NodeAuthorizer:
    """Decides for members of system:nodes; has no opinion about anyone else."""

    name = "Node"

    def __init__(self, pods: Pods) -> None:
        self._pods = pods

    def authorize(self, wanted: Attributes) -> Verdict:
        node = wanted.user.name.removeprefix(USER_PREFIX)
        if NODES not in wanted.user.groups or node == wanted.user.name or not node:
            return Verdict()
        if not wanted.is_resource:
            return Verdict()
        if wanted.group == "" and not wanted.subresource and wanted.resource in _BY_REFERENCE:
            return self._by_reference(node, wanted)
        if wanted.group == "" and (wanted.resource, wanted.subresource) == ("serviceaccounts", "token"):
            return self._by_reference(node, wanted) if wanted.verb == "create" else Verdict()
        if wanted.resource == "leases" and wanted.group == "coordination.k8s.io":
            own = wanted.namespace == _LEASES and (wanted.verb == "create" or wanted.name == node)
            known = wanted.verb in ("get", "create", "update", "patch", "delete")
            return Verdict(allowed=own and known, reason="" if own else "can only access node lease with the same name")
        return Verdict(allowed=any(rule.allows(wanted) for rule in RULES))

    def _by_reference(self, node: str, wanted: Attributes) -> Verdict:
        if not wanted.name or not (wanted.verb in _READ or wanted.subresource == "token"):
            return Verdict(reason=f"can only read resources of this type by name: {wanted.resource}")
        for record in self._pods.records():
            if record.namespace != wanted.namespace:
                continue
            spec = record.decode().get("spec") or {}
            if spec.get("nodeName") == node and _refers(spec, wanted.resource, wanted.name):
                return Verdict(allowed=True)
        return Verdict(reason=f"no relationship found between node '{node}' and this object")


_REFERENCES: Mapping[str, frozenset[tuple[str, str]]] = {
    "secrets": frozenset(
        {("secret", "secretName"), ("secret", "name"), ("secretRef", "name"), ("secretKeyRef", "name"),
         ("imagePullSecrets", "name"), ("nodePublishSecretRef", "name")}
    ),
    "configmaps": frozenset({("configMap", "name"), ("configMapRef", "name"), ("configMapKeyRef", "name")}),
    "persistentvolumeclaims": frozenset({("persistentVolumeClaim", "claimName")}),
    "serviceaccounts": frozenset({("", "serviceAccountName")}),
}  # fmt: skip
"""Resource → (field that holds the reference, field of its name)."""


def _refers(value: Any, resource: str, name: str, parent: str = "") -> bool:
    """Whether a Pod spec names the object anywhere a kubelet would need it."""
    if isinstance(value, list):
        return any(_refers(item, resource, name, parent) for item in value)
    if not isinstance(value, dict):
        return False
    wanted = _REFERENCES[resource]
    return any((parent, field) in wanted and found == name for field, found in value.items()) or any(
        _refers(child, resource, name, field) for field, child in value.items()
    )

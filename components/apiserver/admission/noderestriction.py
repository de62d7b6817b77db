"""NodeRestriction: a kubelet may write its own Node, its lease, its Pods and requests for its certificates, no more.

Upstream: plugin/pkg/admission/noderestriction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubeglass.components.api import kinds, signing
from kubeglass.components.api.signing import KUBELET_CLIENT, KUBELET_SERVING, RequestError
from kubeglass.components.api.user import NODES, UserInfo
from kubeglass.components.apiserver.admission.chain import Attributes, Plugin
from kubeglass.components.apiserver.admission.refusal import forbidden

_NODE_PREFIX = "system:node:"
_LEASE_NAMESPACE = "kube-node-lease"
_MIRROR = "kubernetes.io/config.mirror"


async def _admit(attributes: Attributes) -> None:
    node = node_of(attributes.user)
    if node is None:
        return
    if attributes.kind == kinds.POD:
        _pod(attributes, node)
    elif attributes.kind == kinds.NODE and attributes.name != node:
        raise forbidden(attributes, f'node "{node}" is not allowed to modify node "{attributes.name}"')
    elif attributes.kind == kinds.LEASE:
        if attributes.namespace != _LEASE_NAMESPACE:
            raise forbidden(attributes, f'can only access leases in the "{_LEASE_NAMESPACE}" system namespace')
        if attributes.name != node:
            raise forbidden(attributes, "can only access node lease with the same name as the requesting node")
    elif attributes.kind == kinds.CERTIFICATE_SIGNING_REQUEST and attributes.operation == "CREATE":
        _signing_request(attributes)


def node_of(user: UserInfo) -> str | None:
    """The node a kubelet's identity names, None for anybody else."""
    if NODES in user.groups and user.name.startswith(_NODE_PREFIX):
        return user.name.removeprefix(_NODE_PREFIX)
    return None


def _pod(attributes: Attributes, node: str) -> None:
    obj = attributes.obj or attributes.old or {}
    assigned = _node_name(attributes.old or obj)
    match attributes.operation, attributes.subresource:
        case "CREATE", "":
            if _MIRROR not in (obj["metadata"].get("annotations") or {}):
                raise forbidden(
                    attributes, f'pod does not have "{_MIRROR}" annotation, node "{node}" can only create mirror pods'
                )
            if _node_name(obj) != node:
                raise forbidden(attributes, f'node "{node}" can only create pods with spec.nodeName set to itself')
        case "DELETE", _:
            if assigned != node:
                raise forbidden(attributes, f'node "{node}" can only delete pods with spec.nodeName set to itself')
        case "UPDATE", "status":
            if assigned != node:
                text = f'node "{node}" can only update pod status for pods with spec.nodeName set to itself'
                raise forbidden(attributes, text)
        case _, subresource:
            text = f'unexpected operation "{attributes.operation}"' + (f" on {subresource}" if subresource else "")
            raise forbidden(attributes, text)


def _signing_request(attributes: Attributes) -> None:
    """A node asks for its own certificates only; the signers look at the rest of what it asks."""
    spec = (attributes.obj or {}).get("spec") or {}
    if spec.get("signerName") not in (KUBELET_CLIENT, KUBELET_SERVING):
        return
    try:
        name = signing.common_name(signing.parse(spec.get("request", "")))
    except RequestError as error:
        raise forbidden(attributes, f"unable to parse csr: {error}") from error
    if name != attributes.user.name:
        raise forbidden(attributes, f"can only create a node CSR with CN={attributes.user.name}")


def _node_name(pod: Mapping[str, Any]) -> str:
    name: str = (pod.get("spec") or {}).get("nodeName", "")
    return name


def plugin() -> Plugin:
    return Plugin("NodeRestriction", frozenset({"CREATE", "UPDATE", "DELETE"}), admit=_admit)

"""What a simulated node tells the API server: its Node object and its Lease. Pure.

Everything that could be taken for a real machine is marked: a label, an annotation, a taint, and a runtime called
`simulated` in its nodeInfo.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubeglass import GIT_VERSION, __version__

RUNTIME_LABEL = "kubeglass.io/runtime"
SIMULATED = "simulated"
ANNOTATION = "kubeglass.io/simulated"
REGION = "kubeglass"
Wire = dict[str, Any]

_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status (simulated)"),
)


@dataclass(frozen=True, slots=True)
class NodeShape:
    """What all simulated nodes have in common."""

    address: str = "127.0.0.1"  # where the process that simulates them answers for all of them
    port: int = 10250
    capacity: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Mapping[str, str]] = ()
    zones: int = 3
    lease_duration_seconds: int = 40


def node_name(index: int) -> str:
    """The name of the node with this number, from 1."""
    return f"kubeglass-sim-{index:04d}"


def node_object(index: int, shape: NodeShape, pod_cidr: str, now: str) -> Wire:
    """A node as it registers: Ready from the start, since nothing has to start."""
    name = node_name(index)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": _labels(index, name, shape),
            "annotations": {ANNOTATION: "true"},
        },
        "spec": {
            "podCIDR": pod_cidr,
            "podCIDRs": [pod_cidr],
            "providerID": f"kubeglass://simulated/{name}",
            **({"taints": [dict(taint) for taint in shape.taints]} if shape.taints else {}),
        },
        "status": node_status(name, shape, now, since=now),
    }


def _labels(index: int, name: str, shape: NodeShape) -> dict[str, str]:
    return {
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": SIMULATED,
        "topology.kubernetes.io/region": REGION,
        "topology.kubernetes.io/zone": f"{REGION}-{chr(ord('a') + (index - 1) % shape.zones)}",
        RUNTIME_LABEL: SIMULATED,
    }


def node_status(name: str, shape: NodeShape, now: str, since: str) -> Wire:
    """The whole status; `since` is when its conditions last changed."""
    identity = uuid.uuid5(uuid.NAMESPACE_DNS, name)
    return {
        "capacity": dict(shape.capacity),
        "allocatable": dict(shape.capacity),
        "conditions": [
            {
                "type": type_,
                "status": status,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": now,
                "lastTransitionTime": since,
            }
            for type_, status, reason, message in _CONDITIONS
        ],
        "addresses": [
            {"type": "InternalIP", "address": shape.address},
            {"type": "Hostname", "address": name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": shape.port}},
        "nodeInfo": {
            "machineID": identity.hex,
            "systemUUID": str(identity),
            "bootID": str(identity),
            "kernelVersion": SIMULATED,
            "osImage": SIMULATED,
            "containerRuntimeVersion": f"{SIMULATED}://{__version__}",
            "kubeletVersion": GIT_VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": "amd64",
        },
    }


def lease_object(name: str, node_uid: str, shape: NodeShape, renewed: str) -> Wire:
    """A node's heartbeat."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": "kube-node-lease",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": node_uid}],
        },
        "spec": lease_spec(name, shape, renewed),
    }


def lease_spec(name: str, shape: NodeShape, renewed: str) -> Wire:
    """What a renewal changes."""
    return {"holderIdentity": name, "leaseDurationSeconds": shape.lease_duration_seconds, "renewTime": renewed}

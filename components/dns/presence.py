"""How the cluster DNS shows itself: the Service kube-dns and its one endpoint. Pure."""

from __future__ import annotations

from typing import Any

NAME = "kube-dns"
_LABELS = {
    "k8s-app": NAME,
    "kubernetes.io/cluster-service": "true",
    "kubernetes.io/name": "CoreDNS",
    "service.kubernetes.io/service-proxy-name": "kubeglass-dns",
}
"""The last one tells proxies that somebody else serves the address."""


def service(address: str) -> dict[str, Any]:
    """The Service, at the address that Pods have in their resolv.conf."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": "kube-system", "labels": dict(_LABELS)},
        "spec": {
            "clusterIP": address,
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
            ],
        },
    }


def endpoint_slice(address: str, port: int) -> dict[str, Any]:
    """Where the Service is really served: the port differs where 53 cannot be bound."""
    labels = {**_LABELS, "kubernetes.io/service-name": NAME, "endpointslice.kubernetes.io/managed-by": "kubeglass-dns"}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{NAME}-kubeglass", "namespace": "kube-system", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True, "serving": True, "terminating": False}}],
        "ports": [
            {"name": "dns", "port": port, "protocol": "UDP"},
            {"name": "dns-tcp", "port": port, "protocol": "TCP"},
        ],
    }

"""Read-only views: NetworkPolicies and Ingresses (networking.k8s.io/v1)."""

from __future__ import annotations

from kubeglass.components.api.objects.meta import LabelSelector, Resource
from kubeglass.components.api.objects.struct import Object
from kubeglass.components.api.objects.volumes import TypedLocalObjectReference


class NetworkPolicyPort(Object):
    end_port: int | None = None
    port: int | str | None = None
    protocol: str = ""


class IPBlock(Object):
    cidr: str = ""
    except_: tuple[str, ...] = ()


class NetworkPolicyPeer(Object):
    ip_block: IPBlock | None = None
    namespace_selector: LabelSelector | None = None
    pod_selector: LabelSelector | None = None


class NetworkPolicyEgressRule(Object):
    ports: tuple[NetworkPolicyPort, ...] = ()
    to: tuple[NetworkPolicyPeer, ...] = ()


class NetworkPolicyIngressRule(Object):
    from_: tuple[NetworkPolicyPeer, ...] = ()
    ports: tuple[NetworkPolicyPort, ...] = ()


class NetworkPolicySpec(Object):
    egress: tuple[NetworkPolicyEgressRule, ...] = ()
    ingress: tuple[NetworkPolicyIngressRule, ...] = ()
    pod_selector: LabelSelector = LabelSelector()
    policy_types: tuple[str, ...] = ()


class NetworkPolicy(Resource):
    spec: NetworkPolicySpec = NetworkPolicySpec()


class ServiceBackendPort(Object):
    name: str = ""
    number: int | None = None


class IngressServiceBackend(Object):
    name: str = ""
    port: ServiceBackendPort | None = None


class IngressBackend(Object):
    resource: TypedLocalObjectReference | None = None
    service: IngressServiceBackend | None = None


class HTTPIngressPath(Object):
    backend: IngressBackend = IngressBackend()
    path: str = ""
    path_type: str = ""


class HTTPIngressRuleValue(Object):
    paths: tuple[HTTPIngressPath, ...] = ()


class IngressRule(Object):
    host: str = ""
    http: HTTPIngressRuleValue | None = None


class IngressTLS(Object):
    hosts: tuple[str, ...] = ()
    secret_name: str = ""


class IngressSpec(Object):
    default_backend: IngressBackend | None = None
    ingress_class_name: str = ""
    rules: tuple[IngressRule, ...] = ()
    tls: tuple[IngressTLS, ...] = ()


class IngressPortStatus(Object):
    error: str = ""
    port: int = 0
    protocol: str = ""


class IngressLoadBalancerIngress(Object):
    hostname: str = ""
    ip: str = ""
    ports: tuple[IngressPortStatus, ...] = ()


class IngressLoadBalancerStatus(Object):
    ingress: tuple[IngressLoadBalancerIngress, ...] = ()


class IngressStatus(Object):
    load_balancer: IngressLoadBalancerStatus | None = None


class Ingress(Resource):
    spec: IngressSpec = IngressSpec()
    status: IngressStatus = IngressStatus()


class IngressClassParametersReference(Object):
    api_group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""
    scope: str = ""


class IngressClassSpec(Object):
    controller: str = ""
    parameters: IngressClassParametersReference | None = None


class IngressClass(Resource):
    spec: IngressClassSpec = IngressClassSpec()

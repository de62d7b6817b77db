"""Read-only views: APIServices (apiregistration.k8s.io/v1)."""

from __future__ import annotations

from kubeglass.components.api.objects.meta import Resource
from kubeglass.components.api.objects.struct import Object


class ServiceReference(Object):
    name: str = ""
    namespace: str = ""
    port: int = 0


class APIServiceSpec(Object):
    ca_bundle: str = ""
    group: str = ""
    group_priority_minimum: int = 0
    insecure_skip_tls_verify: bool = False
    service: ServiceReference | None = None
    version: str = ""
    version_priority: int = 0


class APIServiceCondition(Object):
    last_transition_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class APIServiceStatus(Object):
    conditions: tuple[APIServiceCondition, ...] = ()


class APIService(Resource):
    spec: APIServiceSpec = APIServiceSpec()
    status: APIServiceStatus = APIServiceStatus()

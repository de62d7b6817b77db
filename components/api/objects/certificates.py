"""Read-only views: certificate signing requests (certificates.k8s.io/v1)."""

from __future__ import annotations

from kubeglass.components.api.objects.meta import Resource
from kubeglass.components.api.objects.struct import Object


class CertificateSigningRequestSpec(Object):
    expiration_seconds: int | None = None
    extra: dict[str, tuple[str, ...]] = {}
    groups: tuple[str, ...] = ()
    request: str = ""
    signer_name: str = ""
    uid: str = ""
    usages: tuple[str, ...] = ()
    username: str = ""


class CertificateSigningRequestCondition(Object):
    last_transition_time: str = ""
    last_update_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class CertificateSigningRequestStatus(Object):
    certificate: str = ""
    conditions: tuple[CertificateSigningRequestCondition, ...] = ()


class CertificateSigningRequest(Resource):
    spec: CertificateSigningRequestSpec = CertificateSigningRequestSpec()
    status: CertificateSigningRequestStatus = CertificateSigningRequestStatus()

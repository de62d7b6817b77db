"""Who may approve and who may sign, by the signer's name; and no certificate that makes its holder a master.

Upstream: plugin/pkg/admission/certificates/{approval,signing,subjectrestriction}.
"""

from __future__ import annotations

from collections.abc import Callable

from kubeglass.components.api import signing
from kubeglass.components.api.kinds import CERTIFICATE_SIGNING_REQUEST
from kubeglass.components.api.signing import KUBE_APISERVER_CLIENT, RequestError
from kubeglass.components.api.user import MASTERS, UserInfo
from kubeglass.components.apiserver.admission.chain import CREATES, Attributes, Plugin
from kubeglass.components.apiserver.admission.refusal import forbidden

MayUseSigner = Callable[[UserInfo, str, str], bool]
"""(user, approve or sign, signer's name or DOMAIN/*): whether RBAC and the others allow it."""


def approval(may: MayUseSigner) -> Plugin:
    """An update of /approval is for those who may approve for the signer."""

    async def validate(attributes: Attributes) -> None:
        if (attributes.kind, attributes.subresource) == (CERTIFICATE_SIGNING_REQUEST, "approval"):
            _check_permission(attributes, may, "approve")

    return Plugin("CertificateApproval", frozenset({"UPDATE"}), validate=validate)


def signature(may: MayUseSigner) -> Plugin:
    """An update of /status that sets certificate or conditions is for those who may sign for the signer."""

    async def validate(attributes: Attributes) -> None:
        if (attributes.kind, attributes.subresource) != (CERTIFICATE_SIGNING_REQUEST, "status"):
            return
        new, old = ((obj or {}).get("status") or {} for obj in (attributes.obj, attributes.old))
        if any(new.get(name) != old.get(name) for name in ("certificate", "conditions")):
            _check_permission(attributes, may, "sign")

    return Plugin("CertificateSigning", frozenset({"UPDATE"}), validate=validate)


def subject_restriction() -> Plugin:
    """kube-apiserver-client signs for no member of system:masters."""

    async def validate(attributes: Attributes) -> None:
        spec = (attributes.obj or {}).get("spec") or {}
        if attributes.kind != CERTIFICATE_SIGNING_REQUEST or spec.get("signerName") != KUBE_APISERVER_CLIENT:
            return
        try:
            groups = signing.organizations(signing.parse(spec.get("request", "")))
        except RequestError as error:
            raise forbidden(attributes, f"unable to parse csr: {error}") from error
        if MASTERS in groups:
            text = f"use of {KUBE_APISERVER_CLIENT} signer with {MASTERS} group is not allowed"
            raise forbidden(attributes, text)

    return Plugin("CertificateSubjectRestriction", CREATES, validate=validate)


def _check_permission(attributes: Attributes, may: MayUseSigner, verb: str) -> None:
    signer: str = ((attributes.old or {}).get("spec") or {}).get("signerName", "")
    wildcard = f"{signer.partition('/')[0]}/*"
    if not may(attributes.user, verb, signer) and not may(attributes.user, verb, wildcard):
        raise forbidden(attributes, f'user not permitted to {verb} requests with signerName "{signer}"')

"""Certificate signing requests: kubelets' client certificates approve themselves, what is settled long ago goes.

Upstream: certificatesigningrequest-approving-controller and -cleaner-controller (pkg/controller/certificates/{approver,
cleaner}). The signing is in certificatesigning.py.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api import signing
from kubeglass.components.api.errors import ApiError
from kubeglass.components.api.kinds import CERTIFICATE_SIGNING_REQUEST, SUBJECT_ACCESS_REVIEW
from kubeglass.components.api.objects import CertificateSigningRequest, encode
from kubeglass.components.api.signing import APPROVED, DENIED, FAILED, KUBELET_CLIENT, RequestError
from kubeglass.components.controllers.actions import Delete, Patch
from kubeglass.components.controllers.context import ControllerContext, follow
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler
from kubeglass.components.machinery.transport import Unreachable

CLEANING_PERIOD_SECONDS = 3600.0
SETTLED_SECONDS = 3600.0
"""How long a request is kept that was issued, denied or failed."""
PENDING_SECONDS = 24 * 3600.0
_REFUSED_AGAIN_SECONDS = 60.0
"""A request that nobody may approve automatically is looked at again: roles change."""


@dataclass(frozen=True, slots=True)
class Recognized:
    """A way to be approved: who may create `subresource` of signing requests gets `message`."""

    subresource: str
    message: str


_OWN = Recognized("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.")
_NODE = Recognized("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")


def is_decided(csr: CertificateSigningRequest) -> bool:
    """Whether it was approved or denied."""
    return any(signing.has_condition(csr, kind) for kind in (APPROVED, DENIED))


def recognized(csr: CertificateSigningRequest) -> Iterator[Recognized]:
    """The ways in which this request may be approved, in the order in which they are tried."""
    if csr.spec.signer_name != KUBELET_CLIENT:
        return
    try:
        request = signing.parse(csr.spec.request)
        signing.check_kubelet_client(request, csr.spec.usages)
    except RequestError:
        return
    if csr.spec.username == signing.common_name(request):
        yield _OWN
    yield _NODE


def with_condition(csr: CertificateSigningRequest, kind: str, reason: str, message: str, now: float) -> dict[str, Any]:
    """A patch that adds a condition; it fails when somebody wrote in between."""
    condition = {"type": kind, "status": "True", "reason": reason, "message": message}
    added = condition | {"lastUpdateTime": clock.rfc3339(now)}
    return {
        "metadata": {"resourceVersion": csr.metadata.resource_version},
        "status": {"conditions": [*map(encode, csr.status.conditions), added]},
    }


def approval(csr: CertificateSigningRequest, message: str, now: float) -> Patch:
    """Approve."""
    patch = with_condition(csr, APPROVED, "AutoApproved", message, now)
    return Patch(CERTIFICATE_SIGNING_REQUEST, csr.metadata.name, "", patch, "approval")


def access_review(csr: CertificateSigningRequest, subresource: str) -> dict[str, Any]:
    """May who asks create this subresource of signing requests?"""
    spec: dict[str, Any] = {
        "user": csr.spec.username,
        "uid": csr.spec.uid,
        "groups": list(csr.spec.groups),
        "extra": {key: list(values) for key, values in csr.spec.extra.items()},
        "resourceAttributes": {
            "verb": "create",
            "group": CERTIFICATE_SIGNING_REQUEST.group,
            "version": "*",
            "resource": CERTIFICATE_SIGNING_REQUEST.plural,
            "subresource": subresource,
        },
    }
    return {"apiVersion": SUBJECT_ACCESS_REVIEW.api_version, "kind": SUBJECT_ACCESS_REVIEW.kind, "spec": spec}


class ApprovingController:
    """Watches signing requests."""

    name = "certificatesigningrequest-approving-controller"
    kind = CERTIFICATE_SIGNING_REQUEST

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._requests = context.informers.of(CERTIFICATE_SIGNING_REQUEST, CertificateSigningRequest)
        self.queue = context.queue("certificate_approval")
        follow(self._requests, self.queue)

    async def run(self, started: Callable[[], None]) -> None:
        await run_reconciler(self, self.queue, self._telemetry, started=started)

    async def reconcile(self, key: str) -> Result:
        csr = self._requests.get(key)
        if csr is None or csr.status.certificate or is_decided(csr):
            return DONE
        tried = []
        for way in recognized(csr):
            tried.append(way.subresource)
            review = await self._client.create(SUBJECT_ACCESS_REVIEW, access_review(csr, way.subresource))
            if (review.get("status") or {}).get("allowed"):
                await self._writer.apply([approval(csr, way.message, clock.now())])
                return DONE
        if not tried:
            return DONE
        self._telemetry.log.v(4).info(
            "Recognized csr but subject access review was not approved", csr=key, subresources=tried
        )
        return Result(_REFUSED_AGAIN_SECONDS)


# -- cleaning ---------------------------------------------------------------------------------------------------------


def is_stale(csr: CertificateSigningRequest, now: float) -> str:
    """Why the request may go, or ""."""
    since = {condition.type: clock.parse(condition.last_update_time) for condition in csr.status.conditions}
    issued = bool(csr.status.certificate)
    for kind, word in ((APPROVED, "approved"), (DENIED, "denied"), (FAILED, "failed")):
        if kind in since and now - since[kind] > SETTLED_SECONDS and (issued or kind != APPROVED):
            return word
    if not since and now - clock.parse(csr.metadata.creation_timestamp) > PENDING_SECONDS:
        return "pending"
    return "expired" if issued and _expiry(csr.status.certificate) < now else ""


def _expiry(encoded: str) -> float:
    from cryptography import x509

    return x509.load_pem_x509_certificate(base64.b64decode(encoded)).not_valid_after_utc.timestamp()


class CleanerController:
    """Looks at all signing requests every hour."""

    name = "certificatesigningrequest-cleaner-controller"

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._log = context.telemetry.named(self.name).log
        self._requests = context.informers.of(CERTIFICATE_SIGNING_REQUEST, CertificateSigningRequest)

    async def run(self, started: Callable[[], None]) -> None:
        started()
        while True:
            await self._clean()
            await asyncio.sleep(CLEANING_PERIOD_SECONDS)

    async def _clean(self) -> None:
        for csr in self._requests.list():
            why = is_stale(csr, clock.now())
            if not why:
                continue
            self._log.info("Cleaning CSR", csr=csr.metadata.name, reason=why)
            try:
                await self._writer.apply([Delete(CERTIFICATE_SIGNING_REQUEST, csr.metadata.name, "", csr.metadata.uid)])
            except (ApiError, Unreachable) as error:
                self._log.error(error, "Error while cleaning CSR", csr=csr.metadata.name)

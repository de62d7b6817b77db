"""Signs approved certificate signing requests for the four signers of a cluster, with the cluster's authority.

Upstream: certificatesigningrequest-signing-controller (pkg/controller/certificates/{signer,authority}).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509 import ObjectIdentifier

from kubeglass.components.api import signing
from kubeglass.components.api.kinds import CERTIFICATE_SIGNING_REQUEST
from kubeglass.components.api.objects import CertificateSigningRequest
from kubeglass.components.api.signing import (
    APPROVED,
    EXTENDED_KEY_USAGES,
    FAILED,
    KEY_USAGES,
    KUBE_APISERVER_CLIENT,
    KUBELET_CLIENT,
    KUBELET_SERVING,
    LEGACY_UNKNOWN,
    RequestError,
)
from kubeglass.components.controllers.actions import Patch
from kubeglass.components.controllers.certificates import with_condition
from kubeglass.components.controllers.context import ControllerContext, follow
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.reconcile import DONE, Result, run_reconciler

Check = Callable[[x509.CertificateSigningRequest, Iterable[str]], None]
"""Whether a signer signs that. Raises RequestError."""

DEFAULT_SECONDS = 365 * 24 * 3600.0
_MIN_SECONDS = 600.0
_SHORT_SECONDS = 8 * 3600.0
_BACKDATE_SECONDS = 300.0

SIGNERS: Mapping[str, Check] = {
    KUBE_APISERVER_CLIENT: lambda request, usages: signing.check_client(usages),
    KUBELET_CLIENT: signing.check_kubelet_client,
    KUBELET_SERVING: signing.check_kubelet_serving,
    LEGACY_UNKNOWN: lambda request, usages: None,
}


@dataclass(frozen=True, slots=True)
class Authority:
    """What certificates are signed with."""

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes

    @classmethod
    def read(cls, certificate_file: str, key_file: str) -> Authority:
        """Raises OSError, and ValueError for files that hold something else."""
        key = serialization.load_pem_private_key(Path(key_file).read_bytes(), password=None)
        certificate = x509.load_pem_x509_certificate(Path(certificate_file).read_bytes())
        return cls(certificate, key)  # type: ignore[arg-type]  # a key that cannot sign fails at the first signature

    def sign(
        self, request: x509.CertificateSigningRequest, usages: Iterable[str], seconds: float, now: float
    ) -> x509.Certificate:
        """A certificate for the subject, the names and the key of a request; it never outlives the authority."""
        start = datetime.fromtimestamp(now - _BACKDATE_SECONDS, UTC)
        # A certificate of long life pays for its backdating at its end, a short one would lose too much.
        end = start + timedelta(seconds=seconds + (_BACKDATE_SECONDS if seconds < _SHORT_SECONDS else 0))
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(self.certificate.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(min(end, self.certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        for extension, critical in _usage_extensions(usages):
            builder = builder.add_extension(extension, critical=critical)
        for extension in (*_key_identifier(self.certificate), *_names(request)):
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())


def _key_identifier(authority: x509.Certificate) -> Iterable[x509.ExtensionType]:
    """How the authority's own certificate calls its key; a verifier compares the two, and need not hash the key."""
    with suppress(x509.ExtensionNotFound):
        own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        yield x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)


def _names(request: x509.CertificateSigningRequest) -> Iterable[x509.ExtensionType]:
    with suppress(x509.ExtensionNotFound):
        yield request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def lifetime_seconds(wanted: int | None, limit: float) -> float:
    """What was asked for, at least ten minutes and never more than --cluster-signing-duration."""
    return limit if wanted is None or wanted > limit else max(float(wanted), _MIN_SECONDS)


def _usage_extensions(usages: Iterable[str]) -> Iterable[tuple[x509.ExtensionType, bool]]:
    """(extension, critical) for what the certificate may be used for."""
    asked = tuple(usages)
    bits = {KEY_USAGES[usage] for usage in asked if usage in KEY_USAGES}
    if bits:
        agreed = "key_agreement" in bits  # without it the two bits after it mean nothing
        names = {*KEY_USAGES.values()}
        only = {"encipher_only", "decipher_only"}
        yield x509.KeyUsage(**{name: name in bits and (agreed or name not in only) for name in names}), True
    purposes = dict.fromkeys(EXTENDED_KEY_USAGES[usage] for usage in asked if usage in EXTENDED_KEY_USAGES)
    if purposes:
        yield x509.ExtendedKeyUsage([ObjectIdentifier(purpose) for purpose in purposes]), False


def plan(csr: CertificateSigningRequest, authority: Authority, limit_seconds: float, now: float) -> list[Patch]:
    """Set the certificate of an approved request, or say why it cannot be had."""
    check = SIGNERS.get(csr.spec.signer_name)
    approved, failed = signing.has_condition(csr, APPROVED), signing.has_condition(csr, FAILED)
    if check is None or csr.status.certificate or failed or not approved:
        return []
    try:
        request = signing.parse(csr.spec.request)
        check(request, csr.spec.usages)
    except RequestError as error:
        patch = with_condition(csr, FAILED, "SignerValidationFailure", str(error), now)
    else:
        seconds = lifetime_seconds(csr.spec.expiration_seconds, limit_seconds)
        issued = authority.sign(request, csr.spec.usages, seconds, now)
        encoded = base64.b64encode(issued.public_bytes(serialization.Encoding.PEM)).decode()
        version = {"resourceVersion": csr.metadata.resource_version}
        patch = {"metadata": version, "status": {"certificate": encoded}}
    return [Patch(CERTIFICATE_SIGNING_REQUEST, csr.metadata.name, "", patch, "status")]


class SigningController:
    """Watches signing requests; signs nothing without --cluster-signing-cert-file and --cluster-signing-key-file."""

    name = "certificatesigningrequest-signing-controller"
    kind = CERTIFICATE_SIGNING_REQUEST

    def __init__(self, context: ControllerContext) -> None:
        self._writer = context.writer
        self._telemetry = context.telemetry.named(self.name)
        self._files: tuple[str, str] = context.options["cluster_signing_files"]
        self._limit_seconds = float(context.options["cluster_signing_seconds"])
        self._requests = context.informers.of(CERTIFICATE_SIGNING_REQUEST, CertificateSigningRequest)
        self.queue = context.queue("certificate")
        follow(self._requests, self.queue)

    async def run(self, started: Callable[[], None]) -> None:
        if not all(self._files):
            self._telemetry.log.info("Skipping CSR signer controller because no csr cert/key was specified")
        await run_reconciler(self, self.queue, self._telemetry, started=started)

    async def reconcile(self, key: str) -> Result:
        csr = self._requests.get(key)
        if csr is not None and all(self._files):
            authority = Authority.read(*self._files)  # anew: it may have been replaced
            await self._writer.apply(plan(csr, authority, self._limit_seconds, clock.now()))
        return DONE

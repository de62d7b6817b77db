"""Certificate signing requests: what may be asked, and what each subresource may change.

Upstream: pkg/apis/certificates/validation (v1: no legacy-unknown, known usages only).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter

from kubeglass.components.api import names, signing
from kubeglass.components.api.errors import Cause
from kubeglass.components.api.fielderrors import duplicate, forbidden, invalid, not_supported, required, too_long
from kubeglass.components.api.objects import CertificateSigningRequest, CertificateSigningRequestCondition
from kubeglass.components.api.signing import APPROVED, DENIED, FAILED, LEGACY_UNKNOWN, RequestError
from kubeglass.components.api.validation.metadata import NameCheck

MIN_EXPIRATION_SECONDS = 600
_MAX_DOMAIN = 253
_MAX_SIGNER_NAME = _MAX_DOMAIN + 1 + 253 + 1 + 63
_CONDITIONS = "status.conditions"
_BLOCK = re.compile(rb"-----BEGIN ([^-]+)-----\s*\n(.*?)-----END \1-----", re.DOTALL)


def signing_request(csr: CertificateSigningRequest) -> list[Cause]:
    """Causes against a request, whatever is done with it."""
    spec = csr.spec
    causes = _request(spec.request) + _usages(spec.usages)
    if spec.signer_name == LEGACY_UNKNOWN:
        text = "the legacy signerName is not allowed via this API version"
        causes.append(invalid("spec.signerName", spec.signer_name, text))
    else:
        causes += _signer_name(spec.signer_name, "spec.signerName")
    seconds = spec.expiration_seconds
    if seconds is not None and seconds < MIN_EXPIRATION_SECONDS:
        text = "may not specify a duration less than 600 seconds (10 minutes)"
        causes.append(invalid("spec.expirationSeconds", seconds, text))
    return causes + _conditions(csr.status.conditions) + _certificate(csr.status.certificate)


def approval_update(new: CertificateSigningRequest, old: CertificateSigningRequest) -> list[Cause]:
    """/approval: conditions come, of any type; none of the three that count goes."""
    return signing_request(new) + _removed(new, old)


def status_update(new: CertificateSigningRequest, old: CertificateSigningRequest) -> list[Cause]:
    """/status: the certificate is set once, and approval is not decided here."""
    causes = signing_request(new) + _removed(new, old)
    for kind in (APPROVED, DENIED):
        before, after = _of(old, kind), _of(new, kind)
        if len(after) > len(before):
            causes.append(forbidden(_CONDITIONS, f'updates may not add a condition of type "{kind}"'))
        elif len(after) == len(before) and after != before:
            causes.append(forbidden(_CONDITIONS, f'updates may not modify a condition of type "{kind}"'))
    if old.status.certificate and new.status.certificate != old.status.certificate:
        causes.append(forbidden("status.certificate", "updates may not modify existing certificate content"))
    return causes


def _request(encoded: str) -> list[Cause]:
    try:
        signing.check_signature(signing.parse(encoded))
    except RequestError as error:
        return [invalid("spec.request", encoded, str(error))]
    return []


def _usages(usages: tuple[str, ...]) -> list[Cause]:
    known = {*signing.KEY_USAGES, *signing.EXTENDED_KEY_USAGES}
    causes = [] if usages else [required("spec.usages")]
    causes += [
        not_supported(f"spec.usages[{index}]", usage, known) for index, usage in enumerate(usages) if usage not in known
    ]
    return causes + [
        duplicate(f"spec.usages[{index}]", usage) for index, usage in enumerate(usages) if usage in usages[:index]
    ]


def _signer_name(name: str, path: str) -> list[Cause]:
    """DOMAIN/NAME, of which the domain has a dot."""
    if not name:
        return [required(path)]
    domain, *rest = name.split("/")
    if len(rest) != 1:
        text = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [invalid(path, name, text)]
    causes = [too_long(path, _MAX_DOMAIN)] if len(domain) > _MAX_DOMAIN else []
    labels = domain.split(".")
    causes += _first_bad(path, domain, labels, names.dns1123_label)
    if len(labels) < 2:
        causes.append(invalid(path, domain, "should be a domain with at least two segments separated by dots"))
    causes += _first_bad(path, rest[0], rest[0].split("."), names.dns1123_subdomain)
    if len(name) > _MAX_SIGNER_NAME:
        causes.append(too_long(path, _MAX_SIGNER_NAME))
    return causes


def _first_bad(path: str, value: str, labels: list[str], check: NameCheck) -> list[Cause]:
    """Complaints about the first label that is wrong."""
    for label in labels:
        if complaints := check(label):
            return [invalid(path, value, f'validating label "{label}": {text}') for text in complaints]
    return []


def _conditions(conditions: tuple[CertificateSigningRequestCondition, ...]) -> list[Cause]:
    causes: list[Cause] = []
    seen: Counter[str] = Counter()
    for index, condition in enumerate(conditions):
        path = f"{_CONDITIONS}[{index}]"
        if not condition.type:
            causes.append(required(f"{path}.type"))
        causes += _condition_status(condition, f"{path}.status")
        if seen[condition.type]:
            causes.append(duplicate(f"{path}.type", condition.type))
        opposite = {APPROVED: DENIED, DENIED: APPROVED}.get(condition.type, "")
        if opposite and seen[opposite]:
            text = "Approved and Denied conditions are mutually exclusive"
            causes.append(invalid(f"{path}.type", condition.type, text))
        seen[condition.type] += 1
    return causes


def _condition_status(condition: CertificateSigningRequestCondition, path: str) -> list[Cause]:
    if not condition.status:
        return [required(path)]
    allowed = ("True",) if condition.type in (APPROVED, DENIED, FAILED) else ("True", "False", "Unknown")
    return [] if condition.status in allowed else [not_supported(path, condition.status, allowed)]


def _certificate(encoded: str) -> list[Cause]:
    """PEM blocks of certificates, and nothing else between the BEGINs and ENDs."""
    if not encoded:
        return []
    text = _certificate_complaint(encoded)
    return [invalid("status.certificate", "<certificate data>", text)] if text else []


def _certificate_complaint(encoded: str) -> str:
    from cryptography import x509

    try:
        blocks = _BLOCK.findall(base64.b64decode(encoded, validate=True))
    except binascii.Error as error:
        return str(error)
    for label, body in blocks:
        if label != b"CERTIFICATE":
            return f'only CERTIFICATE PEM blocks are allowed, found "{label.decode(errors="replace")}"'
        if b":" in body:
            return "no PEM block headers are permitted"
        try:
            x509.load_der_x509_certificate(base64.b64decode(body))
        except ValueError as error:
            return str(error)
    return "" if blocks else "must contain at least one CERTIFICATE PEM block"


def _removed(new: CertificateSigningRequest, old: CertificateSigningRequest) -> list[Cause]:
    return [
        forbidden(_CONDITIONS, f'updates may not remove a condition of type "{kind}"')
        for kind in (APPROVED, DENIED, FAILED)
        if len(_of(new, kind)) < len(_of(old, kind))
    ]


def _of(csr: CertificateSigningRequest, kind: str) -> list[CertificateSigningRequestCondition]:
    return [condition for condition in csr.status.conditions if condition.type == kind]

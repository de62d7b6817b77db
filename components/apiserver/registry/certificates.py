"""What is particular to certificate signing requests in the store: dates of their conditions, and whose wish was met.

Upstream: pkg/registry/certificates/certificates (strategy.go, storage/metrics.go).
"""

from __future__ import annotations

import base64
from typing import Any

from kubeglass.components.api import kinds
from kubeglass.components.api.kinds import Kind
from kubeglass.components.apiserver.metrics import CertificateMetrics
from kubeglass.components.machinery import clock

Object = dict[str, Any]

_BACKDATE_SECONDS = 300
_OWN_SIGNERS = "kubernetes.io/"


def date_conditions(new: Object, old: Object, now: float) -> None:
    """Conditions without dates get them; one that keeps its type and status made no transition."""
    before = {(row.get("type"), row.get("status")): row for row in _conditions(old)}
    for row in _conditions(new):
        if not row.get("lastUpdateTime"):
            row["lastUpdateTime"] = clock.rfc3339(now)
        if not row.get("lastTransitionTime"):
            known = before.get((row.get("type"), row.get("status")), {}).get("lastTransitionTime")
            row["lastTransitionTime"] = known or clock.rfc3339(now)


def is_honored(wanted_seconds: float, given_seconds: float) -> bool:
    """Whether a lifetime is what was asked for, but for backdating and a twentieth."""
    return abs(wanted_seconds - given_seconds) < _BACKDATE_SECONDS + wanted_seconds / 20


class IssuedCertificates:
    """Counts the certificates that were set, of requests that asked for a duration. Called after each update."""

    def __init__(self, metrics: CertificateMetrics) -> None:
        self._metrics = metrics

    def __call__(self, kind: Kind, new: Object, old: Object) -> None:
        if kind != kinds.CERTIFICATE_SIGNING_REQUEST:
            return
        wanted = old["spec"].get("expirationSeconds")
        issued = (new.get("status") or {}).get("certificate")
        if wanted is None or not issued or (old.get("status") or {}).get("certificate"):
            return
        signer: str = old["spec"]["signerName"]
        label = signer if signer.startswith(_OWN_SIGNERS) else "other"
        self._metrics.csr_requested_duration_total.labels(label).inc()
        if is_honored(wanted, _lifetime_seconds(issued)):
            self._metrics.csr_honored_duration_total.labels(label).inc()


def _lifetime_seconds(encoded: str) -> float:
    """Of the first certificate in base64 of PEM, which validation has read before."""
    from cryptography import x509

    certificate = x509.load_pem_x509_certificates(base64.b64decode(encoded))[0]
    return (certificate.not_valid_after_utc - certificate.not_valid_before_utc).total_seconds()


def _conditions(obj: Object) -> list[Object]:
    return (obj.get("status") or {}).get("conditions") or []

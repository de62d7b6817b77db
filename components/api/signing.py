"""What a CertificateSigningRequest may ask: the signers of a cluster, usages, the PKCS#10 request inside. Pure.

Upstream: pkg/apis/certificates (helpers, types), api/certificates/v1.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kubeglass.components.api.objects import CertificateSigningRequest

if TYPE_CHECKING:
    from cryptography.x509 import CertificateSigningRequest as Request

KUBE_APISERVER_CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
LEGACY_UNKNOWN = "kubernetes.io/legacy-unknown"

APPROVED, DENIED, FAILED = "Approved", "Denied", "Failed"

CLIENT_AUTH, SERVER_AUTH = "client auth", "server auth"
DIGITAL_SIGNATURE, KEY_ENCIPHERMENT = "digital signature", "key encipherment"
KEY_USAGES = {
    "signing": "digital_signature",
    DIGITAL_SIGNATURE: "digital_signature",
    "content commitment": "content_commitment",
    KEY_ENCIPHERMENT: "key_encipherment",
    "key agreement": "key_agreement",
    "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
"""Usages that are bits of the KeyUsage extension, as cryptography names them."""
EXTENDED_KEY_USAGES = {
    "any": "2.5.29.37.0",
    SERVER_AUTH: "1.3.6.1.5.5.7.3.1",
    CLIENT_AUTH: "1.3.6.1.5.5.7.3.2",
    "code signing": "1.3.6.1.5.5.7.3.3",
    "email protection": "1.3.6.1.5.5.7.3.4",
    "s/mime": "1.3.6.1.5.5.7.3.4",
    "ipsec end system": "1.3.6.1.5.5.7.3.5",
    "ipsec tunnel": "1.3.6.1.5.5.7.3.6",
    "ipsec user": "1.3.6.1.5.5.7.3.7",
    "timestamping": "1.3.6.1.5.5.7.3.8",
    "ocsp signing": "1.3.6.1.5.5.7.3.9",
    "microsoft sgc": "1.3.6.1.4.1.311.10.3.3",
    "netscape sgc": "2.16.840.1.113730.4.1",
}
"""Usages that are identifiers of the ExtendedKeyUsage extension."""

_BLOCK = re.compile(rb"-----BEGIN ([^-]+)-----")
_NODES, _NODE_PREFIX = "system:nodes", "system:node:"


class RequestError(Exception):
    """A request that cannot be granted; the text is upstream's."""


def parse(encoded: str) -> Request:
    """The PKCS#10 request in `spec.request` (base64 of PEM). Raises RequestError."""
    from cryptography import x509

    try:
        pem = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise RequestError(str(error)) from error
    first = _BLOCK.search(pem)
    if first is None or first[1] != b"CERTIFICATE REQUEST":
        raise RequestError("PEM block type must be CERTIFICATE REQUEST")
    try:
        return x509.load_pem_x509_csr(pem)
    except ValueError as error:
        raise RequestError(str(error)) from error


def check_signature(request: Request) -> None:
    """Whether who asks holds the key. Raises RequestError."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    if not request.is_signature_valid:
        is_rsa = isinstance(request.public_key(), rsa.RSAPublicKey)
        raise RequestError("crypto/rsa: verification error" if is_rsa else "x509: ECDSA verification failure")


def check_client(usages: Iterable[str]) -> None:
    """What kube-apiserver-client signs: certificates for clients and nothing else. Raises RequestError."""
    for usage in (asked := tuple(usages)):
        if usage not in (DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, CLIENT_AUTH):
            raise RequestError(f"invalid usage for client certificate: {usage}")
    if CLIENT_AUTH not in asked:
        raise RequestError(f"missing required usage for client certificate: {CLIENT_AUTH}")


def check_kubelet_client(request: Request, usages: Iterable[str]) -> None:
    """What a kubelet's client certificate must be. Raises RequestError."""
    names = subject_alternative_names(request)
    _check_organization(request)
    for kind, text in (
        ("DNSName", "DNS"),
        ("RFC822Name", "Email"),
        ("IPAddress", "IP"),
        ("UniformResourceIdentifier", "URI"),
    ):
        if names.get(kind):
            raise RequestError(f"{text} subjectAltNames are not allowed")
    _check_common_name(request)
    _check_usages(usages, CLIENT_AUTH)


def check_kubelet_serving(request: Request, usages: Iterable[str]) -> None:
    """What a kubelet's serving certificate must be. Raises RequestError."""
    names = subject_alternative_names(request)
    _check_organization(request)
    if not names.get("DNSName") and not names.get("IPAddress"):
        raise RequestError("DNS or IP subjectAltName is required")
    for kind, text in (("RFC822Name", "Email"), ("UniformResourceIdentifier", "URI")):
        if names.get(kind):
            raise RequestError(f"{text} subjectAltNames are not allowed")
    _check_usages(usages, SERVER_AUTH)
    _check_common_name(request)


def common_name(request: Request) -> str:
    """The subject's CN, or ""."""
    return next(iter(_subject(request, "2.5.4.3")), "")


def organizations(request: Request) -> list[str]:
    """The subject's O: the groups of a client certificate."""
    return _subject(request, "2.5.4.10")


def subject_alternative_names(request: Request) -> dict[str, list[Any]]:
    """Alternative names by their class in cryptography: DNSName, IPAddress, RFC822Name, UniformResourceIdentifier."""
    from cryptography import x509

    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return {}
    except ValueError as error:
        raise RequestError(str(error)) from error
    found: dict[str, list[Any]] = {}
    for name in names:
        found.setdefault(type(name).__name__, []).append(name.value)
    return found


def has_condition(csr: CertificateSigningRequest, kind: str) -> bool:
    """Whether a condition of that type is there; those of signing requests are always true."""
    return any(condition.type == kind for condition in csr.status.conditions)


def _subject(request: Request, oid: str) -> list[str]:
    from cryptography.x509 import ObjectIdentifier

    return [str(name.value) for name in request.subject.get_attributes_for_oid(ObjectIdentifier(oid))]


def _check_organization(request: Request) -> None:
    if organizations(request) != [_NODES]:
        raise RequestError(f"subject organization is not {_NODES}")


def _check_common_name(request: Request) -> None:
    if not common_name(request).startswith(_NODE_PREFIX):
        raise RequestError(f"subject common name does not begin with {_NODE_PREFIX}")


def _check_usages(usages: Iterable[str], purpose: str) -> None:
    """Keys that are not RSA cannot encipher keys, so that usage may be missing."""
    wanted = sorted({purpose, DIGITAL_SIGNATURE, KEY_ENCIPHERMENT})
    if set(usages) | {KEY_ENCIPHERMENT} != set(wanted):
        raise RequestError(f"usages did not match [{' '.join(wanted)}]")

"""What may be asked of a signer, and what the subresources of a signing request may change."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from kubeglass.components.api import signing, validation
from kubeglass.components.api.kinds import CERTIFICATE_SIGNING_REQUEST
from kubeglass.components.machinery import certs

KEY = certs.new_key()
NODE = ("system:node:n1", ("system:nodes",))
CLIENT_USAGES = ("digital signature", "client auth")
SERVING_USAGES = ("digital signature", "server auth")


def request(common_name: str = "jane", organizations: Sequence[str] = (), addresses: Sequence[str] = ()) -> str:
    return base64.b64encode(certs.new_request(KEY, common_name, organizations, addresses)).decode()


REQUEST = request()
FORGED = base64.b64encode(base64.b64decode(REQUEST).replace(b"CERTIFICATE REQUEST", b"PUBLIC KEY")).decode()


def tampered() -> str:
    """A request whose subject was changed after it was signed."""
    der = x509.load_pem_x509_csr(base64.b64decode(REQUEST)).public_bytes(Encoding.DER)
    body = base64.encodebytes(der.replace(b"jane", b"john"))
    pem = b"-----BEGIN CERTIFICATE REQUEST-----\n" + body + b"-----END CERTIFICATE REQUEST-----\n"
    return base64.b64encode(pem).decode()


def csr(conditions: Sequence[dict[str, str]] = (), certificate: str = "", **spec: Any) -> dict[str, Any]:
    wanted = {"request": REQUEST, "signerName": "example.com/ours", "usages": ["client auth"], **spec}
    status = {"conditions": list(conditions), "certificate": certificate}
    return {"metadata": {"name": "jane"}, "spec": wanted, "status": status}


def condition(kind: str, status: str = "True", **more: str) -> dict[str, str]:
    return {"type": kind, "status": status, **more}


@pytest.mark.parametrize(
    ("spec", "cause"),
    [
        ({}, ""),
        ({"expirationSeconds": 600}, ""),
        (
            {"expirationSeconds": 599},
            "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)",
        ),
        (
            {"request": FORGED},
            f'spec.request: Invalid value: "{FORGED}": PEM block type must be CERTIFICATE REQUEST',
        ),
        (
            {"request": tampered()},
            f'spec.request: Invalid value: "{tampered()}": x509: ECDSA verification failure',
        ),
        ({"usages": []}, "spec.usages: Required value"),
        ({"usages": ["client auth", "client auth"]}, 'spec.usages[1]: Duplicate value: "client auth"'),
        ({"signerName": ""}, "spec.signerName: Required value"),
        (
            {"signerName": "kubernetes.io/legacy-unknown"},
            'spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via '
            "this API version",
        ),
        (
            {"signerName": "ours"},
            'spec.signerName: Invalid value: "ours": must be a fully qualified domain and path of the form '
            "'example.com/signer-name'",
        ),
        (
            {"signerName": "com/ours"},
            'spec.signerName: Invalid value: "com": should be a domain with at least two segments separated by dots',
        ),
    ],
)
def test_what_may_be_asked(spec: dict[str, Any], cause: str) -> None:
    """Upstream's rules in its words."""
    found = validation.created(CERTIFICATE_SIGNING_REQUEST, csr(**spec))
    assert [f"{each.field}: {each.message}" for each in found] == ([cause] if cause else [])


def test_unknown_usages_are_listed() -> None:
    """Every usage that exists is named."""
    (found,) = validation.created(CERTIFICATE_SIGNING_REQUEST, csr(usages=["world domination"]))
    assert found.field == "spec.usages[0]"
    assert found.message.startswith('Unsupported value: "world domination": supported values: "any", "cert sign", ')
    assert found.message.count('"') == 2 * (1 + 23)


LEAF = base64.b64encode(certs.new_authority("ca", datetime.now(UTC)).certificate_pem()).decode()
OTHER_LEAF = base64.b64encode(base64.b64decode(LEAF) * 2).decode()
APPROVED, DENIED, FAILED = condition("Approved"), condition("Denied"), condition("Failed")


@pytest.mark.parametrize(
    ("subresource", "old", "new", "cause"),
    [
        ("approval", csr(), csr([APPROVED]), ""),
        ("approval", csr([APPROVED]), csr([]), 'updates may not remove a condition of type "Approved"'),
        (
            "approval",
            csr(),
            csr([condition("Approved", "False")]),
            'Unsupported value: "False": supported values: "True"',
        ),
        ("approval", csr(), csr([condition("Weird", "")]), "Required value"),
        (
            "approval",
            csr([APPROVED]),
            csr([APPROVED, DENIED]),
            'Invalid value: "Denied": Approved and Denied conditions are mutually exclusive',
        ),
        ("status", csr([APPROVED]), csr([APPROVED], LEAF), ""),
        ("status", csr([APPROVED]), csr([APPROVED, FAILED]), ""),
        ("status", csr(), csr([APPROVED]), 'updates may not add a condition of type "Approved"'),
        (
            "status",
            csr([APPROVED]),
            csr([condition("Approved", reason="Mine")]),
            'updates may not modify a condition of type "Approved"',
        ),
        ("status", csr([], LEAF), csr([], OTHER_LEAF), "updates may not modify existing certificate content"),
        (
            "status",
            csr(),
            csr([], REQUEST),
            'only CERTIFICATE PEM blocks are allowed, found "CERTIFICATE REQUEST"',
        ),
        ("status", csr(), csr([], "AAAA"), "must contain at least one CERTIFICATE PEM block"),
    ],
)
def test_what_a_subresource_may_change(subresource: str, old: dict[str, Any], new: dict[str, Any], cause: str) -> None:
    """Approval approves, status signs, and neither takes anything back."""
    found = validation.subresource_updated(CERTIFICATE_SIGNING_REQUEST, subresource, new, old)
    assert [each.message for each in found if not each.message.endswith(cause)] == []
    assert bool(found) == bool(cause)


@pytest.mark.parametrize(
    ("asked", "usages", "complaint"),
    [
        (request(*NODE), CLIENT_USAGES, ""),
        (request(*NODE), (*CLIENT_USAGES, "key encipherment"), ""),
        (request(*NODE, ["n1"]), CLIENT_USAGES, "DNS subjectAltNames are not allowed"),
        (request(*NODE, ["10.0.0.1"]), CLIENT_USAGES, "IP subjectAltNames are not allowed"),
        (request("n1", NODE[1]), CLIENT_USAGES, "subject common name does not begin with system:node:"),
        (request(NODE[0]), CLIENT_USAGES, "subject organization is not system:nodes"),
        (
            request(*NODE),
            SERVING_USAGES,
            "usages did not match [client auth digital signature key encipherment]",
        ),
    ],
)
def test_kubelet_clients(asked: str, usages: Sequence[str], complaint: str) -> None:
    """The subject says which node it is, and nothing else."""
    assert _complaint(signing.check_kubelet_client, asked, usages) == complaint


@pytest.mark.parametrize(
    ("asked", "usages", "complaint"),
    [
        (request(*NODE, ["n1", "10.0.0.1"]), SERVING_USAGES, ""),
        (request(*NODE), SERVING_USAGES, "DNS or IP subjectAltName is required"),
        (
            request(*NODE, ["n1"]),
            CLIENT_USAGES,
            "usages did not match [digital signature key encipherment server auth]",
        ),
    ],
)
def test_kubelet_serving(asked: str, usages: Sequence[str], complaint: str) -> None:
    """A serving certificate is for names or addresses."""
    assert _complaint(signing.check_kubelet_serving, asked, usages) == complaint


def _complaint(check: Any, asked: str, usages: Sequence[str]) -> str:
    try:
        check(signing.parse(asked), usages)
    except signing.RequestError as error:
        return str(error)
    return ""

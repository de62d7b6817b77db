"""Which signing requests approve themselves, what a signer signs, and when a request has served its time."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID

from kubeglass.components.api import signing
from kubeglass.components.api.objects import CertificateSigningRequest, decode
from kubeglass.components.api.signing import KUBE_APISERVER_CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY_UNKNOWN
from kubeglass.components.controllers.certificates import access_review, approval, is_stale, recognized
from kubeglass.components.controllers.certificatesigning import Authority, lifetime_seconds, plan
from kubeglass.components.machinery import certs, clock

NOW = clock.parse("2027-01-15T08:00:00Z")
KEY = certs.new_key()
NODE = "system:node:n1"
PAIR = certs.new_authority("kubernetes", datetime.fromtimestamp(NOW, UTC) - timedelta(days=1))
AUTHORITY = Authority(PAIR.certificate, PAIR.key)
CLIENT = ("digital signature", "client auth")


def csr(
    signer: str = KUBELET_CLIENT,
    usages: Sequence[str] = CLIENT,
    *,
    name: str = NODE,
    groups: Sequence[str] = ("system:nodes",),
    addresses: Sequence[str] = (),
    username: str = NODE,
    conditions: Sequence[dict[str, str]] = (),
    **more: Any,
) -> CertificateSigningRequest:
    request = base64.b64encode(certs.new_request(KEY, name, groups, addresses)).decode()
    spec = {"request": request, "signerName": signer, "usages": list(usages), "username": username, "groups": ["g"]}
    obj = {
        "metadata": {"name": "csr", "resourceVersion": "7", "creationTimestamp": clock.rfc3339(NOW)},
        "spec": spec | more,
        "status": {"conditions": list(conditions)},
    }
    return decode(CertificateSigningRequest, obj)


def condition(kind: str, age_seconds: float = 0) -> dict[str, str]:
    return {"type": kind, "status": "True", "lastUpdateTime": clock.rfc3339(NOW - age_seconds)}


@pytest.mark.parametrize(
    ("found", "ways"),
    [
        (csr(), ["selfnodeclient", "nodeclient"]),
        (csr(username="system:bootstrap:abcdef"), ["nodeclient"]),
        (csr(KUBELET_SERVING), []),
        (csr(usages=("server auth",)), []),
        (csr(groups=("devs",)), []),
        (csr(addresses=("n1",)), []),
    ],
    ids=["renewal", "bootstrap", "serving", "usages", "groups", "names"],
)
def test_what_approves_itself(found: CertificateSigningRequest, ways: list[str]) -> None:
    """Client certificates of kubelets, by who asks; serving certificates never."""
    assert [way.subresource for way in recognized(found)] == ways


def test_who_asks_is_asked_about() -> None:
    """The review is about the requester and the subresource; the approval says why, and only if nobody was faster."""
    spec = access_review(csr(), "selfnodeclient")["spec"]
    assert (spec["user"], spec["groups"]) == (NODE, ["g"])
    assert spec["resourceAttributes"] == {
        "verb": "create",
        "group": "certificates.k8s.io",
        "version": "*",
        "resource": "certificatesigningrequests",
        "subresource": "selfnodeclient",
    }
    patch = approval(csr(), "Because.", NOW)
    assert (patch.subresource, patch.patch["metadata"]) == ("approval", {"resourceVersion": "7"})
    (row,) = patch.patch["status"]["conditions"]
    assert (row["type"], row["status"], row["reason"], row["message"]) == (
        "Approved",
        "True",
        "AutoApproved",
        "Because.",
    )


def issued(found: CertificateSigningRequest, limit_seconds: float = 86400.0) -> x509.Certificate:
    (patch,) = plan(found, AUTHORITY, limit_seconds, NOW)
    assert patch.subresource == "status"
    return x509.load_pem_x509_certificate(base64.b64decode(patch.patch["status"]["certificate"]))


def test_a_certificate_is_what_was_asked() -> None:
    """Subject, names, key and usages of the request; the authority's signature; no authority itself."""
    addresses = ("n1", "10.0.0.1")
    made = issued(
        csr(KUBELET_SERVING, ("digital signature", "server auth"), addresses=addresses, conditions=[APPROVED])
    )
    request = signing.parse(csr(addresses=addresses).spec.request)
    assert (made.subject, made.issuer) == (request.subject, PAIR.certificate.subject)
    assert made.public_key() == KEY.public_key()
    PAIR.key.public_key().verify(made.signature, made.tbs_certificate_bytes, ECDSA(SHA256()))
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["n1", "10.0.0.1"]
    bits = made.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (bits.digital_signature, bits.key_encipherment, bits.key_cert_sign) == (True, False, False)
    assert list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH
    ]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


APPROVED = condition("Approved")


@pytest.mark.parametrize("own", [b"any bytes", None], ids=["named", "nameless"])
def test_the_authoritys_key_is_called_as_it_calls_itself(own: bytes | None) -> None:
    """An authority that is not ours may have named its key otherwise than by its hash, or not at all."""
    builder = (
        x509.CertificateBuilder(PAIR.certificate.issuer, PAIR.certificate.subject, PAIR.key.public_key(), 7)
        .not_valid_before(PAIR.certificate.not_valid_before_utc)
        .not_valid_after(PAIR.certificate.not_valid_after_utc)
    )
    if own is not None:
        builder = builder.add_extension(x509.SubjectKeyIdentifier(own), critical=False)
    authority = Authority(builder.sign(PAIR.key, SHA256()), PAIR.key)
    made = authority.sign(signing.parse(csr().spec.request), CLIENT, 3600.0, NOW)
    found = [one.value for one in made.extensions if isinstance(one.value, x509.AuthorityKeyIdentifier)]
    assert [one.key_identifier for one in found] == ([] if own is None else [own])


@pytest.mark.parametrize(
    ("seconds", "start", "end"),
    [(3600, -300, 3600), (86400, -300, 86400 - 300), (20 * 365 * 86400, -300, None)],
    ids=["short", "long", "beyond the authority"],
)
def test_how_long_a_certificate_lives(seconds: float, start: float, end: float | None) -> None:
    """Dated back five minutes, which only a short one does not pay for; never longer than the authority."""
    made = issued(csr(conditions=[APPROVED]), seconds)
    assert made.not_valid_before_utc.timestamp() - NOW == start
    last = PAIR.certificate.not_valid_after_utc.timestamp()
    assert made.not_valid_after_utc.timestamp() == (last if end is None else NOW + end)


def test_wishes_about_the_lifetime() -> None:
    """Within ten minutes and the flag."""
    assert [lifetime_seconds(wanted, 86400.0) for wanted in (None, 60, 3600, 10**6)] == [86400, 600, 3600, 86400]


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (
            csr(KUBE_APISERVER_CLIENT, ("server auth",), conditions=[APPROVED]),
            "invalid usage for client certificate: server auth",
        ),
        (
            csr(KUBE_APISERVER_CLIENT, ("digital signature",), conditions=[APPROVED]),
            "missing required usage for client certificate: client auth",
        ),
        (csr(name="jane", conditions=[APPROVED]), "subject common name does not begin with system:node:"),
    ],
)
def test_what_cannot_be_signed_fails(found: CertificateSigningRequest, why: str) -> None:
    """The request says why, beside its approval."""
    (patch,) = plan(found, AUTHORITY, 86400.0, NOW)
    *before, row = patch.patch["status"]["conditions"]
    assert [each["type"] for each in before] == ["Approved"]
    assert (row["type"], row["status"], row["reason"], row["message"]) == (
        "Failed", "True", "SignerValidationFailure", why,
    )  # fmt: skip


@pytest.mark.parametrize(
    "found",
    [
        csr(),
        csr(conditions=[condition("Denied")]),
        csr(conditions=[APPROVED, condition("Failed")]),
        csr("example.com/ours", conditions=[APPROVED]),
    ],
    ids=["pending", "denied", "failed", "foreign"],
)
def test_what_is_left_alone(found: CertificateSigningRequest) -> None:
    """Nothing is signed without approval, twice, or for other signers."""
    assert plan(found, AUTHORITY, 86400.0, NOW) == []


def test_the_legacy_signer_asks_nothing() -> None:
    """Any usage, any subject."""
    made = issued(csr(LEGACY_UNKNOWN, ("s/mime", "email protection"), name="x", conditions=[APPROVED]))
    assert len(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == 1


HOUR = 3600.0


@pytest.mark.parametrize(
    ("conditions", "certificate_seconds", "age", "why"),
    [
        ([], 0, 23 * HOUR, ""),
        ([], 0, 25 * HOUR, "pending"),
        ([condition("Approved", 2 * HOUR)], 0, 2 * HOUR, ""),
        ([condition("Approved", 2 * HOUR)], 86400, 2 * HOUR, "approved"),
        ([condition("Approved", HOUR / 2)], 86400, HOUR, ""),
        ([condition("Approved", HOUR / 2)], -60, HOUR, "expired"),
        ([condition("Denied", 2 * HOUR)], 0, 2 * HOUR, "denied"),
        ([condition("Approved", 2 * HOUR), condition("Failed", 2 * HOUR)], 0, 2 * HOUR, "failed"),
    ],
)
def test_what_is_cleaned(conditions: list[dict[str, str]], certificate_seconds: float, age: float, why: str) -> None:
    """An hour after it was settled, a day after nobody cared, and what has expired."""
    certificate = ""
    if certificate_seconds:
        made = certs.new_leaf(PAIR, "x", datetime.fromtimestamp(NOW, UTC), days=certificate_seconds / 86400)
        certificate = base64.b64encode(made.certificate_pem()).decode()
    found = decode(
        CertificateSigningRequest,
        {
            "metadata": {"name": "csr", "creationTimestamp": clock.rfc3339(NOW - age)},
            "status": {"conditions": conditions, "certificate": certificate},
        },
    )
    assert is_stale(found, NOW) == why

"""The cluster's certificates: authorities and the leaves they sign, all ECDSA P-256, as PEM.

Which certificate a component needs is decided by whoever lays out the data dir; here they are only made.
Upstream: kubeadm's certs phase (names, organisations, usages, lifetimes).
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 3650
LEAF_DAYS = 365
_BACKDATE = datetime.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def write(self, certificate_file: Path, key_file: Path) -> None:
        """Write both; only the owner may read the key."""
        certificate_file.parent.mkdir(parents=True, exist_ok=True)
        write_private(key_file, key_pem(self.key))
        certificate_file.write_bytes(self.certificate_pem())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as unencrypted PKCS#8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public half as PEM."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def new_authority(common_name: str, now: datetime.datetime) -> KeyPair:
    """A self-signed authority."""
    key = new_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = _builder(name, name, key.public_key(), now, CA_DAYS)
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(certificate, key)


def new_leaf(
    authority: KeyPair,
    common_name: str,
    now: datetime.datetime,
    *,
    organizations: Sequence[str] = (),
    addresses: Sequence[str] = (),
    server: bool = False,
    client: bool = False,
    days: float = LEAF_DAYS,
) -> KeyPair:
    """A certificate for one name, signed by `authority`. `addresses` are DNS names and IPs (server certificates)."""
    key = new_key()
    subject = _subject(common_name, organizations)
    usages = [
        usage
        for usage, wanted in ((ExtendedKeyUsageOID.SERVER_AUTH, server), (ExtendedKeyUsageOID.CLIENT_AUTH, client))
        if wanted
    ]
    builder = _builder(subject, authority.certificate.subject, key.public_key(), now, days)
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    if addresses:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_alternative_name(address) for address in addresses]), critical=False
        )
    return KeyPair(builder.sign(authority.key, hashes.SHA256()), key)


def new_request(
    key: ec.EllipticCurvePrivateKey, common_name: str, organizations: Sequence[str] = (), addresses: Sequence[str] = ()
) -> bytes:
    """A PKCS#10 request for a certificate over `key`, as PEM. `addresses` are DNS names and IPs."""
    subject = _subject(common_name, organizations)
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if addresses:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_alternative_name(address) for address in addresses]), critical=False
        )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def read_pair(certificate_file: Path, key_file: Path) -> KeyPair:
    """Read back what `write` wrote."""
    certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{key_file} does not hold an elliptic-curve key")
    return KeyPair(certificate, key)


def write_private(file: Path, content: bytes) -> None:
    """Write a file that only its owner may ever have been able to read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)


def _subject(common_name: str, organizations: Sequence[str]) -> x509.Name:
    return x509.Name(
        [
            *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization) for organization in organizations),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, now: datetime.datetime, days: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)

"""JSON Web Tokens as service accounts use them: ES256 and RS256, nothing else. Pure but for the mathematics.

RFC 7515, 7518. A key is known by its `kid`: the URL-safe base64 of the SHA-256 of its DER public half, as upstream's.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
_COORDINATE_BYTES = 32  # of P-256


class BadToken(ValueError):
    """Not a token, or not one of ours."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key and its id."""

    key: PublicKey
    kid: str

    @classmethod
    def of(cls, key: PublicKey) -> VerifyingKey:
        der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return cls(key, _encoded(hashlib.sha256(der).digest()))

    @property
    def algorithm(self) -> str:
        return "ES256" if isinstance(self.key, ec.EllipticCurvePublicKey) else "RS256"

    def verify(self, signed: bytes, signature: bytes) -> None:
        """Raises BadToken."""
        try:
            if isinstance(self.key, ec.EllipticCurvePublicKey):
                if len(signature) != 2 * _COORDINATE_BYTES:
                    raise BadToken("signature has the wrong length")
                r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
                self.key.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
            else:
                self.key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature as error:
            raise BadToken("signature does not match") from error

    def jwk(self) -> dict[str, str]:
        """The key as an entry of a JWKS document."""
        head = {"use": "sig", "kid": self.kid, "alg": self.algorithm}
        if isinstance(self.key, ec.EllipticCurvePublicKey):
            point = self.key.public_numbers()
            x, y = (_encoded(number.to_bytes(_COORDINATE_BYTES, "big")) for number in (point.x, point.y))
            return {**head, "kty": "EC", "crv": "P-256", "x": x, "y": y}
        numbers = self.key.public_numbers()
        n, e = (_encoded(n.to_bytes((n.bit_length() + 7) // 8, "big")) for n in (numbers.n, numbers.e))
        return {**head, "kty": "RSA", "n": n, "e": e}


def read_private_key(file: str | Path) -> PrivateKey:
    """A PEM private key. Raises ValueError."""
    key = serialization.load_pem_private_key(Path(file).read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError(f"{file} holds neither an EC nor an RSA key")
    return key


def read_public_keys(file: str | Path) -> list[PublicKey]:
    """All public keys of a PEM file; a private key stands for its public half. Raises ValueError."""
    keys: list[PublicKey] = []
    for block in Path(file).read_bytes().split(b"-----BEGIN ")[1:]:
        pem = b"-----BEGIN " + block
        if b"PRIVATE KEY-----" in pem.split(b"\n", 1)[0]:
            private = serialization.load_pem_private_key(pem, password=None)
            key: Any = private.public_key()
        else:
            key = serialization.load_pem_public_key(pem)
        if isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
            keys.append(key)
    if not keys:
        raise ValueError(f"{file} holds no EC or RSA key")
    return keys


def sign(key: PrivateKey, claims: dict[str, Any]) -> str:
    """A compact token."""
    public = VerifyingKey.of(key.public_key())
    header = msgspec.json.encode({"alg": public.algorithm, "kid": public.kid})
    signed = f"{_encoded(header)}.{_encoded(msgspec.json.encode(claims))}".encode()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = utils.decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
    else:
        signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    return f"{signed.decode()}.{_encoded(signature)}"


def unverified_claims(token: str) -> dict[str, Any]:
    """What the token says of itself, before anyone checked. Raises BadToken."""
    parts = token.split(".")
    if len(parts) != 3:
        raise BadToken("not a JWT")
    return _json(parts[1])


def verify(token: str, keys: list[VerifyingKey]) -> dict[str, Any]:
    """The claims of a token that one of the keys signed; times are not looked at. Raises BadToken."""
    parts = token.split(".")
    if len(parts) != 3:
        raise BadToken("not a JWT")
    header = _json(parts[0])
    signed, signature = f"{parts[0]}.{parts[1]}".encode(), _decoded(parts[2])
    named = [key for key in keys if key.kid == header.get("kid")] or keys
    problem = BadToken("no key for this algorithm")
    for key in named:
        if key.algorithm != header.get("alg"):
            continue
        try:
            key.verify(signed, signature)
            return _json(parts[1])
        except BadToken as error:
            problem = error
    raise problem


def _json(part: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(_decoded(part), type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise BadToken("not a JWT") from error


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise BadToken("not a JWT") from error

"""Service account tokens: what is signed is recognised, and nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from kubeglass.components.apiserver.auth import jwt
from kubeglass.components.apiserver.auth.jwt import BadToken, PrivateKey, VerifyingKey
from kubeglass.components.apiserver.auth.serviceaccounts import Bound, ServiceAccountTokens, TokenIssuer

ISSUER = "https://kubernetes.default.svc.cluster.local"
NOW = 1_800_000_000.0
UIDS: Mapping[tuple[str, str, str], str] = {
    ("serviceaccounts", "default", "build"): "sa-uid",
    ("pods", "default", "web"): "pod-uid",
    ("nodes", "", "node-1"): "node-uid",
}


def tokens(key: PrivateKey, uids: Mapping[tuple[str, str, str], str] = UIDS) -> ServiceAccountTokens:
    find = lambda plural, namespace, name: uids.get((plural, namespace, name))  # noqa: E731
    return ServiceAccountTokens([key.public_key()], [ISSUER], [ISSUER], find)


@pytest.fixture(params=["EC", "RSA"])
def key(request: pytest.FixtureRequest) -> PrivateKey:
    if request.param == "EC":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(65537, 2048)


def issue(key: PrivateKey, **options: object) -> str:
    issuer = TokenIssuer(key, ISSUER, (ISSUER,))
    return issuer.issue("default", "build", "sa-uid", now=NOW, **options)  # type: ignore[arg-type]


def test_a_token_says_who_it_is_for(key: PrivateKey) -> None:
    """Name, UID, groups and credential id of the account come back."""
    user, audiences = tokens(key).user(issue(key), NOW + 1)
    assert user.name == "system:serviceaccount:default:build"
    assert user.uid == "sa-uid"
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:default")
    assert user.extra["authentication.kubernetes.io/credential-id"][0].startswith("JTI=")
    assert audiences == (ISSUER,)


def test_a_bound_token_names_its_pod_and_node(key: PrivateKey) -> None:
    """The Pod and Node a token is bound to become extras of the user."""
    bound = [Bound("pod", "web", "pod-uid"), Bound("node", "node-1", "node-uid")]
    user, _ = tokens(key).user(issue(key, bound=bound), NOW + 1)
    assert user.extra["authentication.kubernetes.io/pod-name"] == ("web",)
    assert user.extra["authentication.kubernetes.io/pod-uid"] == ("pod-uid",)
    assert user.extra["authentication.kubernetes.io/node-name"] == ("node-1",)


def test_a_token_dies_with_what_it_is_bound_to(key: PrivateKey) -> None:
    """A deleted or recreated Pod or account makes its tokens worthless."""
    token = issue(key, bound=[Bound("pod", "web", "pod-uid")])
    recreated = {**UIDS, ("pods", "default", "web"): "another-uid"}
    with pytest.raises(BadToken, match="service account token has been invalidated"):
        tokens(key, recreated).user(token, NOW + 1)
    with pytest.raises(BadToken, match="service account has been invalidated"):
        tokens(key, {}).user(token, NOW + 1)


def test_time_issuer_and_audience_must_fit(key: PrivateKey) -> None:
    """Expired, early, foreign and misdirected tokens are refused."""
    with pytest.raises(BadToken, match="expired"):
        tokens(key).user(issue(key, expiration_seconds=600), NOW + 601)
    with pytest.raises(BadToken, match="not valid yet"):
        tokens(key).user(issue(key), NOW - 100)
    with pytest.raises(BadToken, match=r"token audiences \['vault'\] is invalid"):
        tokens(key).user(issue(key, audiences=["vault"]), NOW + 1)
    foreign = TokenIssuer(key, "https://elsewhere", (ISSUER,)).issue("default", "build", "sa-uid", now=NOW)
    assert not tokens(key).is_ours(foreign)
    with pytest.raises(BadToken, match="unknown issuer"):
        tokens(key).user(foreign, NOW + 1)


def test_a_changed_token_is_refused(key: PrivateKey) -> None:
    """Any change of header, claims or signature breaks it; `none` is no algorithm."""
    head, claims, signature = issue(key).split(".")
    altered = json.loads(base64.urlsafe_b64decode(claims + "=="))
    altered["sub"] = "system:serviceaccount:kube-system:admin"
    forged = base64.urlsafe_b64encode(json.dumps(altered).encode()).decode().rstrip("=")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    for token in (
        f"{head}.{forged}.{signature}",
        f"{none}.{claims}.",
        f"{head}.{claims}.{signature[:-8]}AAAAAAAA",
        "x.y",
    ):
        with pytest.raises(BadToken):
            tokens(key).user(token, NOW + 1)


def test_another_key_does_not_verify(key: PrivateKey) -> None:
    """A token signed by a key we do not know is refused."""
    other = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(BadToken):
        tokens(other).user(issue(key), NOW + 1)


def test_a_foreign_library_agrees() -> None:
    """The key set describes the key in the standard's terms: P-256 coordinates, id, algorithm."""
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = VerifyingKey.of(key.public_key()).jwk()
    numbers = key.public_key().public_numbers()
    assert int.from_bytes(base64.urlsafe_b64decode(jwk["x"] + "="), "big") == numbers.x
    assert (jwk["kty"], jwk["crv"], jwk["alg"], jwk["use"]) == ("EC", "P-256", "ES256", "sig")
    assert jwt.verify(issue(key), [VerifyingKey.of(key.public_key())])["iss"] == ISSUER

"""Service account tokens: issuing them, and saying whose they are.

Claims and user attributes as k8s.io/kubernetes/pkg/serviceaccount. A token is good while its signature, issuer,
audience and time are, and while the account and the object it is bound to exist with the UIDs it names.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeglass.components.api.user import SERVICE_ACCOUNT_PREFIX, SERVICE_ACCOUNTS_GROUP, UserInfo
from kubeglass.components.apiserver.auth import jwt
from kubeglass.components.apiserver.auth.jwt import BadToken, PrivateKey, PublicKey, VerifyingKey

_CLAIM = "kubernetes.io"
_EXTRA = "authentication.kubernetes.io/"

FindUid = Callable[[str, str, str], str | None]
"""(plural, namespace, name) → the UID of that object, None when there is none."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The object a token lives and dies with."""

    kind: str  # pod, node or secret
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """Signs tokens; handed to whoever answers serviceaccounts/token."""

    key: PrivateKey
    issuer: str
    audiences: tuple[str, ...]
    """What a token is good for when nothing else is asked."""

    def issue(
        self,
        namespace: str,
        name: str,
        uid: str,
        *,
        now: float,
        expiration_seconds: int = 3600,
        audiences: Sequence[str] = (),
        bound: Sequence[Bound] = (),
    ) -> str:
        """A token for one account."""
        issued = int(now)
        about: dict[str, Any] = {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}}
        for owner in bound:
            about[owner.kind] = {"name": owner.name, "uid": owner.uid}
        claims = {
            "aud": list(audiences or self.audiences),
            "exp": issued + expiration_seconds,
            "iat": issued,
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            _CLAIM: about,
            "nbf": issued,
            "sub": f"{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}",
        }
        return jwt.sign(self.key, claims)


class ServiceAccountTokens:
    """Recognises our own tokens."""

    def __init__(
        self, keys: Sequence[PublicKey], issuers: Sequence[str], audiences: Sequence[str], find_uid: FindUid
    ) -> None:
        self.keys = [VerifyingKey.of(key) for key in keys]
        self.issuers = tuple(issuers)
        self.audiences = tuple(audiences)
        self._find_uid = find_uid

    def is_ours(self, token: str) -> bool:
        """Whether the token claims to come from one of our issuers."""
        try:
            return jwt.unverified_claims(token).get("iss") in self.issuers
        except BadToken:
            return False

    def user(self, token: str, now: float, audiences: Sequence[str] = ()) -> tuple[UserInfo, tuple[str, ...]]:
        """Whose token it is, and for which of the wanted audiences. Raises BadToken."""
        claims = jwt.verify(token, self.keys)
        if claims.get("iss") not in self.issuers:
            raise BadToken("unknown issuer")
        _check_times(claims, now)
        wanted = audiences or self.audiences
        granted = _strings(claims.get("aud"))
        shared = tuple(audience for audience in wanted if audience in granted)
        if not shared:
            raise BadToken(f"token audiences {list(granted)} is invalid for the target audiences {list(wanted)}")
        return self._user(claims), shared

    def _user(self, claims: Mapping[str, Any]) -> UserInfo:
        about = claims.get(_CLAIM) or {}
        account = about.get("serviceaccount") or {}
        namespace, name, uid = about.get("namespace", ""), account.get("name", ""), account.get("uid", "")
        username = f"{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"
        if not name or claims.get("sub") != username:
            raise BadToken("subject does not match the service account")
        if self._find_uid("serviceaccounts", namespace, name) != uid:
            raise BadToken("service account has been invalidated")
        extra: dict[str, tuple[str, ...]] = (
            {_EXTRA + "credential-id": (f"JTI={claims['jti']}",)} if "jti" in claims else {}
        )
        for kind in ("pod", "node", "secret"):
            if bound := about.get(kind):
                extra |= self._bound_to(kind, namespace, bound)
        return UserInfo(username, uid, (SERVICE_ACCOUNTS_GROUP, f"{SERVICE_ACCOUNTS_GROUP}:{namespace}"), extra)

    def _bound_to(self, kind: str, namespace: str, bound: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        name, uid = bound.get("name", ""), bound.get("uid", "")
        # A node named beside a Pod is only information: the Pod's own life decides.
        if self._find_uid(f"{kind}s", "" if kind == "node" else namespace, name) != uid:
            raise BadToken("service account token has been invalidated")
        return {} if kind == "secret" else {f"{_EXTRA}{kind}-name": (name,), f"{_EXTRA}{kind}-uid": (uid,)}


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    if now >= claims.get("exp", 0):
        raise BadToken("service account token has expired")
    if now < claims.get("nbf", 0) - 1:
        raise BadToken("service account token is not valid yet")


def _strings(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())

"""Who is calling: front proxy, client certificate, bearer token, else anonymous; tried in upstream's order.

An authenticator answers with a UserInfo, with None when the request carries nothing for it, or raises
AuthenticationFailed when it carries something that is wrong; then nobody else is asked to call the request anonymous.
"""

from __future__ import annotations

import csv
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from kubeglass.components.api.user import ALL_AUTHENTICATED, ALL_UNAUTHENTICATED, UserInfo
from kubeglass.components.apiserver.auth.jwt import BadToken
from kubeglass.components.apiserver.auth.metrics import TokenMetrics
from kubeglass.components.apiserver.auth.serviceaccounts import ServiceAccountTokens
from kubeglass.components.apiserver.wire import ANONYMOUS, Request

_CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
_UID_OID = ObjectIdentifier("1.3.6.1.4.1.57683.2")
_TOKEN_SECONDS = 10.0
_CACHE_SIZE = 4096


class AuthenticationFailed(Exception):
    """The request presented a credential that is wrong; the text is for the log, never for the client."""


class NoCredentials(AuthenticationFailed):
    """The request presented nothing that anybody accepts, and anonymous requests are not let in."""


class Authenticator(Protocol):
    """One way to prove who one is."""

    def authenticate(self, request: Request) -> UserInfo | None:
        """Raises AuthenticationFailed."""


@dataclass(frozen=True, slots=True)
class _Leaf:
    """What a client certificate says, worked out once."""

    user: UserInfo
    common_name: str
    not_before: float
    not_after: float


class ClientCertificates:
    """Certificates that an authority of ours signed for client use."""

    def __init__(
        self,
        authorities: Sequence[x509.Certificate],
        observe_expiry: Callable[[float], None] = lambda seconds: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._authorities = {authority.subject: authority for authority in authorities}
        self._observe_expiry = observe_expiry
        self._clock = clock
        self._known: dict[bytes, _Leaf | None] = {}

    def authenticate(self, request: Request) -> UserInfo | None:
        leaf = self.leaf(request)
        return leaf.user if leaf else None

    def leaf(self, request: Request) -> _Leaf | None:
        """The verified certificate of the connection; None without one or when another authority signed it."""
        der = request.client_certificate
        if der is None:
            return None
        if der not in self._known:
            if len(self._known) >= _CACHE_SIZE:
                self._known.clear()
            self._known[der] = self._verified(der)
        leaf = self._known[der]
        if leaf is None:
            return None
        now = self._clock()
        if not leaf.not_before <= now <= leaf.not_after:
            raise AuthenticationFailed("x509: certificate has expired or is not yet valid")
        self._observe_expiry(leaf.not_after - now)
        return leaf

    def _verified(self, der: bytes) -> _Leaf | None:
        certificate = x509.load_der_x509_certificate(der)
        authority = self._authorities.get(certificate.issuer)
        if authority is None or not _is_for_clients(certificate):
            return None
        try:
            certificate.verify_directly_issued_by(authority)
        except (InvalidSignature, ValueError, TypeError):
            return None
        names = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if not names:
            return None
        groups = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
        uids = [str(uid.value) for uid in certificate.subject.get_attributes_for_oid(_UID_OID)]
        user = UserInfo(
            name=names[0],
            uid=uids[0] if uids else "",
            groups=tuple(groups),
            extra={_CREDENTIAL_ID: (f"X509SHA256={hashlib.sha256(der).hexdigest()}",)},
        )
        return _Leaf(
            in_standard_group(user),
            names[0],
            certificate.not_valid_before_utc.timestamp(),
            certificate.not_valid_after_utc.timestamp(),
        )


def _is_for_clients(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in usage or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage


@dataclass(frozen=True, slots=True)
class FrontProxy:
    """A trusted proxy that says in headers for whom it asks (--requestheader-*)."""

    certificates: ClientCertificates
    allowed_names: tuple[str, ...] = ()
    username_headers: tuple[str, ...] = ("X-Remote-User",)
    group_headers: tuple[str, ...] = ("X-Remote-Group",)
    extra_prefixes: tuple[str, ...] = ("X-Remote-Extra-",)
    uid_headers: tuple[str, ...] = ("X-Remote-Uid",)

    def authenticate(self, request: Request) -> UserInfo | None:
        leaf = self.certificates.leaf(request)
        if leaf is None:
            return None
        if self.allowed_names and leaf.common_name not in self.allowed_names:
            raise AuthenticationFailed(f"x509: subject with cn={leaf.common_name} is not in the allowed list")
        name = next((value for header in self.username_headers if (value := request.headers.get(header))), "")
        if not name:
            return None
        groups = [value for header in self.group_headers for value in header_values(request.headers, header)]
        uid = next((value for header in self.uid_headers if (value := request.headers.get(header))), "")
        return UserInfo(name, uid, tuple(groups), extra_headers(request.headers, self.extra_prefixes))


def header_values(headers: Mapping[str, str], name: str) -> list[str]:
    """Every value of a header that may be repeated."""
    every = getattr(headers, "getall", None)
    if every is not None:
        return list(every(name, []))
    value = headers.get(name)
    return [value] if value else []


def extra_headers(headers: Mapping[str, str], prefixes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """`Prefix-Key: value` headers as user extras; keys are lower case and percent-decoded."""
    from urllib.parse import unquote

    found: dict[str, list[str]] = {}
    for header, value in headers.items():
        for prefix in prefixes:
            if header.lower().startswith(prefix.lower()):
                found.setdefault(unquote(header[len(prefix) :].lower()), []).append(value)
    return {key: tuple(values) for key, values in found.items()}


class StaticTokens:
    """`token,user,uid,"group1,group2"` lines of --token-auth-file."""

    def __init__(self, users: Mapping[str, UserInfo]) -> None:
        self._users = {hashlib.sha256(token.encode()).digest(): user for token, user in users.items()}

    @classmethod
    def read(cls, file: str | Path) -> StaticTokens:
        """Raises ValueError naming the file and line."""
        users: dict[str, UserInfo] = {}
        with Path(file).open(newline="") as lines:
            for number, row in enumerate(csv.reader(lines, skipinitialspace=True), 1):
                if not row or row[0].startswith("#"):
                    continue
                if len(row) < 3 or not row[0]:
                    raise ValueError(
                        f"token file {file}: line {number} must have at least 3 columns (token, name, uid)"
                    )
                groups = tuple(row[3].split(",")) if len(row) > 3 and row[3] else ()
                users[row[0]] = UserInfo(row[1], row[2], groups)
        return cls(users)

    def user(self, token: str) -> UserInfo | None:
        return self._users.get(hashlib.sha256(token.encode()).digest())


class BearerTokens:
    """Static and service account tokens, remembered for ten seconds as upstream's token cache does."""

    def __init__(
        self,
        static: StaticTokens | None,
        accounts: ServiceAccountTokens | None,
        metrics: TokenMetrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._static = static
        self._accounts = accounts
        self._metrics = metrics
        self._clock = clock
        self._known: dict[bytes, tuple[float, UserInfo]] = {}

    def authenticate(self, request: Request) -> UserInfo | None:
        scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            return self._from_websocket(request)
        return self._user(token)

    def review(self, token: str, audiences: Sequence[str]) -> tuple[UserInfo, tuple[str, ...]] | None:
        """For TokenReview: the user and the audiences that hold. Raises AuthenticationFailed."""
        if self._static and (user := self._static.user(token)):
            return user, ()
        if self._accounts and self._accounts.is_ours(token):
            try:
                return self._accounts.user(token, self._clock(), audiences)
            except BadToken as error:
                raise AuthenticationFailed(str(error)) from error
        return None

    def _from_websocket(self, request: Request) -> UserInfo | None:
        """Browsers cannot set headers on a WebSocket: the token comes as a subprotocol."""
        import base64

        prefix = "base64url.bearer.authorization.k8s.io."
        for protocol in request.headers.get("Sec-WebSocket-Protocol", "").split(","):
            if protocol.strip().startswith(prefix):
                encoded = protocol.strip().removeprefix(prefix)
                try:
                    return self._user(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode())
                except ValueError as error:
                    raise AuthenticationFailed("invalid bearer token") from error
        return None

    def _user(self, token: str) -> UserInfo:
        """From the cache, or worked out and remembered. Raises AuthenticationFailed."""
        started, now = time.perf_counter(), self._clock()
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        status = "hit" if known is not None and now < known[0] else "miss"
        self._metrics.authentication_token_cache_request_total.labels(status).inc()
        try:
            return known[1] if known is not None and status == "hit" else self._fetch(token, digest, now)
        finally:
            seconds = time.perf_counter() - started
            self._metrics.authentication_token_cache_request_duration_seconds.labels(status).observe(seconds)

    def _fetch(self, token: str, digest: bytes, now: float) -> UserInfo:
        try:
            answer = self.review(token, ())
        except AuthenticationFailed:
            self._metrics.authentication_token_cache_fetch_total.labels("error").inc()
            raise
        self._metrics.authentication_token_cache_fetch_total.labels("ok").inc()
        if answer is None:
            raise AuthenticationFailed("invalid bearer token")
        if answer[0].name.startswith("system:serviceaccount:"):
            self._metrics.serviceaccount_valid_tokens_total.inc()
        if len(self._known) >= _CACHE_SIZE:
            self._known.clear()
        self._known[digest] = (now + _TOKEN_SECONDS, answer[0])
        return answer[0]


@dataclass(frozen=True, slots=True)
class Authentication:
    """All authenticators in order."""

    authenticators: tuple[Authenticator, ...]
    anonymous: bool = True

    def authenticate(self, request: Request) -> UserInfo:
        """Who is calling, with the group every known or unknown caller is in. Raises AuthenticationFailed."""
        failures: list[str] = []
        for authenticator in self.authenticators:
            try:
                user = authenticator.authenticate(request)
            except AuthenticationFailed as error:
                failures.append(str(error))
                continue
            if user is not None:
                return in_standard_group(user)
        if failures:
            raise AuthenticationFailed("[" + ", ".join(failures) + "]" if len(failures) > 1 else failures[0])
        if not self.anonymous:
            raise NoCredentials("no credentials provided")
        return ANONYMOUS


def in_standard_group(user: UserInfo) -> UserInfo:
    """The user as a member of system:authenticated, unless it is known to be unauthenticated."""
    if user.name == ANONYMOUS.name or ALL_AUTHENTICATED in user.groups or ALL_UNAUTHENTICATED in user.groups:
        return user
    return replace(user, groups=(*user.groups, ALL_AUTHENTICATED))

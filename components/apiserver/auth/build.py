"""Authentication and authorization as the flags describe them. Files are read here, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509

from kubeglass.components.api import kinds
from kubeglass.components.api.user import UserInfo
from kubeglass.components.apiserver.auth import jwt
from kubeglass.components.apiserver.auth.authenticators import (
    Authentication,
    Authenticator,
    BearerTokens,
    ClientCertificates,
    FrontProxy,
    StaticTokens,
)
from kubeglass.components.apiserver.auth.authorizers import (
    AlwaysAllow,
    Attributes,
    Authorization,
    Authorizer,
    PrivilegedGroups,
)
from kubeglass.components.apiserver.auth.metrics import AuthenticationMetrics, AuthorizationMetrics, TokenMetrics
from kubeglass.components.apiserver.auth.node import NodeAuthorizer
from kubeglass.components.apiserver.auth.rbac import Rbac
from kubeglass.components.apiserver.auth.serviceaccounts import Bound, ServiceAccountTokens, TokenIssuer
from kubeglass.components.apiserver.options import Options
from kubeglass.components.apiserver.storage.watchcaches import WatchCaches
from kubeglass.components.machinery import clock
from kubeglass.components.machinery.process import ConfigError
from kubeglass.telemetry.metrics.registry import Registry

Object = dict[str, Any]
_OWNERS = {kind.plural: kind for kind in (kinds.SERVICE_ACCOUNT, kinds.POD, kinds.NODE, kinds.SECRET)}


@dataclass(frozen=True, slots=True)
class Auth:
    """Who may come in, and who may do what."""

    authentication: Authentication
    authorization: Authorization
    rbac: Rbac
    tokens: BearerTokens
    accounts: ServiceAccountTokens | None
    issuer: TokenIssuer | None

    def may_use_signer(self, user: UserInfo, verb: str, signer: str) -> bool:
        """Whether a user may `approve` or `sign` for a signer of certificates."""
        wanted = Attributes(
            user, verb, group=kinds.CERTIFICATE_SIGNING_REQUEST.group, version="*", resource="signers", name=signer
        )
        return self.authorization.authorize(wanted).allowed

    def sign(
        self, account: Object, *, audiences: Sequence[str], expiration_seconds: int, bound: Mapping[str, Object]
    ) -> tuple[str, tuple[str, ...]]:
        """A token for a service account, and the audiences it is for. Raises ConfigError without a signing key."""
        if self.issuer is None:
            raise ConfigError("the server has no key to sign service account tokens with")
        metadata = account["metadata"]
        token = self.issuer.issue(
            metadata["namespace"],
            metadata["name"],
            metadata["uid"],
            now=clock.now(),
            expiration_seconds=expiration_seconds,
            audiences=audiences,
            bound=[Bound(kind, obj["metadata"]["name"], obj["metadata"]["uid"]) for kind, obj in bound.items()],
        )
        return token, tuple(audiences) or self.issuer.audiences


def build(options: Options, caches: WatchCaches, registry: Registry) -> Auth:
    """Raises ConfigError for files that cannot be used."""
    try:
        accounts = _accounts(options, caches)
        static = StaticTokens.read(options.token_auth_file) if options.token_auth_file else None
        issuer = _issuer(options)
        certificates = _certificates(options, registry)
    except (OSError, ValueError) as error:
        raise ConfigError(str(error)) from error
    tokens = BearerTokens(static, accounts, TokenMetrics(registry))
    rbac = Rbac(*(caches.of(kind) for kind in (kinds.ROLE, kinds.ROLE_BINDING, kinds.CLUSTER_ROLE,
                                               kinds.CLUSTER_ROLE_BINDING)))  # fmt: skip
    return Auth(
        authentication=Authentication((*certificates, tokens), options.anonymous_auth),
        authorization=Authorization(
            _authorizers(options, rbac, caches), AuthorizationMetrics(registry), time.monotonic
        ),
        rbac=rbac,
        tokens=tokens,
        accounts=accounts,
        issuer=issuer,
    )


def read_certificates(file: str) -> list[x509.Certificate]:
    """All certificates of a PEM bundle. Raises OSError, ValueError naming the file."""
    try:
        return x509.load_pem_x509_certificates(Path(file).read_bytes())
    except ValueError as error:
        raise ValueError(f"unable to load client CA provider: {file} holds no usable certificate: {error}") from error


def _certificates(options: Options, registry: Registry) -> list[Authenticator]:
    found: list[Authenticator] = []
    if options.requestheader_client_ca_file:
        found.append(
            FrontProxy(
                ClientCertificates(read_certificates(options.requestheader_client_ca_file)),
                options.requestheader_allowed_names,
                options.requestheader_username_headers,
                options.requestheader_group_headers,
                options.requestheader_extra_headers_prefix,
            )
        )
    if options.client_ca_file:
        expiry = AuthenticationMetrics(registry).client_certificate_expiration_seconds
        found.append(ClientCertificates(read_certificates(options.client_ca_file), expiry.observe))
    return found


def _accounts(options: Options, caches: WatchCaches) -> ServiceAccountTokens | None:
    keys = [key for file in options.service_account_key_file for key in jwt.read_public_keys(file)]
    if not keys:
        return None
    return ServiceAccountTokens(keys, options.service_account_issuer, options.audiences, _uids(caches))


def _issuer(options: Options) -> TokenIssuer | None:
    if not options.service_account_signing_key_file:
        return None
    key = jwt.read_private_key(options.service_account_signing_key_file)
    return TokenIssuer(key, options.service_account_issuer[0], options.audiences)


def _uids(caches: WatchCaches) -> Callable[[str, str, str], str | None]:
    def find(plural: str, namespace: str, name: str) -> str | None:
        kind = _OWNERS[plural]
        record = caches.of(kind).get(kind.storage_key(namespace, name))
        return record.decode()["metadata"].get("uid") if record else None

    return find


def _authorizers(options: Options, rbac: Rbac, caches: WatchCaches) -> Sequence[Authorizer]:
    modes: Mapping[str, Callable[[], Authorizer]] = {
        "Node": lambda: NodeAuthorizer(caches.of(kinds.POD)),
        "RBAC": lambda: rbac,
        "AlwaysAllow": AlwaysAllow,
    }
    return [PrivilegedGroups(), *(modes[mode]() for mode in options.authorization_mode)]
